from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.harness.records import HarnessError, RecordsCut, Writer, gaps, read, summarize

PARITY = {
    "samples": 2,
    "max_abs_error": 0.1,
    "max_rel_error": 0.2,
    "reference_abs_max": 3.0,
    "cosine": 0.99,
    "snr_db": 40.0,
    "top1_agreement": None,
    "top5_agreement": None,
}
COURSE = {"after_import_bytes": 2, "after_load_bytes": 3, "after_first_inference_bytes": 4}
SERIES = {"source": "Anonymous in /proc/self/smaps_rollup", "inferences": [20, 40], "memory_bytes": [4096, 4096]}
COST = {"read_seconds": 0.01, "cached_ratio": 1.0, "storage_bytes": 0, "requested_bytes": 10}
OPERATOR = {"name": "conv", "type": "Conv", "count": 10, "total_seconds": 0.1, "where": "CPU"}
PROFILE = {
    "tool": "a profiler",
    "runs": 10,
    "inference_seconds": 0.02,
    "unprofiled_seconds": 0.01,
    "operators": [OPERATOR],
}


def write_whole(path: Path, **changes: dict[str, Any]) -> None:
    fields: dict[str, dict[str, Any]] = {
        "memory": {"baseline_bytes": 1, "peak_bytes": 2, **COURSE},
        "memory_series": SERIES,
        "load_cost": {**COST, "absent": {}},
        "parity": PARITY,
        **changes,
    }
    evaluation = fields.pop("evaluation", None)
    with Writer(path) as writer:
        writer.write("start", runtime="onnxruntime", threads=1, cpus=[0], pid=1, niceness=0)
        writer.write("phase", name="import", seconds=0.1)
        writer.write("runtime_versions", versions={"onnxruntime": "1"})
        writer.write("phase", name="load", seconds=0.2)
        writer.write("load_cost", **fields["load_cost"])
        writer.write("phase", name="first_inference", seconds=0.3)
        writer.write("cpus_allowed", cpus=[0])
        writer.write_samples("warmup", [3_000, 2_000])
        writer.write_samples("samples", [1_000] * 2500)
        writer.write_samples("samples", [2_000])
        writer.write("stop", by="interval", warmup_steady=True)
        writer.write("memory", **fields["memory"])
        writer.write("memory_series", **fields["memory_series"])
        writer.write("parity", **fields["parity"])
        writer.write("outputs", non_finite=0)
        if "profile" in fields:
            writer.write("profile", **fields["profile"])
        if evaluation:
            writer.write("progress", name="evaluation", done=1)
            writer.write("evaluation", **evaluation)
        writer.write("end")


def test_a_whole_file_becomes_the_fields_of_a_measurement(tmp_path: Path) -> None:
    write_whole(tmp_path / "records")
    facts = summarize(read(tmp_path / "records"))
    assert facts.pop("latency_samples_seconds") == [1e-6] * 2500 + [2e-6]
    assert facts == {
        "warmup_samples_seconds": [3e-6, 2e-6],
        "import_seconds": 0.1,
        "load_seconds": 0.2,
        "first_inference_seconds": 0.3,
        "memory_baseline_bytes": 1,
        "memory_peak_bytes": 2,
        "parity": PARITY,
        "non_finite_outputs": 0,
        "preprocess_samples_seconds": [],
        "postprocess_samples_seconds": [],
        "evaluation_seconds": None,
        "batch": 1,
        "emulated": "",
        "stopped_by": "interval",
        "cpus_asked": [0],
        "niceness": 0,
        "cpus_allowed": [0],
        "runtime_versions": {"onnxruntime": "1"},
        "memory_course": COURSE,
        "memory_series": SERIES,
        "load_cost": COST,
        "profile": None,
        "absent": {},
    }


def test_the_outputs_of_a_labelled_set_are_there_or_absent_with_the_reason(tmp_path: Path) -> None:
    write_whole(tmp_path / "records", evaluation={"samples": 2, "seconds": 0.5, "file": "evaluation.npz"})
    facts = summarize(read(tmp_path / "records"))
    assert (facts["evaluation_seconds"], facts["absent"]) == (0.5, {})
    write_whole(tmp_path / "without", evaluation={"absent": "too long"})
    facts = summarize(read(tmp_path / "without"))
    assert (facts["evaluation_seconds"], facts["absent"]) == (None, {"evaluation": "too long"})


def test_what_could_not_be_measured_is_absent_with_its_reason(tmp_path: Path) -> None:
    write_whole(tmp_path / "records", memory={"absent": "no /proc"}, parity={"absent": "all NaN"})
    facts = summarize(read(tmp_path / "records"))
    assert facts["memory_peak_bytes"] is facts["memory_baseline_bytes"] is facts["parity"] is None
    assert facts["absent"] == {
        "memory_baseline_bytes": "no /proc",
        "memory_peak_bytes": "no /proc",
        "memory_course": "no /proc",
        "parity": "all NaN",
    }


