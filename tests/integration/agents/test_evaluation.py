"""A labelled set on its way: run by the real harness, delivered by the agent, scored as the head does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import delivery
from farm.coordinator.labelled import Labelled
from farm.types import Evaluation, EvaluationSpec, Lease, Measurement
from tests.integration.agents.test_agent import QUICK, Bench, next_event

pytestmark = pytest.mark.real_models

COUNT = 40
ROWS = np.random.default_rng(5).normal(size=(COUNT, 1, 64)).astype(np.float32)


class Labels:
    """The bench's model answers its input: the largest of 64 numbers is the class. Every fourth label is another."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        right = ROWS.reshape(COUNT, 64).argmax(axis=1)
        given = np.where(np.arange(COUNT) % 4 == 0, (right + 1) % 64, right)
        self._bench = bench
        self.inputs = bench.put_arrays(folder / "labelled.npz", {f"{n}.0": row for n, row in enumerate(ROWS)})
        self.spec = EvaluationSpec(
            task="classification",
            inputs=self.inputs,
            labels=bench.put_arrays(folder / "labels.npz", {"labels": given}),
            samples=COUNT,
        )

    def lease(self, attempt_id: int = 1, **changes: Any) -> Lease:
        fields = {"evaluation_inputs": self.inputs, "evaluation_max_bytes": 1_000_000} | changes
        return self._bench.lease(attempt_id).model_copy(update=fields)

    def scored(self, measurement: Measurement) -> Evaluation | str:
        assert measurement.evaluation_outputs is not None, measurement.absent
        store_url = self._bench.settings.resolved_store_url
        return Labelled(store_url, self.spec, measurement.evaluation_outputs, self.inputs).evaluated(0.95)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def labels(bench: Bench, tmp_path: Path) -> Labels:
    return Labels(bench, tmp_path)


def measured(bench: Bench, lease: Lease) -> Measurement:
    async def scene() -> Measurement:
        async with bench.agent() as agent:
            agent.start(lease)
            started = await next_event(agent)
            event = await next_event(agent, started.seq)
            assert event.measurement is not None, event.failure
            return event.measurement

    return asyncio.run(scene())


def test_the_devices_answers_reach_the_head_and_are_scored(bench: Bench, labels: Labels) -> None:
    measurement = measured(bench, labels.lease())
    assert measurement.absent == {}
    assert measurement.evaluation_seconds is not None
    found = labels.scored(measurement)
    assert isinstance(found, Evaluation), found
    assert found.metrics["accuracy"] == found.reference_metrics["accuracy"] == 0.75
    assert found.changed_predictions == 0
    assert found.drop is not None
    assert found.drop.value == 0
    assert found.drop.low < 0 < found.drop.high
    assert found.outputs == measurement.evaluation_outputs


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evaluation_max_bytes": 4000}, r"the outputs are over 4,000 bytes after \d+ samples"),
        (
            {"protocol": QUICK.model_copy(update={"evaluation_max_seconds": 1e-9})},
            r"1e-09 s were over after 1 samples",
        ),
    ],
)
def test_what_takes_too_much_is_absent_with_the_reason(
    bench: Bench, labels: Labels, changes: dict[str, Any], reason: str
) -> None:
    measurement = measured(bench, labels.lease(**changes))
    assert measurement.evaluation_outputs is None
    assert len(measurement.latency_samples_seconds) >= 20, "the rest of the measurement stands"
    assert re.search(reason, measurement.absent["evaluation"])


def test_answers_that_cannot_be_sent_are_absent_and_the_rest_is_kept(
    bench: Bench, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PAUSE_SECONDS", 0.01)

    async def unsendable(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(delivery.Delivery, "_put", unsendable)
    monkeypatch.setattr(delivery, "_copy", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    measurement = measured(bench, labels.lease())
    assert measurement.evaluation_outputs is None
    assert "No space left on device" in measurement.absent["evaluation"]
    assert measurement.parity is not None


def test_an_agent_that_dies_while_sending_sends_again(
    bench: Bench, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.agent import Agent

    real, sending = delivery.Delivery.send, asyncio.Event()

    async def stuck(*_: object) -> None:
        sending.set()
        await asyncio.Event().wait()

    async def scene() -> Measurement:
        monkeypatch.setattr(delivery.Delivery, "send", stuck)
        first = Agent(bench.settings)
        first.start(labels.lease())
        started = await next_event(first)
        await asyncio.wait_for(sending.wait(), 60)
        await first.close()
        monkeypatch.setattr(delivery.Delivery, "send", real)
        async with bench.agent() as second:
            event = await next_event(second, started.seq)
            assert event.measurement is not None, event.failure
            return event.measurement

    found = labels.scored(asyncio.run(scene()))
    assert isinstance(found, Evaluation)
    assert found.metrics["accuracy"] == 0.75


def test_a_lease_that_ends_while_sending_ends_the_attempt(
    bench: Bench, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = asyncio.Event()

    async def stuck(*_: object) -> None:
        sending.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(delivery.Delivery, "send", stuck)

    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(labels.lease())
            started = await next_event(agent)
            await asyncio.wait_for(sending.wait(), 60)
            assert agent.reconcile({}) == []
            failed = await next_event(agent, started.seq)
            assert failed.failure is not None
            assert failed.failure.code == "interrupted", "the job is tried again"

    asyncio.run(scene())


def test_outputs_that_are_not_in_the_store_are_said(bench: Bench, labels: Labels) -> None:
    measurement = measured(bench, labels.lease())
    assert measurement.evaluation_outputs is not None
    bench.store.local_path(measurement.evaluation_outputs.sha256).unlink()  # type: ignore[union-attr]
    found = labels.scored(measurement)
    assert isinstance(found, str)
    assert "No file" in found


def test_labels_that_are_no_classes_of_the_model_are_said(bench: Bench, labels: Labels, tmp_path: Path) -> None:
    wrong = bench.put_arrays(tmp_path / "wrong.npz", {"labels": np.full(COUNT, 64)})
    labels.spec = labels.spec.model_copy(update={"labels": wrong})
    found = labels.scored(measured(bench, labels.lease()))
    assert isinstance(found, str)
    assert "label 0 is 64, the model's classes are 0 to 63 (40 such labels)" in found
