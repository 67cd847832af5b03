import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing

import pytest

import farm
from farm.store.transaction import JobChange
from farm.types import JobState, Role, RunState

SAMPLES = [0.010 + 0.0001 * (index % 7) for index in range(200)]


@pytest.fixture
def client(head):
    with farm.Client(head.url, token=head.token()) as client:
        yield client


def later(seconds, *steps):
    """Do ``steps`` in another thread, each after a pause."""

    def work():
        for step in steps:
            time.sleep(seconds)
            step()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_wait_returns_when_the_run_is_finished(head, client):
    run = head.submit("pytorch", "onnxruntime")
    handle = client.run(run.id)
    assert handle.state is RunState.ACTIVE
    first, second = head.jobs(run)
    thread = later(
        0.2, lambda: head.measure(first, SAMPLES), lambda: head.measure(second, SAMPLES), lambda: head.end(run)
    )
    assert handle.wait(timeout_seconds=20) is handle
    thread.join()
    assert handle.state is RunState.FINISHED
    assert handle.jobs[JobState.FINISHED] == 2
    assert "2 of 2 jobs done" in repr(handle)


def test_wait_on_a_finished_run_returns_at_once(head, client):
    run = head.submit("pytorch")
    head.end(run)
    assert client.run(run.id).wait(timeout_seconds=5).state is RunState.FINISHED


def test_waiting_too_long_says_that_the_run_goes_on(head, client):
    run = head.submit("pytorch")
    with pytest.raises(farm.ConflictError) as caught:
        client.run(run.id).wait(timeout_seconds=0.3)
    assert "0.3 s" in caught.value.message
    assert f"farm runs watch {run.id}" in caught.value.remedy


def test_progress_is_written_as_plain_lines_where_there_is_no_terminal(head, client, capsys):
    run = head.submit("pytorch")
    (job,) = head.jobs(run)
    head.event(run, "build", "pytorch", "built", "3.1 s")
    head.event(run, "job", str(job.id), "failed", "The harness crashed.")
    with head.store.transaction() as transaction:
        transaction.set_jobs([JobChange(job.id, JobState.FAILED)])
    head.end(run)
    client.run(run.id).wait(progress=True, timeout_seconds=10)
    out, err = capsys.readouterr()
    assert out == ""
    assert "build pytorch built: 3.1 s" in err
    assert "job pytorch on local-cpu, single-stream/1t failed: The harness crashed." in err
    assert "0 of 1 jobs measured, 1 failed" in err


def test_every_event_comes_once_and_in_order_across_a_killed_head(head, client, caplog):
    run = head.submit("pytorch")
    handle = client.run(run.id)
    wanted = [head.event(run, "build", "pytorch", "building", f"step {number} \u2028 ü") for number in range(5)]
    seen = []
    with caplog.at_level(logging.WARNING, logger="farm"):
        for event in handle.events():
            seen.append(event)
            if len(seen) == 4:
                head.kill()
                wanted += [
                    head.event(run, "build", "pytorch", "building", f"while away {number}") for number in range(3)
                ]
                back = later(0.7, head.start, lambda: head.end(run))
    back.join()
    seqs = [event.seq for event in seen]
    assert seqs == sorted(set(seqs))
    assert [event for event in seen if event.kind == "build"] == wanted
    assert (seen[-1].kind, seen[-1].state) == ("run", "finished")
    assert f"{head.url} answers again." in caplog.messages


def test_a_head_that_stays_away_ends_the_waiting_with_what_to_do(head, client, monkeypatch):
    monkeypatch.setattr("farm.runs.PATIENCE_SECONDS", 1.0)
    run = head.submit("pytorch")
    handle = client.run(run.id)
    later(0.2, head.kill)
    with pytest.raises(farm.InfrastructureError) as caught:
        handle.wait(timeout_seconds=20)
    assert f"farm runs watch {run.id}" in caught.value.remedy


def test_a_revoked_token_ends_the_waiting_at_once(head):
    token = head.token()
    run = head.submit("pytorch")
    with farm.Client(head.url, token=token) as client:
        handle = client.run(run.id)

        def revoke():
            with head.store.transaction() as transaction:
                for known in transaction.tokens():
                    transaction.revoke_token(known.name)
            head.kill()
            head.start()

        thread = later(0.3, revoke)
        with pytest.raises(farm.AuthError):
            handle.wait(timeout_seconds=20)
        thread.join()


