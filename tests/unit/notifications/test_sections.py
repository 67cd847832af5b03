from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.notifications.sections import marker, merged

texts = st.text(st.sampled_from("ab<!->- \n/begind:"), max_size=40)


def test_each_thing_has_one_section_which_a_later_notice_replaces() -> None:
    first = merged("", "torchfarm/nightly", "regression 1", "suspected")
    both = merged(first, "torchfarm/nightly", "regression 2", "another")
    later = merged(both, "torchfarm/nightly", "regression 1", "confirmed")
    assert later.startswith(marker("torchfarm/nightly"))
    assert "suspected" not in later
    assert "another" in later
    assert "confirmed" in later
    assert merged(later, "torchfarm/nightly", "regression 1", "confirmed") == later


def test_it_stays_within_githubs_limit_and_says_what_is_missing() -> None:
    text = ""
    for number in range(40):
        text = merged(text, "t", f"regression {number}", "x" * 3000)
    assert len(text) < 65_000
    assert "left out" in text
    assert "regression 39" in text
    assert "regression 0 " not in text
    assert len(merged("", "t", "r", "x" * 100_000)) < 65_000


@given(st.lists(st.tuples(st.sampled_from("pqr"), texts), min_size=1, max_size=6))
def test_no_text_of_a_section_breaks_the_others(said: list[tuple[str, str]]) -> None:
    text = ""
    for about, section in said:
        text = merged(text, "t", about, section)
    for about in {about for about, _ in said}:
        assert text.count(f"<!-- begin: {about} -->") == 1
        assert text.count(f"<!-- end: {about} -->") == 1
