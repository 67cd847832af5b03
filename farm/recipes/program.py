"""An uploaded program, loaded the one safe way, in the forms that converters take. Used in the child process only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.errors import ModelError, RecipeError, RecipeSpecError
from farm.recipes import archive, samples
from farm.recipes.boundary import Boundary
from farm.recipes.samples import Sample
from farm.types import ModelFormat, ModelSpec, TensorSpec

PROGRAM = "program"
EXAMPLES = "example_inputs.npz"
PARITY = "parity_inputs.npz"
CALIBRATION = "calibration_inputs.npz"
_EXPORT_AGAIN = "Run it where it was saved; then export again with this PyTorch version and submit that."


class Program:
    """``folder`` holds the upload under the names above. Everything is checked on the way in: ModelError."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.path = folder / PROGRAM
        self._transformed: Any = None
        self._loaded: Any = None
        self.example = self._read(folder / EXAMPLES, "example inputs")[0]
        self.parity = self._read(folder / PARITY, "parity inputs")
        self.calibration: list[Sample] | None = None
        if spec.calibration_inputs is not None:
            self.calibration = self._read(folder / CALIBRATION, "calibration inputs")

    def _read(self, path: Path, what: str) -> list[Sample]:
        found = samples.read(path, what)
        samples.check(found, self.spec.inputs, what)
        return found

    def replaced(self, exported: Any) -> Program:
        """The same model with a transformed ``ExportedProgram`` in place of the uploaded one.

        Its format is then PyTorch's, whatever the upload's was; samples stay as they are."""
        other = copy.copy(self)
        other.spec = self.spec.model_copy(update={"format": ModelFormat.PT2})
        other._transformed = exported
        return other

    def translated(self, onnx: Path) -> Program:
        """The same model, uploaded in a format that only a translation to ONNX takes further."""
        other = copy.copy(self)
        other.spec = self.spec.model_copy(update={"format": ModelFormat.ONNX})
        other.path = onnx
        return other

    def calibration_samples(self) -> tuple[list[Sample], str]:
        """What to calibrate with, and a note that says so."""
        if self.calibration is not None:
            return self.calibration, f"Calibrated with {len(self.calibration)} calibration inputs."
        return [self.example], "No calibration inputs were given: calibrated with the example inputs alone."

    def tensors(self, sample: Sample | None = None) -> tuple[Any, ...]:
        """A sample (default: the example) as torch tensors."""
        import torch

        return tuple(torch.from_numpy(array.copy()) for array in (self.example if sample is None else sample))

    def exported(self) -> Any:
        """The ``torch.export.ExportedProgram``, the same at every call; TorchScript is lifted into one."""
        if self._transformed is not None:
            return self._transformed
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Any:
        from torch.export.pt2_archive._package import load_pt2

        if self.spec.format == ModelFormat.TORCHSCRIPT:
            return self._lifted()
        if self.spec.format != ModelFormat.PT2:
            raise RecipeSpecError("An ONNX model has no PyTorch program.", remedy="Upload a .pt2 for this recipe.")
        clean = self.path.with_suffix(".pt2")
        archive.clean_pt2(self.path, clean)
        with Boundary(ModelError, "The .pt2 program does not load", _EXPORT_AGAIN):
            # torch.export.load does no more, but hides the reason when this fails
            program = load_pt2(str(clean)).exported_programs["model"]
        self._check_signature(_graph_inputs(program))
        return program

    def _lifted(self) -> Any:
        from torch._export.converter import TS2EPConverter

        script = self.script()
        remedy = "Upload the model as .pt2 (torch.export), or use the torchscript and pytorch-mobile recipes."
        with Boundary(RecipeError, "The TorchScript program cannot be lifted to torch.export", remedy):
            return TS2EPConverter(script, self.tensors()).convert()

    def module(self) -> Any:
        """A callable module of the exported program, in eval mode."""
        module = self.exported().module()
        for part in module.modules():
            part.training = False  # an exported module has no eval(); it was exported in eval mode
        return module

    def script(self) -> Any:
        """An uploaded TorchScript program in eval mode, checked to run on the example inputs."""
        import torch

        archive.check_torchscript(self.path)
        remedy = "Check that it loads with torch.jit.load and runs on the example inputs."
        with Boundary(ModelError, "The TorchScript program does not load", remedy):
            script = torch.jit.load(str(self.path), map_location="cpu")
        if hasattr(script, "training"):
            script.eval()
        what = "The TorchScript program does not run on the example inputs"
        with Boundary(ModelError, what, remedy), torch.inference_mode():
            script(*self.tensors())
        return script

    def onnx(self) -> Path:
        """An uploaded ONNX file, checked against the declared inputs."""
        import onnxruntime

        archive.check_onnx(self.path)
        with Boundary(ModelError, "ONNX Runtime does not load the model", "Check it with onnx.checker."):
            session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        self._check_signature([(node.name, node.shape, _ONNX_TYPES.get(node.type)) for node in session.get_inputs()])
        return self.path

    def _check_signature(self, found: Sequence[tuple[str, Sequence[Any], str | None]]) -> None:
        """``found``: name, shape (only ints are fixed) and type of each input that the program itself declares."""
        taken = ", ".join(f"{name}: {dtype}[{', '.join(map(str, shape))}]" for name, shape, dtype in found)
        if len(found) != len(self.spec.inputs):
            raise ModelError(
                f"The program takes {len(found)} inputs ({taken}), the example has {len(self.spec.inputs)}.",
                remedy="Give every input as one tensor, in positional order.",
            )
        for (_, shape, dtype), spec in zip(found, self.spec.inputs, strict=True):
            if not _fits(spec, shape, dtype):
                raise ModelError(
                    f"The example input {spec} does not fit the program, which takes ({taken}).",
                    remedy="Give inputs of the shape and type that the program was exported with.",
                )


_ONNX_TYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({name})": name for name in ("int8", "uint8", "int16", "int32", "int64")},
}


def _fits(spec: TensorSpec, shape: Sequence[Any], dtype: str | None) -> bool:
    fixed = all(not isinstance(size, int) or size == given for size, given in zip(shape, spec.shape, strict=False))
    return len(shape) == len(spec.shape) and fixed and dtype == spec.dtype


def _graph_inputs(program: Any) -> list[tuple[str, Sequence[Any], str | None]]:
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    names = program.graph_signature.user_inputs
    if any(not hasattr(values.get(name), "shape") for name in names):
        raise ModelError("The program takes inputs that are no tensors.", remedy="Export it with tensor inputs only.")
    return [(name, tuple(values[name].shape), str(values[name].dtype).removeprefix("torch.")) for name in names]
