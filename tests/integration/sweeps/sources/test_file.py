"""Models of sweeps from files: of the head, and served over HTTP."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from farm.errors import (
    ConflictError,
    ForbiddenError,
    InfrastructureError,
    ModelError,
    NotFoundError,
    TooLargeError,
    UserError,
)
from farm.sweeps.sources import check, transfer, versions_between
from farm.types import FileModel, UploadedModel
from tests.integration.sweeps.sources.ground import Ground, write_model


def of(place: str | Path, **fields: str) -> FileModel:
    return FileModel(**{"url": f"{place}/model.pt2", "example_inputs": f"{place}/example_inputs.npz"} | fields)


@pytest.fixture
def folder(ground: Ground) -> Path:
    folder = ground.settings.sweep_model_dirs[0] / "net"
    write_model(folder)
    return folder


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "{}/../net"])
def test_a_model_in_files_becomes_a_model_of_the_farm(ground: Ground, folder: Path, spelling: str) -> None:
    place = spelling.format(folder)
    source = of(place, parity_inputs=f"{place}/parity_inputs.npz")
    check(source, ground.settings)
    prepared = ground.prepare(source)
    spec = prepared.model.spec
    assert (spec.name, spec.inputs[0].shape, prepared.model.created_by) == ("net", (1, 3), "nightly")
    with ground.artifacts.open(spec.program.sha256) as file:
        assert file.read() == b"a program"
    assert ground.prepare(source) == prepared


def test_its_version_is_what_the_files_hold(ground: Ground, folder: Path) -> None:
    first = ground.prepare(of(folder))
    (folder / "model.pt2").write_bytes(b"another program")
    second = ground.prepare(of(folder))
    assert first.version != second.version and first.model.id != second.model.id
    assert ground.prepare(of(folder), first.version) == first, "what was prepared once stays at hand"
    assert versions_between(of(folder), first.version, second.version, ground.settings) == ()
    with pytest.raises(ConflictError, match="other content"):
        ground.prepare(of(folder), "0" * 64)


def test_an_uploaded_model_is_the_newest_of_its_name_or_a_fixed_one(ground: Ground, folder: Path) -> None:
    first = ground.prepare(of(folder))
    (folder / "model.pt2").write_bytes(b"another program")
    second = ground.prepare(of(folder))
    assert ground.prepare(UploadedModel(ref="net")).version == second.model.id
    assert ground.prepare(UploadedModel(ref=first.model.id)).model == first.model
    assert ground.prepare(UploadedModel(ref="net"), first.model.id).model == first.model
    with pytest.raises(NotFoundError):
        ground.prepare(UploadedModel(ref="other"))


def test_files_outside_of_the_folders_are_never_read(ground: Ground, folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "secrets")
    (folder / "out").symlink_to(tmp_path / "secrets")
    for place in (tmp_path / "secrets", f"file://{tmp_path}/secrets", folder / "out", f"{folder}/../../secrets"):
        with pytest.raises(ForbiddenError, match="sweep_model_dirs"):
            check(of(place), ground.settings)
        with pytest.raises(ForbiddenError, match="sweep_model_dirs"):
            ground.prepare(of(place))
    with pytest.raises(ForbiddenError):
        ground.prepare(of(folder, example_inputs=f"{tmp_path}/secrets/example_inputs.npz"))
    with pytest.raises(ForbiddenError):
        ground.prepare(of(folder), sweep_model_dirs=())


def test_what_is_no_usable_file_is_named(ground: Ground, folder: Path) -> None:
    (folder / "folder.pt2").mkdir()
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n")
    (folder / "pickled.pt").write_bytes(b"cos\nsystem\n")
    (folder / "bad.npz").write_bytes(b"no zip")
    with pytest.raises(NotFoundError, match=r"none\.pt2"):
        ground.prepare(of(folder, url=f"{folder}/none.pt2"))
    with pytest.raises(UserError, match=r"folder\.pt2 is no file"):
        ground.prepare(of(folder, url=f"{folder}/folder.pt2"))
    with pytest.raises(ModelError, match="Pickles are never loaded"):
        ground.prepare(of(folder, url=f"{folder}/model.pkl"))
    with pytest.raises(ModelError, match="no TorchScript"):
        ground.prepare(of(folder, url=f"{folder}/pickled.pt"))
    with pytest.raises(ModelError, match=r"example_inputs\.npz"):
        ground.prepare(of(folder, example_inputs=f"{folder}/bad.npz"))


def test_files_that_are_too_large_are_not_taken_packed_or_unpacked(ground: Ground, folder: Path) -> None:
    (folder / "model.pt2").write_bytes(bytes(2**20 + 1))
    with pytest.raises(TooLargeError, match="max_upload_bytes"):
        ground.prepare(of(folder))
    write_model(folder)
    np.savez_compressed(folder / "example_inputs.npz", **{"0.0": np.zeros((1, 2**20), np.float32)})
    assert (folder / "example_inputs.npz").stat().st_size < 2**20
    with pytest.raises(TooLargeError, match="max_upload_bytes"):
        ground.prepare(of(folder))


def test_inputs_that_claim_more_than_there_is_are_refused(ground: Ground, folder: Path) -> None:
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1000000000000), }"
    with zipfile.ZipFile(folder / "example_inputs.npz", "w") as archive:
        archive.writestr("0.0.npy", header.ljust(127) + b"\n")
    with pytest.raises((TooLargeError, ModelError), match=r"example_inputs\.npz"):
        ground.prepare(of(folder))


class Server(http.server.ThreadingHTTPServer):
    requested: list[str]


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        elif self.path.startswith("/slow/"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait(20)
        elif self.path.startswith("/private/"):
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder.parent)))
    server.daemon_threads = True
    server.requested = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_over_http(ground: Ground, server: Server) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    allowing = {"sweep_model_urls": (address,), "sweep_model_dirs": ()}
    prepared = ground.prepare(of(f"{address}/net"), **allowing)
    assert ground.prepare(of(f"{address}/net", parity_inputs=f"{address}/net/parity_inputs.npz"), **allowing)
    assert prepared.model.spec.program.size_bytes == len(b"a program")
    with pytest.raises(NotFoundError, match=r"none\.pt2"):
        ground.prepare(of(f"{address}/net", url=f"{address}/none.pt2"), **allowing)
    with pytest.raises(ForbiddenError, match="credentials"):
        ground.prepare(of(f"{address}/private"), **allowing)
    with pytest.raises(ForbiddenError, match="leads on to another address"):
        ground.prepare(of(f"{address}/moved/net"), **allowing)
    with pytest.raises(InfrastructureError, match="took longer than"):
        ground.prepare(of(f"{address}/slow"), **allowing, sweep_fetch_timeout_seconds=5.0)


def test_an_address_that_no_setting_allows_is_not_even_asked(ground: Ground, server: Server) -> None:
    with pytest.raises(ForbiddenError, match="sweep_model_urls"):
        ground.prepare(of(f"http://127.0.0.1:{server.server_port}/net"))
    with pytest.raises(ForbiddenError, match="sweep_model_urls"):
        ground.prepare(
            of(f"http://127.0.0.1:{server.server_port}/net"),
            sweep_model_urls=(f"http://127.0.0.1:{server.server_port}/other",),
        )
    assert server.requested == []


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_driver_is_named(ground: Ground, scheme: str, package: str) -> None:
    settings = ground.settings.model_copy(update={"sweep_model_urls": (f"{scheme}://models",)})
    with pytest.raises(UserError, match=f"pip install {package}"):
        check(of(f"{scheme}://models/net"), settings)


def test_what_fsspec_reads_is_copied_within_limits(tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    storage.pipe_file("/bucket/net/model.pt2", b"a program")
    items = [("memory://bucket/net/model.pt2", "model.pt2")]
    transfer.fetch(items, str(tmp_path), [], ["memory://bucket/net"], max_bytes=9)
    assert (tmp_path / "model.pt2").read_bytes() == b"a program"
    (tmp_path / "model.pt2").unlink()
    with pytest.raises(TooLargeError):
        transfer.fetch(items, str(tmp_path), [], ["memory://bucket/net"], max_bytes=8)
    with pytest.raises(NotFoundError):
        transfer.fetch([("memory://bucket/none", "none")], str(tmp_path), [], ["memory://bucket"], max_bytes=8)


def test_a_store_that_is_away_is_tried_again_later(ground: Ground, server: Server) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    with pytest.raises(InfrastructureError, match="could not be read"):
        ground.prepare(of(f"{address}/net"), sweep_model_urls=(address,))
