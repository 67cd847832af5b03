"""Weight sharing: the weights of each tensor take 2**bits values, found by k-means (scikit-learn)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied, layers
from farm.types import Palettize

VERSION = 1
TOOLS = ("torch", "scikit-learn")
_POINTS = 1 << 14  # larger tensors are clustered by the means of so many equal parts of their sorted weights
_REMEDY = "Look at the end of the build's log; leave the weight sharing out."

Weights = NDArray[np.float32]


def apply(program: Program, transform: Palettize) -> Applied:
    import torch

    exported = program.exported()
    module = layers.of(exported)
    shared = palettizable(module, transform.bits)
    if not shared:
        raise RecipeError(
            f"There is nothing to share: no weight tensor has more than {2**transform.bits} values.",
            remedy="Upload the model as .pt2 rather than as frozen TorchScript, or leave the weight sharing out.",
        )
    with Boundary(RecipeError, "Clustering the weights failed", _REMEDY), torch.no_grad():
        for parameter in shared:
            share(parameter, transform.bits)
    most = max(len(parameter.unique()) for parameter in shared)
    weights = sum(parameter.numel() for parameter in shared)
    stored = sum(parameter.numel() * parameter.element_size() for parameter in shared)
    packed = weights * transform.bits // 8 + len(shared) * 2**transform.bits * 4
    return Applied(
        program.replaced(layers.export(module, exported, program.tensors())),
        (
            f"{weights:,} weights of {len(shared)} tensors take at most {most} values in each.",
            f"They are still written as {stored:,} bytes of numbers: only a compressed file, or a runtime that stores "
            f"indices (about {packed:,} bytes; Core ML's own palettization does), becomes smaller, and none faster.",
        ),
    )


def palettizable(module: Any, bits: int) -> list[Any]:
    """Weights proper, each tensor once: biases and what norms have stay as they are."""
    weights = (tensor for tensor in module.parameters() if tensor.ndim > 1 and tensor.is_floating_point())
    return [tensor for tensor in weights if tensor.numel() > 2**bits]


def share(parameter: Any, bits: int) -> None:
    """In place, under ``torch.no_grad``."""
    import torch

    values = clustered(parameter.detach().float().cpu().numpy(), 2**bits)
    parameter.copy_(torch.from_numpy(values))


def clustered(weights: Weights, count: int) -> Weights:
    """The same shape with at most ``count`` different values. Weights that were pruned (more zeros than a cluster's
    fair share) stay zero."""
    from sklearn.cluster import KMeans

    flat = weights.ravel()
    kept = flat != 0
    if np.count_nonzero(~kept) <= flat.size / count:
        kept = np.ones_like(kept)
    else:
        count -= 1
    points = np.sort(flat[kept])
    if len(np.unique(points)) <= count:
        return weights
    parts = np.array_split(points, min(len(points), _POINTS))
    means = np.array([part.mean(dtype=np.float64) for part in parts])
    sizes = np.array([len(part) for part in parts], dtype=np.float64)
    fitted = KMeans(count, n_init=1, random_state=0).fit(means[:, None], sample_weight=sizes)
    centres = np.unique(fitted.cluster_centers_.ravel().astype(np.float32))
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, flat)
    return np.where(kept, centres[nearest], np.float32(0)).reshape(weights.shape)
