"""The text of all languages tokenised: several at a time, and parts of large ones, where there is much of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clustering.corpora.find import Source
from clustering.progress import show_progress
from xelm.corpus.store import TokenStore, build_store
from xelm.corpus.tokens.elsewhere import NOT_SEVERAL, elsewhere
from xelm.recipe.recipe import Data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xelm.aligning.pairs import Pair

logger = logging.getLogger(__name__)
MUCH_TEXT = 32_000_000
"""Bytes of files from which on another process is worth its start."""
_MOST_PARTS = 6
"""Processes that tokenise one language; one reads for them."""


@dataclass(frozen=True)
class LanguageText:
    """The text of one language, and where its tokens are kept."""

    folder: Path
    source: Source
    pairs: Sequence[Pair] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of its files; 0 where it comes from the hub."""
        return sum(file.stat().st_size for file in self.source.files)


def build_stores(
    texts: Sequence[LanguageText], data: Data, tokenizer: PreTrainedTokenizerBase, *, num_processes: int | None = None
) -> dict[str, TokenStore]:
    """Tokenise what is not tokenised yet, language by language; see `build_store`.

    Args:
        texts: The languages.
        data: How they are read.
        tokenizer: The tokenizer.
        num_processes: Most that tokenise at a time, several languages or parts of a large one; None: as many as there
            are cores and much text.

    Raises:
        BadInput: As `build_store`. Languages that were finished before stay.
    """
    missing = sorted((text for text in texts if not text.folder.is_dir()), key=lambda text: -text.num_bytes)
    sizes = [text.num_bytes for text in missing]
    most, much = (_cores(), MUCH_TEXT) if num_processes is None else (num_processes, 1)
    at_a_time = min(most, len(missing), 1 + sum(sizes[1:]) // much)
    parts = _parts(sizes, most, much, at_a_time)
    number_of = {text.source.code: number for text, number in zip(missing, parts, strict=True)}
    if at_a_time > 1:
        _build_elsewhere(missing, data, tokenizer, at_a_time, number_of)
    stores = {}
    for text in texts if at_a_time > 1 else show_progress(texts, desc="tokenise", unit="language", leave=False):
        stores[text.source.code] = _store(text, data, tokenizer, number_of.get(text.source.code, 1))
    return stores


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(sizes: Sequence[int], most: int, much: int, at_a_time: int) -> list[int]:
    """How many processes tokenise each language: its share of them by size, where its text is worth their start.

    A new process first imports transformers, which takes seconds.
    """
    total = sum(sizes)
    shares = [most * size // total if at_a_time > 1 and total else most for size in sizes]
    return [max(1, min(share, size // much, _MOST_PARTS)) for share, size in zip(shares, sizes, strict=True)]


def _build_elsewhere(
    missing: Sequence[LanguageText],
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    number: int,
    number_of: Mapping[str, int],
) -> None:
    """Make stores in other processes, largest languages first. What these leave undone is left to the caller."""
    try:
        with elsewhere(number, _nothing) as others:
            jobs = [others.submit(_build, text, data, tokenizer, number_of[text.source.code]) for text in missing]
            ready = as_completed(jobs)
            for job in show_progress(ready, desc="tokenise", unit="language", leave=False, total=len(jobs)):
                job.result()
    except (BrokenProcessPool, OSError) as error:
        logger.warning(NOT_SEVERAL, error)


def _nothing() -> None:
    """Languages need no preparation."""


def _build(text: LanguageText, data: Data, tokenizer: PreTrainedTokenizerBase, number: int) -> None:
    """In another process, which leaves the store in its folder and sends nothing back."""
    _store(text, data, tokenizer, number)


def _store(text: LanguageText, data: Data, tokenizer: PreTrainedTokenizerBase, number: int) -> TokenStore:
    vocab_size = len(tokenizer)
    return build_store(
        text.folder, text.source, data, tokenizer, vocab_size=vocab_size, pairs=text.pairs, num_processes=number
    )
