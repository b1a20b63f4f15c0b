"""Arrays that take long to compute, kept in the user's cache folder for the next process.

The folder is `$XELM_CACHE`, else `$XDG_CACHE_HOME/xelm`, else `~/.cache/xelm`; it may be deleted at any time. If it
cannot be read or written, the arrays are computed each time.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustering.files import atomic_write

Arrays = dict[str, np.ndarray]
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder of everything that is kept; raises RuntimeError for a user without a home."""
    if "XELM_CACHE" in os.environ:
        return Path(os.environ["XELM_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xelm"


def kept_arrays(name: str, make: Callable[[], Arrays], fits: Callable[[Arrays], bool]) -> Arrays:
    """The arrays of this name from the cache, or made and kept there.

    Args:
        name: Names their content and version: other content needs another name.
        make: Computes them.
        fits: Whether arrays read from the cache are complete and fit each other; if not, they are computed again.

    Returns:
        {name: array}, with the types that `make` gave them.
    """
    try:
        file = cache_folder() / f"{name}.npz"
    except RuntimeError:
        return make()
    kept = _read(file)
    if kept is not None and fits(kept):
        return kept
    arrays = make()
    try:
        with atomic_write(file) as partial, partial.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        log.debug("%s cannot be written (%s): computed each time", file, error)
    return arrays


def _read(file: Path) -> Arrays | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        log.debug("%s cannot be used (%s): computed again", file, error)
        return None
