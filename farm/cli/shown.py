"""Answers of a comparison at the command line: a table, Markdown or JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from farm.analysis.notebook import Shown
from farm.cli import output


class Format(StrEnum):
    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="Markdown is for a comment or a page.")]


def show(answer: Shown, form: Format, as_json: bool) -> None:
    if form is Format.MARKDOWN and not as_json:
        typer.echo(answer.to_markdown())
    else:
        output.emit(answer.to_dict(), as_json or form is Format.JSON, answer)
