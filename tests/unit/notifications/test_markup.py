from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from farm.notifications.markup import as_html, as_plain, as_slack, code, escaped

TEXT = "**up 10 %** on `phone`\n\n- one\n- two & <three>\n\n[page](https://farm.example/?a=1&b=2)"
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


def test_slack_has_its_own_marks() -> None:
    assert as_slack(TEXT) == (
        "*up 10 %* on `phone`\n\n• one\n• two &amp; &lt;three&gt;\n\n<https://farm.example/?a=1&amp;b=2|page>"
    )


def test_plain_text_spells_links_out() -> None:
    assert as_plain(TEXT) == "up 10 % on phone\n\n• one\n• two & <three>\n\npage: https://farm.example/?a=1&b=2"


def test_lists_in_lists_headings_and_code() -> None:
    text = "# Head\n\n1. one\n   - inner\n\n```\na < b\n```"
    assert as_slack(text) == "*Head*\n\n1. one\n    • inner\n\n```\na &lt; b\n```"
    assert "<h1>Head</h1>" in as_html(text)


@given(names)
def test_no_name_becomes_markup(name: str) -> None:
    for text in (escaped(name), code(name)):
        html = as_html(f"x {text} x")
        assert set(re.findall(r"<(\w+)", html)) <= {"p", "code"}
        assert not re.search(r"<(?![/\w])", as_slack(f"x {text} x").replace("&lt;", ""))
        assert "<" not in as_slack(f"x {text} x")
    assert as_plain(f"x {escaped(name)} x") == f"x {name} x"


@given(st.text(max_size=200))
def test_slack_never_gets_a_mention_or_raw_html(text: str) -> None:
    said = as_slack(text)
    assert not re.search(r"<[!@#]", said)
    assert not re.search(r"&(?!amp;|lt;|gt;)", said)
