"""What lies in a Core ML package: looked at instead of run, and packed so that equal packages are equal bytes.

Formats: coremltools' Model.proto and MIL.proto; Apple's documentation of ``.mlpackage``.
"""

from __future__ import annotations

import json
import math
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.program import Program

Tensor = tuple[str, tuple[int, ...], str]  # name, shape (empty where it is flexible), dtype

_DTYPES = {65568: "float32", 65552: "float16", 131104: "int32", 65600: "float64"}  # ArrayFeatureType.ArrayDataType
_NARROWER = {"int64": "int32", "float64": "float32", "bool": "float32"}  # types that Core ML's interfaces lack
_MANIFEST = "Manifest.json"
_DATA = "Data"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can tell


@dataclass(frozen=True)
class Content:
    """``weights``: how many tensors are stored in which form."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Counter[str]

    @property
    def compressed(self) -> int:
        return sum(count for form, count in self.weights.items() if form not in _DTYPES.values())

    def notes(self) -> list[str]:
        return [
            f"Weight tensors by form: {', '.join(f'{count} x {form}' for form, count in self.weights.most_common())}."
        ]


def inspect(spec: Any) -> Content:
    """``spec``: the package's ``Model`` message."""
    blocks = spec.mlProgram.functions["main"].block_specializations.values()
    weights = Counter(form for block in blocks for form in _forms(block))
    inputs, outputs = ([_tensor(each) for each in found] for found in (spec.description.input, spec.description.output))
    return Content(tuple(inputs), tuple(outputs), weights)


def _tensor(feature: Any) -> Tensor:
    array = feature.type.multiArrayType
    flexible = array.WhichOneof("ShapeFlexibility") is not None
    return feature.name, () if flexible else tuple(array.shape), _DTYPES.get(array.dataType, str(array.dataType))


def _forms(block: Any) -> Iterator[str]:
    """Of each weight that lies in the package's weight file."""
    for operation in block.operations:
        values = operation.attributes
        if operation.type == "constexpr_lut_to_dense":
            yield f"{math.log2(_elements(values['lut'])):g}-bit table"
        elif operation.type == "constexpr_affine_dequantize":
            yield "int8 with a scale per channel"
        elif operation.type == "constexpr_sparse_to_dense":
            yield "sparse"
        elif operation.type == "const" and values["val"].HasField("blobFileValue"):
            yield {10: "float16", 11: "float32"}.get(values["val"].type.tensorType.dataType, "integers")
        for inner in operation.blocks:
            yield from _forms(inner)


def _elements(value: Any) -> int:
    return math.prod(dimension.constant.size for dimension in value.type.tensorType.dimensions)


def check(content: Content, program: Program, *, compressed: bool) -> tuple[str, ...]:
    """Compare with the program that it was made of; returns notes on types that Core ML does not have.

    Raises RecipeError where inputs or outputs are others, or where nothing is compressed and should be."""
    exported = program.exported()
    notes = []
    for what, found, names in (
        ("input", content.inputs, exported.graph_signature.user_inputs),
        ("output", content.outputs, exported.graph_signature.user_outputs),
    ):
        wanted = list(_tensors(exported, names))
        if len(found) != len(wanted):
            raise _unlike(f"it has {len(found)} {what}s, the program {len(wanted)}")
        for (name, shape, dtype), (expected_shape, expected) in zip(found, wanted, strict=True):
            if shape and expected_shape and shape != expected_shape:
                raise _unlike(f"{what} {name} has the shape {list(shape)}, the program's {list(expected_shape)}")
            if dtype != expected:
                if dtype != _NARROWER.get(expected):
                    raise _unlike(f"{what} {name} is {dtype}, the program's {expected}")
                notes.append(f"Core ML takes and gives no {expected}: {what} {name} is {dtype}.")
    if compressed and not content.compressed:
        raise RecipeError(
            "No weight was compressed: none is large enough for it to save anything.",
            remedy="Use the recipe without it for this model.",
        )
    return tuple(notes)


def _tensors(exported: Any, names: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Shape (empty where it is flexible) and type of the named values."""
    nodes = {node.name: node for node in exported.graph.nodes}
    for name in names:
        value = nodes[name].meta["val"]
        shape = tuple(value.shape)
        yield shape if all(isinstance(size, int) for size in shape) else (), str(value.dtype).removeprefix("torch.")


def _unlike(how: str) -> RecipeError:
    return RecipeError(f"The Core ML package is not like the program: {how}.", remedy="Report this as a bug.")


def archive(package: Path, path: Path) -> None:
    """One uncompressed zip of the folder, with what differs from one conversion to the next taken out: random
    identifiers, the order of maps, times, and what other tools left in it."""
    from coremltools.proto import Model_pb2

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        _add(target, _MANIFEST, _manifest(package / _MANIFEST))
        for file in sorted(each for each in (package / _DATA).rglob("*") if each.is_file()):
            content = file.read_bytes()
            if file.suffix == ".mlmodel":
                content = Model_pb2.Model.FromString(content).SerializeToString(deterministic=True)
            _add(target, file.relative_to(package).as_posix(), content)


def _manifest(path: Path) -> bytes:
    """The same manifest with identifiers that follow from the names of what they stand for."""
    manifest = json.loads(path.read_text())
    items = manifest["itemInfoEntries"]
    stable = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])) for old, item in items.items()}
    manifest["itemInfoEntries"] = {stable[old]: item for old, item in items.items()}
    manifest["rootModelIdentifier"] = stable[manifest["rootModelIdentifier"]]
    return json.dumps(manifest, indent=4, sort_keys=True).encode()


def _add(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(f"model.mlpackage/{name}", _EPOCH)
    entry.external_attr = 0o644 << 16
    target.writestr(entry, content)
