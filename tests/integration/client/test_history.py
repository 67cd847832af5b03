"""``farm history`` and ``client.history``: a series over nights, what is missing in it, and wrong names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pandas
import pytest
import sqlalchemy as sa

import farm
from farm.cli.app import main
from farm.errors import NotFoundError
from farm.store import retention, tables
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.transaction import JobChange
from farm.types import JobState, NightState, SweepSpec, UploadedModel
from tests.integration.metrics.results import add_results
from tests.values import recipe

DAYS = [datetime.now(UTC).replace(microsecond=0) - timedelta(days=back) for back in (5, 4, 3, 2, 1)]
SERIES = ("net", "variant-0", "phone-0000")


@pytest.fixture(scope="module")
def nightly(one_head):
    """Five nights: the second was skipped, the job of the fourth failed."""
    if not one_head.alive:
        one_head.start()
    store = one_head.store
    spec = SweepSpec(name="every-night", model=UploadedModel(ref="net"), recipes=(recipe(),), devices="each")
    with store.connected(writing=True) as connection:
        values = {"paused": False, "created_by": "ada", "created_at": DAYS[0], "changed_at": DAYS[0]}
        connection.execute(sa.insert(tables.sweeps).values(name=spec.name, spec=spec, **values))
    for number, day in enumerate(DAYS):
        night = {"sweep": spec.name, "due_at": day, "trigger": "schedule", "requested_by": "ada"}
        if number == 1:
            night |= {"state": NightState.SKIPPED, "reason": "the farm was away"}
        else:
            add_results(store, [day], publish=False)
            with store.reading() as reading:
                run = reading.runs(limit=1)[0]
                job = reading.jobs(run.id)[0]
            night |= {"state": NightState.EXAMINED, "run_id": run.id}
            if number == 3:
                with store.transaction() as tx:
                    tx.set_jobs([JobChange(job.id, JobState.FAILED, reason="The phone got too hot.")])
                with store.connected(writing=True) as connection:
                    connection.execute(sa.delete(tables.history).where(tables.history.c.job_id == job.id))
        with store.connected(writing=True) as connection:
            connection.execute(sa.insert(tables.nights).values(**night))
            connection.execute(
                sa.update(tables.history)
                .where(tables.history.c.run_id == night.get("run_id"))
                .values(night_id=number + 1)
            )
    return one_head


@pytest.fixture
def client(nightly, head):
    with farm.Client(head.url, token=head.token()) as client:
        yield client


def test_a_series_comes_with_its_gaps(client) -> None:
    found = client.history(*SERIES)
    assert [point.measured_at for point in found.points] == [DAYS[0], DAYS[2], DAYS[4]]
    assert [(night.due_at, night.reason) for night in found.missing] == [
        (DAYS[1], "the farm was away"),
        (DAYS[3], "The phone got too hot."),
    ]
    assert [step.same_artifact for step in found.steps()["single-stream/2t"]] == [False, True, True]
    table = found.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.latency_p50) == [point.figures["latency_p50"].value for point in found.points]
    assert table.latency_p50_low[0] == pytest.approx(0.009)
    drawn = found.plot("energy")
    assert "(virtual)" in drawn.layout.title.text
    assert [trace.name for trace in drawn.data] == ["single-stream/2t", "missing"]


def test_the_newest_of_it(client) -> None:
    found = client.history(*SERIES, limit=2)
    assert [point.measured_at for point in found.points] == [DAYS[2], DAYS[4]]
    assert [night.due_at for night in found.missing] == [DAYS[3]]
    assert [point.measured_at for point in client.history(*SERIES, since=DAYS[3]).points] == [DAYS[4]]


def test_wrong_names_get_near_ones(client) -> None:
    with pytest.raises(NotFoundError, match="model 'nett'") as wrong:
        client.history("nett", *SERIES[1:])
    assert "net" in str(wrong.value.remedy)
    with pytest.raises(NotFoundError, match="of net with the variant 'varant-0'") as wrong:
        client.history("net", "varant-0", "phone-0000")
    assert "variant-0" in str(wrong.value.remedy)
    with pytest.raises(NotFoundError, match="device 'phone-1000'") as wrong:
        client.history("net", "variant-0", "phone-1000")
    assert "phone-0000" in str(wrong.value.remedy)


def test_the_command_line(nightly, head, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FARM_URL", head.url)
    monkeypatch.setenv("FARM_TOKEN", head.token())
    assert main(["history", *SERIES]) == 0
    out = capsys.readouterr().out
    assert "virtual" in out
    assert out.count("missing") == 2
    assert "The phone got too hot." in out
    assert "(same artifact)" in out
    assert main(["history", *SERIES, "--metric", "artifact_size", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["unit"], len(document["points"]), len(document["missing"])) == ("bytes", 3, 2)
    assert main(["history", *SERIES, "--since", "2100-01-01"]) == 0
    assert "No result" in capsys.readouterr().out
    assert main(["history", *SERIES, "--metric", "latency"]) == 2
    assert "latency_p50" in capsys.readouterr().err
    assert main(["history", *SERIES, "--metric", "accuracy"]) == 0
    assert "None of these results has it" in capsys.readouterr().out


def test_a_report_says_that_samples_were_thinned(head, tmp_path) -> None:
    run = head.submit("pytorch")
    (job,) = head.jobs(run)
    head.measure(job, [0.01 + index / 1e6 for index in range(1000)])
    head.end(run)
    artifacts = ArtifactStore(head.settings.resolved_store_url)
    for _ in retention.sweep(head.store, artifacts, Ages(samples_days=1), datetime.now(UTC) + timedelta(days=3650)):
        pass
    with farm.Client(head.url, token=head.token()) as client:
        client.run(run.id).report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "thinned because of their age" in page
    assert '"title": "Latency"' not in page  # no distribution of what is left
