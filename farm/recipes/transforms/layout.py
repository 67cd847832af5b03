"""Channels-last: weights of 2-d convolutions and the images that go in lie in memory pixel by pixel (NHWC); what lies
between follows, since PyTorch's operators keep the layout of their inputs. Shapes stay what they are (NCHW)."""

from __future__ import annotations

from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied
from farm.types import ChannelsLast

VERSION = 1
TOOLS = ("torch",)


def apply(program: Program, transform: ChannelsLast) -> Applied:
    import torch

    with Boundary(RecipeError, "The program cannot be made channels-last", "Leave the transform out."):
        module = program.module()
        convolutions = [node for node in module.graph.nodes if _is_convolution(node)]
        if not convolutions:
            raise RecipeSpecError(
                "channels-last would change nothing: the model has no 2-d convolutions.", remedy="Leave it out."
            )
        for node in convolutions:
            owner, _, name = node.args[1].target.rpartition(".")
            weight = getattr(module.get_submodule(owner), name).detach()
            turned = weight.contiguous(memory_format=torch.channels_last)
            module.get_submodule(owner)._parameters[name] = torch.nn.Parameter(turned, requires_grad=False)
        for node in module.graph.find_nodes(op="placeholder"):
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor) and value.ndim == 4:
                with module.graph.inserting_after(node):
                    turned = module.graph.call_method("contiguous", (node,), {"memory_format": torch.channels_last})
                node.replace_all_uses_with(turned, delete_user_cb=lambda user, turned=turned: user is not turned)
        module.recompile()
        exported = program.export(module)
    return Applied(program.replaced(exported), (f"{len(convolutions)} convolutions with weights in channels-last.",))


def _is_convolution(node: Any) -> bool:
    import torch

    targets = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding)
    return node.op == "call_function" and node.target in targets and node.args[1].op == "get_attr"
