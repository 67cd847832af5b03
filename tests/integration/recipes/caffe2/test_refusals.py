"""What cannot be translated, and what is no net at all, is said exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import ModelError
from farm.recipes.caffe2 import netdef, pair
from farm.recipes.caffe2.translation import translate
from farm.types import TensorSpec
from tests.integration.recipes.caffe2.test_zoo import image
from tests.integration.recipes.caffe2.writer import Nets, add

DATA = TensorSpec(name="data", shape=(1, 3, 8, 8), dtype="float32")


def refusal(nets, *specs):
    with pytest.raises(ModelError) as caught:
        translate(*nets.bytes(), specs or (DATA,))
    return caught.value


def net(*, weights=True):
    nets = Nets()
    names = [nets.weight("w", image(4, 3, 3, 3)), nets.weight("b", image(4))] if weights else ["w", "b"]
    nets.op("Conv", ["data", *names], "y", kernel=3)
    return nets


def test_every_unknown_operator_is_named_with_its_place_and_count():
    nets = net()
    for kind in ("BBoxTransform", "RoIAlign", "RoIAlign"):
        nets.op(kind, ["y"], "y")
    error = refusal(nets)
    assert "2 x RoIAlign (first: operator 2), 1 x BBoxTransform (first: operator 1)" in error.message
    assert error.details["unknown"] == {"RoIAlign": 2, "BBoxTransform": 1}
    assert "ChannelShuffle" in error.remedy


def test_random_weights_are_no_trained_model():
    nets = net(weights=False)
    add(nets.init, "XavierFill", [], ["w"], shape=[4, 3, 3, 3])
    assert "random numbers" in refusal(nets).message


def test_an_argument_that_is_not_known_is_not_passed_over():
    nets = net()
    nets.op("Relu", ["y"], "z", slope=0.1)
    assert "argument slope of operator 1 (Relu: y -> z)" in refusal(nets).message


def test_a_weight_that_is_missing_is_named():
    nets = net(weights=False)
    nets.weight("other", image(1))
    nets.predict.external_input.extend([b"w", b"b"])
    assert "takes 3 inputs (data, w, b)" in refusal(nets).message


def test_an_input_of_another_shape_names_the_operator():
    error = refusal(net(), DATA.model_copy(update={"shape": (1, 8, 8, 3)}))
    assert "operator 0 (Conv: data, w, b -> y) does not fit its inputs of shapes [1, 8, 8, 3]" in error.message


def test_an_input_that_the_init_net_fills_must_be_named():
    nets = net()
    add(nets.init, "ConstantFill", [], ["data"], shape=[1])
    error = refusal(nets, DATA.model_copy(update={"name": "input_0"}))
    assert "input_names=['data']" in error.remedy
    model = translate(*nets.bytes(), (DATA,))
    assert [each.name for each in model.graph.input] == ["data"]


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("Dropout", {}, "training mode"),
        ("SpatialBN", {}, "training mode"),
        ("MaxPool", {"kernel": 1, "stride": 4, "legacy_pad": 2}, "SAME with strides over"),
        ("MaxPool", {"kernel": 2, "pad_t": 1}, "on some sides only"),
        ("MaxPool", {"kernel": 2.5}, "not a whole number"),
        ("MaxPool", {}, "does not fit its inputs"),
        ("Softmax", {"axis": 7}, "an axis of 4 dimensions"),
        ("Reshape", {"shape": [7, -1]}, "a shape of [7, -1]"),
        ("Conv", {"kernel": 3, "order": "CHWN"}, "NCHW or NHWC"),
    ],
)
def test_what_an_operator_cannot_be_is_said(kind, arguments, says):
    nets = net()
    nets.op(kind, ["y", *(["w", "b"] if kind == "Conv" else [])], "z", **arguments)
    assert says in refusal(nets).message


def test_second_outputs_cannot_be_read():
    nets = net()
    nets.op("Dropout", ["y"], "z", "mask", is_test=1)
    nets.output(nets.op("Relu", ["mask"], "out"))
    assert "reads 'mask', which the farm does not make of operator 1" in refusal(nets).message


def test_a_fill_that_would_take_all_memory_is_refused_before_it_does():
    nets = net()
    add(nets.init, "ConstantFill", [], ["huge"], shape=[1 << 20, 1 << 20])
    assert "a shape of at most" in refusal(nets).message


def test_a_cut_weight_says_so():
    nets = net()
    add(nets.init, "GivenTensorFill", [], ["cut"], shape=[3], values=[1.0, 2.0])
    assert "holds 2 values, its shape [3] takes 3" in refusal(nets).message


def test_files_that_are_no_pair(tmp_path):
    folder = net().save(tmp_path / "net")
    packed = tmp_path / "program"
    pair.pack(folder / pair.INIT, folder / pair.PREDICT, packed)
    assert pair.unpack(packed) == net().bytes()
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(ModelError, match="cannot be read as a pair"):
        pair.unpack(packed)
    (folder / pair.INIT).unlink()
    with pytest.raises(ModelError, match=r"no file .*init_net\.pb"):
        pair.find(folder)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_net_or_a_model_error(content):
    try:
        net = netdef.parse(content, "predict_net.pb")
        assert net.operators or net.name or not content
    except ModelError as error:
        assert "predict_net.pb" in error.message


MODEL = net().bytes()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(MODEL[1]) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_byte_ends_in_a_model_or_a_model_error(place, value, init):
    damaged = [bytearray(part) for part in MODEL]
    damaged[0 if init else 1][place] = value
    try:
        assert translate(bytes(damaged[0]), bytes(damaged[1]), (DATA,)).graph.node
    except ModelError as error:
        assert error.remedy


def test_names_that_are_not_utf8_are_told_apart():
    content = netdef.message("NetDef")()
    add(content, "Relu", ["x"], ["y"])
    content.op[0].input[0] = b"\xff\xfe"
    content.op[0].output[0] = b"\xff\xfd"
    (operator,) = netdef.parse(content.SerializeToString(), "predict_net.pb").operators
    assert operator.inputs != operator.outputs
    assert np.all([name.isascii() for name in (*operator.inputs, *operator.outputs)])
