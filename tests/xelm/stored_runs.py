"""Two small runs that an earlier version wrote (commit b3b3713, manifest format 1), kept as they were.

`first` was trained from `recipe.toml` on `corpus/`; `grown` is `first` after Swedish (`new/swe.jsonl`) joined the
expert of German and Dutch. The text is made up from word lists. The runs are never written again: they say what every
later version must still read.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "data" / "runs_of_format_1.tar.xz"


def unpack(folder: Path) -> Path:
    """Unpack them: the folder that then holds `first`, `grown`, `corpus`, `new` and `recipe.toml`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder
