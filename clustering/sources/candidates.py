"""Candidates: the languages of URIEL that a target is compared with if the user names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clustering.distances import uriel
from clustering.errors import BadInput, arg
from clustering.languages import iso
from clustering.languages.codes import name_of, same_language_codes, same_language_key, speakers_of, usual_member
from clustering.languages.facts import EVIDENCE, Modality, evidence_of_text, is_signed, type_of


@dataclass(frozen=True, kw_only=True)
class CandidateRules:
    """The languages that are compared if the user names none and gives no text."""

    all_languages: bool = False
    """Compare every language that has a code: of any type and modality, macrolanguages too, with or without text."""
    types: tuple[str, ...] = ("living",)
    """Types of languages, of `iso.TYPES`: living, extinct, ancient, historic, constructed."""
    modality: Modality | None = None
    """`spoken` or `signed`. None: that of the target."""
    min_text: int = 1
    """How many kinds of evidence there must be that a language is written: Unicode's CLDR counts people who write it,
    a language identifier knows it, Wikipedia has an edition. Sign languages need none."""
    min_speakers: int = 0
    """How many people must speak a language, by CLDR."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.types if name not in iso.TYPES]:
            raise BadInput(f"{arg('types', list(unknown))}: no type of language. Choose of {', '.join(iso.TYPES)}.")
        if self.modality not in (None, "spoken", "signed"):
            raise BadInput(f"{arg('modality', self.modality)}: choose spoken or signed.")
        if not 0 <= self.min_text <= len(EVIDENCE):
            raise BadInput(f"{arg('min_text', self.min_text)}: choose 0 to {len(EVIDENCE)}.")


@dataclass(frozen=True)
class _World:
    """Facts on URIEL's rows. Shapes: N rows."""

    standing: np.ndarray
    """Rows that stand for a language, one for each, shape (N,), bool; the usual member before its macrolanguage."""
    individual: np.ndarray
    """Whether the row's code is an individual language in use, shape (N,), bool."""
    types: np.ndarray
    """Type of each row, shape (N,), str."""
    signed: np.ndarray
    """Whether it is a sign language, shape (N,), bool."""
    evidence: np.ndarray
    """Kinds of evidence of text, shape (N,), int."""


def choose(target: str, rules: CandidateRules) -> tuple[np.ndarray, str]:
    """Rows of URIEL to compare a target with.

    Args:
        target: ISO 639-3 code; its own rows, under any of its codes, are left out.
        rules: The rules for candidates.

    Returns:
        Shape (N,), bool, and a line that says which languages were left out and why ("" if none were).

    Raises:
        BadInput: If no candidate is left.
    """
    world = _world()
    keep = world.standing.copy()
    for code in same_language_codes(target):
        if (row := uriel.row_of().get(code)) is not None:
            keep[row] = False
    total = int(keep.sum())
    modality = rules.modality or ("signed" if is_signed(target) else "spoken")
    reasons: list[tuple[np.ndarray, str]] = []
    if not rules.all_languages:
        reasons.append((~world.individual, "macrolanguages"))
        reasons += [(world.types == kind, kind) for kind in iso.TYPES if kind not in rules.types]
        reasons.append((world.signed != (modality == "signed"), "spoken" if modality == "signed" else "signed"))
        if modality == "spoken":
            reasons.append((world.evidence < rules.min_text, "without enough evidence of text"))
    if rules.min_speakers:
        reasons.append((_speakers() < rules.min_speakers, f"with fewer than {rules.min_speakers:,} speakers"))
    left_out = []
    for mask, words in reasons:
        if num := int((keep & mask).sum()):
            left_out.append(f"{num:,} {words}")
            keep &= ~mask
    if not keep.any():
        raise BadInput(
            f"No candidate for {name_of(target)} is left of {total:,} languages ({', '.join(left_out)} left out). "
            f"Name some with {arg('candidates')}, or relax the rules."
        )
    return keep, f"left out of {total:,} languages: {', '.join(left_out)}" if left_out else ""


@lru_cache(maxsize=1)
def _world() -> _World:
    codes = uriel.languages()
    known = iso.languages()
    best: dict[str, str] = {}
    for code in codes:
        if code in known and known[code].scope != "special":
            key = same_language_key(code)
            if key not in best or _standing(code) < _standing(best[key]):
                best[key] = code
    standing = set(best.values())
    return _World(
        np.array([code in standing for code in codes]),
        np.array([code in known and known[code].scope == "individual" for code in codes]),
        np.array([type_of(code) for code in codes]),
        np.array([is_signed(code) for code in codes]),
        np.array([len(evidence_of_text(code)) for code in codes]),
    )


def _standing(code: str) -> tuple[bool, bool, str]:
    """Sort key: an individual language first, of these the usual member."""
    return iso.languages()[code].scope != "individual", not usual_member(code), code


@lru_cache(maxsize=1)
def _speakers() -> np.ndarray:
    return np.array([speakers_of(code) for code in uriel.languages()])


def modality_masks(target: str, candidates: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates have the target's modality, and which of them, like it, have a place on earth.

    Returns:
        Two arrays of shape (C,), bool. Constructed languages have no place, nor is anything near one.
    """
    everything = tuple(candidates) == uriel.languages()
    signed = _world().signed if everything else np.array([is_signed(code) for code in candidates], dtype=bool)
    types = _world().types if everything else np.array([type_of(code) for code in candidates])
    placed = (types != "constructed") & (type_of(target) != "constructed")
    return signed == is_signed(target), placed
