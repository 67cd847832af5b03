"""Models that commands of Git repositories export: real repositories, real commands, really confined."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farm.errors import (
    FarmError,
    ForbiddenError,
    InfrastructureError,
    ModelError,
    NotFoundError,
    RecipeError,
    UserError,
)
from farm.sweeps.sources import check, versions_between
from farm.types import GitModel
from tests.integration.sweeps.sources.ground import Ground, Origin

EXPORT = """
import os, sys, numpy as np
from pathlib import Path
out = Path(os.environ["FARM_EXPORT_DIR"])
weights = Path("weights.txt").read_text()
print("exporting", weights, "of", os.environ["FARM_COMMIT"])
(out / "model.pt2").write_text(weights)
np.savez(out / "example_inputs.npz", **{"0.0": np.zeros((1, 3), np.float32)})
"""


@pytest.fixture
def origin(ground: Ground) -> Origin:
    origin = Origin(ground.settings.sweep_model_dirs[1] / "net")
    origin.commit(export__py=EXPORT, weights__txt="one")
    return origin


def failure(ground: Ground, source: GitModel, **settings: object) -> FarmError:
    with pytest.raises(FarmError) as raised:
        ground.prepare(source, **settings)
    return raised.value


def test_a_commit_becomes_a_model_and_is_exported_once(ground: Ground, origin: Origin) -> None:
    check(origin.source(), ground.settings)
    first = ground.prepare(origin.source())
    assert first.version == origin.git("rev-parse", "HEAD")
    assert ground.prepare(origin.source()) == first
    second_commit = origin.commit(weights__txt="two")
    second = ground.prepare(origin.source())
    assert second.version == second_commit and second.model.id != first.model.id
    with ground.artifacts.open(second.model.spec.program.sha256) as file:
        assert file.read() == b"two"
    origin.commit(export__py="raise SystemExit('no more')")
    assert ground.prepare(origin.source(), first.version) == first, "not run again"
    assert isinstance(failure(ground, origin.source()), RecipeError)


def test_tags_branches_and_commits_are_refs_and_nothing_else_is(ground: Ground, origin: Origin) -> None:
    first = origin.git("rev-parse", "HEAD")
    origin.git("tag", "v1")
    origin.git("checkout", "--quiet", "-b", "feature/x")
    second = origin.commit(weights__txt="two")
    assert [ground.prepare(origin.source(ref=ref)).version for ref in ("v1", "main", first, "feature/x")] == [
        *[first] * 3,
        second,
    ]
    for ref in ("--upload-pack=touch /tmp/x", "main..feature/x", "main^", "HEAD~1", "@{-1}", ":/change"):
        assert isinstance(failure(ground, origin.source(ref=ref)), UserError)
    assert isinstance(failure(ground, origin.source(ref="none")), NotFoundError)
    with pytest.raises(NotFoundError, match="no branch, tag or commit 'none'"):
        check(origin.source(ref="none"), ground.settings)
    with pytest.raises(NotFoundError):
        ground.prepare(origin.source(), "0" * 40)


def test_the_versions_between_two_nights_are_the_commits_of_the_branch(ground: Ground, origin: Origin) -> None:
    good = origin.git("rev-parse", "HEAD")
    second = origin.commit(weights__txt="two")
    origin.git("checkout", "--quiet", "-b", "side")
    aside = origin.commit(other__txt="x")
    origin.git("checkout", "--quiet", "main")
    third = origin.commit(weights__txt="three")
    origin.git("merge", "--quiet", "--no-ff", "--no-edit", "side")
    merged = origin.git("rev-parse", "HEAD")
    bad = origin.commit(weights__txt="four")
    source = origin.source()
    assert versions_between(source, good, bad, ground.settings) == (second, third, merged, bad)
    assert versions_between(source, good, good, ground.settings) == ()
    assert versions_between(source, bad, good, ground.settings) == ()
    assert versions_between(source, aside, bad, ground.settings) == (), "one does not lead to the other"
    assert versions_between(source, "0" * 40, bad, ground.settings) == ()
    assert versions_between(source, "--all", bad, ground.settings) == ()


def test_a_branch_may_be_rewritten(ground: Ground, origin: Origin) -> None:
    second = origin.commit(weights__txt="two")
    ground.prepare(origin.source())
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    rewritten = origin.commit(weights__txt="other")
    assert ground.prepare(origin.source()).version == rewritten
    assert versions_between(origin.source(), second, rewritten, ground.settings) == ()


def test_a_fetch_that_was_killed_leaves_nothing_in_the_way(ground: Ground, origin: Origin) -> None:
    ground.prepare(origin.source())
    (mirror,) = (ground.settings.state_dir / "sweeps" / "repositories").iterdir()
    (mirror / "packed-refs.lock").touch()
    (mirror / "refs" / "heads" / "main.lock").touch()
    commit = origin.commit(weights__txt="two")
    assert ground.prepare(origin.source()).version == commit


def test_nothing_runs_unless_it_is_allowed(ground: Ground, origin: Origin, tmp_path: Path) -> None:
    for attempt in (check, lambda source, settings: ground.prepare(source, **settings.model_dump())):
        with pytest.raises(ForbiddenError, match="allow_sweep_commands"):
            attempt(origin.source(), ground.settings.model_copy(update={"allow_sweep_commands": False}))
    elsewhere = Origin(tmp_path / "elsewhere")
    for repository in (str(elsewhere.path), f"file://{elsewhere.path}", "https://git.example.org/net"):
        with pytest.raises(ForbiddenError, match="sweep_model_"):
            check(origin.source(repository=repository), ground.settings)
    for repository in ("ext::sh -c touch% /tmp/x", "--upload-pack=x", "git@example.org:net.git", "net"):
        with pytest.raises(UserError):
            check(origin.source(repository=repository), ground.settings)


def test_what_a_failed_export_said_is_in_the_error(ground: Ground, origin: Origin) -> None:
    origin.commit(export__py="print('loading weights')\nraise ValueError('shapes differ')")
    failed = failure(ground, origin.source())
    assert isinstance(failed, RecipeError)
    assert "exit code 1" in failed.message and "ValueError: shapes differ" in failed.message
    assert "loading weights" in failed.details["log_tail"]
    missing = failure(ground, origin.source("no-such-program"))
    assert "no-such-program could not be started" in missing.message


def test_an_export_that_hangs_or_eats_memory_is_ended_with_all_that_it_started(ground: Ground, origin: Origin) -> None:
    origin.commit(
        hang__py="import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(4711)'], start_new_session=True)\n"
        "print('waiting', flush=True)\ntime.sleep(4711)",
        eat__py="import time\neaten = bytearray(600 * 2**20)\ntime.sleep(60)",
    )
    started = time.monotonic()
    failed = failure(ground, origin.source("python", "hang.py", timeout_seconds=4))
    assert "took longer than 4 s" in failed.message and "waiting" in failed.message
    assert time.monotonic() - started < 60
    left = subprocess.run(["pgrep", "-f", "time.sleep.4711"], capture_output=True, text=True, check=False, timeout=20)
    assert left.stdout == ""
    failed = failure(ground, origin.source("python", "eat.py"), build_memory_bytes=300 * 2**20)
    assert "memory" in failed.message


def test_an_export_sees_no_secret_and_reaches_nothing(
    ground: Ground, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may print what it likes; what it cannot read, it cannot print."""
    monkeypatch.setenv("FARM_TOKEN", "farm_hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-too")
    (tmp_path / "secret").write_text("hush-file")
    origin.commit(
        spy__py=f"""
import os, socket, pathlib
print(dict(os.environ))
head = "/proc/{os.getpid()}/environ"
for path in ["{tmp_path}/secret", "{tmp_path}/farm.db", head, f"/proc/{{os.getppid()}}/environ"]:
    try:
        print(pathlib.Path(path).read_bytes())
    except OSError as error:
        print(path, "refused", error.errno)
for path in ["{tmp_path}/written", "/tmp/torchfarm-written", os.path.expanduser("~/../../../order.json")]:
    try:
        pathlib.Path(path).write_text("x"); print("WRITTEN", path)
    except OSError as error:
        print(path, "refused", error.errno)
try:
    socket.create_connection(("127.0.0.1", 22), 2); print("CONNECTED")
except OSError as error:
    print("network refused", error.errno)
raise SystemExit(3)
"""
    )
    failed = failure(ground, origin.source("python", "spy.py"))
    said = failed.details["log_tail"]
    assert "hush" not in str(failed) + said and "WRITTEN" not in said
    assert said.count("refused") == 8, said
    assert "network refused 101" in said, "it has no network at all"
    assert not (tmp_path / "written").exists()


