"""The text of all languages tokenised, several languages at a time where there is much of it."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source
from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.corpus.store import TokenStore, build_store, open_store
from xelm.recipe.recipe import Data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xelm.aligning.pairs import Pair

MUCH_TEXT = 32_000_000
"""Bytes of files, beside those of the largest language, from which on other processes are worth their start."""


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
        num_processes: Most languages at a time; None: as many as there are cores and languages with much text.

    Raises:
        BadInput: As `build_store`. Languages that were finished before stay.
    """
    missing = sorted((text for text in texts if not text.folder.is_dir()), key=lambda text: -text.num_bytes)
    number = _worth(missing) if num_processes is None else num_processes
    if number > 1:
        ready = _elsewhere(missing, data, tokenizer, min(number, len(missing)))
        for _ in show_progress(ready, desc="tokenise", unit="language", leave=False, total=len(missing)):
            pass
    stores = {}
    for text in texts if number > 1 else show_progress(texts, desc="tokenise", unit="language", leave=False):
        stores[text.source.code] = build_store(
            text.folder, text.source, data, tokenizer, vocab_size=len(tokenizer), pairs=text.pairs
        )
    return stores


def _worth(missing: Sequence[LanguageText]) -> int:
    """How many processes save time: a new one first imports transformers, which takes seconds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside_largest = sum(text.num_bytes for text in missing[1:])
    return min(cores, len(missing), 1 + beside_largest // MUCH_TEXT)


def _elsewhere(
    missing: Sequence[LanguageText], data: Data, tokenizer: PreTrainedTokenizerBase, number: int
) -> Iterator[TokenStore]:
    """The stores as they are finished, largest languages begun first."""
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    listener = QueueListener(messages, _Here())
    listener.start()
    try:
        with ProcessPoolExecutor(number, context, _begin, (messages, logging.getLogger("xelm").level)) as pool:
            jobs = {pool.submit(_build, text, data, tokenizer): text for text in missing}
            try:
                for job in as_completed(jobs):
                    job.result()
                    yield open_store(jobs[job].folder, jobs[job].source.code)
            except BrokenProcessPool:
                raise BadInput(
                    "a process that tokenised text was killed, perhaps for want of memory. Run the command again: "
                    "languages that were finished are kept."
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        listener.stop()


class _Here(logging.Handler):
    """Gives messages of another process to the loggers of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _begin(messages: Any, level: int) -> None:
    """Prepare a new process: its messages go to the process that asked, and its tokenizer takes one core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    root = logging.getLogger()
    root.handlers = [QueueHandler(messages)]
    logging.getLogger("xelm").setLevel(level)


def _build(text: LanguageText, data: Data, tokenizer: PreTrainedTokenizerBase) -> None:
    build_store(text.folder, text.source, data, tokenizer, vocab_size=len(tokenizer), pairs=text.pairs)
