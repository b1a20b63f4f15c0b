"""`Translator`: lines of one language into lines of another, each kept, none lost."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.progress import show_progress

_LINES_AT_A_TIME = 500
_MANY = 0.2
"""Share of lines that come back unchanged or empty from which on a warning is given."""
logger = logging.getLogger(__name__)


class Translator(ABC):
    """Something that translates."""

    @abstractmethod
    def identity(self, source: str, target: str) -> str:
        """What names it in the folder of kept translations: another name means other translations."""

    @abstractmethod
    def lines(self, lines: Sequence[str], source: str, target: str) -> list[str]:
        """Translate lines.

        Raises:
            BadInput: If it fails.
        """


def translate(translator: Translator, texts: Sequence[str], source: str, target: str, folder: Path) -> list[str]:
    """Translate texts, each only once; what was translated is kept after every few hundred.

    Args:
        translator: What translates.
        texts: Texts; line ends within them are read as spaces.
        source: ISO 639-3.
        target: ISO 639-3.
        folder: Where translations are kept.

    Returns:
        As many texts, in order.

    Raises:
        BadInput: If it fails, or returns another number of lines than it was given.
    """
    name = hashlib.sha256(f"{translator.identity(source, target)}\n{source}\n{target}".encode()).hexdigest()[:16]
    file = folder / f"{source}-{target}-{name}.json"
    known = _read(file)
    wanted = [" ".join(text.split()) for text in texts]
    missing = [text for text in dict.fromkeys(wanted) if text not in known and text]
    with show_progress(desc=f"translate {source} to {target}", unit="text", total=len(missing)) as bar:
        for start in range(0, len(missing), _LINES_AT_A_TIME):
            piece = missing[start : start + _LINES_AT_A_TIME]
            given = translator.lines(piece, source, target)
            if len(given) != len(piece):
                raise BadInput(
                    f"{translator.identity(source, target)}: {len(given):,} lines came back for {len(piece):,}, so no "
                    "line can be trusted. It may have failed midway, or cut or joined lines; run it alone to see."
                )
            known |= dict(zip(piece, (" ".join(text.split()) for text in given), strict=True))
            write_json(file, known)
            bar.update(len(piece))
    found = [known.get(text, "") for text in wanted]
    _warn(wanted, found, translator.identity(source, target))
    return found


def _read(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    known = read_json(file)
    if not isinstance(known, dict) or not all(isinstance(text, str) for text in known.values()):
        raise BadInput(f"{file}: no kept translations. Remove the file; they are made again.")
    return known


def _warn(texts: Sequence[str], found: Sequence[str], name: str) -> None:
    empty = sum(1 for text, given in zip(texts, found, strict=True) if text and not given)
    same = sum(1 for text, given in zip(texts, found, strict=True) if text and given == text)
    if texts and (empty + same) / len(texts) >= _MANY:
        logger.warning("%s: of %d texts, %d came back empty and %d unchanged.", name, len(texts), empty, same)
