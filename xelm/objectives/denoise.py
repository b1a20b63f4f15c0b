"""Spans left out of a text, to be written by the decoder of a model of the kind of T5 (Raffel et al. 2020).

Shape letters: B blocks, T tokens of a block.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xelm.objectives.cloze import Cloze, written
from xelm.objectives.gaps.batch import GapBatch, pad_of
from xelm.objectives.gaps.scores import denoise_log_probs
from xelm.objectives.gaps.sentinels import end_of, sentinels_of
from xelm.objectives.gaps.spans import left_out, random_spans
from xelm.objectives.objective import Batches, Objective, objective
from xelm.objectives.prompting import GapPrompting, Prompting

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.recipe.recipe import Train

_USUAL_CONTEXT = 512


@dataclass(frozen=True)
class DenoiseBatches(Batches):
    """Leaves spans out of the documents of blocks, of each in T5's numbers: 15 % of its tokens, three in a span.

    The gaps of a block are numbered from its first document to its last. If there are more of them than sentinels, a
    random choice of the spans is left out.
    """

    takes_head: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    sentinels: tuple[int, ...]
    """The token of each gap."""
    special_ids: tuple[int, ...]
    """Special tokens, which are never left out."""
    end: tuple[int, ...]
    """The end token of input and target; empty if there is none."""
    pad_id: int
    seed: int

    @property
    def adds(self) -> Collection[int]:
        """The sentinels, and what begins and ends input and target."""
        return (*self.sentinels, *self.end, self.pad_id)

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> GapBatch:
        """The blocks with gaps, and the spans that were in them."""
        rows = [
            self._row(ids_T, positions_T, np.random.default_rng([self.seed, int(draw)]))
            for ids_T, positions_T, draw in zip(ids_BT, positions_BT, draws_B, strict=True)
        ]
        return GapBatch.of([inputs for inputs, _ in rows], [target for _, target in rows], self.pad_id)

    def isolates(self, model: PreTrainedModel) -> bool:
        """Never: encoder-decoder models attend over the whole block, as in T5's own training."""
        return False

    def _row(self, ids_T: np.ndarray, positions_T: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        documents = self._documents(ids_T, positions_T)
        spans = [random_spans(rng, len(document)) for document in documents]
        kept = self._within_sentinels(rng, sum(map(len, spans)))
        inputs: list[int] = []
        target: list[int] = []
        seen = used = 0
        for document, found in zip(documents, spans, strict=True):
            mine = [span for number, span in enumerate(found, seen) if number in kept]
            with_gaps, in_gaps = left_out(document, mine, list(self.sentinels[used : used + len(mine)]))
            inputs += [*with_gaps, *self.end]
            target += in_gaps
            seen, used = seen + len(found), used + len(mine)
        return inputs or [self.pad_id], [*target, *self.end] if target else []

    def _documents(self, ids_T: np.ndarray, positions_T: np.ndarray) -> list[np.ndarray]:
        """The text of each document in a block, without boundary tokens; a document that goes on is read as ended."""
        begins = np.flatnonzero(positions_T == 0)
        texts = [part[~np.isin(part, self.special_ids)] for part in np.split(ids_T, begins[begins > 0])]
        return [text for text in texts if len(text)]

    def _within_sentinels(self, rng: np.random.Generator, number: int) -> set[int]:
        if number <= len(self.sentinels):
            return set(range(number))
        return set(rng.choice(number, len(self.sentinels), replace=False).tolist())


@objective
class Denoise(Objective):
    """Encoder-decoder models that write what stands in the gaps of a text, such as T5, mT5 and ByT5."""

    name: ClassVar[str] = "denoise"
    generates: ClassVar[bool] = True
    follows_text: ClassVar[bool] = False
    fits_new_base: ClassVar[bool] = False

    def auto_class(self) -> Any:
        """`AutoModelForSeq2SeqLM`."""
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches for a tokenizer with sentinels; trainings of different names leave out different spans.

        Raises:
            BadInput: If the tokenizer has no sentinels.
        """
        sentinels, seed = sentinels_of(tokenizer), zlib.crc32(f"{settings.seed} {name}".encode())
        special = {*tokenizer.all_special_ids, *sentinels}
        return DenoiseBatches(
            tuple(sentinels), tuple(sorted(special)), tuple(end_of(tokenizer)), pad_of(tokenizer), seed
        )

    def log_probs(
        self, model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None
    ) -> list[np.ndarray]:
        """Log-probabilities of every token as part of a gap (see `xelm.objectives.gaps.scores`)."""
        return denoise_log_probs(model, texts, tokenizer, context=context or _USUAL_CONTEXT)

    def prompting(self, tokenizer: PreTrainedTokenizerBase) -> Prompting:
        """Gaps are filled; a prompt without one is continued."""
        return GapPrompting(tokenizer)

    def cloze_log_probs(
        self, model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase
    ) -> np.ndarray:
        """log p(answer | the text with a gap)."""
        return written(model, clozes, tokenizer)
