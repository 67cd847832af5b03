"""Wrapped commands in a real shell: whatever they print and however they end, the answer is whole or is refused."""

from __future__ import annotations

import subprocess
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.android import shell
from farm.errors import OutputCut

# What argv and files can hold: no NUL, no lone surrogate.
TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=60)


def run(command: str, mark: str) -> tuple[str, str]:
    words = ["sh", "-c", shell.wrap(command, mark)]
    with tempfile.TemporaryDirectory() as folder:  # commands made up at random may well write files
        done = subprocess.run(words, capture_output=True, timeout=20, stdin=subprocess.DEVNULL, check=False, cwd=folder)
    return done.stdout.decode(), done.stderr.decode()


@settings(max_examples=40)
@given(text=TEXT, code=st.integers(0, 255))
def test_any_output_and_any_exit_code_come_back(text: str, code: int) -> None:
    mark = shell.marker()
    stdout, _ = run(f"{shell.quoted(['printf', '%s', text])}; exit {code}", mark)
    assert shell.unwrap(stdout, mark, "") == (text, code)


@settings(max_examples=60)
@given(command=TEXT)
def test_no_command_can_hide_its_end(command: str) -> None:
    """Also one that is no shell program at all."""
    mark = shell.marker()
    # Empty, so that what happens to be a command does nothing: none is found.
    stdout, _ = run(f"PATH=/nowhere; {command}", mark)
    _, code = shell.unwrap(stdout, mark, command)
    assert 0 <= code <= 255


@settings(max_examples=60)
@given(text=TEXT, data=st.data())
def test_every_cut_is_noticed(text: str, data: st.DataObject) -> None:
    mark = shell.marker()
    whole = f"{text}\n{mark} 17\n"
    kept = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(OutputCut, match="ends in the middle"):
        shell.unwrap(whole[:kept], mark, "ls")


@pytest.mark.parametrize(
    ("command", "stdout", "code"),
    [
        ("exit 3", "", 3),
        ("echo a; kill -9 $$", "a\n", 137),
        ("echo 'unfinished", "", 2),
        ("cat <<X\nhere\nX", "here\n", 0),
        ("true # a remark", "", 0),
        ("exec echo gone", "gone\n", 0),
    ],
)
def test_commands_that_end_their_shell(command: str, stdout: str, code: int) -> None:
    mark = shell.marker()
    assert shell.unwrap(run(command, mark)[0], mark, command) == (stdout, code)


def test_output_that_holds_a_marker_of_before_is_only_output() -> None:
    old, new = shell.marker(), shell.marker()
    stdout, stderr = run(f"printf '\\n%s 0\\n' {old}; echo no >&2; exit 5", new)
    assert shell.unwrap(stdout, new, "") == (f"\n{old} 0\n", 5)
    assert stderr == "no\n"


def test_words_and_variables_are_quoted() -> None:
    command = shell.quoted(["sh", "-c", 'echo "$A|$1"', "sh", "it's *"], {"A": "x; y"})
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == "x; y|it's *\n"
