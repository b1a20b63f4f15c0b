"""Kinds of corpus files: their endings, and their bytes with the compression taken off."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from clustering.errors import BadInput

TEXT_KINDS = (".txt", ".jsonl", ".ndjson", ".parquet", ".conllu")
"""Endings of files that hold nothing but a corpus."""
TABLE_KINDS = (".json", ".csv", ".tsv")
"""Endings of files that often hold other content too: word lists, statistics, settings."""
KINDS = (*TEXT_KINDS, *TABLE_KINDS)
COMPRESSIONS = (".gz", ".zst")
ENDINGS = (*(kind + packed for packed in COMPRESSIONS for kind in KINDS), *KINDS)
READABLE = f"{', '.join(KINDS)}, and each of them as {' or '.join(COMPRESSIONS)}"
"""The readable kinds, for messages."""


def ending_of(name: str) -> str | None:
    """The ending of a corpus file's name in lower case (`SPA.JSONL.gz` -> `.jsonl.gz`); None for other files."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def kind_of(file: Path) -> str:
    """The kind of a corpus file, one of `KINDS`.

    Raises:
        BadInput: If its name has no such ending.
    """
    ending = ending_of(file.name)
    if ending is None:
        raise BadInput(f"{file}: unknown kind of file. A corpus is read from {READABLE}.")
    return next(kind for kind in KINDS if ending.startswith(kind) and ending.removeprefix(kind) in ("", *COMPRESSIONS))


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked while they are read.

    Raises:
        BadInput: If the file is missing, cannot be read, or is incomplete. A truncated file is never read as a shorter
            one.
    """
    try:
        with _open(file) as handle:
            yield handle
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{file}: not a whole gzip file ({error}). Copy it again.") from None
    except OSError as error:
        if file.suffix.lower() == ".zst" and error.errno is None:  # pyarrow's own errors have no number
            raise BadInput(f"{file}: not a whole zstd file ({error}). Copy it again.") from None
        raise BadInput(f"{file}: cannot be read ({error.strerror or error}).") from None


def raw_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers from 1. Only `\\n` ends a line: text may hold the other separators."""
    with opened(file) as handle:
        yield from enumerate(handle, 1)


def decoded(raw: bytes) -> str:
    """UTF-8 text without a byte order mark.

    Raises:
        ValueError: If it is not UTF-8; the message says where.
    """
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {raw[error.start]:#04x} at column {error.start + 1})") from None


def _open(file: Path) -> Any:
    packed = file.suffix.lower()
    if packed == ".gz":
        return gzip.open(file)
    if packed == ".zst":
        import pyarrow

        # zstandard's reader ends silently at the end of a truncated file; pyarrow's raises an error.
        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(file)), "zstd"))
    return file.open("rb")
