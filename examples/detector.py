"""A small object detector with boxes, trained in seconds on shapes that are drawn as it goes.

It is here because detectors differ from classifiers: two outputs of different scales, boxes decoded inside the model
(exponentials, a grid of anchors), no row of class scores. One prediction per cell of a 6 x 6 grid, as in YOLO
(Redmon et al., CVPR 2016), with centre and size relative to the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

NAME = "shape-detector"
SIDE, CELLS = 96, 6
CLASSES = ("square", "disc")
STEPS, BATCH = 400, 32


def load_model(*, seed: int = 3) -> nn.Module:
    """Trained, in eval mode: float32[1, 3, 96, 96] to boxes float32[1, 36, 4] (x, y, width, height as shares of the
    image, centre first) and scores float32[1, 36, 2]. The same seed gives the same model on the same machine."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = _network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        pictures, boxes, labels = zip(*(_scene(rng) for _ in range(BATCH)), strict=True)
        predicted, scores = model(torch.from_numpy(np.concatenate(pictures)))
        loss = _loss(predicted, scores, boxes, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def pictures(count: int, *, seed: int = 1) -> list[NDArray[np.float32]]:
    """Images float32[1, 3, 96, 96] with one to three shapes each."""
    rng = np.random.default_rng(seed)
    return [_scene(rng)[0] for _ in range(count)]


def _network() -> nn.Module:
    import torch

    def block(inputs: int, outputs: int) -> nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            torch.nn.BatchNorm2d(outputs),
            torch.nn.ReLU(),
        )

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Sequential(block(3, 16), block(16, 32), block(32, 48), block(48, 64))
            self.head = torch.nn.Conv2d(64, 4 + len(CLASSES), 1)
            cells = torch.stack(torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="xy"))
            self.register_buffer("cells", cells.flatten(1).T.unsqueeze(0).float())

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            raw = self.head(self.features(image)).flatten(2).transpose(1, 2)
            centre = (self.cells + torch.sigmoid(raw[..., :2])) / CELLS
            size = torch.exp(raw[..., 2:4].clamp(-4, 4)) / CELLS
            return torch.cat((centre, size), dim=-1), torch.sigmoid(raw[..., 4:])

    return Detector()


def _scene(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    picture = rng.normal(scale=0.1, size=(3, SIDE, SIDE)).astype(np.float32)
    boxes, labels, taken = [], [], set()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for _ in range(rng.integers(1, 4)):
        x, y, side = *rng.uniform(14, SIDE - 14, size=2), rng.uniform(12, 28)
        cell = (int(y * CELLS // SIDE), int(x * CELLS // SIDE))
        if cell in taken:
            continue
        taken.add(cell)
        label = int(rng.integers(len(CLASSES)))
        distance = np.hypot(columns - x, rows - y) if label else np.maximum(abs(columns - x), abs(rows - y))
        picture[:, distance < side / 2] = rng.uniform(0.4, 1, size=(3, 1)).astype(np.float32)
        boxes.append((x / SIDE, y / SIDE, side / SIDE, side / SIDE))
        labels.append(label)
    return picture[None], np.array(boxes, dtype=np.float32), np.array(labels)


def _loss(
    predicted: Tensor, scores: Tensor, boxes: tuple[NDArray[np.float32], ...], labels: tuple[NDArray[np.int64], ...]
) -> Tensor:
    import torch

    wanted = torch.zeros_like(scores)
    distances: list[Tensor] = []
    for row, (found, kinds) in enumerate(zip(boxes, labels, strict=True)):
        for box, kind in zip(torch.from_numpy(found), kinds.tolist(), strict=True):
            cell = int(box[1] * CELLS) * CELLS + int(box[0] * CELLS)
            wanted[row, cell, kind] = 1
            distances.append((predicted[row, cell] - box).abs().sum())
    return torch.nn.functional.binary_cross_entropy(scores, wanted) * 10 + torch.stack(distances).mean() * 2
