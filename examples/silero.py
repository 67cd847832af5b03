"""Silero VAD (16 kHz), which hears where there is speech: the weights ship in the PyPI package ``silero-vad`` (MIT).

The package's TorchScript keeps its state inside and branches on the sampling rate, which no exporter follows. This is
the same network, with its weights, and with the state as an input and an output; the architecture is written down in
the package's ``tinygrad_model.py`` (whose own weights are those of another release).

Install the package without its dependencies: ``pip install --no-deps silero-vad``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

NAME = "silero-vad"
SAMPLES, CONTEXT = 512, 64  # 32 ms, and the end of what came before
STATE_SHAPE = (2, 1, 128)
_BINS = 129


def load_model() -> nn.Module:
    """In eval mode: float32[1, 576] audio and float32[2, 1, 128] state to a float32[1, 1] probability and the new
    state."""
    import torch

    class SileroVad(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stft_conv = torch.nn.Conv1d(1, 2 * _BINS, 256, stride=128, bias=False)
            self.conv1 = torch.nn.Conv1d(_BINS, 128, 3, padding=1)
            self.conv2 = torch.nn.Conv1d(128, 64, 3, stride=2, padding=1)
            self.conv3 = torch.nn.Conv1d(64, 64, 3, stride=2, padding=1)
            self.conv4 = torch.nn.Conv1d(64, 128, 3, padding=1)
            self.lstm_cell = torch.nn.LSTMCell(128, 128)
            self.final_conv = torch.nn.Conv1d(128, 1, 1)

        def forward(self, audio: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            padded = torch.nn.functional.pad(audio.unsqueeze(1), (0, 64), mode="reflect")
            waves = self.stft_conv(padded)
            x = (waves[:, :_BINS] ** 2 + waves[:, _BINS:] ** 2).sqrt()
            for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
                x = torch.relu(layer(x))
            hidden, cell = self.lstm_cell(x.squeeze(-1), (state[0], state[1]))
            speech = torch.sigmoid(self.final_conv(torch.relu(hidden).unsqueeze(-1)))
            return speech.squeeze(1), torch.stack((hidden, cell))

    model = SileroVad()
    script = torch.jit.load(str(data_folder() / "silero_vad.jit"), map_location="cpu")._model
    model.load_state_dict({_name(name): value for name, value in script.state_dict().items()})
    return model.eval()


def _name(name: str) -> str:
    """Of the script's parameter in the network here: ``encoder.0.reparam_conv.bias`` is ``conv1.bias``."""
    part, rest = name.rsplit(".", 1)
    if part.startswith("encoder."):
        return f"conv{int(part.split('.')[1]) + 1}.{rest}"
    return {"stft": "stft_conv.weight", "decoder.rnn": f"lstm_cell.{rest}"}.get(part, f"final_conv.{rest}")


def frames(count: int, *, seed: int = 0) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Audio with voice-like tones, noise and near silence in turn, each with a plausible state."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(CONTEXT + SAMPLES) / 16_000
    made = []
    for index in range(count):
        pitch = rng.uniform(90, 250)
        voice = sum(np.sin(2 * np.pi * pitch * harmonic * seconds) / harmonic for harmonic in range(1, 12))
        audio = rng.normal(scale=0.01, size=seconds.shape) + (0.3 * voice * rng.uniform(0.2, 1) if index % 3 else 0)
        state = rng.uniform(-0.8, 0.8, size=STATE_SHAPE) if index else np.zeros(STATE_SHAPE)
        made.append((audio.astype(np.float32)[None], state.astype(np.float32)))
    return made


def data_folder() -> Path:
    return Path(str(files("silero_vad"))) / "data"