def test_a_profile_is_there_where_it_was_asked_for_and_else_its_reason(tmp_path: Path) -> None:
    write_whole(tmp_path / "told", profile=PROFILE)
    assert summarize(read(tmp_path / "told"))["profile"] == PROFILE
    write_whole(tmp_path / "untold", profile={"absent": "no profiler"})
    facts = summarize(read(tmp_path / "untold"))
    assert facts["profile"] is None
    assert facts["absent"] == {"profile": "no profiler"}


def test_growth_and_input_output_that_could_not_be_read_are_absent_with_their_reasons(tmp_path: Path) -> None:
    cost = {"read_seconds": 0.01, "absent": {"storage_bytes": "no /proc"}}
    write_whole(tmp_path / "records", memory_series={"absent": "too slow"}, load_cost=cost)
    facts = summarize(read(tmp_path / "records"))
    assert facts["memory_series"] is None
    assert facts["load_cost"] == {"read_seconds": 0.01}
    assert facts["absent"] == {"load_cost.storage_bytes": "no /proc", "memory_growth_bytes": "too slow"}


def test_a_file_cut_anywhere_gives_its_whole_lines_and_never_a_result(tmp_path: Path) -> None:
    write_whole(tmp_path / "records")
    whole, content = read(tmp_path / "records"), (tmp_path / "records").read_bytes()
    last_line = content.rindex(b"\n", 0, -1) + 1
    for length in (*range(0, last_line, 97), *range(last_line - 3, len(content) - 1)):
        (tmp_path / "cut").write_bytes(content[:length])
        records = read(tmp_path / "cut")
        assert records == whole[: len(records)]
        assert gaps(records) == []
        with pytest.raises(RecordsCut):
            summarize(records)


@settings(deadline=None)
@given(lost=st.integers(1, 12))
def test_a_damaged_line_in_between_is_a_gap_and_never_a_result(lost: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        write_whole(path)
        lines = path.read_bytes().split(b"\n")
        lines[lost] = lines[lost][: len(lines[lost]) // 2]
        path.write_bytes(b"\n".join(lines))
        records = read(path)
    assert gaps(records) == [lost]
    with pytest.raises(RecordsCut, match=rf"\b{lost}\b"):
        summarize(records)


def test_an_error_record_comes_out_with_all_it_says(tmp_path: Path) -> None:
    error = {"code": "load-failed", "message": "no", "remedy": "do", "fault": "recipe", "traceback": "…"}
    with Writer(tmp_path / "records") as writer:
        writer.write("start", runtime="litert", threads=1, cpus=[], pid=1)
        writer.write("error", **error)
    with pytest.raises(HarnessError) as caught:
        summarize(read(tmp_path / "records"))
    assert {name: getattr(caught.value, name) for name in error} == error


def test_the_last_words_say_how_far_it_came(tmp_path: Path) -> None:
    with Writer(tmp_path / "records") as writer:
        writer.write("start", runtime="litert", threads=1, cpus=[], pid=1)
        writer.write("phase", name="load", seconds=1.0)
    with pytest.raises(RecordsCut, match=r"record 1 \(phase load\)"):
        summarize(read(tmp_path / "records"))


def test_no_file_means_that_it_died_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecordsCut, match="wrote no records"):
        read(tmp_path / "nothing")


def test_an_existing_file_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("")
    with pytest.raises(FileExistsError):
        Writer(tmp_path / "records")


def test_a_figure_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "records") as writer, pytest.raises(ValueError, match="JSON"):
        writer.write("parity", cosine=float("nan"))


def test_kill_9_costs_at_most_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "records"
    program = (
        "import sys\nfrom pathlib import Path\nfrom agents.harness.records import Writer\n"
        "writer = Writer(Path(sys.argv[1]))\n"
        "while True:\n    writer.write('samples', samples_seconds=[0.1] * 1000); print(writer._seq, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(50):
        told = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in process.stdout.read().splitlines() if line)])
    assert process.wait(timeout=10) == -signal.SIGKILL
    process.stdout.close()
    records = read(path)
    assert len(records) >= told
    assert gaps(records) == []
    assert all(len(record["samples_seconds"]) == 1000 for record in records)


def test_every_line_is_plain_json_with_the_clock_of_the_device(tmp_path: Path) -> None:
    write_whole(tmp_path / "records")
    lines = [json.loads(line) for line in (tmp_path / "records").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    times = [line["monotonic_seconds"] for line in lines]
    assert times == sorted(times)
