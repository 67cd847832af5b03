"""Static quantization of attention that is spelled out, as Hugging Face's eager models have it: a mask whose values are
the smallest there are, and a layer that nothing uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from farm.packaging import package
from farm.recipes.transforms.attention import AS_TRANSFORMER, program_attends
from tests.integration.recipes import engines
from tests.integration.recipes.workshop import Workshop, images, small_net

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]

WIDTH, TOKENS = 32, 8


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, WIDTH), torch.nn.Embedding(2, WIDTH)
        self.query, self.key, self.value, self.unused = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.head = torch.nn.Linear(WIDTH, 16)
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.words(ids) + self.places(torch.zeros(1, TOKENS, dtype=torch.long))
        hidden = (mask[:, None, :].to(states.dtype) == 0) * torch.finfo(states.dtype).min
        scores = self.query(states) @ self.key(states).transpose(1, 2) / WIDTH**0.5 + hidden
        states = self.drop(torch.softmax(scores, -1)) @ self.value(states)
        self.unused(states[:, 0])
        return self.head(states).mean(1)


def sentences(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    chance = np.random.default_rng(0)
    masks = [(np.arange(TOKENS) < chance.integers(3, TOKENS + 1))[None].astype(np.int64) for _ in range(count)]
    return [(chance.integers(0, 50, (1, TOKENS)), mask) for mask in masks]


@pytest.mark.parametrize("name", ["openvino-int8", "executorch-openvino-int8"])
def test_it_is_quantized_as_a_transformer(workshop: Workshop, tmp_path: Path, name: str) -> None:
    torch.manual_seed(5)
    model, samples = Attention().eval(), sentences(16)
    spec = workshop.put(package(model, samples[0], calibration_inputs=samples))
    artifact = workshop.build(spec, name)
    assert AS_TRANSFORMER in artifact.report.notes
    path = workshop.fetch(artifact, tmp_path)
    run = engines.executorch(path) if name.startswith("executorch") else whole(path)
    for sample in samples:
        with torch.inference_mode():
            expected = model(*map(torch.from_numpy, sample)).numpy()
        found = run(*sample)
        cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > 0.99
        assert not np.allclose(found, expected, rtol=1e-5), "it is quantized"


def whole(path: Path):
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda *sample: model(list(sample))[0]


def test_what_has_no_attention_is_none() -> None:
    class Gate(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x, -1) * x

    def graph(model: torch.nn.Module, *example: torch.Tensor):
        return torch.export.export(model.eval(), example, strict=False).graph

    assert not program_attends(graph(Gate(), torch.rand(2, 3)))
    assert not program_attends(graph(small_net(), torch.from_numpy(images(1)[0])))
    assert program_attends(graph(torch.nn.MultiheadAttention(8, 2), *[torch.rand(4, 1, 8)] * 3))
    assert program_attends(graph(Attention(), *map(torch.from_numpy, sentences(1)[0])))
