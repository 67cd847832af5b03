"""Core ML packages: nothing here can run them, so what is in them is looked at."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from farm.errors import RecipeError, RecipeSpecError
from farm.packaging import package
from farm.recipes import presets
from farm.types import Recipe
from farm.types.transforms import cast, palettize, quantize
from tests.integration.recipes.workshop import images

pytestmark = [pytest.mark.real_models, pytest.mark.conversions]


class Wide(torch.nn.Module):
    """float32[1, 3, 32, 32] and int64 indices to float32[1, 10]; half of one layer's weights are zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(40, 16)
        self.first, self.second = torch.nn.Linear(3 * 32 * 32, 16), torch.nn.Linear(16, 10)
        with torch.no_grad():
            self.first.weight[:, ::2] = 0

    def forward(self, image: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        features = self.first(image.flatten(1)) + self.words(ids).mean(1)
        return self.second(torch.relu(features))


@pytest.fixture(scope="module")
def wide(workshop):
    torch.manual_seed(5)
    return workshop.put(package(Wide().eval(), (images(1)[0], torch.tensor([[1, 2, 3]]))))


def build(workshop, spec, recipe: Recipe | str, folder: Path):
    """Notes, the model description, and the size of the artifact."""
    from coremltools.proto import Model_pb2

    outcome, path = workshop.build_here(spec, recipe, folder)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("model.mlpackage/Manifest.json"))
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        model = Model_pb2.Model.FromString(archive.read(f"model.mlpackage/Data/{root['path']}"))
    return outcome.notes, model.description, path.stat().st_size


@pytest.mark.parametrize(
    ("transforms", "forms"),
    [
        ([], "float32"),
        ([cast()], "float16"),
        ([cast(), quantize(weight_only=True)], "int8 with a scale per channel"),
        ([palettize(4)], "4-bit table"),
        ([palettize(6)], "6-bit table"),
    ],
)
def test_weights_are_stored_as_asked_for(workshop, wide, tmp_path: Path, transforms: list, forms: str) -> None:
    notes, description, _ = build(workshop, wide, Recipe("coreml", transforms=transforms), tmp_path)
    assert notes[0] == "Converted, not run: no Apple device."
    assert forms in notes[1]
    assert ("sparse" in notes[1]) == (transforms in ([], [cast()]))  # zeros, where no other form was asked for
    assert notes[2:] == ("Core ML takes and gives no int64: input ids is int32.",)
    types = [feature.type.multiArrayType.dataType for feature in [*description.input, *description.output]]
    assert types == [65568, 131104, 65568]  # float32, int32, float32: in half precision, too


def test_the_same_build_is_the_same_artifact(workshop, wide, tmp_path: Path) -> None:
    recipe, contents = Recipe("coreml", transforms=[cast(), palettize(2)]), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _, path = workshop.build_here(wide, recipe, tmp_path / name)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(tmp_path / "one" / "output" / "model.mlpackage.zip") as archive:
        assert archive.testzip() is None
        assert {name.split("/")[1] for name in archive.namelist()} == {"Manifest.json", "Data"}


def test_a_model_without_weights_to_compress_says_so(workshop, tmp_path: Path) -> None:
    spec = workshop.put(package(torch.nn.Conv2d(3, 1, 3).eval(), (images(1)[0],)))
    with pytest.raises(RecipeError, match="No weight was compressed"):
        workshop.build_here(spec, Recipe("coreml", transforms=[palettize(4)]), tmp_path)


@pytest.mark.parametrize(
    ("transforms", "says"),
    [
        ([quantize(static=True)], "macOS"),
        ([quantize()], "fixed ranges"),
        ([quantize("int4", weight_only=True)], "iOS 18"),
        ([palettize(3)], "iOS 18"),
        ([cast("bfloat16")], "float32 and float16"),
    ],
)
def test_what_core_ml_does_not_take_is_refused_with_the_reason(transforms: list, says: str) -> None:
    with pytest.raises(RecipeSpecError, match=says):
        presets.parse(Recipe("coreml", transforms=transforms))


def test_a_weight_has_one_compressed_form(workshop, wide, tmp_path: Path) -> None:
    recipe = Recipe("coreml", transforms=[palettize(4), quantize(weight_only=True)])
    with pytest.raises(RecipeSpecError, match="one compressed form"):
        workshop.build_here(wide, recipe, tmp_path)
