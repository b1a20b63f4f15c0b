"""Facts on a language beside its typology: scope, type, modality, script, speakers, evidence of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from clustering.languages import iso
from clustering.languages.codes import same_language_codes, speakers_of
from clustering.languages.points import code_of, script_of
from clustering.languages.registry import registry

Modality = Literal["spoken", "signed"]
EVIDENCE = ("cldr", "identifiers", "wikipedia")
"""Kinds of evidence that there is text of a language; see `text.tsv`."""
SPEAKERS_FROM = "Unicode CLDR 40 (2021)"


@dataclass(frozen=True)
class LanguageFacts:
    """Facts on one language."""

    scope: str
    """`individual`, `macrolanguage`, or `special`; `retired` for codes that ISO 639-3 has withdrawn."""
    type: str
    """One of `iso.TYPES`, or `special` or `retired`."""
    modality: Modality
    """`spoken` or `signed`."""
    script: str | None
    """Usual script (ISO 15924) by CLDR's likely subtags; None if CLDR has none."""
    speakers: int
    """Approximate number of speakers, from `SPEAKERS_FROM`; 0 if there is no figure."""
    text: tuple[str, ...]
    """Kinds of `EVIDENCE` that text in it exists."""


@lru_cache(maxsize=8192)
def facts_of(code: str) -> LanguageFacts:
    """Facts on an ISO 639-3 code, or a point."""
    from langcodes import Language

    known = iso.languages().get(code_of(code))
    script = None if is_signed(code) else script_of(code) or Language.get(code).maximize().script
    return LanguageFacts(
        known.scope if known else "retired",
        known.type if known else "retired",
        "signed" if is_signed(code) else "spoken",
        script,
        speakers_of(code),
        evidence_of_text(code),
    )


def type_of(code: str) -> str:
    """Type of a code, one of `iso.TYPES`, or `special` or `retired`."""
    known = iso.languages().get(code_of(code))
    return known.type if known else "retired"


def is_signed(code: str) -> bool:
    """Whether a code is that of a sign language."""
    return code in signed_languages()


@lru_cache(maxsize=1)
def signed_languages() -> frozenset[str]:
    """All sign languages: those of the IANA registry, and newer ones that ISO 639-3 names so."""
    registered = (code for code, prefix in registry().extended.items() if prefix == "sgn")
    return frozenset({*registered, *(c for c, known in iso.languages().items() if "Sign Language" in known.name)})


def evidence_of_text(code: str) -> tuple[str, ...]:
    """Kinds of evidence, of `EVIDENCE`, that there is text of the language under any of its codes."""
    found = {kind for same in same_language_codes(code) for kind in _text_table().get(same, ())}
    return tuple(kind for kind in EVIDENCE if kind in found)


def parent_of(code: str) -> str | None:
    """The sign language that a sign language is known to come from, or None."""
    return _parents().get(code)


@lru_cache(maxsize=1)
def _text_table() -> dict[str, tuple[str, ...]]:
    return {code: tuple(kinds.split()) for code, kinds in _rows("text.tsv")}


@lru_cache(maxsize=1)
def _parents() -> dict[str, str]:
    return dict(_rows("signed.tsv"))


def _rows(name: str) -> Iterable[tuple[str, str]]:
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, value = line.split("\t")
            yield code, value
