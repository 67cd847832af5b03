import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farm.cli import output
from farm.errors import InfrastructureError, SelectorError
from farm.types import Blob, Event


@given(st.integers(0, 10**16))
def test_sizes_are_short_and_right(count):
    value, unit = output.size(count).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(value) * factor == pytest.approx(count, rel=0.005)


@given(st.floats(1e-6, 1e5))
def test_durations_are_short_and_right(value):
    number, unit = output.seconds(value).split()
    assert float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit] == pytest.approx(value, rel=0.005)


def test_what_is_absent_is_not_zero():
    assert output.size(None) == "–"
    assert output.seconds(None) == "–"


def test_json_takes_models_in_lists_and_dicts(capsys):
    blob = Blob(name="a", sha256="0" * 64, size_bytes=1)
    output.emit({"blobs": [blob]}, True, "")
    assert json.loads(capsys.readouterr().out) == {"blobs": [blob.model_dump()]}


def test_a_stream_has_one_document_per_line(capsys):
    at = datetime(2030, 1, 1, tzinfo=UTC)
    for seq in (1, 2):
        output.emit_line(Event(seq=seq, run_id=1, at=at, kind="job", subject="1", state="failed", text="a\nb"))
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


def test_tables_do_not_take_brackets_for_markup():
    text = StringIO()
    Console(file=text, width=80).print(output.table(("what",), [("float32[1, 3] [red]x",)], "none"))
    assert "float32[1, 3] [red]x" in text.getvalue()


def test_an_empty_table_says_what_to_do(capsys):
    output.emit([], False, output.table(("what",), [], "Nothing [yet]."))
    assert capsys.readouterr().out.strip() == "Nothing [yet]."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SelectorError("No term 'x'.", remedy="Write platform=linux.", details={"position": 3}), 2),
        (InfrastructureError("The disk is full.", remedy="Free some."), 1),
    ],
)
def test_errors_go_to_stderr_with_their_remedy(capsys, error, code):
    assert output.report_error(error, as_json=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert error.message in err
    assert error.remedy in err
    assert output.report_error(error, as_json=True) == code
    document = json.loads(capsys.readouterr().err)
    assert document == {
        "code": error.code,
        "fault": error.fault,
        "message": error.message,
        "remedy": error.remedy,
        "details": error.details,
    }
