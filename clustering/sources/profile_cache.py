"""Profiles of corpora, kept by content: a corpus that has not changed is never read again."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from clustering.cache import cache_folder
from clustering.corpora.find import Source, source_of
from clustering.corpora.formats import ending_of
from clustering.corpora.rows import Reading
from clustering.errors import BadInput
from clustering.files import read_json, sha256_of, write_json
from clustering.sources.profiles import FORMAT_VERSION, Profile, Tokenizer, profile_texts

_READER_VERSION = 2
"""A version that changes when the corpus reader finds other documents in the same bytes."""
_SETTLED_S = 2.0
"""A file changed so shortly before may change again within the same tick of the clock: its stamp is not believed."""
log = logging.getLogger(__name__)


def default_cache() -> Path | None:
    """Folder of kept profiles: `profiles` in `cache_folder()`; None for a user without a home."""
    try:
        return cache_folder() / "profiles"
    except RuntimeError:
        return None


def profile_file(
    path: str | Path, tokenizer: Tokenizer | None = None, *, cache: str | Path | None = None, text_field: str = "text"
) -> Profile:
    """Profile of a corpus file, or of a folder of shards; as `profile_source`.

    Args:
        path: Corpus file, see `clustering.corpora.read.read_file`; or a saved profile (`.npz`), which is loaded.
        tokenizer: Cuts subwords; None counts words only.
        cache: Folder of kept profiles; None is `default_cache()`.
        text_field: Key or column of the text.

    Raises:
        BadInput: If the file cannot be read as a corpus, or holds no text.
    """
    if Path(path).suffix == ".npz":
        return Profile.load(path)
    return profile_source(source_of(path, "und"), tokenizer, cache=cache, reading=Reading(text_field=text_field))


def profile_source(
    source: Source,
    tokenizer: Tokenizer | None = None,
    *,
    cache: str | Path | None = None,
    reading: Reading | None = None,
) -> Profile:
    """Profile of a language's text, from the cache if text and tokenizer are known.

    The key is the SHA-256 of the files with their formats, where the text stands in them, and the tokenizer's name: a
    renamed or copied file is found again, a changed one is not. Beside it a stamp (size, inode, times of change)
    remembers the SHA-256 of each path, so that an unchanged file is not even opened. Where the cache cannot be read or
    written, it is not used.

    Args:
        source: The source of the text.
        tokenizer: Cuts subwords; None counts words only.
        cache: Folder of kept profiles; None is `default_cache()`.
        reading: The field of the text in a row; None: `text`.

    Raises:
        BadInput: If the text cannot be read, or there is none.
    """
    reading = reading or Reading()
    folder = default_cache() if cache is None else Path(cache)
    kept = None if folder is None else folder / f"{_key(source, tokenizer, reading, folder)[:32]}.npz"
    if kept is not None and (found := _kept(kept)) is not None:
        return found
    profile = profile_texts(source.texts(reading), tokenizer)
    if kept is not None:
        _try(kept, lambda: profile.save(kept))
    log.info("profiled %s: %d documents, %d bytes", source, profile.documents, profile.num_bytes)
    return profile


def _kept(file: Path) -> Profile | None:
    try:
        return Profile.load(file) if file.is_file() else None
    except BadInput as error:
        log.warning("%s Making it again.", error)
    except OSError as error:
        log.debug("%s cannot be read (%s): made each time", file, error)
    return None


def _key(source: Source, tokenizer: Tokenizer | None, reading: Reading, folder: Path) -> str:
    content = [[ending_of(file.name), _content_hash(file, folder)] for file in source.files]
    parts = [
        FORMAT_VERSION,
        _READER_VERSION,
        content or source.fingerprint(),
        reading.text_field,
        tokenizer.name if tokenizer else None,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _content_hash(file: Path, folder: Path) -> str:
    status = file.stat()
    stamp_now = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]
    stamp_file = folder / f"{name}.stamp.json"
    try:
        stamp = read_json(stamp_file)
        if stamp["stamp"] == stamp_now:
            return str(stamp["sha256"])
    except (BadInput, OSError, KeyError, TypeError) as error:
        log.debug("%s: no stamp (%s)", file, error)
    digest = sha256_of(file)
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
        _try(stamp_file, lambda: write_json(stamp_file, {"stamp": stamp_now, "sha256": digest}))
    return digest


def _try(file: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        log.debug("%s cannot be written (%s): made each time", file, error)
