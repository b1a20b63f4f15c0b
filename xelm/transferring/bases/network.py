"""A model with a linear head on its hidden states, as a module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from xelm.transferring.data.examples import Example
from xelm.transferring.features.hidden import joined_words, padded, pooled_states, words_of_pieces

NOT_JUDGED = -100


class TaskNetwork(torch.nn.Module):
    """Hidden states, one vector for each thing that is labelled, and scores of the classes.

    A text is its pooled states; a pair is read as one text; a word is the mean of its pieces.
    """

    def __init__(self, model: Any, num_classes: int, pool: str) -> None:
        super().__init__()
        self.model, self.pool = model, pool
        self.head = torch.nn.Linear(model.config.get_text_config().hidden_size, num_classes)
        self.dropout = torch.nn.Dropout(0.1)

    def forward(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, word_BT: torch.Tensor | None) -> torch.Tensor:
        """Scores, shape (things, classes).

        Args:
            ids_BT: Tokens.
            mask_BT: 1 for tokens, 0 for padding.
            word_BT: The word of each token, counted over the whole batch, -1 for none; None: texts are labelled.
        """
        states_BTD = self.model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.float()
        pooled = pooled_states(states_BTD, mask_BT, self.pool) if word_BT is None else _word_means(states_BTD, word_BT)
        scores: torch.Tensor = self.head(self.dropout(pooled))
        return scores


class AfterPrompt(torch.nn.Module):
    """A model of peft with a soft prompt, whose states are those of the texts alone."""

    def __init__(self, inner: Any, length: int) -> None:
        super().__init__()
        self.inner, self.length = inner, length

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.inner.get_base_model().config

    def forward(self, **inputs: Any) -> Any:
        """The states of the texts' tokens, which saw the prompt."""
        states = self.inner(**inputs).last_hidden_state
        return SimpleNamespace(last_hidden_state=states[:, self.length :])


class Batches:
    """Rows as tensors."""

    def __init__(self, tokenizer: Any, device: Any, prefix: str, max_length: int) -> None:
        self._tokenizer, self._device, self._prefix, self._most = tokenizer, device, prefix, max_length

    def of(self, rows: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Arguments of `TaskNetwork.forward`."""
        options = {"truncation": True, "max_length": self._most}
        if rows[0].tokens is None:
            firsts = [self._prefix + row.text for row in rows]
            seconds = [row.second or "" for row in rows] if rows[0].second is not None else None
            encoded = self._tokenizer(firsts, seconds, **options)
            return *padded(encoded["input_ids"], self._tokenizer, self._device), None
        joined = [joined_words(row.tokens or (), self._prefix) for row in rows]
        encoded = self._tokenizer([text for text, _ in joined], return_offsets_mapping=True, **options)
        ids_BT, mask_BT = padded(encoded["input_ids"], self._tokenizer, self._device)
        word_BT, before = torch.full_like(ids_BT, -1), 0
        for number, (row, (_, spans)) in enumerate(zip(rows, joined, strict=True)):
            words = torch.tensor(words_of_pieces(encoded["offset_mapping"][number], spans), dtype=torch.long)
            word_BT[number, : len(words)] = torch.where(words >= 0, words + before, words)
            before += row.num_units
        return ids_BT, mask_BT, _whole(word_BT, before)


def _whole(word_BT: torch.Tensor, num_words: int) -> torch.Tensor:
    """The same with the number of words noted, which the last of them may not show if it was cut off."""
    word_BT.num_words = num_words  # type: ignore[attr-defined]
    return word_BT


def _word_means(states_BTD: torch.Tensor, word_BT: torch.Tensor) -> torch.Tensor:
    number = int(word_BT.num_words)  # type: ignore[attr-defined]
    used = word_BT >= 0
    sums = states_BTD.new_zeros((number, states_BTD.shape[-1])).index_add(0, word_BT[used], states_BTD[used])
    counts = states_BTD.new_zeros(number).index_add(0, word_BT[used], states_BTD.new_ones(int(used.sum())))
    return sums / counts.clamp(min=1).unsqueeze(1)
