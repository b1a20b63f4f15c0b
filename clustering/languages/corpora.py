"""Text corpora on disk: which files belong to which language, and their documents one at a time."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, resolve

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
log = logging.getLogger(__name__)


def find_corpora(folder: str | Path) -> dict[str, Path]:
    """Find the corpus of each language in a folder of `<language>.{txt,jsonl,jsonl.gz,parquet}`.

    Args:
        folder: Searched without its subfolders. `<language>` is any code or tag (`swa`, `swh_Latn`).

    Returns:
        {ISO 639-3 code: file}, sorted by code. A file whose name is no language is skipped with a warning.

    Raises:
        BadInput: If the folder is missing or holds no corpus, or two files are of one language.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BadInput(f"{root}: no such folder. Give a folder of files such as swa.txt or swa.jsonl.gz.")
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        stem = _language_part(path)
        if stem is None or not path.is_file():
            continue
        try:
            code = resolve(stem).code
        except UnknownLanguageError as error:
            log.warning("%s skipped: its name is no language. %s", path, error)
            continue
        if code in found:
            raise BadInput(f"{found[code]} and {path} are both of {code}: keep one, or join them.")
        found[code] = path
    if not found:
        raise BadInput(f"{root}: no corpus in it. Files are named <language>{{{','.join(SUFFIXES)}}}, as swa.txt.")
    return dict(sorted(found.items()))


def iter_documents(path: str | Path) -> Iterator[str]:
    """Read the documents of a corpus file as a stream; memory does not grow with the file.

    Args:
        path: `.txt` (a document per line), `.jsonl`/`.jsonl.gz` (field `text`) or `.parquet` (column `text`).

    Yields:
        Documents that are not blank, in order.

    Raises:
        BadInput: If the file is missing, of another kind or broken; the message names the line.
    """
    file = Path(path)
    if not file.is_file():
        raise BadInput(f"{file}: no such file.")
    if _language_part(file) is None:
        raise BadInput(f"{file}: not a corpus file. Its name ends in one of {', '.join(SUFFIXES)}.")
    if file.name.endswith(".parquet"):
        texts = _parquet_texts(file)
    elif file.name.endswith(".txt"):
        texts = (line for _, line in _lines(file))
    else:
        texts = _jsonl_texts(file)
    return (text for text in texts if text and not text.isspace())


def _language_part(path: Path) -> str | None:
    for suffix in SUFFIXES:
        if path.name.endswith(suffix) and not path.name.startswith("."):
            return path.name.removesuffix(suffix)
    return None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    opener: Any = gzip.open if file.name.endswith(".gz") else open
    number = 0
    try:
        with opener(file, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                yield number, line
    except UnicodeDecodeError:
        raise BadInput(f"{file}, after line {number}: not valid UTF-8. Convert the file to UTF-8.") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise BadInput(f"{file}, after line {number}: broken gzip ({error}). Fetch or pack it again.") from None


def _jsonl_texts(file: Path) -> Iterator[str]:
    for number, line in _lines(file):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{file}, line {number}: not valid JSON ({error.msg}).") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            keys = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise BadInput(f'{file}, line {number}: no field "text" with text (found: {keys}).')
        yield row["text"]


def _parquet_texts(file: Path) -> Iterator[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BadInput(f"{file}: reading parquet needs pyarrow. Install it: pip install pyarrow") from None
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{file}: not a parquet file ({error}).") from None
    if "text" not in table.schema_arrow.names:
        raise BadInput(f'{file}: no column "text" (found: {", ".join(table.schema_arrow.names)}).')
    for batch in table.iter_batches(columns=["text"]):
        yield from (text for text in batch.column(0).to_pylist() if text)
