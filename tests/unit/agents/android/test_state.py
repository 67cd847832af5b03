"""What is set on a phone is put back, whatever happens in between: a phone of a dictionary, and a journal on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android import state
from agents.android.state import StateJournal
from farm.config import Settings
from farm.errors import InfrastructureError


def test_every_word_of_the_setting_is_known() -> None:
    assert {*state.KNOBS} >= {*Settings().agent_phone_state}
    assert state.reads(state.KNOBS).keys() == {knob.name for knobs in state.KNOBS.values() for knob in knobs}


@given(st.dictionaries(st.sampled_from(sorted(state.reads(state.KNOBS))), st.text(max_size=20)))
def test_only_what_makes_sense_is_set_and_it_is_quoted(old: dict[str, str]) -> None:
    """Whatever a phone answers when it is asked for the old value."""
    changes = state.changes(old)
    assert changes.keys() <= old.keys()
    assert len(state.setting(changes)) == len(state.restoring(changes)) == len(changes)
    for value in changes.values():
        assert not set(value) & set(" ;&|$`'\"\n<>()")


def test_old_values_are_put_back_as_they_were() -> None:
    changes = state.changes(
        {"stay_on_while_plugged_in": "0\n", "screen_brightness": "null", "deviceidle": "1", "airplane": "enabled"}
    )
    assert changes == {"stay_on_while_plugged_in": "0", "screen_brightness": "null", "deviceidle": "enable"}
    assert state.setting(["deviceidle"]) == ["cmd deviceidle disable"]
    restoring = state.restoring(changes)
    assert "settings put global stay_on_while_plugged_in 0" in restoring[0]
    assert "[ null = null ]; then settings delete system screen_brightness" in restoring[1]
    assert restoring[2] == "cmd deviceidle enable"
    assert state.restoring({"of another version": "1"}) == []


def test_the_oldest_value_counts_until_all_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "phones" / "p.state.json"
    StateJournal(path).note({})
    assert not path.exists()
    StateJournal(path).note({"airplane": "disable"})
    StateJournal(path).note({"airplane": "enable", "deviceidle": "enable"})  # set twice: the first value is the owner's
    assert StateJournal(path).pending() == {"airplane": "disable", "deviceidle": "enable"}
    StateJournal(path).clear()
    StateJournal(path).clear()
    assert StateJournal(path).pending() == {}


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.state.json"
    path.write_text("{")
    with pytest.raises(InfrastructureError, match="cannot be kept"):
        StateJournal(path).pending()
