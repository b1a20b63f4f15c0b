"""Signals of how much a source language may help a target: their values, and the default way to add them up.

A signal has a raw value per candidate (a distance, an overlap, a ratio; NaN where unknown) and, if the default
ranking uses it, a utility in common units. Shapes: C candidates of one target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.arithmetic import family_entries, rows_for
from clustering.distances.kinds import distances_from
from clustering.languages.codes import same_language_codes
from clustering.languages.facts import is_signed, parent_of
from clustering.languages.points import code_of
from clustering.registry import Registry
from clustering.sources.candidates import modality_masks
from clustering.sources.profiles import Profile, overlap

HALF_GLOBE_KM = 20_015.0
_FEATURE_KINDS = ("syntactic", "featural", "phonological", "inventory")
_DISTANCE_KINDS = ("genetic", *_FEATURE_KINDS, "geographic")


@dataclass(frozen=True)
class Signal:
    """One signal, for reports.

    Attributes:
        title: A few words.
        meaning: One sentence: what the raw value is.
        needs_text: Whether it comes from corpora (else from URIEL).
        higher_is_nearer: Whether a larger raw value speaks for a candidate; None where it depends.
    """

    title: str
    meaning: str
    needs_text: bool
    higher_is_nearer: bool | None


SIGNALS: dict[str, Signal] = {
    "subword_overlap": Signal("subword overlap", "shared subword types / (types of both)", True, True),
    "word_overlap": Signal("word overlap", "shared word types / (types of both)", True, True),
    "shared_script": Signal("shared script", "share of letters in scripts that both write", True, True),
    "latin_overlap": Signal(
        "overlap in Latin letters", "word overlap after both are transliterated letter by letter (anyascii)", True, True
    ),
    "size_ratio": Signal("data size", "words of the source / words of the target", True, True),
    "source_size": Signal("source size", "words in the source's corpus", True, True),
    "target_size": Signal("target size", "words in the target's corpus", True, None),
    "source_ttr": Signal("source TTR", "distinct words / words of the source", True, None),
    "target_ttr": Signal("target TTR", "distinct words / words of the target", True, None),
    "ttr_distance": Signal("TTR distance", "(1 - TTR of source / TTR of target)²", True, False),
    "shared_family": Signal(
        "shared family",
        "information of the shared nodes of the family tree, in nats; small groups say more",
        False,
        True,
    ),
    "genetic": Signal("genetic distance", "1 - shared family nodes / geometric mean of both", False, False),
    "syntactic": Signal("syntax", "1 - cosine of URIEL syntax, gaps filled by kNN", False, False),
    "featural": Signal("all features", "1 - cosine of all URIEL features, gaps filled", False, False),
    "phonological": Signal("phonology", "1 - cosine of URIEL phonology, gaps filled", False, False),
    "inventory": Signal("sounds", "1 - cosine of URIEL sound inventories, gaps filled", False, False),
    "geographic": Signal("place", "great circle distance in km", False, False),
    "model_distance": Signal(
        "model's view", "distance of the model's mean hidden states over both texts, 0 to 1", True, False
    ),
    "effect": Signal(
        "effect on the target",
        "the target's bits after a short training on the source / before, - 1: the model's own view (`xelm measure`)",
        False,
        False,
    ),
    "quality": Signal("source quality", "how good a source is by itself, as you gave it", False, True),
}

Measure = Callable[[str, tuple[str, ...]], np.ndarray]
"""A function from a target and C candidates, ISO 639-3, to a raw value for each, shape (C,), NaN if unknown."""


@dataclass(frozen=True)
class AddedSignal:
    """A signal beside those of the table, for languages without text too.

    Attributes:
        measure: Its raw values.
        utility: From raw values to utilities, about 1 from a good candidate to a usual one; None: shown, and learnt
            from by trained rankers, but no part of the default ranking.
    """

    measure: Measure
    utility: Callable[[np.ndarray], np.ndarray] | None = None


ADDED: Registry[AddedSignal] = Registry("ranking signal", package="clustering.sources.added", group="xelm.signals")


def signal(
    name: str, title: str, meaning: str, *, utility: Callable[[np.ndarray], np.ndarray] | None = None
) -> Callable[[Measure], Measure]:
    """Decorator: register a function as a signal of source rankings.

    A new one is one file: such a function, in `clustering/sources/added` or in an installed package that names the
    module under the entry points `xelm.signals`.

    Args:
        name: Its column in results.
        title: See `Signal`.
        meaning: See `Signal`.
        utility: See `AddedSignal`.
    """

    def register(measure: Measure) -> Measure:
        ADDED.register(name, AddedSignal(measure, utility))
        SIGNALS[name] = Signal(title, meaning, False, None)
        return measure

    return register


_BY_SPREAD = ("model_distance", "effect", "quality")
"""Signals that are there only if they are asked for; their unit is their spread over the candidates."""
# Utility per unit, see `default_contributions` for what they rest on.
NATS_PER_UNIT = 5.0
COSINE_PER_UNIT = 0.1
KM_SCALE = 1500.0


@dataclass(frozen=True)
class Query:
    """A target with its candidates and every signal between them.

    Attributes:
        target: ISO 639-3 code.
        candidates: C codes.
        raw: Per signal of `SIGNALS` (or a column of the user's table), shape (C,), float, NaN = unknown.
        coverage: Per kind of typology, shape (C,): features (nodes, places) known of both languages.
    """

    target: str
    candidates: tuple[str, ...]
    raw: dict[str, np.ndarray]
    coverage: dict[str, np.ndarray]


def typology_signals(target: str, candidates: Sequence[str]) -> Query:
    """Signals that need no text, of any languages; NaN for languages that URIEL has no row for."""
    rows = typology.row_of()
    has_row = np.array([any(c in rows for c in same_language_codes(code)) for code in candidates], dtype=bool)
    raw = {name: np.full(len(candidates), np.nan) for name in (*_DISTANCE_KINDS, "shared_family")}
    coverage = {name: np.zeros(len(candidates), dtype=int) for name in _DISTANCE_KINDS}
    if has_row.any() and any(code in rows for code in same_language_codes(target)):
        covered = tuple(code for code, known in zip(candidates, has_row, strict=True) if known)
        everything = covered == typology.languages()
        measured = distances_from(target, _DISTANCE_KINDS, None if everything else covered)
        for kind in _DISTANCE_KINDS:
            raw[kind][has_row] = measured.values[kind]
            coverage[kind][has_row] = measured.coverage[kind]
        raw["geographic"] *= HALF_GLOBE_KM
        raw["geographic"][coverage["geographic"] == 0] = np.nan
        raw["shared_family"][has_row] = shared_family_information(target, None if everything else covered)
        _keep_what_exists(target, candidates, raw)
    for name in ADDED.names():
        raw[name] = np.asarray(ADDED.find(name).measure(target, tuple(candidates)), dtype=float)
    return Query(target, tuple(candidates), raw, coverage)


def _keep_what_exists(target: str, candidates: Sequence[str], raw: dict[str, np.ndarray]) -> None:
    """Remove, in place, values of URIEL for languages for which they are wrong.

    Invented languages have no place on earth. Of sign languages URIEL knows family and place; their features are
    filled in from spoken neighbours, which say nothing. A documented ancestor is as near as the family can say.
    """
    same_modality, placed = modality_masks(target, candidates)
    raw["geographic"][~placed | ~same_modality] = np.nan
    raw["shared_family"][~same_modality] = 0.0
    raw["genetic"][~same_modality] = np.nan
    signed = np.full(len(candidates), is_signed(target))
    for kind in _FEATURE_KINDS:
        raw[kind][signed | ~same_modality] = np.nan
    twins = np.array([code_of(code) == code_of(target) for code in candidates], dtype=bool)
    if twins.any():  # the target's language in other scripts
        raw["shared_family"][twins] = _all_family_information(target)
    if (parent := parent_of(target)) is not None and parent in candidates:
        raw["shared_family"][list(candidates).index(parent)] = _all_family_information(target)


def _all_family_information(target: str) -> float:
    """What sharing every family node of the target would say, and the descent besides, in nats."""
    own = float(shared_family_information(target, (target,))[0])
    return own + float(np.log(len(typology.languages())))


def text_signals(target: Profile | None, sources: Sequence[Profile | None]) -> dict[str, np.ndarray]:
    """Signals from corpora; NaN for candidates without one, and all NaN but `source_size` without the target's."""
    nan = float("nan")
    columns: dict[str, list[float]] = {name: [] for name, signal in SIGNALS.items() if signal.needs_text}
    del columns["model_distance"]  # not counted in text
    target_ttr = target.type_token_ratio if target else nan
    target_size = float(target.word_tokens) if target else nan
    for source in sources:
        size = float(source.word_tokens) if source else nan
        ttr = source.type_token_ratio if source else nan
        values = {
            "word_overlap": overlap(source.words, target.words) if source and target else nan,
            "subword_overlap": overlap(source.subwords, target.subwords) if source and target else nan,
            "shared_script": shared_script(source.scripts, target.scripts) if source and target else nan,
            "latin_overlap": overlap(source.romanised, target.romanised) if source and target else nan,
            "size_ratio": size / target_size if target_size else nan,
            "source_size": size,
            "target_size": target_size,
            "source_ttr": ttr,
            "target_ttr": target_ttr,
            "ttr_distance": (1 - ttr / target_ttr) ** 2 if target_ttr else nan,
        }
        for name, value in values.items():
            columns[name].append(value)
    return {name: np.array(values, dtype=float) for name, values in columns.items()}


def shared_script(source: Mapping[str, float], target: Mapping[str, float]) -> float:
    """Share of letters, 0 to 1, in scripts that both write; each given as shares of letters per script."""
    return sum(min(source.get(script, 0.0), share) for script, share in target.items())


def shared_family_information(target: str, candidates: Sequence[str] | None) -> np.ndarray:
    """Information of the shared family nodes: the sum over these nodes of -log(share of languages under the node).

    Both being Indo-European says little (449 of 7,970 languages are), both being Frisian much.

    Args:
        target: ISO 639-3 code.
        candidates: C codes, or None for all of URIEL.

    Returns:
        Shape (C,), in nats, 0 where nothing is shared or known.
    """
    rows, columns, counts = family_entries()
    node_sizes = np.bincount(columns)
    target_rows = np.asarray(rows_for("genetic", (target,)))
    start, stop = np.searchsorted(rows, [target_rows[0], target_rows[0] + 1])
    information = np.zeros(len(node_sizes))
    mine = columns[start:stop]
    information[mine] = np.log(len(counts) / node_sizes[mine])
    totals = np.bincount(rows, weights=information[columns], minlength=len(counts))
    return totals[rows_for("genetic", None if candidates is None else tuple(candidates))]


def default_contributions(raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The training-free ranking: five signals in common units, one vote each, summed per candidate.

    | signal | utility before centring on the candidates |
    |---|---|
    | overlap | √overlap / its standard deviation over the candidates; subwords where tokenized, else words |
    | shared family | information of the shared family nodes / 5 nats |
    | syntax | -(1 - cosine of kNN-filled syntax) / 0.1 |
    | place | -log(1 + km / 1500) |
    | data size | log(1 + source / target); log(source) where the target has no text |
    | model's view | -distance of hidden states / its standard deviation over the candidates, where a model was given |
    | effect on the target | -(change of the target's bits) / its standard deviation over the candidates, if measured |
    | source quality | the user's figure / its standard deviation over the candidates, where there is one |

    Why this form. Weights are all 1 and the units are round numbers near the spread that each signal has among
    some tens of languages, so nothing was fitted. Two choices carry the result. Typology has *fixed* units
    rather than the candidates' spread: two candidates keep their order whatever else is in the pool, and a
    target without near relatives does not get its noise blown up. And more data counts through
    log(1 + source / target): it is worth much to a small target and nothing to a large one (over the 54
    targets of LangRank's MT table, the correlation of a source's usefulness with its size falls with the
    target's own size at r = -0.79). The form was chosen looking at LangRank's parsing and translation tables;
    what that means for the figures, and how they move when every weight is shaken, is in
    `experiments/sources/README.md`.

    Args:
        raw: Signals as in `Query.raw`; missing ones, and NaN, count as the mean of the candidates.

    Returns:
        {signal: shape (C,)}, centred on the candidates; the signals that could be used only.
    """
    utilities: dict[str, np.ndarray] = {}
    shared = used_overlap(raw)
    if is_known(raw, shared):
        root = np.sqrt(raw[shared])
        spread = np.nanstd(root)
        utilities[shared] = root / spread if spread > 0 else root * 0
    if is_known(raw, "shared_family"):
        utilities["shared_family"] = raw["shared_family"] / NATS_PER_UNIT
    if is_known(raw, "syntactic"):
        utilities["syntactic"] = -raw["syntactic"] / COSINE_PER_UNIT
    if is_known(raw, "geographic"):
        utilities["geographic"] = -np.log1p(raw["geographic"] / KM_SCALE)
    if is_known(raw, "size_ratio"):
        utilities["size_ratio"] = np.log1p(raw["size_ratio"])
    elif is_known(raw, "source_size"):
        utilities["source_size"] = np.log(np.maximum(raw["source_size"], 1.0))
    for name in ADDED.names():
        added = ADDED.find(name)
        if added.utility is not None and is_known(raw, name):
            utilities[name] = added.utility(raw[name])
    for name in _BY_SPREAD:
        if is_known(raw, name):
            spread = np.nanstd(raw[name])
            sign = 1.0 if SIGNALS[name].higher_is_nearer else -1.0
            utilities[name] = sign * raw[name] / spread if spread > 0 else raw[name] * 0
    return {name: centred(values) for name, values in utilities.items()}


def used_overlap(raw: Mapping[str, np.ndarray]) -> str:
    """The overlap that the default ranking uses: of subwords where they are known, else of words."""
    return "subword_overlap" if is_known(raw, "subword_overlap") else "word_overlap"


def is_known(raw: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether a signal has a value for at least one candidate."""
    return name in raw and bool(np.isfinite(raw[name]).any())


def centred(values: np.ndarray) -> np.ndarray:
    """Differences from the mean of the known values; 0 for unknown ones."""
    return np.asarray(np.nan_to_num(values - np.nanmean(values)))
