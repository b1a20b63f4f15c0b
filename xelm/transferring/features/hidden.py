"""Hidden states of a model as vectors: of whole texts by pooling, of words by the mean of their pieces."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.transferring.features.encoder import ENCODERS, Encoder, Matrix, Words

if TYPE_CHECKING:
    import torch

    from xelm.transferring.recipe import TaskBase

logger = logging.getLogger(__name__)
Loaded = tuple[Any, Any]
"""A model without its output layer, on its device, and its tokenizer."""


class HiddenEncoder(Encoder):
    """States of one layer of a model that does not change."""

    def __init__(self, name: str, identity: Sequence[str], load: Callable[[], Loaded], settings: TaskBase) -> None:
        """Make an encoder; the model is loaded when the first text is read.

        Args:
            name: Of the model, for messages.
            identity: Fingerprints of its weights.
            load: Loads it.
            settings: Layer, pooling, lengths.
        """
        self.name, self._load, self._settings = name, load, settings
        s = settings
        decisive = ["hidden-1", *identity, s.layer, s.pool, s.prefix, s.max_length, s.batch_size]
        self._key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
        self._loaded: Loaded | None = None

    @property
    def key(self) -> str:
        return self._key

    def texts(self, texts: Sequence[str]) -> Matrix:
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        for batch, states_BTD, mask_BT, _ in self._passes([self._settings.prefix + text for text in texts]):
            pooled = pooled_states(states_BTD, mask_BT, self._settings.pool).cpu().numpy()
            for place, vector in zip(batch, pooled, strict=True):
                found[place] = vector
        return np.stack(found) if found else np.empty((0, 0), dtype=np.float32)

    def words(self, sentences: Words) -> Matrix:
        found: list[np.ndarray] = [np.empty(0)] * len(sentences)
        joined = [joined_words(words, self._settings.prefix) for words in sentences]
        silent = 0
        for batch, states_BTD, _, offsets in self._passes([text for text, _ in joined]):
            states = states_BTD.cpu().numpy()
            for row, place in enumerate(batch):
                word_of_piece = words_of_pieces(offsets[row], joined[place][1])
                found[place], lost = _means(states[row], word_of_piece, len(sentences[place]))
                silent += lost
        if silent:
            logger.warning("%d words have no piece in the model's %d tokens; their vectors are 0.", silent, self._most)
        return np.concatenate(found) if found else np.empty((0, 0), dtype=np.float32)

    @property
    def _most(self) -> int:
        assert self._loaded is not None
        return most_tokens(self._loaded[0], self._settings)

    def _passes(self, texts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, Any]]:
        """Places of the texts of a batch, states (B, T, D), mask (B, T), character offsets of pieces; longest first."""
        import torch

        self._loaded = self._loaded or self._load()
        model, tokenizer = self._loaded
        encoded = tokenizer(list(texts), truncation=True, max_length=self._most, return_offsets_mapping=True)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        if cut := sum(length >= self._most for length in lengths):
            logger.warning("%d of %d texts fill %d tokens and may be cut off there.", cut, len(texts), self._most)
        order = sorted(range(len(texts)), key=lambda place: (-lengths[place], place))
        size = self._settings.batch_size
        with torch.inference_mode(), show_progress(desc=f"read {self.name}", unit="text", total=len(texts)) as bar:
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                ids_BT, mask_BT = padded([encoded["input_ids"][place] for place in batch], tokenizer, model.device)
                yield (
                    batch,
                    self._states(model, ids_BT, mask_BT),
                    mask_BT,
                    [encoded["offset_mapping"][place] for place in batch],
                )
                bar.update(len(batch))

    def _states(self, model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        layer = self._settings.layer
        given = model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=layer is not None)
        layers: list[torch.Tensor] = [given.last_hidden_state] if layer is None else given.hidden_states
        if layer is not None and not -len(layers) <= layer < len(layers):
            raise BadInput(f"[base] layer = {layer}: {self.name} has layers 0 to {len(layers) - 1}.")
        return layers[layer or 0].float()


def most_tokens(model: Any, settings: TaskBase) -> int:
    """Tokens of a text that are read: as many as are asked for, within the model's context."""
    from router.scoring.tokens import context_of

    try:
        return min(settings.max_length, context_of(model))
    except (AttributeError, TypeError):
        return settings.max_length


@ENCODERS.named("hidden")
def hidden(settings: TaskBase) -> None:
    """Hidden states are those of the base's models, which make their encoders."""


def padded(ids: Sequence[Sequence[int]], tokenizer: Any, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, padded on the right: models with learnt positions count from the left."""
    import torch

    longest = max(1, max(map(len, ids)))
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids_BT = torch.full((len(ids), longest), fill, dtype=torch.long)
    mask_BT = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, own in enumerate(ids):
        ids_BT[row, : len(own)] = torch.tensor(own, dtype=torch.long)
        mask_BT[row, : max(1, len(own))] = 1  # a text without tokens must not divide by 0
    return ids_BT.to(device), mask_BT.to(device)


def pooled_states(states_BTD: torch.Tensor, mask_BT: torch.Tensor, pool: str) -> torch.Tensor:
    """One vector a text, shape (B, D): the mean over its tokens, or its first or last one."""
    if pool == "mean":
        weights_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
        return (states_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
    place_B = mask_BT.sum(1) - 1 if pool == "last" else mask_BT.sum(1) * 0
    rows = states_BTD.new_zeros(len(states_BTD), dtype=place_B.dtype) + place_B.new_tensor(range(len(states_BTD)))
    picked: torch.Tensor = states_BTD[rows, place_B]
    return picked


def joined_words(words: Sequence[str], prefix: str = "") -> tuple[str, list[tuple[int, int]]]:
    """Words with spaces between them, and where each begins and ends in that text."""
    text, spans = prefix, []
    for word in words:
        begin = len(text)
        text += word
        spans.append((begin, len(text)))
        text += " "
    return text[:-1] if words else text, spans


def words_of_pieces(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """The word that each piece lies in (the first, if it spans two), -1 for special tokens and prefixes.

    Args:
        offsets: First character and end of each piece; some tokenizers count the space before a word as the piece's.
        spans: First character and end of each word, ascending.
    """
    found, word = [], 0
    for begin, end in offsets:
        while word < len(spans) and spans[word][1] <= begin:
            word += 1
        touches = word < len(spans) and begin < end and end > spans[word][0]
        found.append(word if touches else -1)
    return found


def _means(states_TD: np.ndarray, word_of_piece: Sequence[int], num_words: int) -> tuple[np.ndarray, int]:
    """Mean state of each word's pieces, shape (words, D), and how many words have none."""
    sums = np.zeros((num_words, states_TD.shape[1]), dtype=np.float32)
    counts = np.zeros(num_words, dtype=np.float32)
    for piece, word in enumerate(word_of_piece):
        if word >= 0:
            sums[word] += states_TD[piece]
            counts[word] += 1
    return sums / np.maximum(counts, 1)[:, None], int((counts == 0).sum())
