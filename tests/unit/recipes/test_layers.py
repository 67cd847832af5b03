"""Programs are taken apart into layers and put together again without any change of what they compute."""

import pytest
import torch
from torch import nn
from torch._export.converter import TS2EPConverter
from torch.utils._pytree import tree_leaves

from farm.recipes.transforms import layers
from tests.integration.recipes.workshop import SHAPE, small_net


class Tied(nn.Module):
    """A transformer block with tied embeddings, a layer that is called twice, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.twice = nn.Linear(32, 32)
        self.activation = nn.PReLU()
        self.out = nn.Linear(32, 50, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor, padding: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.block(self.embedding(tokens), src_key_padding_mask=padding)
        hidden = self.twice(self.activation(self.twice(hidden)))
        return {"logits": self.out(hidden), "hidden": hidden}


class Audio(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16).reshape(1, 1, 16))
        self.layers = nn.Sequential(
            nn.Conv1d(1, 8, 9, stride=4, padding=4),
            nn.BatchNorm1d(8),
            nn.ELU(),
            nn.Conv1d(8, 8, 3, padding="same", dilation=2, groups=4),
            nn.GroupNorm(2, 8),
            nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1, output_padding=1),
        )

    def forward(self, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        smooth = nn.functional.conv1d(wave, self.window, padding=8)
        return self.layers(smooth), smooth.mean()


CASES = {
    "vision": (small_net, (torch.rand(SHAPE),)),
    "transformer": (Tied, (torch.arange(7)[None], torch.tensor([[False] * 5 + [True] * 2]))),
    "audio": (Audio, (torch.rand(1, 1, 64),)),
}


@pytest.fixture(params=CASES)
def case(request):
    make, inputs = CASES[request.param]
    torch.manual_seed(0)
    model = make().eval()
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return model, inputs


def assert_same(found, expected):
    for ours, theirs in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_there_and_back_computes_the_same(case):
    model, inputs = case
    exported = torch.export.export(model, inputs, strict=False)
    with torch.no_grad():
        expected = model(*inputs)
        taken = layers.of(exported)
        assert_same(taken(*inputs), expected)
        again = layers.export(taken, exported, inputs)
        assert_same(again.module()(*inputs), expected)
    assert again.graph_signature.user_inputs == exported.graph_signature.user_inputs
    assert again.call_spec.out_spec == exported.call_spec.out_spec


def kinds(module):
    return sorted(type(part).__name__ for part in module.modules() if type(part).__module__.startswith("torch.nn.mod"))


def test_layers_are_layers_at_their_place():
    taken = layers.of(torch.export.export(small_net(), (torch.zeros(SHAPE),), strict=False))
    assert isinstance(taken.get_submodule("stem.1"), nn.BatchNorm2d)
    assert taken.get_submodule("depthwise.0").groups == 16
    assert [name for name, _ in taken.named_parameters()] == [name for name, _ in small_net().named_parameters()]


def test_shared_tensors_stay_shared_and_a_layer_called_twice_is_one():
    model = Tied().eval()
    inputs = CASES["transformer"][1]
    taken = layers.of(torch.export.export(model, inputs, strict=False))
    assert sum(p.numel() for p in taken.parameters()) == sum(p.numel() for p in model.parameters())
    calls = [node.target for node in taken.graph.nodes if node.op == "call_module"]
    assert calls.count("twice") == 2
    assert not any(isinstance(part, nn.Embedding) for part in taken.modules())  # its weight is the output's as well
    with torch.no_grad():
        taken.get_parameter("out.weight").zero_()
        assert not taken(*inputs)["logits"].any()


def test_a_computed_weight_makes_no_layer():
    taken = layers.of(torch.export.export(Audio().eval(), CASES["audio"][1], strict=False))
    assert sum(isinstance(part, nn.Conv1d) for part in taken.modules()) == 2


BATCHES = [torch.export.Dim("batch", min=1, max=8), torch.export.Dim("batch", min=2, max=8), torch.export.Dim("batch")]


@pytest.mark.parametrize("batch", [*BATCHES, torch.export.Dim.AUTO])
def test_dynamic_dimensions_stay_dynamic(batch):
    exported = torch.export.export(small_net(), (torch.zeros(4, *SHAPE[1:]),), dynamic_shapes=({0: batch},))
    again = layers.export(layers.of(exported), exported, (torch.zeros(SHAPE),))
    assert list(again.range_constraints.values()) == list(exported.range_constraints.values())
    many = torch.rand(7, *SHAPE[1:])
    assert_same(again.module()(many), small_net()(many))


def test_torchscript_that_was_lifted_has_layers_too():
    lifted = TS2EPConverter(torch.jit.trace(small_net(), torch.zeros(SHAPE)), (torch.zeros(SHAPE),)).convert()
    taken = layers.of(lifted)
    assert sum(isinstance(part, nn.Conv2d) for part in taken.modules()) == 2
    image = torch.rand(SHAPE)
    assert_same(layers.export(taken, lifted, (image,)).module()(image), small_net()(image))
