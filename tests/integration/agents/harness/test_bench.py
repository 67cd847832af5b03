"""The benchmark of the harness (``make bench NAME=harness``) can measure every runtime."""

from __future__ import annotations

import pytest

from tests.bench.harness import process
from tests.integration.agents.harness.programs import Model, each

pytestmark = pytest.mark.real_models


@pytest.mark.parametrize("runtime", each())
def test_it_times_the_harness_and_the_runtimes_own_loop(classifier: Model, runtime: str) -> None:
    classifier.write_tensors()
    classifier.file(runtime)
    figures = process(classifier, runtime, "own")
    assert set(figures) == {"ratio", "harness_seconds", "own_loop_seconds"}
    assert min(figures.values()) > 0
