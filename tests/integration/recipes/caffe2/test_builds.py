"""A Caffe2 model goes the way of every other: packed, stored, built by recipes that take ONNX."""

import numpy as np
import pytest
import torch

from farm.errors import ModelError, RecipeSpecError
from farm.packaging import package
from farm.recipes import samples
from farm.recipes.caffe2 import LABEL
from farm.submission import is_uploaded
from farm.types import ModelFormat
from tests.integration.recipes import engines
from tests.integration.recipes.caffe2 import zoo
from tests.integration.recipes.caffe2.test_zoo import image
from tests.integration.recipes.caffe2.writer import Nets

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    torch.manual_seed(2)
    net = zoo.randomized(zoo.MobileNet(), 3)
    return net, zoo.mobile_net(net, order="NCHW").save(tmp_path_factory.mktemp("caffe2") / "mobilenet")


def test_the_same_nets_are_the_same_model(mobile):
    _, folder = mobile
    data = image(1, 3, 32, 32)
    with package(folder, (data,)) as one, package((folder / "init_net.pb", folder / "predict_net.pb"), (data,)) as two:
        assert one.spec == two.spec
        assert one.spec.format == ModelFormat.CAFFE2
        assert one.spec.name == "mobilenet"
    assert not is_uploaded(str(folder))


def test_recipes_that_take_onnx_build_it(workshop, mobile, tmp_path):
    net, folder = mobile
    data = [image(1, 3, 32, 32, seed=seed) for seed in range(3)]
    spec = workshop.put(package(folder, (data[0],), parity_inputs=data))
    artifact = workshop.build(spec, "onnxruntime")
    assert [step.label for step in artifact.report.lineage] == [LABEL, "onnxruntime"]
    assert "the reference is this translation" in artifact.report.notes[0]
    found = engines.outputs("onnxruntime", workshop.fetch(artifact, tmp_path), data)
    with torch.inference_mode():
        expected = [net(torch.from_numpy(each)).numpy() for each in data]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    rows = samples.read(workshop.fetch(workshop.build(spec, "reference"), tmp_path), "reference outputs")
    np.testing.assert_allclose([row[0] for row in rows], expected, atol=1e-5)
    with pytest.raises(RecipeSpecError, match="caffe2 format"):
        workshop.build(spec, "torchscript")


def test_an_unknown_operator_fails_the_build_with_its_name(workshop, tmp_path):
    nets = Nets()
    nets.output(nets.op("HeatmapMaxKeypoint", ["data"], "y"))
    spec = workshop.put(package(nets.save(tmp_path / "odd"), (image(1, 3, 8, 8),)))
    with pytest.raises(ModelError, match="1 x HeatmapMaxKeypoint"):
        workshop.build(spec, "onnxruntime")
