"""How probable an answer is in its place in a text: the score of cloze templates, for each kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from xelm.corpus.tokens.encoder import boundary_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH = 32


@dataclass(frozen=True)
class Cloze:
    """A text with an answer in it."""

    before: str
    answer: str
    after: str

    @property
    def text(self) -> str:
        """The text with the answer in its place."""
        return self.before + self.answer + self.after


def continued(model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """log p(answer and what follows | what stands before), as `RoutedLM.score(…, prefix=…)`, in nats, shape (texts,).

    A space before the answer belongs to it, as in the tokens of most models.

    Args:
        model: A causal model.
        clozes: Texts.
        tokenizer: Its tokenizer.
    """
    from router.scoring.texts import encode
    from router.scoring.tokens import token_log_probs

    prefixes = [cloze.before.rstrip(" ") for cloze in clozes]
    whole = encode([cloze.text for cloze in clozes], tokenizer)
    before = encode(prefixes, tokenizer)
    alone = encode(
        [cloze.text[len(prefix) :] for cloze, prefix in zip(clozes, prefixes, strict=True)], tokenizer, add_prefix=False
    )
    joined = [
        ids if ids[: len(prompt)] == prompt else prompt + answer
        for ids, prompt, answer in zip(whole, before, alone, strict=True)
    ]
    found = token_log_probs(model, joined)
    return np.array([values[max(0, len(prompt) - 1) :].sum() for values, prompt in zip(found, before, strict=True)])


def masked_in(model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Mean log-probability of an answer's tokens, all masked at once, in nats, shape (texts,).

    The mean, not the sum: the number of masks already tells how long the answer is.

    Args:
        model: A masked model.
        clozes: Texts.
        tokenizer: Its fast tokenizer, with a mask token.

    Raises:
        BadInput: If an answer has no token of its own.
    """
    import torch

    values, (before, after) = np.zeros(len(clozes)), boundary_tokens(tokenizer)
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
    for start in range(0, len(clozes), _BATCH):
        batch = clozes[start : start + _BATCH]
        encoded = tokenizer([cloze.text for cloze in batch], verbose=False, **options)
        rows = [[*before, *ids, *after] for ids in encoded["input_ids"]]
        insides = [_inside(cloze, own) for cloze, own in zip(batch, encoded["offset_mapping"], strict=True)]
        places = [[len(before) + place for place in inside] for inside in insides]
        width = max(map(len, rows))
        ids = np.full((len(rows), width), tokenizer.pad_token_id or 0, dtype=np.int64)
        attention = np.zeros_like(ids)
        for row, (own, inside) in enumerate(zip(rows, places, strict=True)):
            ids[row, : len(own)], attention[row, : len(own)] = own, 1
            ids[row, inside] = tokenizer.mask_token_id
        given = {"input_ids": ids, "attention_mask": attention}
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(table).to(model.device) for name, table in given.items()}).logits
        for row, (own, inside) in enumerate(zip(rows, places, strict=True)):
            log_probs = logits[row, inside].double().log_softmax(-1).cpu().numpy()
            values[start + row] = log_probs[np.arange(len(inside)), [own[place] for place in inside]].mean()
    return values


def _inside(cloze: Cloze, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens that have a letter of the answer."""
    begin = len(cloze.before) + len(cloze.answer) - len(cloze.answer.lstrip())
    end = len(cloze.before) + len(cloze.answer)
    found = [place for place, (first, last) in enumerate(offsets) if first < end and last > begin and first < last]
    if not found:
        raise BadInput(f"the tokenizer has no token for the answer {cloze.answer!r} of a template.")
    return found


def written(model: Any, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """log p(answer | the text with a gap in its place) of the decoder, in nats, shape (texts,).

    What closes the gap is counted too, so that answers of different lengths compare.

    Args:
        model: An encoder-decoder model.
        clozes: Texts.
        tokenizer: Its tokenizer, with sentinels.
    """
    import torch

    from xelm.objectives.gaps.batch import GapBatch, pad_of
    from xelm.objectives.gaps.sentinels import end_of, sentinels_of

    first, closing = sentinels_of(tokenizer)[0], end_of(tokenizer)
    options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    values = np.zeros(len(clozes))
    for start in range(0, len(clozes), _BATCH):
        batch = clozes[start : start + _BATCH]
        before, answers, after = (
            tokenizer([getattr(cloze, part) for cloze in batch], **options)["input_ids"]
            for part in ("before", "answer", "after")
        )
        inputs = [[*one, first, *other, *closing] for one, other in zip(before, after, strict=True)]
        targets = [[first, *answer, *closing] for answer in answers]
        gaps = GapBatch.of(inputs, targets, pad_of(tokenizer))
        with torch.inference_mode():
            logits = model(**gaps.inputs(model, model.device), use_cache=False).logits.double().log_softmax(-1)
        for row, target in enumerate(targets):
            values[start + row] = sum(float(logits[row, place, token]) for place, token in enumerate(target) if place)
    return values
