"""Rows of a model's vocabulary: more of them, and their first values.

Shape letters: `N` new pieces, `H` hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xelm.models.layer_groups import EMBEDDING, OTHER, layer_of

if TYPE_CHECKING:
    import torch


ROWS_BESIDE = "trainable_tokens_delta"
"""In the names of the weights that peft trains in place of single rows."""


def put_rows(model: Any, first: int, rows: Mapping[str, torch.Tensor]) -> Any:
    """Give a model the rows of new pieces, in place; it grows only if it has no spare rows.

    Args:
        model: A model with a head over pieces, tied or untied.
        first: Id of the first new piece.
        rows: `input`, and `output` if the head has weights of its own, each (N, H).
    """
    import torch

    stop = first + len(rows["input"])
    grow(model, stop)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding[first:stop] = rows["input"].to(embedding)
        if "output" in rows:
            head = model.get_output_embeddings().weight
            head[first:stop] = rows["output"].to(head)
    return model


def grow(model: Any, num_rows: int) -> Any:
    """Give a model at least so many rows, in place; new ones are 0."""
    import torch

    before = model.get_input_embeddings().weight.shape[0]
    if num_rows <= before:
        return model
    model.resize_token_embeddings(num_rows, mean_resizing=False)
    with torch.no_grad():
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            if part is not None:
                part.weight[before:] = 0
    return model


def num_rows(config: Any) -> int:
    """Number of rows of a model's embedding, V."""
    return int(config.get_text_config().vocab_size)


def num_rows_of(folder: Path) -> int:
    """The same of a checkpoint."""
    from transformers import AutoConfig

    return num_rows(AutoConfig.from_pretrained(folder))


def has_row_per_piece(name: str, shape: Sequence[int], size: int) -> bool:
    """Whether a weight has a row for each of `size` pieces: the embedding, a head or its bias."""
    outside = layer_of(name) in (EMBEDDING, OTHER) and "position" not in name and ".wpe." not in f".{name}"
    shaped = len(shape) == 2 or (len(shape) == 1 and name.endswith("bias"))
    return outside and shaped and shape[0] == size


def row_weights(model: torch.nn.Module, size: int) -> list[torch.nn.Parameter]:
    """Those among a model's trained weights that have a row for each of `size` pieces."""
    named = model.named_parameters()
    return [p for name, p in named if p.requires_grad and has_row_per_piece(name, p.shape, size)]


def row_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trained matrices with a row for each piece, or, beside adapters, for each piece that is trained."""
    beside = [p for name, p in model.named_parameters() if p.requires_grad and ROWS_BESIDE in name]
    return beside or [p for p in row_weights(model, num_rows(model.config)) if p.ndim == 2]


def has_own_head(model: Any) -> bool:
    """Whether the head has weights of its own, not those of the input embedding."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is not model.get_input_embeddings().weight
