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


@given(size=st.integers(0, 5 * files.PART_BYTES), present=st.sets(st.integers(0, 5)), whole=st.integers(0, 10**8))
def test_parts_cover_a_file_once(size: int, present: set[int], whole: int) -> None:
    delivery = Delivery(Path("/x"), "a" * 64, size, "/data/x")
    parts = files.parts(delivery)
    assert sum(part.length for part in parts) == size
    assert [part.offset for part in parts] == [number * files.PART_BYTES for number in range(len(parts))]
    assert files.unsent(delivery, {}) == parts, "an empty file is sent, too"
    there = {str(n): parts[n].length for n in present if n < len(parts)}
    assert files.unsent(delivery, there) == [part for part in parts if str(part.number) not in there]
    damaged = {name: length + 1 for name, length in there.items()}
    assert files.unsent(delivery, damaged) == parts, "a part of another size is none"
    unjoined = files.unjoined(delivery, {files.WHOLE: whole})
    assert unjoined == parts[len(parts) - len(unjoined) :], "parts are joined in order"
    assert all(part.offset + part.length <= whole for part in parts[: len(parts) - len(unjoined)])
    assert not unjoined or not size or unjoined[0].offset + unjoined[0].length > whole


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


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=20)


def there(delivery: Delivery) -> dict[str, int]:
    return files.surveyed(run(files.survey([delivery])).stdout).get(delivery.staging, {})


def write(part: files.Part, content: bytes) -> str:
    """The hash of what was sent."""
    sent = content[part.offset : part.offset + part.length]
    Path(part.remote).write_bytes(sent)
    return hashlib.sha256(sent).hexdigest()


def placed(folder: Path, content: bytes, sha256: str) -> subprocess.CompletedProcess[str]:
    delivery = Delivery(folder / "x", sha256, len(content), f"{folder}/it's there", 0o755)
    for part in files.unsent(delivery, there(delivery)):
        digest = write(part, content)
        if delivery.joined:
            assert run(files.joining(part, digest)).returncode == 0
    done = run(files.placing([delivery]))
    assert not Path(delivery.staging).exists()
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


@pytest.mark.parametrize("left", ["nothing more", "half of the next part in the whole", "the part beside the whole"])
def test_joining_goes_on_where_it_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 20)
    content = bytes(range(50))
    delivery = Delivery(tmp_path / "x", hashlib.sha256(content).hexdigest(), 50, f"{tmp_path}/x y")
    assert there(delivery) == {}
    first, second, third = files.parts(delivery)
    assert run(files.joining(first, write(first, content))).returncode == 0
    whole = Path(delivery.staging) / files.WHOLE
    if left == "half of the next part in the whole":
        write(second, content)
        whole.write_bytes(content[:30])
    elif left == "the part beside the whole":
        assert run(files.joining(second, write(second, content))).returncode == 0
        write(second, content)
    present = there(delivery)
    unjoined = files.unjoined(delivery, present)
    assert unjoined == ([third] if left == "the part beside the whole" else [second, third])
    for part in unjoined:
        assert run(files.joining(part, write(part, content))).returncode == 0
    assert run(files.placing([delivery])).returncode == 0
    assert Path(delivery.remote).read_bytes() == content
    assert not Path(delivery.staging).exists()


def test_a_damaged_part_is_never_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 20)
    content = bytes(range(50))
    delivery = Delivery(tmp_path / "x", "a" * 64, 50, f"{tmp_path}/x")
    assert there(delivery) == {}
    first, second, _ = files.parts(delivery)
    assert run(files.joining(first, write(first, content))).returncode == 0
    write(second, content)
    done = run(files.joining(second, "0" * 64))
    assert done.returncode == 3
    assert "arrived damaged" in done.stderr
    assert there(delivery) == {files.WHOLE: 20}, "it is sent again"
