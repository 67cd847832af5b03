"""Single operators, where the nets do not use them or not in all their forms, against PyTorch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.integration.recipes.caffe2.test_zoo import image, run
from tests.integration.recipes.caffe2.writer import Nets

X = image(2, 4, 6, 8)
T = torch.from_numpy(X)
W = image(3, 4, 3, 3, seed=1)
B = image(3, seed=2)
C = image(4, seed=3)


def one(kind, *weights, data=X, outputs=("y",), **arguments):
    nets = Nets()
    names = [nets.weight(f"w{index}", array) for index, array in enumerate(weights)]
    nets.output(nets.op(kind, ["data", *names], *outputs, **arguments))
    return run(nets, data)[0]


def last(array):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


CASES = {
    "conv, sides": (
        lambda: one("Conv", W, B, kernel_h=3, kernel_w=3, stride_h=1, stride_w=2, pad_t=1, pad_l=0, pad_b=2, pad_r=1),
        lambda: F.conv2d(F.pad(T, (0, 1, 1, 2)), torch.from_numpy(W), torch.from_numpy(B), stride=(1, 2)),
    ),
    "conv, dilated": (
        lambda: one("Conv", W, B, kernel=3, dilation=2, pad=2),
        lambda: F.conv2d(T, torch.from_numpy(W), torch.from_numpy(B), dilation=2, padding=2),
    ),
    "conv, legacy valid": (
        lambda: one("Conv", W, B, kernel=3, legacy_pad=1),
        lambda: F.conv2d(T, torch.from_numpy(W), torch.from_numpy(B)),
    ),
    "conv, legacy same": (  # one more behind than before, as TensorFlow has it
        lambda: one("Conv", W, B, kernel=3, stride=2, legacy_pad=2),
        lambda: F.conv2d(F.pad(T, (0, 1, 0, 1)), torch.from_numpy(W), torch.from_numpy(B), stride=2),
    ),
    "pool, legacy caffe with padding": (
        lambda: one("MaxPool", kernel=3, stride=2, pad=1, legacy_pad=3),
        lambda: F.max_pool2d(T, 3, 2, 1, ceil_mode=True),
    ),
    "average, padding not counted": (
        lambda: one("AveragePool", kernel=3, stride=1, pad=1),
        lambda: F.avg_pool2d(T, 3, 1, 1, count_include_pad=False),
    ),
    "average, padding counted": (
        lambda: one("AveragePool", kernel=3, stride=1, pad=1, count_include_pad=1),
        lambda: F.avg_pool2d(T, 3, 1, 1),
    ),
    "clip below only": (lambda: one("Clip", min=0.25), lambda: T.clamp(min=0.25)),
    "clip above only": (lambda: one("Clip", max=0.25), lambda: T.clamp(max=0.25)),
    "relu6": (lambda: one("Relu6", data=9 * X), lambda: F.relu6(9 * T)),
    "leaky relu": (lambda: one("LeakyRelu", alpha=0.2), lambda: F.leaky_relu(T, 0.2)),
    "elu": (lambda: one("Elu", alpha=0.5), lambda: F.elu(T, 0.5)),
    "swish": (lambda: one("Swish"), lambda: F.silu(T)),
    "prelu, shared": (lambda: one("PRelu", C[:1]), lambda: F.prelu(T, torch.from_numpy(C[:1]))),
    "prelu, channels last": (
        lambda: one("PRelu", C, data=last(X), order="NHWC"),
        lambda: F.prelu(T, torch.from_numpy(C)).movedim(1, -1),
    ),
    "softmax of an image": (lambda: one("Softmax"), lambda: T.flatten(1).softmax(1).reshape(T.shape)),
    "softmax over the last axis": (lambda: one("Softmax", axis=3), lambda: T.softmax(3)),
    "add to channels": (
        lambda: one("Add", C, broadcast=1, axis=1),
        lambda: T + torch.from_numpy(C)[:, None, None],
    ),
    "add to channels by letter": (
        lambda: one("Add", C, broadcast=1, axis_str="C", order="NHWC", data=last(X)),
        lambda: (T + torch.from_numpy(C)[:, None, None]).movedim(1, -1),
    ),
    "sub a suffix": (
        lambda: one("Sub", X[0, 0], broadcast=1),
        lambda: T - T[0, 0],
    ),
    "mul by one number": (lambda: one("Mul", C[:1], broadcast=1), lambda: T * float(C[0])),
    "fc over three axes": (
        lambda: one("FC", W.reshape(3, 36)[:, :32], B, data=X.reshape(2, 3, 2, 32), axis=3),
        lambda: F.linear(T.reshape(2, 3, 2, 32), torch.from_numpy(W.reshape(3, 36)[:, :32]), torch.from_numpy(B)),
    ),
    "fc, transposed": (
        lambda: one("FCTransposed", image(192, 3), B),
        lambda: T.flatten(1) @ torch.from_numpy(image(192, 3)) + torch.from_numpy(B),
    ),
    "batch norm, channels last": (
        lambda: one("SpatialBN", C, C, C, C**2, data=last(X), order="NHWC", is_test=1, epsilon=0.01),
        lambda: F.batch_norm(T, *map(torch.from_numpy, (C, C**2, C, C)), eps=0.01).movedim(1, -1),
    ),
    "nearest, not whole": (
        lambda: one("ResizeNearest", width_scale=1.5, height_scale=2.0),
        lambda: F.interpolate(T, scale_factor=(2.0, 1.5), mode="nearest"),
    ),
    "reshape": (lambda: one("Reshape", outputs=("y", "old"), shape=[0, 2, -1]), lambda: T.reshape(2, 2, 96)),
    "flatten": (lambda: one("Flatten", axis=2), lambda: T.reshape(8, 48)),
    "transpose": (lambda: one("Transpose", axes=[0, 2, 3, 1]), lambda: T.permute(0, 2, 3, 1)),
    "transpose all": (lambda: one("Transpose"), lambda: T.permute(3, 2, 1, 0)),
    "squeeze": (lambda: one("Squeeze", data=X[:1, :1], dims=[0, 1]), lambda: T[0, 0]),
    "slice": (lambda: one("Slice", starts=[0, 1, 0, 2], ends=[-1, 3, -1, -2]), lambda: T[:, 1:3, :, 2:7]),
    "pad, reflected": (
        lambda: one("PadImage", pad_t=1, pad_l=2, pad_b=0, pad_r=1, mode="reflect"),
        lambda: F.pad(T, (2, 1, 1, 0), mode="reflect"),
    ),
    "to channels last": (lambda: one("NCHW2NHWC"), lambda: T.movedim(1, -1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_pytorch_computes(name):
    found, expected = CASES[name][0](), CASES[name][1]().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_split_and_concat():
    nets = Nets()
    nets.op("Split", ["data"], "a", "b", axis=1, split=[1, 3])
    nets.output(nets.op("Concat", ["b", "a"], "y", "sizes"))
    np.testing.assert_array_equal(run(nets, X)[0], np.concatenate([X[:, 1:], X[:, :1]], 1))


def test_several_inputs_and_outputs_keep_their_order():
    nets = Nets(inputs=("left", "right"))
    nets.op("Sub", ["left", "right"], "difference")
    nets.op("Copy", ["right"], "same")
    nets.output("same", "difference")
    found = run(nets, X, 2 * X, names=("any", "name"))
    np.testing.assert_array_equal(found[0], 2 * X)
    np.testing.assert_array_equal(found[1], -X)


def test_a_blob_that_is_written_twice_is_read_as_it_is_then():
    nets = Nets()
    nets.op("Negative", ["data"], "x")
    nets.op("Add", ["x", "x"], "before")
    nets.op("Relu", ["x"], "x")
    nets.output(nets.op("Sub", ["before", "x"], "y"))
    np.testing.assert_array_equal(run(nets, X)[0], -2 * X - np.maximum(-X, 0))
