"""What is sent, put together and thrown away: the plans are pure, the scripts run in a real shell."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android import files
from agents.android.files import Delivery, Kept

KEPT = st.lists(
    st.builds(Kept, st.text("abcdef", min_size=3, max_size=3), st.integers(0, 100), st.integers(0, 50)),
    unique_by=lambda kept: kept.name,
)


@given(size=st.integers(0, 5 * files.PART_BYTES), present=st.sets(st.integers(0, 5)))
def test_parts_cover_a_file_once(size: int, present: set[int]) -> None:
    delivery = Delivery(Path("/x"), "a" * 64, size, "/data/x")
    whole = files.slices(delivery, {})
    assert sum(part.length for part in whole) == size
    assert [part.offset for part in whole] == [number * files.PART_BYTES for number in range(len(whole))]
    assert whole, "an empty file is sent, too"
    there = {str(n): whole[n].length for n in present if n < len(whole)}
    missing = files.slices(delivery, there)
    assert [part for part in whole if part.remote.rpartition("/")[2] not in there] == missing
    damaged = {name: length + 1 for name, length in there.items()}
    assert files.slices(delivery, damaged) == whole, "a part of another size is none"


@given(kept=KEPT, limit=st.integers(0, 500), incoming=st.integers(0, 200), data=st.data())
def test_the_longest_unused_go_first_and_what_is_needed_stays(
    kept: list[Kept], limit: int, incoming: int, data: st.DataObject
) -> None:
    keep = data.draw(st.sets(st.sampled_from([one.name for one in kept]))) if kept else set()
    gone = files.evicted(kept, limit, incoming, keep)
    assert not keep & set(gone)
    left = [one for one in kept if one.name not in gone]
    fits = sum(one.size_bytes for one in left) + incoming <= limit
    assert fits or all(one.name in keep for one in left)
    free = [one for one in kept if one.name not in keep]
    oldest = sorted(free, key=lambda one: (one.used_at, one.name))[: len(gone)]
    assert [one.name for one in oldest] == gone


def placed(folder: Path, content: bytes, sha256: str) -> subprocess.CompletedProcess[str]:
    delivery = Delivery(folder / "x", sha256, len(content), f"{folder}/it's there", 0o755)
    staging = Path(delivery.staging)
    subprocess.run(["sh", "-c", files.survey([delivery])], check=True)
    for part in files.slices(delivery, {}):
        Path(part.remote).write_bytes(content[part.offset : part.offset + part.length])
    done = subprocess.run(
        ["sh", "-c", files.placing([delivery])], capture_output=True, text=True, check=False, timeout=20
    )
    assert not staging.exists()
    return done


@pytest.mark.parametrize("size", [0, 5, 20, 21, 40])
def test_parts_become_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 20)
    content = bytes(range(size))
    assert placed(tmp_path, content, hashlib.sha256(content).hexdigest()).returncode == 0
    target = tmp_path / "it's there"
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_damaged_file_is_never_put_in_place(tmp_path: Path) -> None:
    done = placed(tmp_path, b"damaged", "0" * 64)
    assert done.returncode == 3
    assert "arrived damaged" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_from_before_is_told(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path / "x", "a" * 64, 3, f"{tmp_path}/x y")
    folder = Path(delivery.staging)
    folder.mkdir()
    (folder / "0").write_text("abc")
    done = subprocess.run(["sh", "-c", files.survey([delivery])], capture_output=True, text=True, check=True)
    assert files.slices(delivery, files.surveyed(done.stdout).get(delivery.staging, {})) in (
        [],
        files.slices(delivery, {}),
    )
