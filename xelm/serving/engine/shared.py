"""What prompts share with earlier ones of the same expert: a system prompt, or the turns of a chat so far.

The caches of answers are kept after their end, and a prompt that begins like one of them is read from there on.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from router.mixture.kept import KeptRow

# Reading fewer tokens takes little time (`experiments/inference/clients.py`).
_FEWEST_TOKENS = 64
# A text is kept as well if so much of it is in no kept one.
_NEW_PART = 0.25
# Every prompt is compared with all of them.
_MOST_TEXTS = 64


@dataclass(eq=False)
class _Kept:
    expert: Hashable
    ids: np.ndarray
    row: KeptRow


class SharedBeginnings:
    """Caches by expert and tokens, the one used last at the end."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    @property
    def num_bytes(self) -> int:
        """Memory of the caches."""
        return sum(kept.row.batch.num_bytes for kept in self._kept)

    def find(self, expert: Hashable, ids: Sequence[int], models: object) -> KeptRow | None:
        """The longest cached beginning of a prompt, all of it but the last token at most.

        Args:
            expert: What reads the prompt.
            ids: The prompt's tokens.
            models: Where the models come from now; caches of others are of no use.
        """
        from router.mixture.beginnings import beginning

        found, num_tokens = self._longest(expert, ids[:-1], models)
        if found is None or num_tokens < _FEWEST_TOKENS:
            return None
        self._kept.append(self._kept.pop(self._kept.index(found)))
        return beginning(found.row, num_tokens)

    def put(self, expert: Hashable, ids: Sequence[int], row: KeptRow) -> None:
        """Keep a copy of a row's cache, unless most of it is kept already.

        Args:
            expert: What read the row.
            ids: Its cached tokens.
            row: Their cache.
        """
        from router.mixture.beginnings import beginning, can_begin

        if len(ids) < _FEWEST_TOKENS or not can_begin(row):
            return
        similar, num_tokens = self._longest(expert, ids, row.batch.models)
        if len(ids) - num_tokens < _NEW_PART * len(ids):
            return
        if similar is not None and num_tokens == len(similar.ids):
            self._kept.remove(similar)  # it is the beginning of the new one
        self._kept.append(_Kept(expert, np.array(ids), beginning(row, len(ids), copied=True)))
        del self._kept[:-_MOST_TEXTS]

    def drop(self, max_bytes: int) -> None:
        """Keep no more than so many bytes: those go first that were used longest ago."""
        num_bytes = self.num_bytes
        while self._kept and num_bytes > max_bytes:
            num_bytes -= self._kept.pop(0).row.batch.num_bytes

    def _longest(self, expert: Hashable, ids: Sequence[int], models: object) -> tuple[_Kept | None, int]:
        """The kept text that begins with most of these tokens, and how many."""
        self._kept = [kept for kept in self._kept if kept.row.batch.models is models]
        ids_T = np.array(ids)
        common = [(kept, _num_common(kept.ids, ids_T)) for kept in self._kept if kept.expert == expert]
        return max(common, key=lambda pair: pair[1], default=(None, 0))


def _num_common(one_T: np.ndarray, other_T: np.ndarray) -> int:
    """How many tokens two texts have in common before they differ."""
    num_tokens = min(len(one_T), len(other_T))
    differ_T = one_T[:num_tokens] != other_T[:num_tokens]
    return int(differ_T.argmax()) if differ_T.any() else num_tokens
