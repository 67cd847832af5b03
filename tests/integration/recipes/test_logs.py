"""What a build says can be read while it runs, and is kept however it ends."""

import threading
import time

import pytest

from farm.errors import FarmError, RecipeError
from farm.recipes import buildlog
from farm.recipes.buildlog import HEAD_BYTES, TAIL_BYTES, BuildLog
from farm.store.artifacts import ArtifactStore
from farm.types import Blob
from tests.integration.recipes.workshop import Workshop

pytestmark = pytest.mark.real_models


def content(store: ArtifactStore, blob: Blob) -> bytes:
    with store.open(blob.sha256) as file:
        return file.read()


def test_the_log_of_a_build_is_kept_with_its_steps(workshop, spec):
    kept = workshop.build(spec, "onnxruntime").report.log
    assert kept.name == "build.log"
    text = content(workshop.store, kept).decode()
    assert text.startswith("farm: onnxruntime\n")
    assert "[torch.onnx]" in text


def test_the_log_of_a_failed_build_is_kept_and_its_error_says_how_far_it_came(workshop, spec):
    with pytest.raises(RecipeError) as caught:
        workshop.build(spec, "litert", memory_bytes=450 * 2**20)
    error = caught.value
    assert "limit of 471,859,200 bytes of memory" in error.message
    assert "in its step litert" in error.message
    assert "build_memory_bytes (to 943718400, say)" in error.remedy
    assert content(workshop.store, Blob.model_validate(error.details["log"])).startswith(b"farm: litert")


def test_a_build_that_runs_shows_its_log(spec, workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(buildlog, "SHOW_EVERY_SECONDS", 0.05)
    apart = Workshop(tmp_path)
    for blob in (spec.program, spec.example_inputs, spec.parity_inputs, spec.calibration_inputs):
        apart.store.put_file(workshop.store.local_path(blob.sha256), blob.name)
    request = apart.request(spec, "litert")
    failures: list[FarmError] = []

    def build() -> None:
        try:
            apart.build(spec, "litert")
        except FarmError as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    seen = b""
    while thread.is_alive():
        seen = apart.store.live(request.key) or seen
        time.sleep(0.02)
    thread.join()
    assert not failures
    assert seen.startswith(b"farm: litert")
    assert apart.store.live(request.key) == b""  # what is kept took its place


@pytest.fixture
def log(tmp_path):
    store = ArtifactStore((tmp_path / "store").as_uri())
    folder = tmp_path / "build"
    folder.mkdir()
    return BuildLog(folder, store, "a" * 64), store


def test_of_a_long_log_beginning_and_end_are_kept_and_what_was_shown_is_where_it_begins(log):
    log, store = log
    lines = b"".join(b"%07d\n" % number for number in range(400_000))
    log.path.write_bytes(lines)
    log.show()
    shown = store.live("a" * 64)
    kept = content(store, log.keep())
    assert shown == lines[:HEAD_BYTES]
    assert kept.startswith(shown)
    assert kept.endswith(lines[-TAIL_BYTES:])
    assert f"[{len(lines) - HEAD_BYTES - TAIL_BYTES:,} bytes are left out here]".encode() in kept


def test_a_store_that_fails_does_not_end_the_build(log, monkeypatch, caplog):
    log, store = log
    log.path.write_bytes(b"a line\n")
    (store.local_path("0" * 64) or log.path.parent.parent / "store" / "live").write_bytes(b"no folder")
    log.show()
    assert "cannot be followed" in caplog.text
