"""A small network for scikit-learn's handwritten digits (UCI ML hand-written digits, 1,797 images of 8 x 8 pixels),
trained here in a few seconds on the CPU: what int8, pruned, clustered and distilled variants cost in accuracy can be
seen on it. Nothing is downloaded; the same seed gives the same network on the same machine and PyTorch version.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

SEED = 0
INPUT_NAMES = ("image",)
CLASSES = tuple("0123456789")
EVALUATION_IMAGES = 597  # never trained on
_EPOCHS = 15
_BATCH = 64


@dataclass(frozen=True)
class Digits:
    """Images as float32[count, 1, 8, 8] from 0 to 1; ``labels``: int64[EVALUATION_IMAGES], of the evaluation images."""

    training: NDArray[np.float32]
    training_labels: NDArray[np.int64]
    evaluation: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def example(self) -> NDArray[np.float32]:
        """One input as the model takes it: float32[1, 1, 8, 8]."""
        return self.evaluation[:1]

    @property
    def parity(self) -> list[NDArray[np.float32]]:
        return samples(self.evaluation[:32])

    @property
    def calibration(self) -> list[NDArray[np.float32]]:
        return samples(self.training[:64])

    @property
    def training_inputs(self) -> list[NDArray[np.float32]]:
        """What distillation learns from, without labels."""
        return samples(self.training[64:])


def samples(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Batches of one image."""
    return [image[None] for image in images]


def load_digits() -> Digits:
    """The bundled images, shuffled with the seed and divided."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    images = (bunch.images[order, None] / 16).astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    return Digits(
        training=images[EVALUATION_IMAGES:],
        training_labels=labels[EVALUATION_IMAGES:],
        evaluation=images[:EVALUATION_IMAGES],
        labels=labels[:EVALUATION_IMAGES],
    )


def load_model(digits: Digits | None = None) -> nn.Module:
    """The trained network in eval mode: float32[1, 1, 8, 8] to float32[1, 10] class scores (logits)."""
    import torch
    from torch import nn

    found = digits or load_digits()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # images this small gain nothing from more, and one thread always sums in one order
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        features = nn.Sequential(*_block(1, 16), *_block(16, 32), nn.MaxPool2d(2), *_block(32, 32))
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        classifier = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, len(CLASSES)))
        model = nn.Sequential(OrderedDict(features=features, pooled=pooled, classifier=classifier))
        _train(model, torch.from_numpy(found.training), torch.from_numpy(found.training_labels))
    torch.set_num_threads(threads)
    return model.eval()


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    from torch import nn

    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def _train(model: nn.Module, images: object, labels: object) -> None:
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    data = DataLoader(TensorDataset(images, labels), _BATCH, shuffle=True)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs=_EPOCHS, steps_per_epoch=len(data))
    for _ in range(_EPOCHS):
        for batch, answers in data:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch), answers).backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train, and say how good it is."""
    import torch

    digits = load_digits()
    model = load_model(digits)
    with torch.inference_mode():
        found = model(torch.from_numpy(digits.evaluation)).argmax(1).numpy()
    print(f"{np.mean(found == digits.labels):.2%} of {len(digits.labels)} digits are right.")


if __name__ == "__main__":
    main()
