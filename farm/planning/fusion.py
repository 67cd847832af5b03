"""Uploaded models become one. Nothing of them is loaded here: shapes come from headers, builds join the programs."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from farm.errors import ModelError, TooLargeError
from farm.planning.inputs import arrays_of
from farm.store.artifacts import ArtifactStore
from farm.types import Blob, Fusion, FusionKind, ModelFormat, ModelSpec, TensorSpec


def fuse(
    parts: Sequence[ModelSpec], how: FusionKind, name: str | None, artifacts: ArtifactStore, max_bytes: int
) -> ModelSpec:
    """The model that these are together. Its inputs are those of the parts; in parallel, as many samples as the part
    with the fewest has, at most ``max_bytes`` of them. Raises ModelError where two do not fit."""
    first = parts[0]
    fusion = Fusion(how=how, parts=tuple(parts))
    check_fusion(first.model_copy(update={"inputs": _inputs(fusion), "fusion": fusion}), artifacts)
    samples = {
        "example_inputs": first.example_inputs,
        "parity_inputs": first.parity_inputs,
        "calibration_inputs": first.calibration_inputs,
        "training_inputs": first.training_inputs,
    }
    if how == "parallel":
        for kind in samples:
            blobs = [blob for part in parts if (blob := getattr(part, kind)) is not None]
            whole = len(blobs) == len(parts)
            samples[kind] = _side_by_side(f"{kind}.npz", parts, blobs, artifacts, max_bytes) if whole else None
    return ModelSpec(
        name=name or "-".join(part.name for part in parts)[:100],
        format=ModelFormat.PT2,
        program=first.program,
        inputs=_inputs(fusion),
        fusion=fusion,
        **samples,
    )


def check_fusion(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    """Raises ModelError with the exact difference where the parts do not fit each other or the whole.

    What a part answers is known from the reference outputs of its upload; where it came without any, the build finds
    out."""
    if spec.fusion is None:
        return
    parts = spec.fusion.parts
    for part in parts:
        check_fusion(part, artifacts)
        if part.format == ModelFormat.ONNX:
            raise ModelError(
                f"{part.name} is an ONNX model, which cannot be fused.",
                remedy="Upload the PyTorch program (.pt2, TorchScript, or the nn.Module).",
            )
    if spec.format != ModelFormat.PT2 or spec.program != parts[0].program:
        raise ModelError(
            f"Fused model {spec.name} is no pt2 with the program of its first part.",
            remedy="Let the farm fuse the models: client.fuse_models, POST /models/fused.",
        )
    if spec.fusion.how == "sequence":
        for before, after in itertools.pairwise(parts):
            _check_link(before, after, artifacts)
    elif spec.fusion.how == "parallel-shared":
        for part in parts[1:]:
            if _kinds(part.inputs) != _kinds(parts[0].inputs):
                raise ModelError(
                    f"{part.name} takes ({_listed(part.inputs)}), {parts[0].name} takes ({_listed(parts[0].inputs)}):"
                    " they cannot share their inputs.",
                    remedy="Fuse them in parallel with inputs of their own, or export them for the same shapes.",
                )
    if _kinds(spec.inputs) != _kinds(wanted := _inputs(spec.fusion)):
        raise ModelError(
            f"Fused model {spec.name} takes ({_listed(wanted)}), not ({_listed(spec.inputs)}).",
            remedy="Let the farm fuse the models: client.fuse_models, POST /models/fused.",
        )


def _inputs(fusion: Fusion) -> tuple[TensorSpec, ...]:
    if fusion.how != "parallel":
        return fusion.parts[0].inputs
    return tuple(
        spec.model_copy(update={"name": f"{part.name}.{spec.name}"}) for part in fusion.parts for spec in part.inputs
    )


def _check_link(before: ModelSpec, after: ModelSpec, artifacts: ArtifactStore) -> None:
    if before.reference_outputs is None:
        return
    with artifacts.open(before.reference_outputs.sha256) as file:
        answers = arrays_of(before.reference_outputs, file)
    given = [answers[key] for key in sorted(answers) if key[0] == 0]
    if [(each.shape, each.dtype) for each in given] != _kinds(after.inputs):
        raise ModelError(
            f"{after.name} cannot follow {before.name}: it takes ({_listed(after.inputs)}), and {before.name} gives"
            f" ({', '.join(map(str, given))}).",
            remedy="Fuse models whose outputs, flattened, are the inputs of the next.",
        )


def _kinds(inputs: Sequence[TensorSpec]) -> list[tuple[tuple[int, ...], str]]:
    return [(spec.shape, spec.dtype) for spec in inputs]


def _listed(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, inputs))


def _side_by_side(
    name: str, parts: Sequence[ModelSpec], blobs: Sequence[Blob], artifacts: ArtifactStore, max_bytes: int
) -> Blob:
    """One file of samples that hold the inputs of all parts. Copied as bytes: no array is made of them."""
    with tempfile.TemporaryDirectory(prefix="farm-fuse-") as folder:
        path = Path(folder, name)
        with zipfile.ZipFile(path, "w") as target:
            offset, free = 0, max_bytes
            samples = min(_samples(blob, artifacts) for blob in blobs)
            for part, blob in zip(parts, blobs, strict=True):
                with artifacts.open(blob.sha256) as file, zipfile.ZipFile(file) as source:
                    for sample, index in itertools.product(range(samples), range(len(part.inputs))):
                        member = source.getinfo(f"{sample}.{index}.npy")
                        free -= member.file_size
                        if free < 0:
                            raise TooLargeError(
                                f"The {name} of the fused model would have more than {max_bytes:,} bytes.",
                                remedy="Upload the models with fewer samples.",
                            )
                        # The same time in every file: the same models make the same file.
                        entry = zipfile.ZipInfo(f"{sample}.{offset + index}.npy")
                        with source.open(member) as one, target.open(entry, "w") as other:
                            shutil.copyfileobj(one, other)
                offset += len(part.inputs)
        return artifacts.put_file(path)


def _samples(blob: Blob, artifacts: ArtifactStore) -> int:
    with artifacts.open(blob.sha256) as file:
        return 1 + max(sample for sample, _ in arrays_of(blob, file))
