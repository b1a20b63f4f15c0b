"""Models that read a prompt by an encoder and write the answer by a decoder, such as T5 and mT5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clustering.errors import BadInput


def reads_apart(model: Any) -> bool:
    """Whether a model reads its prompts by an encoder, and its answers by a decoder."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def start_token(config: Any) -> int:
    """The token that a decoder begins with: that of the configuration, or, as in T5, the padding's.

    Raises:
        BadInput: If the configuration names neither.
    """
    for name in ("decoder_start_token_id", "pad_token_id"):
        if (token := getattr(config, name, None)) is not None:
            return int(token)
    raise BadInput("the configuration of the base model names no decoder_start_token_id, which answers begin with.")


def decoder_start(model: Any, num_rows: int, first_tokens: Sequence[int] = ()) -> Any:
    """The decoder's start token, and tokens with which every answer begins, shape (num_rows, their number + 1), int64.

    Raises:
        BadInput: If the model's configuration names no start token.
    """
    import torch

    start = model.generation_config.decoder_start_token_id
    start = start_token(model.config) if start is None else start
    return torch.tensor([[start, *first_tokens]] * num_rows, dtype=torch.long)
