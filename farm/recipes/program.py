"""An uploaded program, loaded the one safe way, in the forms that converters take. Used in the child process only."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farm.errors import ModelError, RecipeError, RecipeSpecError
from farm.recipes import archive, operators, samples, shapes
from farm.recipes.boundary import Boundary
from farm.recipes.samples import Sample
from farm.types import Fusion, ModelFormat, ModelSpec, TensorSpec

PROGRAM = "program"
EXAMPLES = "example_inputs.npz"
PARITY = "parity_inputs.npz"
CALIBRATION = "calibration_inputs.npz"
TRAINING = "training_inputs.npz"
EVALUATION = "evaluation_inputs.npz"
_EXPORT_AGAIN = "Run it where it was saved; then export again with this PyTorch version and submit that."


def checkpoint_name(place: int) -> str:
    """Of a recipe's first (0), second, ... training: what it goes on from, replaced as it does."""
    return f"checkpoint-{place}.safetensors"


def part_folder(folder: Path, position: int) -> Path:
    """Where the upload of a part of a fused model lies."""
    return folder / f"part-{position}"


class Program:
    """``folder`` holds the upload under the names above. Everything is checked on the way in: ModelError."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.path = folder / PROGRAM
        self.operators = operators.load(spec, folder)  # custom ones that the program may use, by name
        self.original = self  # what transforms began with
        self._trainings = 0
        self._transformed: Any = None
        self._loaded: Any = None
        self.example = self._read(folder / EXAMPLES, "example inputs")[0]
        self.parity = self._read(folder / PARITY, "parity inputs")
        self.calibration: list[Sample] | None = None
        if spec.calibration_inputs is not None:
            self.calibration = self._read(folder / CALIBRATION, "calibration inputs")
        self.training: list[Sample] = []
        if spec.training_inputs is not None:
            self.training = self._read(folder / TRAINING, "training inputs")

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

    def trained(self, exported: Any) -> Program:
        """As ``replaced``, by a training: the next one has a checkpoint of its own."""
        other = self.replaced(exported)
        other._trainings += 1
        return other

    @property
    def checkpoint(self) -> Path:
        """Of the next training, if it was begun before."""
        return self.path.with_name(checkpoint_name(self._trainings))

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

    def training_samples(self) -> tuple[list[Sample], str]:
        """What to train with, and a note that says so. Raises RecipeSpecError where the model came without."""
        calibration = self.calibration or []
        found = [*self.training, *calibration]
        if not found:
            raise RecipeSpecError(
                "Distillation has nothing to learn from: the model has neither training nor calibration inputs.",
                remedy="Submit it with training_inputs (no labels are needed).",
            )
        return found, f"Trained on {len(self.training)} training and {len(calibration)} calibration inputs."

    def evaluation_samples(self) -> list[Sample]:
        """Inputs of the labelled set: there for the reference build only, which answers them."""
        return self._read(self.path.with_name(EVALUATION), "evaluation inputs")

    def stacked(self, size: int) -> Program:
        """The same model with samples of which each is a batch of ``size``; what is left over is filled up by
        repetition. Its program has to be replaced by one for that size."""
        other = copy.copy(self)
        inputs = [spec.model_copy(update={"shape": (size, *spec.shape[1:])}) for spec in self.spec.inputs]
        other.spec = self.spec.model_copy(update={"inputs": tuple(inputs)})
        other.example = samples.stacked([self.example], size)[0]
        other.parity = samples.stacked(self.parity, size)
        other.calibration = samples.stacked(self.calibration, size) if self.calibration else None
        return other

    def tensors(self, sample: Sample | None = None) -> tuple[Any, ...]:
        """A sample (default: the example) as torch tensors."""
        import torch

        return tuple(torch.from_numpy(array.copy()) for array in (self.example if sample is None else sample))

    def exported(self) -> Any:
        """The ``torch.export.ExportedProgram``, the same at every call; TorchScript is lifted into one. It takes the
        example's shapes alone, also where more was uploaded, unless a transform made it for a batch of any size."""
        if self._transformed is not None:
            return self._transformed
        if self._loaded is None:
            self._loaded = self._for_the_example(self._load())
        return self._loaded

    def _for_the_example(self, uploaded: Any) -> Any:
        if not shapes.is_symbolic(uploaded):
            return uploaded
        with Boundary(ModelError, "torch.export cannot export the program for the example's shapes", _EXPORT_AGAIN):
            return shapes.fixed(uploaded, self.tensors())

    def for_any_batch(self) -> Any:
        """The uploaded ``ExportedProgram``, which takes any batch. Raises RecipeSpecError where it does not."""
        uploaded = self._load()
        if not shapes.takes_any_batch(uploaded) or any(spec.shape[:1] != (1,) for spec in self.spec.inputs):
            raise RecipeSpecError(
                "The model was exported for the shapes of its example alone, so it takes no batches.",
                remedy="Submit the nn.Module with dynamic_batch=True and an example whose first dimensions are 1.",
            )
        return uploaded

    def export(self, module: Any) -> Any:
        """``module`` (this program's, changed) as an ``ExportedProgram`` of the same shapes, symbolic ones included.
        Raises what torch.export raises."""
        import torch

        if self._transformed is not None and shapes.is_symbolic(self._transformed):
            (batch,) = self._transformed.range_constraints.values()
            return shapes.any_batch(module, self.tensors(), int(batch.upper))
        return torch.export.export(module, self.tensors(), strict=False)

    def _load(self) -> Any:
        from torch.export.pt2_archive._package import load_pt2

        if self.spec.fusion is not None:
            return self._fused(self.spec.fusion)
        if self.spec.format == ModelFormat.TORCHSCRIPT:
            return self._lifted()
        if self.spec.format != ModelFormat.PT2:
            raise RecipeSpecError("An ONNX model has no PyTorch program.", remedy="Upload a .pt2 for this recipe.")
        clean = self.path.with_suffix(".pt2")
        archive.clean_pt2(self.path, clean, self.operators)
        with Boundary(ModelError, "The .pt2 program does not load", _EXPORT_AGAIN):
            # torch.export.load does no more, but hides the reason when this fails
            program = load_pt2(str(clean)).exported_programs["model"]
        self._check_signature(_graph_inputs(program))
        return program

    def _fused(self, fusion: Fusion) -> Any:
        from farm.recipes.transforms import combine

        folder = self.path.parent
        parts = [Program(part, part_folder(folder, position)) for position, part in enumerate(fusion.parts)]
        return combine.exported([(part.spec.name, part.exported()) for part in parts], fusion.how, self.tensors())

    def _lifted(self) -> Any:
        from torch._export.converter import TS2EPConverter

        script = self.script()
        remedy = "Upload the model as .pt2 (torch.export), or use the torchscript and pytorch-mobile recipes."
        with Boundary(RecipeError, "The TorchScript program cannot be lifted to torch.export", remedy):
            return TS2EPConverter(script, self.tensors()).convert()

    def module(self) -> Any:
        """A callable module of the exported program, in eval mode."""
        module = self.exported().module(check_guards=False)  # the samples were checked
        for part in module.modules():
            part.training = False  # an exported module has no eval(); it was exported in eval mode
        return module

    def script(self) -> Any:
        """An uploaded TorchScript program in eval mode, checked to run on the example inputs."""
        import torch

        archive.check_torchscript(self.path, self.operators)
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
        archive.check_onnx(self.path)
        with Boundary(ModelError, "ONNX Runtime does not load the model", "Check it with onnx.checker."):
            session = self.session(self.path)
        self._check_signature([(node.name, node.shape, _ONNX_TYPES.get(node.type)) for node in session.get_inputs()])
        return self.path

    def session(self, path: Path, config: Mapping[str, str] | None = None) -> Any:
        """An ``onnxruntime.InferenceSession`` on the CPU, with the model's custom operators."""
        import onnxruntime

        options = operators.session_options(self.spec, self.path.parent)
        for key, value in (config or {}).items():
            options.add_session_config_entry(key, value)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

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
