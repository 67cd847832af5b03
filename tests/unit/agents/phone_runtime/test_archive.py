from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.phone_runtime import archive, compiling
from agents.phone_runtime.archive import File
from farm.errors import InternalError

ROOT = Path(__file__).parents[4]
WORDS = st.text("abcXYZ019_-.", min_size=1, max_size=12).filter(lambda word: word.strip("."))
TREES = st.dictionaries(
    st.lists(WORDS.map(lambda word: f"d{word}"), max_size=3).flatmap(
        lambda folders: WORDS.map(lambda word: "/".join([*folders, f"f{word}"]))
    ),
    st.tuples(st.binary(max_size=3000), st.booleans()),
    max_size=8,
)


def files(tree: dict[str, tuple[bytes, bool]]) -> dict[str, File]:
    return {name: File.of_bytes(content, executable=executable) for name, (content, executable) in tree.items()}


@given(TREES, st.randoms())
def test_the_same_files_are_the_same_bytes_and_all_come_back(
    tree: dict[str, tuple[bytes, bool]], randomness: random.Random
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        first = archive.pack(files(tree), Path(folder, "one"))
        shuffled = list(tree.items())
        randomness.shuffle(shuffled)
        second = archive.pack(files(dict(shuffled)), Path(folder, "two"))
        assert first.path.read_bytes() == second.path.read_bytes()
        assert first.sha256 == second.sha256 == first.path.name.removesuffix(".tar.gz")
        assert first.size_bytes == first.path.stat().st_size
        assert first.unpacked_bytes == sum(len(content) for content, _ in tree.values())
        with tarfile.open(first.path) as tar:
            found = {
                member.name: (tar.extractfile(member).read(), bool(member.mode & 0o100))
                for member in tar
                if member.isreg()
            }
            assert found == tree
            assert {(member.uid, member.gid, member.mtime) for member in tar} <= {(0, 0, archive.MODIFIED)}
        assert [path.name for path in Path(folder, "one").iterdir()] == [first.path.name]


def test_folders_come_before_what_is_in_them(tmp_path: Path) -> None:
    packed = archive.pack({"a/b/c": File.of_bytes(b"1"), "a.txt": File.of_bytes(b"2")}, tmp_path)
    with tarfile.open(packed.path) as tar:
        assert tar.getnames() == ["a", "a.txt", "a/b", "a/b/c"]
    header = gzip.decompress(packed.path.read_bytes())[257:265]
    assert header == b"ustar\x0000"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "a//b", "", "./a"])
def test_no_path_leads_out_of_a_layer(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError):
        archive.pack({name: File.of_bytes(b"")}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> io.BytesIO:
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        archive.pack({"a": File.of_bytes(b"1"), "b": File(broken, 3)}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not compiling.possible(), reason="only CPython 3.11 compiles for CPython 3.11")
def test_bytecode_depends_on_the_source_alone() -> None:
    code = (
        "from pathlib import Path; import hashlib; from agents.phone_runtime import compiling, harness; "
        "made = compiling.compiled(harness.files()); "
        "print(len(made), hashlib.sha256(b''.join(file.open().read() for file in made.values())).hexdigest())"
    )
    told = set()
    for seed, before in (("1", ""), ("2", "import asyncio, unittest, agents.harness.job; ")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", before + code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        told.add(done.stdout)
    assert len(told) == 1
    assert int(told.pop().split()[0]) > 20


@pytest.mark.skipif(not compiling.possible(), reason="only CPython 3.11 compiles for CPython 3.11")
def test_bytecode_is_taken_in_place_of_the_source(tmp_path: Path) -> None:
    made = compiling.compiled({"told.py": File.of_bytes(b"print('compiled', __file__)"), "no.py": File.of_bytes(b"(")})
    assert list(made) == ["__pycache__/told.cpython-311.pyc"]
    (tmp_path / "told.py").write_text("print('source')")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/told.cpython-311.pyc").write_bytes(next(iter(made.values())).open().read())
    done = subprocess.run(
        [sys.executable, "-c", "import told"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["compiled", str(tmp_path / "told.py")]
