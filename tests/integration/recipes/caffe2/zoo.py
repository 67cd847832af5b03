"""The classic mobile nets, small, each as a PyTorch module and as the Caffe2 nets with the same weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.integration.recipes.caffe2.writer import Nets


def put(nets: Nets, name: str, module: nn.Module, *, channels_last: bool = False) -> list[str]:
    """Weights of a convolution or linear layer, of a batch norm with its statistics; their names in Caffe2's order."""
    tensors = {"w": module.weight, "b": module.bias}
    if isinstance(module, nn.BatchNorm2d):
        tensors = {"s": module.weight, "b": module.bias, "rm": module.running_mean, "riv": module.running_var}
    names = []
    for key, tensor in tensors.items():
        if tensor is not None:
            array = tensor.detach().numpy()
            if channels_last and array.ndim == 4:
                array = array.transpose(0, 2, 3, 1)
            names.append(nets.weight(f"{name}_{key}", array))
    return names


def randomized(module: nn.Module, seed: int) -> nn.Module:
    """Batch norms as after training: their statistics are those of no fresh one."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(part.bias, 0, 0.2, generator=generator)
    return module.eval()


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class SqueezeNet(nn.Module):
    """With AlexNet's local response normalization behind the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.fire2, self.fire3 = nn.Conv2d(3, 16, 3, stride=2), Fire(16, 4, 8), Fire(16, 4, 8)
        self.conv10 = nn.Conv2d(16, 10, 1)
        self.norm = nn.LocalResponseNorm(5, alpha=0.01, beta=0.75, k=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(F.relu(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.fire3(self.fire2(x))
        return F.softmax(F.relu(self.conv10(x)).mean((2, 3)), 1)


def squeeze_net(net: SqueezeNet) -> Nets:
    nets = Nets("squeezenet")
    x = nets.op("Conv", ["data", *put(nets, "conv1", net.conv1)], "conv1", kernel=3, stride=2)
    x = nets.op("Relu", [x], "conv1")  # in place, as most of these nets work
    x = nets.op("LRN", [x], "norm1", "_norm1_scale", size=5, alpha=0.01, beta=0.75, bias=1.0)
    x = nets.op("MaxPool", [x], "pool1", kernel=3, stride=2, pad=0, legacy_pad=3)  # Caffe's rounding up
    for name, fire in (("fire2", net.fire2), ("fire3", net.fire3)):
        x = nets.op("Conv", [x, *put(nets, f"{name}_s", fire.squeeze)], f"{name}_s", kernel=1)
        x = nets.op("Relu", [x], x)
        for part, layer, pad in (("e1", fire.one, 0), ("e3", fire.three, 1)):
            weights = put(nets, f"{name}_{part}", layer)
            y = nets.op("Conv", [x, *weights], f"{name}_{part}", kernel=1 + 2 * pad, pad=pad, exhaustive_search=1)
            nets.op("Relu", [y], y)
        x = nets.op("Concat", [f"{name}_e1", f"{name}_e3"], f"{name}_concat", f"_{name}_dims")
    x = nets.op("Dropout", [x], "drop9", "_drop9_mask", ratio=0.5, is_test=1)
    x = nets.op("Conv", [x, *put(nets, "conv10", net.conv10)], "conv10", kernel=1)
    x = nets.op("Relu", [x], x)
    x = nets.op("AveragePool", [x], "pool10", global_pooling=1)
    nets.output(nets.op("Softmax", [x], "softmaxout"))
    return nets


class MobileNet(nn.Module):
    """Inverted residuals with ReLU6 and a squeeze-and-excite gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.expand, self.bn1 = nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24)
        self.depth, self.bn2 = nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24)
        self.gate = nn.Linear(24, 24)
        self.project, self.bn3 = nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn0(self.stem(x)))
        y = F.relu6(self.bn1(self.expand(x)))
        y = F.relu6(self.bn2(self.depth(y)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3))))[:, :, None, None]
        x = x + self.bn3(self.project(y))
        return F.softmax(self.head(x.mean((2, 3))), 1)


def mobile_net(net: MobileNet, *, order: str) -> Nets:
    """``order``: NCHW, or NHWC as nets from TensorFlow had it; the input's axes too."""
    nets, last = Nets("mobilenet"), order == "NHWC"

    def block(x: str, name: str, conv: nn.Conv2d, bn: nn.BatchNorm2d, *, act: bool = True) -> str:
        pads = {f"pad_{side}": conv.padding[0] for side in "tlbr"}
        weights = put(nets, name, conv, channels_last=last)
        sizes = {"kernel_h": conv.kernel_size[0], "kernel_w": conv.kernel_size[1], "stride": conv.stride[0]}
        x = nets.op("Conv", [x, *weights], name, order=order, group=conv.groups, **sizes, **pads)
        x = nets.op("SpatialBN", [x, *put(nets, f"{name}_bn", bn)], f"{name}_bn", is_test=1, epsilon=1e-5, order=order)
        return nets.op("Clip", [x], x, min=0.0, max=6.0) if act else x

    x = shortcut = block("data", "stem", net.stem, net.bn0)
    x = block(x, "expand", net.expand, net.bn1)
    x = block(x, "depth", net.depth, net.bn2)
    gate = nets.op("AveragePool", [x], "gate_pool", global_pooling=1, order=order)
    gate = nets.op("FC", [gate, *put(nets, "gate", net.gate)], "gate")
    gate = nets.op("Sigmoid", [gate], gate)
    if last:  # [N, C] would lie on the last axes: one image at a time
        gate = nets.op("Reshape", [gate], "gate_flat", "_gate_shape", shape=[-1])
        x = nets.op("Mul", [x, gate], "gated", broadcast=1)
    else:
        x = nets.op("Mul", [x, gate], "gated", broadcast=1, axis=0)
    x = block(x, "project", net.project, net.bn3, act=False)
    x = nets.op("Sum", [shortcut, x], "sum")
    x = nets.op("AveragePool", [x], "pool", global_pooling=1, order=order)
    x = nets.op("FC", [x, *put(nets, "head", net.head)], "head")
    nets.output(nets.op("Softmax", [x], "prob"))
    return nets


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.first, self.bn1 = nn.Conv2d(12, 12, 1, groups=3, bias=False), nn.BatchNorm2d(12)
        self.depth, self.bn2 = nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.second, self.bn3 = nn.Conv2d(12, 12, 1, groups=3, bias=False), nn.BatchNorm2d(12)
        self.up, self.act = nn.ConvTranspose2d(24, 6, 3, stride=2, padding=1, output_padding=1), nn.PReLU(6)
        self.norm = nn.InstanceNorm2d(6, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.bn1(self.first(x)))
        y = F.channel_shuffle(y, 3)
        y = self.bn3(self.second(self.bn2(self.depth(y))))
        x = F.relu(torch.cat([F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), y], 1))
        x = self.norm(self.act(self.up(x)))
        return F.interpolate(x, scale_factor=2, mode="nearest")


def shuffle_net(net: ShuffleNet) -> Nets:
    nets = Nets("shufflenet")

    def conv(x: str, name: str, layer: nn.Conv2d, bn: nn.BatchNorm2d | None = None) -> str:
        (kernel, _), (stride, _), (pad, _) = layer.kernel_size, layer.stride, layer.padding
        lists = {"kernels": [kernel, kernel], "strides": [stride, stride], "pads": [pad] * 4}
        x = nets.op("Conv", [x, *put(nets, name, layer)], name, group=layer.groups, **lists)
        return nets.op("SpatialBN", [x, *put(nets, f"{name}_bn", bn)], f"{name}_bn", is_test=1) if bn else x

    stem = nets.op("Relu", [conv("data", "stem", net.stem)], "stem")
    x = nets.op("Relu", [conv(stem, "first", net.first, net.bn1)], "first_act")
    x = nets.op("ChannelShuffle", [x], "shuffle", group=3, kernel=1)
    x = conv(conv(x, "depth", net.depth, net.bn2), "second", net.second, net.bn3)
    y = nets.op("AveragePool", [stem], "pool", kernel=3, stride=2, pad=1)
    x = nets.op("Relu", [nets.op("Concat", [y, x], "concat", "_dims", order="NCHW")], "concat")
    x = nets.op("ConvTranspose", [x, *put(nets, "up", net.up)], "up", kernel=3, stride=2, pad=1, adj=1)
    x = nets.op("PRelu", [x, nets.weight("slope", net.act.weight.detach().numpy())], "act")
    x = nets.op("InstanceNorm", [x, *put(nets, "norm", net.norm)], "norm", epsilon=1e-5)
    nets.output(nets.op("ResizeNearest", [x], "resized", width_scale=2.0, height_scale=2.0))
    return nets
