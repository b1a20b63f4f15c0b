"""langid: 97 languages, with believable probabilities (`router.identify.langid`); nothing to install."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router.identify.backend import identifier
from router.identify.langid import LangidIdentifier


@identifier("langid", about="97 languages")
def langid(languages: Sequence[str] | None, file: Path | None) -> LangidIdentifier:
    """Open langid, whose model comes with its package."""
    return LangidIdentifier(languages)
