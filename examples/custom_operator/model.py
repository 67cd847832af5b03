"""A model with an operator of its own, measured with PyTorch and with ONNX Runtime.

Compile the operator for ONNX Runtime (see squash.cpp), start a farm that allows such operators
(``FARM_ALLOW_CUSTOM_OPERATORS=true farm up``), then run this file with FARM_URL and FARM_TOKEN set.
"""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import ops  # noqa: E402, F401 - registers example::squash in this process, where the model is exported


class Squashed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 64)
        self.second = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.ops.example.squash(self.first(x), 2.0))


def main() -> None:
    import farm

    with farm.Client() as client:
        model = client.add_model(
            Squashed().eval(),
            (torch.randn(1, 64),),
            name="squashed",
            custom_operators={"pytorch": HERE / "ops.py", "onnxruntime": HERE / "libsquash.so"},
        )
        run = client.submit(model, recipes=["pytorch", "torchscript", "onnxruntime"], devices="platform=linux")
        run.wait(progress=True)
        print(run.compare())


if __name__ == "__main__":
    main()
