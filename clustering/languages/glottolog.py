"""Glottocodes -> ISO 639-3."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_GLOTTOCODE = re.compile(r"[a-z][a-z0-9]{3}[0-9]{4}")


def is_glottocode(text: str) -> bool:
    """Whether a text has the form of a Glottocode (`stan1293`)."""
    return _GLOTTOCODE.fullmatch(text) is not None


def code_of_glottocode(text: str) -> str | None:
    """ISO 639-3 code of a language's Glottocode; None for dialects, families and unknown ones."""
    return _table().get(text)


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    lines = Path(__file__).with_name("glottocodes.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))
