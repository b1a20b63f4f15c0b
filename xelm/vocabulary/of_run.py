"""Experts that read different pieces in one run: which tokenizer a text is read with, and which experts can mix.

Shape letters: `B` texts, `K` experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from clustering.errors import BadInput, arg
from router.routes.policy import Policy
from router.scoring.growing import GrowingWeights
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.vocabulary.spelling import Spelling, cannot_read_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Answer = TypeVar("Answer")
_MOST_REMEMBERED = 2**22
"""Values of texts that were read byte by byte, 32 MiB."""
_TOO_SLOW = (
    "read pieces of their own, so there is no next token that they share, and an answer byte by byte is too slow "
    "(0.06 to 2 seconds for each, docs/vocabulary.md). Use top1, or the name of one expert, with its own tokenizer "
    "where a transformers model answers; score and next_bytes mix them byte by byte."
)
"""The one sentence that refuses to generate from experts of different vocabularies, whoever asks."""


class Vocabularies:
    """The vocabularies of a run's experts.

    Args:
        experts: The run.
        names: The K experts, in the order of the columns of weights.
    """

    def __init__(self, experts: ExpertSet, names: Sequence[str]):
        self._experts, self.names = experts, list(names)
        self._prints = [experts.vocabulary(name) for name in names]
        self._tokenizers: dict[str | None, Any] = {}
        self._spellings: dict[str | None, Spelling] = {}
        self._read: dict[tuple[str, str], np.ndarray] = {}

    @property
    def differ(self) -> bool:
        """Whether some expert has a vocabulary of its own."""
        return any(print_ is not None for print_ in self._prints)

    def tokenizer(self, name: str = BASE) -> PreTrainedTokenizerBase:
        """The tokenizer of an expert, or the run's; it puts the start token first."""
        from xelm.models.tokenizers import with_start_token

        key = self._experts.vocabulary(name)
        if key not in self._tokenizers:
            self._tokenizers[key] = with_start_token(self._experts.tokenizer(name))
        return cast("PreTrainedTokenizerBase", self._tokenizers[key])

    def spelling(self, name: str) -> Spelling:
        """What the pieces of an expert spell.

        Raises:
            BadInput: If its tokenizer cannot be read byte by byte; with the reason, as a part of a sentence.
        """
        key = self._experts.vocabulary(name)
        if key not in self._spellings:
            tokenizer = self.tokenizer(name)
            if why := cannot_read_bytes(tokenizer):
                raise BadInput(why)
            self._spellings[key] = Spelling(tokenizer)
        return self._spellings[key]

    def byte_log_probs(self, name: str, text: str, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Log-probabilities of a text's bytes under an expert, remembered for the other policies that ask for them.

        Args:
            name: The expert.
            text: The text.
            read: Computes them.
        """
        key = (name, text)
        if key not in self._read:
            if sum(map(len, self._read.values())) > _MOST_REMEMBERED:
                self._read.clear()
            self._read[key] = read()
        return self._read[key]

    def sharing(self, name: str) -> list[str]:
        """The experts that read the same pieces as one of them."""
        wanted = self._experts.vocabulary(name)
        return [other for other, found in zip(self.names, self._prints, strict=True) if found == wanted]

    def settle(self, weights_BK: np.ndarray, policy: Policy) -> np.ndarray:
        """Weights under `top1`, where a text that was not decided goes to its likeliest expert if those that would
        answer together read different pieces; other policies as they are."""
        if not self.differ or policy.name != "top1":
            return weights_BK
        settled_BK = np.array(weights_BK)
        for row in self.mixed_rows(weights_BK):
            settled_BK[row] = np.eye(len(self.names))[int(weights_BK[row].argmax())]
        return settled_BK

    def read_apart(self, weights_SK: np.ndarray) -> bool:
        """Whether an expert with pieces of its own has a weight in any stretch of a text."""
        own_K = np.array([print_ is not None for print_ in self._prints])
        return bool((np.asarray(weights_SK)[:, own_K] > 0).any())

    def one_tokenizer(self, weights_K: np.ndarray) -> Any | None:
        """The tokenizer that all experts with weight read with; None if they read different pieces."""
        found = self._read_by(weights_K)
        return self._tokenizer_of(found[0]) if len(found) == 1 else None

    def mixed_rows(self, weights_BK: np.ndarray) -> list[int]:
        """The texts whose experts read different pieces."""
        if not self.differ:
            return []
        return [row for row, weights_K in enumerate(weights_BK) if len(self._read_by(weights_K)) > 1]

    def refuse_mixed(self, weights_BK: np.ndarray, policy: object) -> None:
        """Refuse texts whose experts read different pieces.

        Raises:
            BadInput: If there is one; the message names policies that answer.
        """
        for row in self.mixed_rows(weights_BK):
            chosen = [name for name, weight in zip(self.names, weights_BK[row], strict=True) if weight > 0]
            own = [name for name in chosen if self._experts.vocabulary(name) is not None]
            raise BadInput(f"{arg('policy', str(policy))}: {', '.join(own)} of {', '.join(chosen)} {_TOO_SLOW}")

    def among(self, growing: Sequence[GrowingWeights], names: Sequence[str]) -> list[GrowingWeights]:
        """The weights of some experts that read the same pieces, of texts that no other expert answers.

        While a text is too short to tell its language, these experts alone answer, without those that read other
        pieces.

        Raises:
            BadInput: If a whole text goes to another expert.
        """
        columns = [self.names.index(name) for name in names]
        for weights in growing:
            outside_K = np.delete(weights.weights[-1], columns) > 0
            if outside_K.any():
                others = [name for name in self.names if name not in names]
                found = ", ".join(name for name, there in zip(others, outside_K, strict=True) if there)
                raise BadInput(f"a text of this batch goes to {found}, which {_TOO_SLOW}")
        return [GrowingWeights(weights.starts, _renormalised(weights.weights[:, columns])) for weights in growing]

    def refuse_spans(self, weights: Sequence[np.ndarray]) -> None:
        """Refuse texts in parts whose parts are read with different pieces, or with other pieces than the run's.

        Raises:
            BadInput: If there is one.
        """
        for weights_SK in weights if self.differ else ():
            read_by = {key for weights_K in weights_SK for key in self._read_by(weights_K)}
            if read_by - {None}:
                raise BadInput(
                    "spans=True: a part of this text goes to an expert that reads pieces of its own, and the parts of "
                    "one text are scored with one tokenizer. Leave spans out, or score the parts one by one."
                )

    def by_tokenizer(
        self,
        weights_BK: np.ndarray,
        answer: Callable[[list[int], Any], Sequence[Answer]],
        policy: object,
        *,
        each: int = 1,
    ) -> list[Answer]:
        """Answers to texts, those together that are read with one tokenizer.

        Args:
            weights_BK: Weights of the experts that answer each text.
            answer: From places of texts, and their tokenizer, to the answers of each.
            policy: For the message.
            each: Answers to each text.

        Raises:
            BadInput: If the experts of a text read different pieces.
        """
        if not self.differ:
            return list(answer(list(range(len(weights_BK))), self.tokenizer()))
        self.refuse_mixed(weights_BK, policy)
        groups: dict[str | None, list[int]] = {}
        for row, weights_K in enumerate(weights_BK):
            groups.setdefault(self._read_by(weights_K)[0], []).append(row)
        found: dict[int, Sequence[Answer]] = {}
        for key, rows in groups.items():
            answers = answer(rows, self._tokenizer_of(key))
            found |= {row: answers[place * each : (place + 1) * each] for place, row in enumerate(rows)}
        return [one for row in range(len(weights_BK)) for one in found[row]]

    def _tokenizer_of(self, key: str | None) -> Any:
        return self.tokenizer(next(n for n, print_ in zip(self.names, self._prints, strict=True) if print_ == key))

    def _read_by(self, weights_K: np.ndarray) -> list[str | None]:
        """The vocabularies of the experts with weight."""
        return list(dict.fromkeys(p for p, weight in zip(self._prints, weights_K, strict=True) if weight > 0)) or [None]


def _renormalised(weights_SK: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; one without any weight is spread evenly."""
    total_S1 = weights_SK.sum(axis=1, keepdims=True)
    even = np.full_like(weights_SK, 1 / weights_SK.shape[1])
    return np.asarray(np.where(total_S1 > 0, weights_SK / np.where(total_S1 > 0, total_S1, 1.0), even))
