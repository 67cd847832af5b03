"""Selectors: what users write, what it matches, and what they are told when it is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import SelectorError
from farm.selectors import Quantifier, Selector, Term, parse
from tests.values import device

PIXEL = device(
    "pixel-8",
    platform="android",
    device_model="Pixel 8 (Pro)",
    soc="Tensor G3",
    abi="arm64-v8a",
    os_version="14.1",
    memory_bytes=12 * 2**30,
    cpu_count=9,
    accelerators=("cpu", "gpu"),
    runtimes=("executorch",),
    labels={"rack": "7", "owner": "O'Hara, A."},
)
HOST = device("host-a", os_version="6.1.0-13-amd64")
EMULATOR = device("emu-1", platform="android", virtual=True, os_version="9", labels={"rack": "10"})
FLEET = [PIXEL, HOST, EMULATOR]


def matching(text: str) -> list[str]:
    selector = parse(text)
    return [d.id for d in FLEET if selector.matches(d)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("each", ["pixel-8", "host-a", "emu-1"]),
        ("platform=android", ["pixel-8", "emu-1"]),
        ("platform != android", ["host-a"]),
        ("platform=android, virtual=false", ["pixel-8"]),
        ("soc in (SM8650, Tensor G3)", ["pixel-8", "host-a", "emu-1"]),
        ("soc not  in (SM8650)", ["pixel-8"]),
        ('device_model="Pixel 8 (Pro)"', ["pixel-8"]),
        ("memory_gib>=8", ["pixel-8", "host-a", "emu-1"]),
        ("memory_gib > 8", ["pixel-8"]),
        ("memory_gib=12.0", ["pixel-8"]),
        ("cpu_count in (4, 6)", ["host-a", "emu-1"]),
        ("os_version>=9", ["pixel-8", "emu-1"]),
        ("os_version>14", ["pixel-8"]),
        ("os_version<14.10,os_version>=14", ["pixel-8"]),
        ("os_version<=6.1", ["host-a"]),
        ("runtime=onnxruntime", ["host-a", "emu-1"]),
        ("accelerator!=gpu", ["host-a", "emu-1"]),
        ("label.rack>8", ["emu-1"]),
        ("label.rack!=7", ["host-a", "emu-1"]),
        (r"label.owner='O\'Hara, A.'", ["pixel-8"]),
        ("id in (host-a), agent=local, host=bench", ["host-a"]),
    ],
)
def test_terms_mean_what_they_say(text: str, ids: list[str]) -> None:
    assert matching(text) == ids


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "empty"),
        ("   ", 3, "empty"),
        ("platfrom=linux", 0, "platform"),
        ("platform", 8, "operator"),
        ("platform=", 9, "value is missing"),
        ("platform=linux,", 15, "key is missing"),
        ("platform=linux soc=x", 18, "Expected ','"),
        ("platform in linux", 12, "Expected '('"),
        ("platform in (linux", 18, "Expected ')'"),
        ("soc='a", 4, "quote is not closed"),
        ("soc>3", 3, "no order"),
        ("memory_gib>much", 11, "number"),
        ("cpu_count=four", 10, "number"),
        ("virtual=maybe", 8, "true or false"),
        ("os_version>=fourteen", 12, "version"),
        ("any(0)", 4, "number of devices"),
        ("any(x)", 4, "number of devices"),
        ("one per color", 8, "no key"),
        ("one per runtime", 8, "several values"),
        ("each, any(2)", 6, "second quantifier"),
    ],
)
def test_an_error_points_at_the_character(text: str, position: int, says: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.details["position"] == position
    assert says in str(caught.value)
    assert caught.value.remedy
    shown, caret = caught.value.message.splitlines()[1:3]
    assert caret.index("^") - 2 == position
    assert shown[2:] == text


def test_a_caret_in_a_long_selector_stays_below_its_character() -> None:
    text = "soc in (" + ", ".join(f"chip{n}" for n in range(200)) + "), platfrom=linux"
    with pytest.raises(SelectorError) as caught:
        parse(text)
    shown, caret = caught.value.message.splitlines()[1:3]
    assert shown[caret.index("^") :].startswith("platfrom")
    assert len(shown) < 150


# --- properties --------------------------------------------------------------------------------------

values = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.one_of(st.integers(0, 64).map(str), st.decimals(0, 64, places=1).map(str))
text_keys = st.sampled_from(["platform", "device_model", "soc", "abi", "id", "runtime", "label.rack", "label.a-b.c"])
lists = st.lists(values, min_size=1, max_size=3).map(tuple)
terms = st.one_of(
    st.builds(Term, text_keys, st.sampled_from(["=", "!="]), values.map(lambda v: (v,))),
    st.builds(Term, text_keys, st.sampled_from(["in", "not in"]), lists),
    st.builds(
        Term,
        st.sampled_from(["memory_gib", "cpu_count", "os_version", "label.rack"]),
        st.sampled_from([">", ">=", "<", "<="]),
        numbers.map(lambda v: (v,)),
    ),
)
quantifiers = st.one_of(
    st.just(Quantifier()),
    st.builds(Quantifier, st.just("any"), st.integers(1, 999)),
    st.builds(lambda key: Quantifier("one per", key=key), st.sampled_from(["soc", "label.rack", "device_model"])),
)
selectors = st.builds(Selector, st.lists(terms, max_size=4).map(tuple), quantifiers)
devices = st.builds(
    device,
    soc=st.sampled_from(["SM8550", "A17", ""]),
    os_version=st.sampled_from(["14", "14.0", "17.10", "17.9", "unknown"]),
    memory_bytes=st.integers(0, 64 * 2**30),
    cpu_count=st.integers(1, 64),
    runtimes=st.sampled_from([(), ("pytorch",), ("litert", "pytorch")]),
    labels=st.dictionaries(st.sampled_from(["rack", "a-b.c"]), st.one_of(values, numbers)),
)


@given(selectors)
def test_what_is_written_is_read_back_the_same(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@given(st.one_of(st.text(), st.text("platform=<>!in(),'\"\\ label.0193any\teach\n", max_size=60)))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        selector = parse(text)
    except SelectorError as error:
        assert 0 <= error.details["position"] <= len(text)
    else:
        selector.matches(PIXEL)
        assert parse(str(selector)) == selector


@given(selectors, devices)
def test_all_terms_must_hold_and_nothing_else(selector: Selector, one: object) -> None:
    assert selector.matches(one) == all(Selector((term,)).matches(one) for term in selector.terms)


@given(text_keys, lists, devices)
def test_not_is_the_exact_opposite(key: str, wanted: tuple[str, ...], one: object) -> None:
    assert Term(key, "in", wanted).matches(one) is not Term(key, "not in", wanted).matches(one)
    assert Term(key, "in", wanted).matches(one) == any(Term(key, "=", (value,)).matches(one) for value in wanted)


@given(st.sampled_from(["memory_gib", "cpu_count"]), numbers, devices)
def test_sizes_are_ordered(key: str, number: str, one: object) -> None:
    below, same, above = (Term(key, operator, (number,)).matches(one) for operator in ("<", "=", ">"))
    assert [below, same, above].count(True) == 1
    assert Term(key, "<=", (number,)).matches(one) == (below or same)
    assert Term(key, ">=", (number,)).matches(one) == (above or same)
