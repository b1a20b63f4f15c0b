"""The text of all languages tokenised, several languages at a time where there is much of it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source
from clustering.progress import show_progress
from xelm.corpus.store import TokenStore, build_store
from xelm.recipe.recipe import Data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xelm.aligning.pairs import Pair

logger = logging.getLogger(__name__)
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
        _build_elsewhere(missing, data, tokenizer, min(number, len(missing)))
    stores = {}
    for text in texts if number > 1 else show_progress(texts, desc="tokenise", unit="language", leave=False):
        stores[text.source.code] = _store(text, data, tokenizer)
    return stores


def _worth(missing: Sequence[LanguageText]) -> int:
    """How many processes save time: a new one first imports transformers, which takes seconds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside_largest = sum(text.num_bytes for text in missing[1:])
    return min(cores, len(missing), 1 + beside_largest // MUCH_TEXT)


def _build_elsewhere(
    missing: Sequence[LanguageText], data: Data, tokenizer: PreTrainedTokenizerBase, number: int
) -> None:
    """Make stores in other processes, largest languages first. What these leave undone is left to the caller."""
    context = multiprocessing.get_context("spawn")
    try:
        messages = context.Queue()
        listener = QueueListener(messages, _Here())
        listener.start()
        try:
            with ProcessPoolExecutor(number, context, _begin, (messages, logging.getLogger("xelm").level)) as pool:
                with _program_hidden():
                    jobs = [pool.submit(_build, text, data, tokenizer) for text in missing]
                try:
                    ready = as_completed(jobs)
                    for job in show_progress(ready, desc="tokenise", unit="language", leave=False, total=len(jobs)):
                        job.result()
                finally:
                    pool.shutdown(cancel_futures=True)
        finally:
            listener.stop()
    except (BrokenProcessPool, OSError) as error:
        logger.warning("Text cannot be tokenised in several processes here (%s); it goes on in one.", error)


@contextmanager
def _program_hidden() -> Iterator[None]:
    """New processes import the program that runs, and a script that does not ask whether it is the main one would run
    again in each. Nothing of it is needed there."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


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
    """In another process, which leaves the store in its folder and sends nothing back."""
    _store(text, data, tokenizer)


def _store(text: LanguageText, data: Data, tokenizer: PreTrainedTokenizerBase) -> TokenStore:
    return build_store(text.folder, text.source, data, tokenizer, vocab_size=len(tokenizer), pairs=text.pairs)
