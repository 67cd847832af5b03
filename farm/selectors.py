"""Selectors say which devices: ``platform=android, soc in (SM8550, SM8650), memory_gib>=8, one per device_model``.

Terms are separated by commas and all must hold: ``key=value``, ``key!=value``, ``key in (a, b)``,
``key not in (a, b)``, ``key>=8`` (also ``>``, ``<=``, ``<``). At most one quantifier says how many of the matching
devices: ``each`` (all of them, the default), ``any(n)``, ``one per KEY``. Keys are facts of a device, or its labels as
``label.NAME``. A value with a comma, quote, bracket or operator in it is quoted. ``!=`` and ``not in`` are the exact
opposites of ``=`` and ``in``: they also hold where a device has no such label. A key with several values (``runtime``,
``accelerator``) equals a value if one of them does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from farm.errors import SelectorError
from farm.types import Device

Operator = Literal["=", "!=", ">", ">=", "<", "<=", "in", "not in"]

_FACTS: dict[str, Callable[[Device], Iterable[str]]] = {
    "platform": lambda device: [device.facts.platform],
    "device_model": lambda device: [device.facts.device_model],
    "soc": lambda device: [device.facts.soc],
    "abi": lambda device: [device.facts.abi],
    "os_version": lambda device: [device.facts.os_version],
    "memory_gib": lambda device: [f"{device.facts.memory_bytes / 2**30:.3f}"],
    "cpu_count": lambda device: [str(device.facts.cpu_count)],
    "virtual": lambda device: [str(device.facts.virtual).lower()],
    "accelerator": lambda device: device.facts.accelerators,
    "runtime": lambda device: device.facts.runtimes,
    "id": lambda device: [device.id],
    "agent": lambda device: [device.agent],
    "host": lambda device: [device.host],
}
_NUMERIC = ("memory_gib", "cpu_count")
_MANY_VALUED = ("accelerator", "runtime")

_SPACE = re.compile(r"\s*")
_KEY = re.compile(r"label\.[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z_]+")
_OPERATOR = re.compile(r"!=|>=|<=|=|>|<|not\s+in\b|in\b")
_QUANTIFIER = re.compile(r"each\b(?=\s*(?:,|$))|any\s*\(|one\s+per\b")
_BARE = re.compile(r"[^,()'\"=<>!]+")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_COUNT = re.compile(r"([0-9]{1,6})\s*\)")
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_VERSION = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})*")
_SHOWN = 60  # characters of the selector to either side of an error


def values_of(device: Device, key: str) -> tuple[str, ...]:
    """None where the device has no such label."""
    if key.startswith("label."):
        label = device.labels.get(key.removeprefix("label."))
        return () if label is None else (label,)
    return tuple(_FACTS[key](device))


def _order(key: str, text: str) -> tuple[float, ...] | None:
    """What comparisons by size go by; None where the text has no size. Versions: 17.10 is above 17.9."""
    if key == "os_version":
        version = _VERSION.match(text)
        parts = [int(part) for part in version[0].split(".")] if version else []
        while parts and parts[-1] == 0:
            parts.pop()  # 14 and 14.0 are the same
        return tuple(parts) if version else None
    return (float(text),) if _NUMBER.fullmatch(text) else None


@dataclass(frozen=True)
class Term:
    key: str
    operator: Operator
    values: tuple[str, ...]

    def matches(self, device: Device) -> bool:
        has = values_of(device, self.key)
        match self.operator:
            case "=" | "in":
                return any(self._same(value) for value in has)
            case "!=" | "not in":
                return not any(self._same(value) for value in has)
        return any(self._compares(value) for value in has)

    def _same(self, value: str) -> bool:
        if self.key in _NUMERIC:
            return _order(self.key, value) in [_order(self.key, wanted) for wanted in self.values]
        return value in self.values

    def _compares(self, value: str) -> bool:
        has, wanted = _order(self.key, value), _order(self.key, self.values[0])
        if has is None or wanted is None:
            return False
        match self.operator:
            case ">":
                return has > wanted
            case ">=":
                return has >= wanted
            case "<":
                return has < wanted
        return has <= wanted

    def __str__(self) -> str:
        if self.operator in ("in", "not in"):
            return f"{self.key} {self.operator} ({', '.join(map(_quoted, self.values))})"
        return f"{self.key}{self.operator}{_quoted(self.values[0])}"


@dataclass(frozen=True)
class Quantifier:
    """``count`` belongs to ``any``, ``key`` to ``one per``."""

    kind: Literal["each", "any", "one per"] = "each"
    count: int = 0
    key: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "any":
                return f"any({self.count})"
            case "one per":
                return f"one per {self.key}"
        return "each"


@dataclass(frozen=True)
class Selector:
    terms: tuple[Term, ...]
    quantifier: Quantifier = Quantifier()

    def matches(self, device: Device) -> bool:
        return all(term.matches(device) for term in self.terms)

    def __str__(self) -> str:
        shown = [str(term) for term in self.terms]
        if not shown or self.quantifier.kind != "each":
            shown.append(str(self.quantifier))
        return ", ".join(shown)


def parse(text: str) -> Selector:
    """Raises SelectorError that points at the character (``details["position"]``, counted from 0)."""
    return _Parser(text).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def selector(self) -> Selector:
        terms: list[Term] = []
        quantifier: Quantifier | None = None
        self._space()
        if self._done:
            raise self._error("The selector is empty.", "Write `each` for every device.")
        while True:
            self._space()
            start = self._at
            if opening := self._take(_QUANTIFIER):
                if quantifier is not None:
                    raise self._error(
                        "The selector has a second quantifier.", f"Keep one of {quantifier} and this.", start
                    )
                quantifier = self._quantifier(opening[0])
            else:
                terms.append(self._term())
            self._space()
            if self._done:
                return Selector(tuple(terms), quantifier or Quantifier())
            self._expect(",", "Separate terms by commas; quote a value that holds one of , ( ) = < > ! \" '.")

    def _quantifier(self, opening: str) -> Quantifier:
        if opening.startswith("each"):
            return Quantifier()
        self._space()
        start = self._at
        if opening.startswith("any"):
            count = self._take(_COUNT)
            if count is None or int(count[1]) == 0:
                raise self._error("any() needs a number of devices.", "Write any(3), for example.", start)
            return Quantifier("any", count=int(count[1]))
        key = self._key()
        if key in _MANY_VALUED:
            raise self._error(f"A device has several values of {key}.", "Use `one per` with another key.", start)
        return Quantifier("one per", key=key)

    def _term(self) -> Term:
        key = self._key()
        self._space()
        start = self._at
        found = self._take(_OPERATOR)
        if found is None:
            raise self._error(f"An operator must follow {key}.", "One of = != >= <= > < in (...) not in (...).", start)
        operator: Operator = "not in" if found[0].startswith("not") else found[0]  # type: ignore[assignment]
        if operator in (">", ">=", "<", "<=") and not (key in (*_NUMERIC, "os_version") or key.startswith("label.")):
            raise self._error(f"{key} has no order.", "Compare it with =, !=, in or not in.", start)
        if operator not in ("in", "not in"):
            return Term(key, operator, (self._value(key, operator),))
        self._space()
        self._expect("(", f"Write {key} {operator} (a, b).")
        values = [self._value(key, operator)]
        while self._peek == ",":
            self._at += 1
            values.append(self._value(key, operator))
        self._expect(")", "Close the list of values.")
        return Term(key, operator, tuple(values))

    def _key(self) -> str:
        self._space()
        start = self._at
        found = self._take(_KEY)
        key = found[0] if found else ""
        if key in _FACTS or key.startswith("label."):
            return key
        near = difflib.get_close_matches(key, _FACTS, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Keys are {', '.join(_FACTS)} and label.NAME."
        raise self._error(f"{key!r} is no key." if key else "A key is missing here.", remedy, start)

    def _value(self, key: str, operator: Operator) -> str:
        self._space()
        start = self._at
        if quoted := self._take(_QUOTED):
            value = re.sub(r"\\(.)", r"\1", quoted[2], flags=re.DOTALL)
        elif self._peek in ("'", '"'):
            raise self._error("The quote is not closed.", "Close it, or write \\ before a quote inside.", start)
        elif bare := self._take(_BARE):
            value = bare[0].strip()
        else:
            raise self._error(
                f"A value is missing after {key} {operator}.", "Quote it if it holds brackets or operators."
            )
        if key == "virtual" and value not in ("true", "false"):
            raise self._error("virtual is true or false.", "Write virtual=true or virtual=false.", start)
        sized = operator not in ("=", "!=", "in", "not in")
        if (key in _NUMERIC or (sized and key != "os_version")) and not _NUMBER.fullmatch(value):
            raise self._error(
                f"{key} is compared with a number, not {value!r}.", "Write a number such as 8 or 7.5.", start
            )
        if sized and key == "os_version" and not _VERSION.fullmatch(value):
            raise self._error(f"{value!r} is no version.", "Write one such as 14 or 17.4.", start)
        self._space()
        return value

    # --- the text ------------------------------------------------------------------------------------

    @property
    def _done(self) -> bool:
        return self._at == len(self._text)

    @property
    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _space(self) -> None:
        self._take(_SPACE)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _expect(self, character: str, remedy: str) -> None:
        if self._peek != character:
            what = repr(self._peek) if self._peek else "the end"
            raise self._error(f"Expected {character!r} here, not {what}.", remedy)
        self._at += 1

    def _error(self, what: str, remedy: str, at: int | None = None) -> SelectorError:
        position = self._at if at is None else at
        first = max(0, position - _SHOWN)
        shown = "".join(c if c.isprintable() else " " for c in self._text[first : position + _SHOWN])
        return SelectorError(
            f"{what}\n  {shown}\n  {' ' * (position - first)}^\n", remedy=remedy, details={"position": position}
        )


def _quoted(value: str) -> str:
    if value and value == value.strip() and _BARE.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
