"""Profiles of corpus files, kept by content: a file that has not changed is never read again."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from clustering.cache import cache_folder
from clustering.errors import BadInput
from clustering.files import read_json, sha256_of, write_json
from clustering.languages.corpora import iter_documents
from clustering.sources.profiles import FORMAT_VERSION, Profile, Tokenizer, profile_texts

log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Folder of kept profiles: `profiles` in `cache_folder()`."""
    return cache_folder() / "profiles"


def profile_file(path: str | Path, tokenizer: Tokenizer | None = None, *, cache: str | Path | None = None) -> Profile:
    """Profile of a corpus file, from the cache if file and tokenizer are known.

    The key is the SHA-256 of the content with the tokenizer's name, so a renamed or copied file is found
    again. Beside it a stamp (size, time of change) remembers the SHA-256 of each path, so that an unchanged
    file is not even opened.

    Args:
        path: Corpus file, see `iter_documents`; or a saved profile (`.npz`), which is loaded.
        tokenizer: Cuts subwords; None counts words only.
        cache: Folder of kept profiles; None is `default_cache()`.

    Returns:
        The profile.

    Raises:
        BadInput: If the file cannot be read as a corpus, or holds no text.
    """
    file = Path(path)
    if file.suffix == ".npz":
        return Profile.load(file)
    if not file.is_file():
        raise BadInput(f"{file}: no such file.")
    folder = default_cache() if cache is None else Path(cache)
    name = tokenizer.name if tokenizer else None
    key = json.dumps([FORMAT_VERSION, _suffixes(file), _content_hash(file, folder), name])
    kept = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    if kept.is_file():
        try:
            return Profile.load(kept)
        except BadInput as error:
            log.warning("%s Making it again.", error)
    profile = profile_texts(iter_documents(file), tokenizer)
    if not profile.documents:
        raise BadInput(f"{file}: no text in it.")
    profile.save(kept)
    log.info("profiled %s: %d documents, %d bytes", file, profile.documents, profile.num_bytes)
    return profile


def _suffixes(file: Path) -> str:
    # The same bytes read as .txt and as .jsonl are different corpora.
    return "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix


def _content_hash(file: Path, folder: Path) -> str:
    status = file.stat()
    stamp_now = [status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]
    stamp_file = folder / f"{name}.stamp.json"
    if stamp_file.is_file():
        stamp = read_json(stamp_file)
        if stamp["stamp"] == stamp_now:
            return str(stamp["sha256"])
    digest = sha256_of(file)
    write_json(stamp_file, {"stamp": stamp_now, "sha256": digest})
    return digest
