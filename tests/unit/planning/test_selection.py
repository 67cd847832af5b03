"""Which devices a selector comes to, and what there is to choose from later."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import SelectorError
from farm.planning.selection import Selection, choose, explain, matching
from farm.selectors import Selector, parse, values_of
from farm.types import Device, DeviceHealth, DeviceState
from tests.unit.test_selectors import EMULATOR, FLEET, devices, selectors
from tests.values import device

RNG = random.Random(7)  # noqa: S311


def selected(text: str, fleet: list[Device]) -> Selection:
    selector = parse(text)
    return choose(selector.quantifier, matching(selector, fleet), RNG)


def ids(selection: Selection) -> list[str]:
    return [pick.device.id for pick in selection.picks]


def test_each_is_the_default_and_ordered() -> None:
    assert ids(selected("each", FLEET)) == ["emu-1", "host-a", "pixel-8"]


@pytest.mark.parametrize(
    "changes", [{"state": DeviceState.OFFLINE}, {"maintenance": ""}, {"health": DeviceHealth.BAD}], ids=str
)
def test_any_takes_that_many_and_prefers_devices_in_service(changes: dict) -> None:
    fleet = [device(f"d{n}").model_copy(update=changes if n < 5 else {}) for n in range(8)]
    for _ in range(20):
        assert set(ids(selected("any(2)", fleet))) < {"d5", "d6", "d7"}
    assert len(selected("any(7)", fleet).picks) == 7


def test_any_spreads_over_the_devices() -> None:
    fleet = [device(f"d{n}") for n in range(4)]
    assert len({ids(selected("any(1)", fleet))[0] for _ in range(100)}) == 4


def test_a_pool_of_exactly_so_many_leaves_no_choice() -> None:
    assert selected("any(3)", FLEET).pools == {}
    assert selected("any(2)", FLEET).pools == {1: ("emu-1", "host-a", "pixel-8")}


def test_too_few_for_any() -> None:
    with pytest.raises(SelectorError, match="wants 4 devices, and 3 match"):
        selected("any(4)", FLEET)


def test_one_per_key() -> None:
    chosen = selected("one per platform", FLEET)
    assert sorted(pick.device.facts.platform for pick in chosen.picks) == ["android", "linux"]
    assert chosen.pools == {1: ("emu-1", "pixel-8")}


def test_an_offline_device_matches() -> None:
    assert ids(selected("each", [device("away", state=DeviceState.OFFLINE)])) == ["away"]


def test_what_no_device_ever_matched_says_which_term_excluded_what() -> None:
    with pytest.raises(SelectorError) as caught:
        selected("platform=ios, memory_gib>=8, soc=SM8650", FLEET)
    assert caught.value.message.splitlines() == [
        "No device of this farm, online or not, has ever matched platform=ios (platform there: android, linux).",
        "  platform=ios excludes 3 of 3 (pixel-8, host-a, emu-1; platform there: android, linux)",
        "  soc=SM8650 excludes 1 of 3 (pixel-8; soc there: Tensor G3)",
    ]
    assert caught.value.details["excluded"] == {
        "platform=ios": ["pixel-8", "host-a", "emu-1"],
        "soc=SM8650": ["pixel-8"],
    }


def test_terms_that_only_together_exclude_all() -> None:
    with pytest.raises(SelectorError, match=r"has ever matched all of platform=linux, label\.rack=10"):
        selected("platform=linux, label.rack=10", FLEET)


def test_no_devices_at_all() -> None:
    with pytest.raises(SelectorError, match="farm agent"):
        selected("each", [])


def test_explain_counts_per_term() -> None:
    exclusions = explain(parse("label.rack=7, platform=android"), FLEET)
    assert [(str(e.term), e.devices) for e in exclusions] == [
        ("label.rack=7", ("host-a", EMULATOR.id)),
        ("platform=android", ("host-a",)),
    ]
    assert "label.rack there: 10" in str(exclusions[0])


@given(selectors, st.lists(devices, max_size=5), st.integers())
def test_picks_and_pools_keep_to_the_selector(selector: Selector, some: list[Device], seed: int) -> None:
    fleet = [d.model_copy(update={"id": f"d{n}"}) for n, d in enumerate(some)]
    quantifier = selector.quantifier
    try:
        found = matching(selector, fleet)
    except SelectorError as error:
        assert sum(map(selector.matches, fleet)) < max(1, quantifier.count)
        assert error.remedy
        return
    chosen = choose(quantifier, found, random.Random(seed))  # noqa: S311
    picked = [pick.device for pick in chosen.picks]
    assert picked
    assert all(map(selector.matches, picked))
    assert len({d.id for d in picked}) == len(picked)
    of_pool = {(pick.pool, pick.slot) for pick in chosen.picks if pick.pool is not None}
    assert {number for number, _ in of_pool} == set(chosen.pools), "no pool without a slot"
    for pick in chosen.picks:
        if pick.pool is None:
            continue
        candidates = [d for d in fleet if d.id in chosen.pools[pick.pool]]
        assert pick.device in candidates
        assert all(map(selector.matches, candidates))
        assert len(candidates) > max(1, quantifier.count)
        if quantifier.kind == "one per":
            assert len({values_of(d, quantifier.key) for d in candidates}) == 1
