"""The built-in distillation: what it compares (outputs, and activations where both have the same), and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from farm.recipes.transforms import channels
from farm.recipes.transforms.prune import weighty
from farm.recipes.transforms.session import Inputs, Session

Loss = Callable[[list[Any], list[Any]], Any]


def train(
    student: Any, teacher: Any, data: Sequence[Inputs], session: Session, *, loss: Loss | None = None
) -> tuple[str, ...]:
    """Adam with a learning rate that falls to zero along a cosine; batch norms keep their statistics. ``loss`` takes
    the place of the built-in one. Returns notes."""
    import torch

    settings = session.settings
    together = batchable(student, data) and batchable(teacher, data)
    features = [] if loss is not None else common_features(student, teacher, data[0])
    seen = (_Watched(student, features), _Watched(teacher, features))
    weight = settings.feature_weight if features else 0.0
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=settings.learning_rate)

    def compared(inputs: Inputs) -> Any:
        with torch.no_grad():
            theirs = outputs(teacher, inputs)
        ours = outputs(student, inputs)
        if loss is not None:
            return loss(ours, theirs)
        told = (1 - weight) * answers_loss(ours, theirs, settings.temperature)
        return told + weight * seen[0].distance(seen[1]) if weight else told

    for step in range(session.resume(optimizer), settings.steps):
        rate = settings.learning_rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        samples = [data[index] for index in session.indices(len(data), step)]
        batches = [stacked(samples)] if together else samples
        optimizer.zero_grad()
        total = 0.0
        for inputs in batches:
            value = compared(inputs) / len(batches)
            value.backward()
            total += float(value.detach())
        optimizer.step()
        session.done(step, total, optimizer)
    how = "in batches" if together else "one sample at a time, since the program was exported for no other batch"
    if loss is not None:
        what = "The loss is the recipe's own."
    elif features:
        what = f"The loss is of the outputs and of the activations of {', '.join(features)}."
    else:
        what = "The loss is of the outputs alone: no activation in between has the same shape in both."
    return (f"Trained {how}. {what}",)


def outputs(module: Any, inputs: Inputs) -> list[Any]:
    """Flat, floating-point ones only."""
    from torch.utils._pytree import tree_leaves

    return [value for value in tree_leaves(module(*inputs)) if value.is_floating_point()]


def answers_loss(ours: Sequence[Any], theirs: Sequence[Any], temperature: float) -> Any:
    """Per output the squared error relative to the teacher's variance; for what looks like scores of classes
    ([samples, two or more]) also the divergence of the softened softmax (Hinton, Vinyals, Dean, arXiv:1503.02531)."""
    from torch.nn import functional

    total: Any = 0.0
    for own, answer in zip(ours, theirs, strict=True):
        total = total + _distance(own, answer)
        if answer.ndim == 2 and answer.shape[1] > 1:
            soft = functional.log_softmax(own / temperature, dim=1), functional.log_softmax(answer / temperature, dim=1)
            divergence = functional.kl_div(*soft, log_target=True, reduction="batchmean")
            total = total + temperature**2 * divergence
    return total / len(ours)


def _distance(own: Any, answer: Any) -> Any:
    return (own - answer).square().mean() / (answer.var(correction=0) + 1e-6)


class _Watched:
    """What the named layers of a module put out when it ran last."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        self._seen: dict[str, Any] = {}
        for name in names:
            module.get_submodule(_last(module, name)).register_forward_hook(self._keeper(name))

    def _keeper(self, name: str) -> Callable[[Any, Any, Any], None]:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            self._seen[name] = output

        return keep

    def distance(self, other: _Watched) -> Any:
        return sum(_distance(value, other._seen[name]) for name, value in self._seen.items()) / len(self._seen)


def common_features(student: Any, teacher: Any, inputs: Inputs) -> list[str]:
    """Names of layers that both have, whose activations (after their batch norm, if one follows) have one shape, and
    which are not the outputs themselves."""
    ours, theirs = _features(student), _features(teacher)
    return [name for name, shape in ours.items() if theirs.get(name) == shape]


def _features(module: Any) -> dict[str, tuple[int, ...]]:
    heavy = {id(layer) for layer in weighty(module)}
    return {
        node.target: channels.shape_of(node)
        for node in module.graph.nodes
        if node.op == "call_module"
        and id(module.get_submodule(node.target)) in heavy
        and not any(user.op == "output" for user in node.users)
    }


def _last(module: Any, name: str) -> str:
    """The layer, or the batch norm that takes its output: folded or not, that is the same activation."""
    import torch

    (node, *_) = (node for node in module.graph.nodes if node.op == "call_module" and node.target == name)
    users = list(node.users)
    if len(users) == 1 and users[0].op == "call_module":
        following = module.get_submodule(users[0].target)
        if isinstance(following, torch.nn.modules.batchnorm._BatchNorm):
            return str(users[0].target)
    return name


def batchable(module: Any, data: Sequence[Inputs]) -> bool:
    """Whether several samples one after the other along the first axis give what each gives alone."""
    import torch

    pair = [data[0], data[-1]]
    with torch.no_grad():
        alone = [outputs(module, inputs) for inputs in pair]
        try:
            together = outputs(module, stacked(pair))
        except RuntimeError:
            return False  # sizes for one sample are written into the program
        joined = [torch.cat(values) for values in zip(*alone, strict=True)]
        return all(
            ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
            for ours, theirs in zip(together, joined, strict=True)
        )


def stacked(samples: Sequence[Inputs]) -> Inputs:
    import torch

    return tuple(torch.cat(values) for values in zip(*samples, strict=True))


def free_batch(module: Any) -> None:
    """Let reshapes that were written for one sample take several, where the first axis stays apart in them."""
    for node in module.graph.nodes:
        if str(node.target) not in ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default"):
            continue
        before, after = channels.shape_of(node.args[0]), channels.shape_of(node)
        first = before and after and before[0] == after[0] == 1 and channels.grouped(before, after)[0] == ([0], [0])
        if first and all(isinstance(size, int) for size in node.args[1]):
            node.update_arg(1, [-1, *after[1:]])
    module.recompile()
