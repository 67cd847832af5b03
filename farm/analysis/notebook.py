"""What an object of a comparison does in a notebook and at a terminal. pandas and plotly are imported when used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from farm.analysis.sheet import Sheet, markdown
from farm.errors import ConflictError, UserError

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects
    from rich.console import Console, ConsoleOptions, RenderResult


class Notebook(ABC):
    """Of ``sheets``, ``records`` and ``drawing`` it makes tables, data frames and plots."""

    @abstractmethod
    def sheets(self) -> tuple[Sheet, ...]: ...

    @abstractmethod
    def records(self) -> Sequence[Mapping[str, Any]]: ...

    @abstractmethod
    def drawing(self) -> dict[str, Any] | None:
        """As in ``farm.report.plots``; None where there is nothing to draw."""

    def to_pandas(self) -> pandas.DataFrame:
        """Figures in the units of their column names. Raises UserError without pandas."""
        return frame(self.records())

    def plot(self) -> plotly.graph_objects.Figure:
        """Raises UserError without plotly, ConflictError where there is nothing to draw."""
        return drawn(self.drawing())

    def _repr_html_(self) -> str:
        from farm.report.fragments import of_sheets

        return of_sheets(self.sheets())


class Shown(Notebook):
    """Also for ``print``, a terminal, Markdown and JSON."""

    @abstractmethod
    def to_dict(self) -> Any:
        """Ready for JSON."""

    def to_markdown(self) -> str:
        return markdown(self.sheets())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for index, sheet in enumerate(self.sheets()):
            if index:
                yield ""
            yield from sheet.renderables()

    def __str__(self) -> str:
        return printed(self)


def printed(renderable: Any) -> str:
    """As on a terminal of the width of this one, 80 columns at least, without colours."""
    import shutil

    from rich.console import Console

    text = StringIO()
    width = max(80, shutil.get_terminal_size((120, 24)).columns)
    console = Console(file=text, width=width, color_system=None, force_terminal=False, force_jupyter=False)
    console.print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def frame(records: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Raises UserError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise UserError("pandas is not installed.", remedy="pip install 'torchfarm[pandas]'") from error
    return pandas.DataFrame.from_records(list(records))


def drawn(drawing: Mapping[str, Any] | None) -> plotly.graph_objects.Figure:
    """Raises UserError without plotly, ConflictError where there is nothing to draw."""
    if drawing is None:
        raise ConflictError("There is nothing to draw: no figure was measured.", remedy="Print it: it says why.")
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise UserError("plotly is not installed.", remedy="pip install plotly") from error
    from farm.report.theme import coloured

    return Figure(coloured(drawing))
