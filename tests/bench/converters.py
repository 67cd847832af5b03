"""What somebody writes who converts a model without a farm, as each converter's documentation has it.

``python -m tests.bench.converters NAME MODEL.pt2 INPUTS.npz OUT``, in a process of its own: the other side of
``tests.bench.builds``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Converter = Callable[[Any, tuple[Any, ...], str], None]  # exported program, inputs, path of the file to write


def pytorch(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import torch

    torch.export.save(program, out)


def torchscript(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import torch

    with torch.no_grad():
        torch.jit.freeze(torch.jit.trace(_evaluated(program), inputs, check_trace=False)).save(out)


def pytorch_mobile(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import torch

    with torch.no_grad():
        script = torch.jit.freeze(torch.jit.trace(_evaluated(program), inputs, check_trace=False))
    torch._C._jit_pass_optimize_frozen_graph(script.graph, True)
    script._save_for_lite_interpreter(out)


def executorch(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    with open(out, "wb") as file:  # noqa: PTH123 - as their example does
        file.write(lowered.buffer)


def onnxruntime(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import torch

    torch.onnx.export(program, inputs, out, dynamo=True, external_data=False)


def litert(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import litert_torch

    litert_torch.convert(program.module(), inputs).export(out)


def openvino(program: Any, inputs: tuple[Any, ...], out: str) -> None:
    import openvino as ov

    ov.save_model(ov.convert_model(program, example_input=inputs), out, compress_to_fp16=False)


def _evaluated(program: Any) -> Any:
    module = program.module()
    for part in module.modules():
        part.training = False
    return module


# By the preset that makes the same.
CONVERTERS: dict[str, tuple[Converter, str]] = {
    "pytorch": (pytorch, "pt2"),
    "torchscript": (torchscript, "ts"),
    "pytorch-mobile": (pytorch_mobile, "ptl"),
    "executorch-xnnpack": (executorch, "pte"),
    "onnxruntime": (onnxruntime, "onnx"),
    "litert": (litert, "tflite"),
    "openvino": (openvino, "xml"),
}


def main(name: str, path: str, inputs: str, out: str) -> None:
    import numpy as np
    import torch

    program = torch.export.load(path)
    with np.load(inputs) as arrays:
        sample = tuple(torch.from_numpy(arrays[key]) for key in arrays.files)
    CONVERTERS[name][0](program, sample, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
