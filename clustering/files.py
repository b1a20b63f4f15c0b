"""Files that appear whole: written beside the target, flushed, then renamed over it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustering.errors import BadInput

PARTIAL_PREFIX = ".partial-"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder; on success rename it onto `path`, on error remove it.

    Nobody ever reads half a file: `path` holds the old content or the whole new one.

    Args:
        path: The file (or, if the body makes a directory at the temporary path, the directory) to appear.

    Yields:
        A path that does not exist yet. The body creates a file or a directory there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mktemp(prefix=f"{PARTIAL_PREFIX}{target.name}-", dir=target.parent))
    try:
        yield partial
        _flush(partial)
        if partial.is_dir() and target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    except BaseException:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that it appears whole."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write readable, deterministic JSON (keys in the order given) so that it appears whole."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        BadInput: If it is missing, not UTF-8 or not JSON; the message names the file and line.
    """
    file = Path(path)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except IsADirectoryError:
        raise BadInput(f"{file}: is a directory, a JSON file was expected.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not valid UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{file}, line {error.lineno}: not valid JSON ({error.msg}).") from None


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
