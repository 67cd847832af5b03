"""Linear layers whose weights are integers, as modules of plain ATen operators. Imported where torch is at work.

torchao's quantized tensors are no plain tensors: a ``.pt2`` with them is refused (it would be unpickled), and the
device would need torchao. The arithmetic is the same: symmetric int8 per output channel, activations per token.
"""

from __future__ import annotations

from typing import Any

import torch

GROUP = 32  # weights that share a scale and an offset in int4


class WeightOnly8(torch.nn.Module):  # type: ignore[misc]
    """Weights stay int8 in memory; the multiplication is in the input's type."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        _keep_rows(self, weight, bias)

    def forward(self, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        y = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        return _with_bias(y.reshape(*x.shape[:-1], -1), self.bias)


class Dynamic8(torch.nn.Module):  # type: ignore[misc]
    """Each row of the input is quantized by its own largest element, then int8 times int8."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        _keep_rows(self, weight, bias)

    def forward(self, x: Any) -> Any:
        largest = x.abs().amax(dim=-1, keepdim=True)
        scale = (largest / 127).clamp(min=torch.finfo(x.dtype).tiny)
        rows = (x / scale).round().clamp(-127, 127).to(torch.int8).reshape(-1, x.shape[-1])
        sums = torch._int_mm(rows, self.weight.t()).reshape(*x.shape[:-1], -1)
        return _with_bias(sums.to(torch.float32) * scale * self.scale, self.bias).to(x.dtype)


class WeightOnly4(torch.nn.Module):  # type: ignore[misc]
    """Two weights in a byte, one scale and offset for 32 in a row; unpacked for every call."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        groups = weight.detach().unflatten(1, (-1, GROUP))
        low, high = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
        scale = ((high - low) / 15).clamp(min=torch.finfo(weight.dtype).tiny)
        values = ((groups - low) / scale).round().clamp(0, 15).to(torch.uint8).flatten(1)
        self.weight = torch.nn.Parameter(values[:, ::2] | (values[:, 1::2] << 4), requires_grad=False)
        self.register_buffer("scale", scale)
        self.register_buffer("low", low)
        _keep_bias(self, bias)

    def forward(self, x: Any) -> Any:
        values = torch.stack((self.weight & 15, self.weight >> 4), dim=2).flatten(1).unflatten(1, (-1, GROUP))
        weight = (values.to(x.dtype) * self.scale + self.low).flatten(1)
        return torch.nn.functional.linear(x, weight, self.bias)


def _keep_rows(module: Any, weight: Any, bias: Any) -> None:
    """``weight`` [outputs, inputs] in int8 with one scale per output, so that weight = scale * integers."""
    weight = weight.detach()
    scale = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    integers = (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    module.weight = torch.nn.Parameter(integers, requires_grad=False)
    module.register_buffer("scale", scale)
    _keep_bias(module, bias)


def _keep_bias(module: Any, bias: Any) -> None:
    module.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)


def _with_bias(y: Any, bias: Any) -> Any:
    return y if bias is None else y + bias
