"""Core ML: an ``.mlpackage`` that coremltools converts, compresses and checks on Linux; only Apple's systems run it.

The package is a folder; the artifact is one zip of it, the same bytes for the same content. Weights with many zeros
(a pruned program's) are stored sparsely, whatever else was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import mlpackage
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, ModelFormat, Palettize, Prune, Quantize, Recipe, Transform

FILES = ("model.mlpackage.zip",)
VERSION = 1
TOOLS = ("torch", "coremltools")
EXTRA = "coreml"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
NATIVE = ("fp16", "int8-weight-only", "palettize")
TOOLS_FOR: dict[str, tuple[str, ...]] = {f"palettized{bits}": ("scikit-learn",) for bits in (1, 2, 4, 6, 8)}
_MACOS = "coremltools calibrates activations by running the model, which takes macOS; int8 weights alone can be made"
_IOS17 = "the packages are for iOS 17 and later"
REFUSES = {
    "int8-static": _MACOS,
    "int8-dynamic": "Core ML quantizes activations with fixed ranges only; int8 weights alone can be made",
    "int4-static": _MACOS,
    "int4-dynamic": "Core ML quantizes activations with fixed ranges only",
    "int4-weight-only": f"{_IOS17}, and weights of 4 bits take iOS 18; palettized4 can be made",
    "palettized3": f"{_IOS17}, and tables of 8 values take iOS 18; palettized4 can be made",
    "bf16": "Core ML computes in float32 and float16",
    "channels-last": "Core ML chooses the layout itself",
    "dynamic-batch": "its packages have fixed shapes here; take batch",
}
OPTIONS: dict[str, Values] = {"compute_units": ("all", "cpu", "gpu", "ane")}


PRESETS = (
    (Recipe("coreml", name="coreml"), "Core ML, fp32."),
    (Recipe("coreml", transforms=(Cast(),)), "Core ML, fp16: what the Neural Engine computes in."),
    (Recipe("coreml", transforms=(Quantize(mode="weight-only"),)), "Core ML, weights in int8, computed with in fp32."),
    (Recipe("coreml", transforms=(Palettize(bits=4),)), "Core ML, 16 values per weight tensor."),
    (Recipe("coreml", transforms=(Palettize(bits=6),)), "Core ML, 64 values per weight tensor."),
    (
        Recipe("coreml", name="coreml-pruned50", transforms=(Prune(amount=0.5),)),
        "Core ML, half of the weights zero and stored sparsely.",
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by Core ML."
_SMALLEST = 256  # values: what a table of 8 bits or a scale per channel saves of smaller weights is not worth its loss
_SPARSE = 0.25  # zeros among a tensor's values from which on it is stored sparsely: a bit says of each whether it is 0


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    half = any(isinstance(transform, Cast) for transform in recipe.transforms)
    smaller = [transform for transform in recipe.transforms if not isinstance(transform, Cast)]
    if len(smaller) > 1:
        raise RecipeSpecError(
            "Core ML stores a weight in one compressed form, and the recipe asks for two.",
            remedy="Quantize the weights or palettize them.",
        )
    with Boundary(RecipeError, "coremltools does not convert the program", _REMEDY):
        model = _converted(program, half=half)
    with Boundary(RecipeError, "coremltools does not compress the weights", _REMEDY):
        model = _smaller(model, smaller[0] if smaller else None)
    with Boundary(RecipeError, "coremltools does not save the package", _REMEDY):
        package = folder / "model.mlpackage"
        model.save(str(package))
    content = mlpackage.inspect(model.get_spec())
    notes = mlpackage.check(content, program, compressed=bool(smaller))
    mlpackage.archive(package, folder / FILES[0])
    return Built(("Converted, not run: no Apple device.", *content.notes(), *notes))


def _converted(program: Program, *, half: bool) -> Any:
    """Inputs and outputs keep the program's types as far as Core ML has them: int64 becomes int32."""
    import coremltools as ct

    exported = program.exported().run_decompositions()
    return ct.convert(
        exported,
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        outputs=_outputs(exported) if half else None,
        skip_model_load=True,
    )


def _outputs(exported: Any) -> list[Any]:
    """Outputs in float32: left alone, they would be float16 like the arithmetic."""
    import coremltools as ct
    import numpy as np

    nodes = {node.name: node for node in exported.graph.nodes}
    values = [nodes[name].meta["val"] for name in exported.graph_signature.user_outputs]
    return [ct.TensorType(dtype=np.float32 if value.is_floating_point() else np.int32) for value in values]


def _smaller(model: Any, transform: Transform | None) -> Any:
    import coremltools.optimize.coreml as cto

    if isinstance(transform, Palettize):
        palettes = cto.OpPalettizerConfig(mode="kmeans", nbits=transform.bits, weight_threshold=_SMALLEST)
        return cto.palettize_weights(model, cto.OptimizationConfig(palettes))
    if isinstance(transform, Quantize):
        scales = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=_SMALLEST)
        return cto.linear_quantize_weights(model, cto.OptimizationConfig(scales))
    zeros = cto.OpThresholdPrunerConfig(
        threshold=1e-12, minimum_sparsity_percentile=_SPARSE, weight_threshold=_SMALLEST
    )
    return cto.prune_weights(model, cto.OptimizationConfig(zeros))
