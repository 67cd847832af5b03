"""docs/ci.md is what people copy: its YAML parses, and every ``farm`` line in it is one that the command takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from farm.analysis.quantities import QUANTITIES
from farm.cli.app import app

PAGE = (Path(__file__).parents[3] / "docs" / "ci.md").read_text()
DOCUMENTS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
INDENTED = "\n".join(line[4:] for line in PAGE.splitlines() if line.startswith("    "))


def scripts(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from scripts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner, key)
    elif key in ("run", "script"):
        yield value


def command_lines(text: str) -> Iterator[list[str]]:
    text = re.sub(r"\$\{\{.*?\}\}|\"\$RUN\"", "7", text.replace("\\\n", " "))
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["farm"]:
            yield words[1 : words.index(">") if ">" in words else None]


LINES = [line for text in (INDENTED, *scripts(DOCUMENTS)) for line in command_lines(text) if text]


def test_the_workflows_are_whole() -> None:
    actions, gitlab = DOCUMENTS
    assert set(actions[True]) == {"push", "pull_request"}  # YAML 1.1 reads "on" as true; GitHub does not
    steps = actions["jobs"]["measure"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    assert {"Submit", "Wait", "Gate"} <= {step.get("name") for step in steps}
    assert gitlab["performance"]["script"]
    for command in ("submit", "runs", "gate"):
        assert sum(line[0] == command for line in LINES) >= 3, command


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_command_is_taken(line: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("farm", line)
    while hasattr(command, "resolve_command"):
        words = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        name, command, rest = command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)  # raises where an option or argument is wrong
    if line[0] == "gate":
        from farm.gate.limit import max_drop, max_regression

        given = context.params
        assert [max_regression(text) for text in given["max_regression"] or ()]
        assert all(max_drop(text) for text in given["max_drop"] or ())


def test_the_metrics_it_names_are_those_there_are() -> None:
    named = set(re.findall(r"`([a-z][a-z0-9_]+)`", PAGE)) & {*QUANTITIES}
    assert {"latency_p50", "throughput", "load", "memory_peak", "energy", "accuracy"} <= named
    section = PAGE.split("The metrics are\n", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`([a-z][a-z0-9_]+)`", section)) <= {*QUANTITIES}
