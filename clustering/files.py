"""Files that appear complete: written beside the target, flushed, then renamed over it; and careful readers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clustering.errors import BadInput
from clustering.exchange import exchange

if TYPE_CHECKING:
    import numpy as np

PARTIAL_PREFIX = ".partial-"
REPLACED_PREFIX = ".replaced-"
"""Of a folder that is being replaced where the system cannot let two folders change places."""
_MOST_JSON_BYTES = 256 << 20
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder; on success it replaces `path`, on error it is removed.

    No reader sees half a file or folder: `path` holds the old content or the complete new one. One exception, on
    systems without `renameat2` and for a folder that replaces another: for a moment `path` is not there; a process
    killed then leaves the old folder aside, where `put_back_replaced` finds it.

    Args:
        path: The file to write, or the directory if the body makes a directory at the temporary path.

    Yields:
        A path that does not exist yet. The body creates a file or a directory there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mktemp(prefix=f"{PARTIAL_PREFIX}{target.name}-", dir=target.parent))
    try:
        yield partial
        _flush(partial)
        _take_place(partial, target)
    except BaseException:
        remove(partial)
        raise


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~user` replaced by the home folder.

    Raises:
        BadInput: If there is no such user, or the user of this process has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"{path}: no home folder is known for ~ here. Write the path without it.") from None


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder with its content; do nothing if there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def put_back_replaced(folder: Path) -> None:
    """Put back folders that a killed `atomic_write` moved aside in `folder`, or remove them if the new ones exist."""
    for aside in folder.glob(f"{REPLACED_PREFIX}*"):
        target = folder / aside.name.removeprefix(REPLACED_PREFIX)
        if target.exists():
            remove(aside)
        else:
            aside.rename(target)


def _take_place(partial: Path, target: Path) -> None:
    if not (partial.is_dir() and (target.exists() or target.is_symlink())):
        partial.replace(target)
    elif exchange(partial, target):
        remove(partial)  # which is the old one now
    else:
        aside = target.parent / f"{REPLACED_PREFIX}{target.name}"
        remove(aside)
        target.rename(aside)
        partial.replace(target)
        remove(aside)


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


def read_bytes(path: str | Path, *, most_bytes: int = _MOST_JSON_BYTES) -> bytes:
    """Read a small file.

    Raises:
        BadInput: If it is missing, no regular file (a device or pipe might never end), or larger than `most_bytes`.
    """
    file = Path(path)
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(f"{file}: is a directory, a file was expected.")
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{file}: no regular file.")
        if status.st_size > most_bytes:
            raise BadInput(f"{file}: {status.st_size:,} bytes; at most {most_bytes:,} are read here.")
        return file.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}).") from None


def read_json(path: str | Path, *, finite: bool = True) -> Any:
    """Read a JSON file.

    Args:
        path: Of at most 256 MiB.
        finite: Whether to refuse NaN and infinities, which JSON does not have.

    Raises:
        BadInput: If it is missing, too large, not UTF-8 or not JSON, nested too deeply, or has a number that cannot be
            held; the message names the file and, where it can, the line.
    """
    return parse_json(read_bytes(path), str(path), finite=finite)


def parse_json(content: bytes, name: str, *, finite: bool = True) -> Any:
    """JSON in bytes; see `read_json`.

    Args:
        content: UTF-8.
        name: Name of the file in messages.
        finite: Refuse NaN and infinity.
    """

    def refuse(text: str) -> NoReturn:
        raise BadInput(f"{name}: holds {text[:20]}, which is no number.")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text)

    try:
        options: dict[str, Any] = {"parse_constant": refuse, "parse_float": number} if finite else {}
        value = json.loads(content.decode("utf-8"), **options)
        if _ESCAPED_SURROGATE.search(content) and _holds_half_a_character(value):
            raise BadInput(f"{name}: holds half a character (a lone surrogate).")
        return value
    except BadInput:
        raise
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not valid UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{name}, line {error.lineno}: not valid JSON ({error.msg}).") from None
    except RecursionError:
        raise BadInput(f"{name}: not valid JSON (nested too deeply).") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise BadInput(f"{name}: holds a whole number of thousands of digits.") from None


def _holds_half_a_character(value: Any) -> bool:
    left = [value]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            left += [*node, *node.values()]
        elif isinstance(node, list):
            left += node
        elif isinstance(node, str) and not node.isascii() and any("\ud800" <= char <= "\udfff" for char in node):
            return True
    return False


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file.

    Raises:
        BadInput: If it is missing or damaged; the message names the file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = Path(path)
    if not file.is_file():
        raise BadInput(f"{file}: no such file.")
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{file}: damaged, no arrays can be read from it ({reason}).") from None


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
