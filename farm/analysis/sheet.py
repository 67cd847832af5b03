"""A small table with notes, told once and written for a terminal, a notebook, Markdown and JSON alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from farm.analysis.figures import plain
from farm.report.text import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

Cell = tuple[str, str]  # what it says, and below it in small its interval or remark
Mark = Literal["", "best", "trusted", "suspect", "invalid", "dim"]

_STYLES = {"best": "bold", "trusted": "bold green", "suspect": "yellow", "invalid": "red", "dim": "dim"}
_LEAST = 10  # columns of a terminal that a text may be folded to


@dataclass(frozen=True)
class Line:
    """``mark`` is how its first cell stands out."""

    cells: tuple[Cell, ...]
    mark: Mark = ""


@dataclass(frozen=True)
class Sheet:
    """The first ``left`` columns are texts, the others figures. ``said``: the answer, above the table."""

    title: str
    headings: tuple[Cell, ...] = ()
    lines: tuple[Line, ...] = ()
    said: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left: int = 1
    virtual: bool = False

    def renderables(self) -> Iterator[RenderableType]:
        """For a terminal."""
        from rich import box
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        title = Text(plain(self.title), style="bold")
        yield title.append(" virtual ", style="reverse") if self.virtual else title
        if self.lines:
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
            for index, heading in enumerate(self.headings):
                text = Text("\n".join(heading).rstrip())
                if index < self.left:
                    table.add_column(text, overflow="fold", min_width=_LEAST)
                else:
                    table.add_column(text, justify="right", overflow="fold")
            for line in self.lines:
                cells = []
                for index, (value, below) in enumerate(line.cells):
                    style = _STYLES.get(line.mark, "") if index == 0 or line.mark == "dim" else ""
                    cell = Text(plain(value), style=style)
                    cells.append(cell.append(f"\n{plain(below)}", style="dim") if below else cell)
                table.add_row(*cells)
            yield table
        for said in self.said:
            yield Text(f"→ {plain(said)}", style="bold")
        for note in self.notes:
            yield Padding(Text(plain(note)), (0, 0, 0, 2))

    def markdown(self) -> str:
        """GitHub's dialect, which GitLab, Slack's canvases and notebooks read as well."""
        parts = [f"### {escaped(self.title)}{' (virtual)' if self.virtual else ''}"]
        parts += [f"**{escaped(said)}**" for said in self.said]
        if self.lines:
            align = [":--" if index < self.left else "--:" for index in range(len(self.headings))]
            head = [_row(self.headings), f"| {' | '.join(align)} |"]
            parts.append("\n".join([*head, *(_row(line.cells, line.mark) for line in self.lines)]))
        if self.notes:
            parts.append("\n".join(f"- {escaped(note)}" for note in self.notes))
        return "\n\n".join(parts) + "\n"


def markdown(sheets: Sequence[Sheet]) -> str:
    return "\n".join(sheet.markdown() for sheet in sheets)


def _row(cells: Sequence[Cell], mark: Mark = "") -> str:
    texts = [escaped(value) + (f" ({escaped(below)})" if below and value else "") for value, below in cells]
    if mark in ("best", "trusted") and texts[0]:
        texts[0] = f"**{texts[0]}**"
    return f"| {' | '.join(texts)} |"