LEAVES = {
    "a link": "os.symlink('/etc/passwd', out / 'model.pt2')",
    "a hard link": "(out / 'other').write_text('x'); os.link(out / 'other', out / 'model.pt2')",
    "two models": "(out / 'model.pt2').write_text('x'); (out / 'model.onnx').write_text('x')",
    "no model": "(out / 'program.pt2').write_text('x')",
    "a folder": "(out / 'model.pt2').mkdir()",
    "a link as its folder": "out.rmdir(); os.symlink('/etc', out)",
}


@pytest.mark.parametrize("line", LEAVES.values(), ids=LEAVES)
def test_only_plain_files_are_taken(ground: Ground, origin: Origin, line: str) -> None:
    script = f"import os, pathlib; out = pathlib.Path(os.environ['FARM_EXPORT_DIR'])\n{line}\n"
    if "out.rmdir" not in line:
        script += "import numpy as np; np.savez(out / 'example_inputs.npz', **{'0.0': np.zeros(3)})\n"
    origin.commit(odd__py=script)
    assert isinstance(failure(ground, origin.source("python", "odd.py")), ModelError)


def test_missing_inputs_are_named(ground: Ground, origin: Origin) -> None:
    source = origin.source("python", "-c", "import os; open(os.environ['FARM_EXPORT_DIR'] + '/model.pt2', 'w')")
    assert "left no example_inputs.npz" in failure(ground, source).message


