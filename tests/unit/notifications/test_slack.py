from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.notifications.slack import message
from tests.integration.notifications.notices import notice


def test_a_message_for_slack_and_for_those_that_know_no_blocks() -> None:
    said = message(notice())
    header, section = said["blocks"]
    assert header["text"]["text"] == "latency_p50 up 10.2 %: int8 on pixel-8 (sweep nightly)"
    assert section["text"]["type"] == "mrkdwn"
    assert section["text"]["text"].splitlines()[0] == "`latency_p50` of `int8`: *up 10.2 %*"
    assert "&lt;script&gt; &amp; @channel" in said["text"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8000), max_size=120))
def test_no_message_is_over_the_limits(lines: list[str]) -> None:
    said = message(notice(subject="s" * 500, text="\n\n".join(lines)))
    assert len(said["text"]) <= 40_000
    assert len(said["blocks"]) <= 50
    header, *sections = said["blocks"]
    assert len(header["text"]["text"]) <= 150
    for section in sections:
        assert 1 <= len(section["text"]["text"]) <= 3000


def test_a_text_of_many_blocks_says_that_it_was_cut() -> None:
    said = message(notice(text="\n\n".join("x" * 2999 for _ in range(80))))
    assert len(said["blocks"]) == 50
    assert said["blocks"][-1]["text"]["text"] == "…"
