"""Masked tokens of a sentence and of its translation, which are read together (Conneau & Lample 2019).

Each document, and each pair of translations, is a row of its own, so that nothing else is seen. Positions begin again
with the second side of a pair: a masked word can be predicted from the other side, where it stands at a like place.

Shape letters: B blocks, T tokens of a block, R documents of a batch, W tokens of the widest.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clustering.errors import BadInput
from xelm.corpus.tokens.encoder import boundary_tokens
from xelm.objectives.gaps.batch import pad_of
from xelm.objectives.masked import Masked, MaskedBatches
from xelm.objectives.objective import IGNORED, Batches, objective, sent
from xelm.objectives.tokens import TokenBatch

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.recipe.recipe import Train


@dataclass(frozen=True)
class DocumentBatch(TokenBatch):
    """Documents filled up to one width."""

    attention_mask: np.ndarray
    """(R, W) int64: 1 for a token, 0 for filling."""

    def arguments(self, model: Any, *, isolated: bool, device: torch.device) -> dict[str, torch.Tensor]:
        """Mask and positions."""
        given = {"attention_mask": self.attention_mask}
        if (first := first_position(model)) is not None:
            given["position_ids"] = self.position_ids + first
        return {name: sent(values, device) for name, values in given.items()}


@dataclass(frozen=True)
class DocumentBatches:
    """Documents of like length together, so that at most half of what a model reads is filling."""

    parts: Sequence[DocumentBatch]

    @property
    def num_targets(self) -> int:
        """Number of positions that are judged."""
        return sum(part.num_targets for part in self.parts)

    def summed_loss(self, model: torch.nn.Module, **options: Any) -> torch.Tensor:
        """Cross entropy over all targets, in nats."""
        import torch

        return torch.stack([part.summed_loss(model, **options) for part in self.parts]).sum()


@dataclass(frozen=True)
class TlmBatches(MaskedBatches):
    """As `masked`, but each document is read by itself, and each side of a pair has positions of its own."""

    ends: tuple[int, ...]
    """The token that closes a document, or a side of a pair."""
    pad_id: int

    @property
    def adds(self) -> Collection[int]:
        """The mask, and what closes a side."""
        return (self.mask_id, *self.ends)

    def batch(  # type: ignore[override]
        self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float
    ) -> DocumentBatches:
        """The chosen tokens of both sides are the labels."""
        masked = super().batch(ids_BT, positions_BT, draws_B, done)
        documents: dict[int, list[tuple[np.ndarray, ...]]] = {}
        for row in range(len(ids_BT)):
            begins = np.flatnonzero(positions_BT[row] == 0)
            for start, stop in zip(begins, [*begins[1:], ids_BT.shape[1]], strict=True):
                own, piece = slice(start, stop), (row, slice(start, stop))
                document = (masked.input_ids[piece], self.sides(ids_BT[row, own]), masked.labels[piece])
                documents.setdefault(int(stop - start).bit_length(), []).append(document)
        return DocumentBatches([self._filled(documents[size]) for size in sorted(documents)])

    def sides(self, ids_T: np.ndarray) -> np.ndarray:
        """Positions of a document's tokens; they begin again after a token that closes a side, but for the last."""
        places_T = np.arange(len(ids_T))
        after_T = np.concatenate([[False], np.isin(ids_T[:-1], self.ends)])
        return places_T - np.maximum.accumulate(np.where(after_T, places_T, 0))

    def isolates(self, model: PreTrainedModel) -> bool:
        """Always: each document is a row of its own.

        Raises:
            BadInput: If the model keeps texts apart where positions begin again, so that it would see one side only.
        """
        if super().isolates(model):
            raise BadInput(
                'objective = "tlm" lets positions begin again with the second side of a pair; this model does not look '
                'across such a place. Choose another [base] model, or objective = "masked".'
            )
        return True

    def _filled(self, documents: list[tuple[np.ndarray, ...]]) -> DocumentBatch:
        shape = (len(documents), max(len(ids) for ids, *_ in documents))
        filled = [np.full(shape, value, dtype=np.int64) for value in (self.pad_id, 0, IGNORED, 0)]
        for row, (ids, positions, labels) in enumerate(documents):
            for table, values in zip(filled, (ids, positions, labels, np.ones_like(ids)), strict=True):
                table[row, : len(ids)] = values
        return DocumentBatch(*filled)


def first_position(model: Any) -> int | None:
    """The position of a text's first token as a model counts it (RoBERTa: from the one after the padding's).

    None: it takes no positions.
    """
    plain = getattr(model, "module", model)  # accelerate and peft wrap models
    plain = getattr(plain, "get_base_model", lambda: plain)()
    if "position_ids" not in inspect.signature(plain.forward).parameters:
        return None
    tables = (module for name, module in plain.named_modules() if name.endswith("position_embeddings"))
    padding = next((table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None), None)
    return 0 if padding is None else int(padding) + 1


@objective
class Tlm(Masked):
    """Masked models that also read translations, from `[data] pairs`."""

    name: ClassVar[str] = "tlm"
    reads_pairs: ClassVar[bool] = True

    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches for a tokenizer with a mask token.

        Raises:
            BadInput: If the tokenizer has no mask token.
        """
        masked = super().batches(tokenizer, settings, name)
        taken = {field.name: getattr(masked, field.name) for field in fields(MaskedBatches)}
        return TlmBatches(**taken, ends=tuple(boundary_tokens(tokenizer)[1]), pad_id=pad_of(tokenizer))