def test_hooks_filters_and_links_of_a_repository_run_and_reach_nothing(
    ground: Ground, origin: Origin, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    for hook in ("post-checkout", "post-update", "pre-receive", "reference-transaction"):
        path = origin.path / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {marker}\n")
        path.chmod(0o755)
    origin.git("config", "filter.evil.smudge", f"touch {marker}; cat")
    (origin.path / ".gitattributes").write_text("*.txt filter=evil\n")
    (origin.path / "passwd").symlink_to("/etc/shadow")
    origin.commit(weights__txt="two")
    marker.unlink(missing_ok=True)
    ground.prepare(origin.source())
    assert not marker.exists()
    failed = failure(ground, origin.source("cat", "passwd"))
    assert "exit code 1" in failed.message


def test_a_repository_that_is_away_is_tried_again_later(ground: Ground, origin: Origin) -> None:
    ground.prepare(origin.source())
    origin.path.rename(origin.path.with_name("moved"))
    origin.path.mkdir()
    assert isinstance(failure(ground, origin.source()), InfrastructureError)


@pytest.mark.real_models
def test_a_module_of_the_repository_is_exported_with_torch(ground: Ground, origin: Origin) -> None:
    pytest.importorskip("torch")
    origin.commit(
        export__py="""
import os, pathlib, numpy as np, torch
out = pathlib.Path(os.environ["FARM_EXPORT_DIR"])
x = torch.zeros(1, 3)
torch.export.save(torch.export.export(torch.nn.Linear(3, 2).eval(), (x,)), out / "model.pt2")
np.savez(out / "example_inputs.npz", **{"0.0": x.numpy()})
"""
    )
    prepared = ground.prepare(origin.source(sys.executable, "export.py"), max_upload_bytes=2**26)
    assert prepared.model.spec.program.size_bytes > 1000
