"""Failures of a training other than bad input: a model that failed, a disk that is full or read-only."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from clustering.errors import BadInput

_DISK_TROUBLES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Text of the exceptions that Rust code (safetensors, tokenizers) raises.
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True)
class Failure:
    """Why a model was not made."""

    reason: str
    bad_input: bool = False
    """Whether the user's input is the cause."""


class TrainingFailedError(RuntimeError):
    """Some models of a run could not be made; the others are finished and kept."""


def raise_failures(failures: Mapping[str, Failure], num_models: int) -> NoReturn:
    """Report all failures at once.

    Raises:
        BadInput: If the user's input is the cause of every failure.
        TrainingFailedError: Otherwise.
    """
    reasons = " ".join(f"{name}: {failure.reason}" for name, failure in failures.items())
    message = (
        f"{len(failures)} of {num_models} models failed; finished models are kept. {reasons} "
        "The same command makes what is missing."
    )
    raise (BadInput if all(f.bad_input for f in failures.values()) else TrainingFailedError)(message)


@contextmanager
def disk_failure_reported(run: Path) -> Iterator[None]:
    """Turn the error of a full or read-only disk into one sentence, whichever library raised it.

    Raises:
        OSError: With the run, the reason and the way out.
    """
    try:
        yield
    except Exception as error:
        number = disk_failure(error)
        if number is None:
            raise
        raise OSError(
            f"{run}: {os.strerror(number).lower()}. What was finished is kept, the last checkpoint too. "
            "Free some space (or make the folder writable) and run the same command again to resume."
        ) from None


def disk_failure(error: BaseException) -> int | None:
    """The `errno` of a full or read-only disk behind an exception, or None."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _RUST_OS_ERROR.search(str(error))):
        number = int(found[1])
    return number if number in _DISK_TROUBLES else None


def in_a_sentence(error: BaseException) -> str:
    """The first line of an exception, with its type if the text alone is not clear."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    plain = isinstance(error, ValueError | FloatingPointError | MemoryError) and text
    text = text if plain else f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