def test_events_can_be_left_early_and_the_client_goes_on(head, client):
    run = head.submit("pytorch")
    for event in client.run(run.id).events():
        assert event.kind == "run"
        break
    assert client.run(run.id).id == run.id


def test_the_comparison_and_the_report_hold_the_samples(head, client, tmp_path):
    run = head.submit("pytorch", "onnxruntime", "litert")
    slow, fast, lost = head.jobs(run)
    head.measure(slow, [3 * value for value in SAMPLES])
    head.measure(fast, SAMPLES)
    with head.store.transaction() as transaction:
        failure = farm.RecipeError("The converter refused aten::x.", remedy="Take another runtime.")
        from farm.types import Failure

        transaction.set_jobs([JobChange(lost.id, JobState.FAILED, failure=Failure.of(failure))])
    head.end(run)
    comparison = client.run(run.id).compare()
    assert isinstance(comparison, farm.Comparison)
    assert comparison.best("latency_p50", trusted_only=False).recipe == "onnxruntime"
    text = str(comparison)
    assert "onnxruntime" in text
    assert "The converter refused aten::x." in text
    handle = client.run(run.id)
    assert f"Run {run.id}" in handle._repr_html_()
    assert len(handle.to_pandas()) == len(comparison.rows)
    assert len(handle.plot().data) == 2
    both = client.compare(run.id, run.id)
    assert len(both.rows) == 2 * len(comparison.rows)
    by_handle, by_comparison = tmp_path / "a.html", tmp_path / "b.html"
    client.run(run.id).report(by_handle)
    comparison.report(by_comparison)
    assert by_handle.stat().st_size > 1000
    assert abs(by_handle.stat().st_size - by_comparison.stat().st_size) < 1000


def test_the_asynchronous_client_does_the_same(head):
    run = head.submit("pytorch")
    head.event(run, "build", "pytorch", "building")
    token = head.token()

    async def work():
        async with farm.AsyncClient(head.url, token=token) as client:
            handle = await client.run(run.id)
            seen = []
            async with aclosing(handle.events()) as events:
                async for event in events:
                    seen.append(event.kind)
                    if len(seen) == 2:
                        await asyncio.to_thread(head.end, run)
            await handle.wait(timeout_seconds=5)
            return seen, handle.state

    assert asyncio.run(work()) == (["run", "build", "run"], RunState.FINISHED)


def test_only_the_owner_or_an_admin_cancels(head, client):
    run = head.submit("pytorch")
    with pytest.raises(farm.ForbiddenError, match="ann"):
        client.run(run.id).cancel()
    with farm.Client(head.url, token=head.token(Role.ADMIN)) as admin:
        assert admin.run(run.id).cancel().id == run.id


def test_a_run_that_is_over_can_be_deleted(head, client):
    run = head.submit("pytorch")
    with farm.Client(head.url, token=head.token(Role.ADMIN)) as admin:
        handle = admin.run(run.id)
        with pytest.raises(farm.ConflictError, match="active"):
            handle.delete()
        head.end(run)
        handle.delete()
        with pytest.raises(farm.NotFoundError):
            handle.refresh()


def test_ctrl_c_in_a_script_that_waits_ends_it_and_not_the_run(head):
    run = head.submit("pytorch")
    script = f"import farm; client = farm.Client(); print('waits', flush=True); client.run({run.id}).wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"FARM_URL": head.url, "FARM_TOKEN": head.token()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waits\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    with head.store.reading() as reading:
        assert reading.run(run.id).state is RunState.ACTIVE


def test_a_script_that_never_closes_its_client_ends(head):
    script = "import farm; client = farm.Client(); client.runs(); print(farm.Client().url)"
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | {"FARM_URL": head.url, "FARM_TOKEN": head.token()},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{head.url}\n", "")


def test_a_closed_client_says_so(head):
    client = farm.Client(head.url, token=head.token())
    client.close()
    with pytest.raises(farm.UserError, match="closed"):
        client.runs()
