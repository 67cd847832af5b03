"""Bias correction: quantized weights shift the mean of a layer's output; the shift is known, so it is taken back.

Source: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019 (arXiv:1906.04721), section 4.2, with the mean of the inputs taken over calibration data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]


def shift(weight: Floats, quantized: Floats, input_mean: Floats, groups: int = 1) -> NDArray[np.float64]:
    """What to add to the bias, float64[outputs].

    ``weight`` and ``quantized`` (de-quantized again): [outputs, inputs / groups, *kernel]; ``input_mean``: [inputs].
    Exact for linear layers; for convolutions up to what padding does at the borders.
    """
    lost = (weight.astype(np.float64) - quantized).reshape(*weight.shape[:2], -1).sum(axis=2)
    means = input_mean.astype(np.float64).reshape(groups, -1)
    correction: NDArray[np.float64] = np.einsum("goi,gi->go", lost.reshape(groups, -1, lost.shape[1]), means)
    return correction.ravel()


def channel_mean(values: Floats, channel_axis: int) -> NDArray[np.float64]:
    """Mean over all axes but the channel's, float64[channels]."""
    axes = tuple(axis for axis in range(values.ndim) if axis != channel_axis % values.ndim)
    mean: NDArray[np.float64] = values.astype(np.float64).mean(axis=axes)
    return mean
