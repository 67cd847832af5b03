"""What PyTorch answers, computed by the farm where an upload does not say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farm import EvaluationSet
from farm.packaging import package
from farm.recipes import samples
from tests.integration.recipes.workshop import Workshop, images, small_net

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.real_models


def test_the_reference_build_answers_the_labelled_set_too(workshop: Workshop, tmp_path: Path) -> None:
    net, inputs = small_net(), images(6)
    labelled = EvaluationSet(np.concatenate(inputs), np.arange(6))
    live = workshop.put(package(net, (inputs[0],), name="live", evaluation=labelled))
    torch.jit.trace(net, torch.from_numpy(inputs[0])).save(tmp_path / "net.ts")
    uploaded = workshop.put(package(tmp_path / "net.ts", (inputs[0],), name="file", evaluation=labelled))
    assert (live.needs_reference, uploaded.needs_reference) == (False, True)
    artifact = workshop.build(uploaded, "reference")
    assert [file.name for file in artifact.files] == ["reference.npz", "evaluation.npz"]
    workshop.fetch(artifact, tmp_path)
    assert live.evaluation is not None and live.evaluation.reference_outputs is not None
    workshop.store.fetch(live.evaluation.reference_outputs, tmp_path / "own.npz")
    answers, own = (samples.read(tmp_path / name, name) for name in ("evaluation.npz", "own.npz"))
    assert len(answers) == len(own) == 6
    for one, other in zip(answers, own, strict=True):
        assert np.allclose(one[0], other[0], atol=1e-5)
