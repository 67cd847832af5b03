"""Whole nets: what PyTorch computes with the same weights is what the translation computes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from farm.recipes.caffe2.translation import translate
from farm.types import TensorSpec
from tests.integration.recipes.caffe2 import zoo


def run(nets, *arrays, names=("data",)):
    specs = tuple(TensorSpec(name=n, shape=a.shape, dtype=a.dtype.name) for n, a in zip(names, arrays, strict=True))
    model = translate(*nets.bytes(), specs)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    taken = [node.name for node in session.get_inputs()]
    return session.run(None, dict(zip(taken, arrays, strict=True)))


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def answered(net, data):
    with torch.inference_mode():
        return net(torch.from_numpy(data)).numpy()


@pytest.mark.parametrize("size", [31, 32, 33, 34, 35])  # Caffe's padding depends on it
def test_squeeze_net(size):
    torch.manual_seed(1)
    net, data = zoo.SqueezeNet().eval(), image(2, 3, size, size)
    (found,) = run(zoo.squeeze_net(net), data)
    np.testing.assert_allclose(found.reshape(2, 10), answered(net, data), atol=1e-5)


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_mobile_net_in_both_orders(order):
    torch.manual_seed(2)
    net, data = zoo.randomized(zoo.MobileNet(), 3), image(1, 3, 32, 32)
    taken = np.ascontiguousarray(data.transpose(0, 2, 3, 1)) if order == "NHWC" else data
    (found,) = run(zoo.mobile_net(net, order=order), taken)
    np.testing.assert_allclose(found, answered(net, data), atol=1e-5)


def test_shuffle_net():
    torch.manual_seed(4)
    net, data = zoo.randomized(zoo.ShuffleNet(), 5), image(2, 3, 24, 24)
    (found,) = run(zoo.shuffle_net(net), data)
    np.testing.assert_allclose(found, answered(net, data), atol=1e-5)
