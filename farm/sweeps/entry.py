"""A part of a YAML document that somebody wrote, with its place: whatever is wrong is told where it is."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from farm.errors import FarmError, UserError
from farm.suggestion import did_you_mean

T = TypeVar("T", bound=BaseModel)


class Entry:
    """``key`` leads there from the top of the document, as it is named in messages."""

    def __init__(self, node: yaml.Node, file: str, key: str = "") -> None:
        self.node, self.file, self.key = node, file, key

    def mapping(self, known: tuple[str, ...]) -> dict[str, Entry]:
        """By key. Raises UserError for what is no mapping, for a key that is not ``known``, or there twice."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong(f"is no mapping of {_listed(known)}", "Write one key: value per line.")
        found: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            key = str(getattr(key_node, "value", key_node))
            entry = Entry(key_node, self.file, f"{self.key}.{key}" if self.key else key)
            if known and key not in known:
                raise entry.wrong(f"is no key there.{did_you_mean(key, known)}", f"Keys are {_listed(known)}.")
            if key in found:
                raise entry.wrong("is there twice", "Leave one of them out.")
            found[key] = Entry(value_node, self.file, entry.key)
        return found

    def items(self) -> list[Entry]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("is no list", "Write one entry after a dash per line, or [a, b].")
        return [Entry(node, self.file, f"{self.key}[{number}]") for number, node in enumerate(self.node.value)]

    def value(self) -> Any:
        """As plain YAML has it. Raises UserError."""
        self._check_keys(self.node)
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(self.node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.wrong(f"cannot be read: {error}", "Correct it there.") from error
        finally:
            loader.dispose()

    def valid(self, kind: type[T], fields: Any) -> T:
        """Raises UserError at the part of this node that does not fit."""
        if not isinstance(fields, dict):
            raise self.wrong(f"is no mapping of {_listed(tuple(kind.model_fields))}", "Write {key: value}.")
        try:
            return kind.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            entry = self.inner(first["loc"])
            if first["type"] == "extra_forbidden":
                known = tuple(kind.model_fields)
                near = did_you_mean(str(first["loc"][-1]), known)
                raise entry.wrong(f"is no key there.{near}", f"Keys are {_listed(known)}.") from error
            if first["type"] == "missing":
                raise entry.wrong("is missing", "Add it (docs/sweeps.md).") from error
            raise entry.wrong(f"cannot be used: {lower(first['msg'])}", "Correct it (docs/sweeps.md).") from error

    def inner(self, path: tuple[int | str, ...]) -> Entry:
        """As deep as the document goes on the way; the key names all of it."""
        node = self.node
        for part in path:
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if key.value == str(part)), node)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
        words = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
        return Entry(node, self.file, (self.key + "".join(words)).removeprefix("."))

    def wrong(self, what: str, remedy: str) -> UserError:
        end = "" if what.endswith((".", "?")) else "."
        return _at(self.node, self.file, f"{self.key or 'this'} {what}{end}", remedy)

    def passing_on(self, error: FarmError) -> UserError:
        """What another module found wrong, with the place."""
        return _at(self.node, self.file, f"{self.key}: {error.message}", error.remedy)

    def _check_keys(self, node: yaml.Node) -> None:
        """PyYAML takes the last of keys that are the same."""
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if str(key.value) in seen:
                    raise Entry(key, self.file, f"{self.key}.{key.value}").wrong("is there twice", "Leave one out.")
                seen.add(str(key.value))
                self._check_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check_keys(value)


def _at(node: yaml.Node, file: str, what: str, remedy: str) -> UserError:
    line = node.start_mark.line + 1
    return UserError(f"{file}, line {line}: {what}", remedy=remedy, details={"file": file, "line": line})


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def lower(text: str) -> str:
    return text[:1].lower() + text[1:]
