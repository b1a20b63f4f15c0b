"""Rank candidate source languages for a target by typology and, if text is given, by text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clustering.corpora.find import Source, find_sources, source_of
from clustering.corpora.rows import Reading
from clustering.distances import uriel as typology
from clustering.errors import BadInput, arg, refuse_text
from clustering.languages.codes import name_of, points_of, same_language_key, to_code, to_point
from clustering.languages.facts import is_signed
from clustering.plans.effects import Effects, as_effects
from clustering.rankers.history import PAST
from clustering.rankers.ranker import Ranker
from clustering.sources.candidates import CandidateRules, choose
from clustering.sources.given import Given, given_signals, read_signals, unused
from clustering.sources.profile_cache import profile_source
from clustering.sources.profiles import Profile, Tokenizer, profile_texts
from clustering.sources.quality import quality_of, read_quality
from clustering.sources.report import Ranking, SourceReport, place_of, text_notes
from clustering.sources.sets import SourceSet, best_set
from clustering.sources.signals import SIGNALS, Query, default_contributions, text_signals, typology_signals

Corpus = str | Path | Source | Profile
Corpora = Mapping[str, str | Path | Source | Profile] | str | Path
Tokenize = Tokenizer | Callable[[list[str]], list[list[str]]]
log = logging.getLogger(__name__)


def rank_sources(
    target: str,
    candidates: Iterable[str] | None = None,
    corpora: Corpora | None = None,
    tokenizer: Tokenize | None = None,
    top: int | None = None,
    ranker: Ranker | str | Path | None = None,
    *,
    cache: str | Path | None = None,
    min_speakers: int = 0,
    text_field: str = "text",
    rules: CandidateRules | None = None,
    quality: Mapping[str, float] | str | Path | None = None,
    signals: Given | str | Path | None = None,
    sets: int | None = None,
    effects: Effects | str | Path | None = None,
) -> SourceReport:
    """Rank the languages to transfer from to a target, best first.

    Typology alone is enough; text of the target and of candidates adds overlap, sizes and TTR. Without a
    ranker the score is the sum of `default_contributions`, which needs no transfer results.

    Args:
        target: Code, tag or name.
        candidates: Languages to compare. None: those with text if `corpora` is given, else those of URIEL that
            `rules` keep. The target itself, under any of its codes, is left out.
        corpora: {language: corpus file, folder of shards or `Profile`}, or one folder or hub dataset of all, read as
            `xelm train` reads it. Languages that are neither target nor candidate are ignored.
        tokenizer: Cuts subwords: a `Tokenizer`, or a function from texts to lists of tokens (its profiles are
            not kept, as it has no name). None: no subword overlap. For names of hub tokenizers use
            `xelm.rank_sources`.
        top: Candidates to report; the scores are relative to all of them nevertheless. None reports all.
        ranker: A trained `Ranker` or its file, from `fit_ranker`.
        cache: Folder of kept profiles, see `profile_source`.
        min_speakers: Compare only languages that at least so many people speak (a rule of `rules`).
        text_field: Key or column of the text in the corpora.
        rules: Which languages are compared without candidates and corpora. None: living languages of the target's
            modality of which there is text.
        quality: How good each source is by itself, {language: number, more is better} or a file of them
            (`read_quality`): results on other targets, sizes of labelled data. Unknown ones count as the mean.
        signals: Overlaps, sizes and TTR as numbers, {signal: {language: number}} or a table of them (`read_signals`);
            they count before what is counted in corpora.
        sets: Also find the set of so many sources that together cover the target best (`best_set`).
        effects: What a short training on each source does to a model's reading of the target, measured by
            `xelm.measure_effects`, or its file. Sources that were not measured count as the mean.

    Returns:
        The report; equal scores keep the order of `candidates`.

    Raises:
        BadInput: If `candidates` is one text, a language or file is unknown, there is no candidate beside the
            target, nothing at all is known of the target, or `min_speakers` or `rules` come with candidates
            or corpora.

    Example:
        >>> rank_sources("swh", ["zul", "deu", "kor"]).ranking.codes()
        ['zul', 'deu', 'kor']
    """
    _check_request(target, candidates, top, min_speakers)
    model = Ranker.load(ranker) if isinstance(ranker, str | Path) else ranker
    paths = _corpora(corpora)
    if min_speakers:
        rules = replace(rules or CandidateRules(), min_speakers=min_speakers)
    if rules is not None and (paths or candidates is not None):
        raise BadInput(
            "min_speakers, types and the like choose among all of URIEL: leave it out, or "
            f"{arg('candidates')} and {arg('corpora')}."
        )
    code, given, paths = _points(target, candidates, paths)
    query, left_out = _query(code, given, paths, rules or CandidateRules())
    wanted = {code, *query.candidates}
    profiles = _profiles(paths, wanted, tokenizer, cache, Reading(text_field=text_field))
    texts = text_signals(profiles.get(code), [profiles.get(name) for name in query.candidates]) if profiles else {}
    if signals is not None:
        numbers = read_signals(signals) if isinstance(signals, str | Path) else signals
        texts = _with_numbers(texts, query, numbers, model)
    query = replace(query, raw={**query.raw, **texts, **_results(query, quality, effects)})
    report = replace(_report(query, profiles, model, top, bool(tokenizer)), left_out=left_out)
    if sets is not None:
        report = replace(report, best_set=_best_set(query, profiles, model, sets))
    return report


def _check_request(target: str, candidates: Iterable[str] | None, top: int | None, min_speakers: int) -> None:
    """Refuse what cannot be asked, before anything is read; raises like `rank_sources`."""
    to_code(target)
    refuse_text("candidates", candidates)
    if top is not None and (not isinstance(top, int) or top < 1):
        raise BadInput(f"{arg('top', top)}: ask for a whole number of candidates, at least 1.")
    if not isinstance(min_speakers, int) or min_speakers < 0:
        raise BadInput(f"{arg('min_speakers', min_speakers)}: give a whole number, at least 0.")


def _results(
    query: Query, quality: Mapping[str, float] | str | Path | None, effects: Effects | str | Path | None
) -> dict[str, np.ndarray]:
    """Signals from results that the user has: of the sources by themselves, and of short trainings on them."""
    found = {}
    if quality is not None:
        known = read_quality(quality) if isinstance(quality, str | Path) else quality
        found["quality"] = quality_of(query.candidates, known)
    if effects is not None:
        found["effect"] = as_effects(effects).on(query.target, query.candidates)
    return found


def _with_numbers(
    texts: Mapping[str, np.ndarray], query: Query, numbers: Given, model: Ranker | None
) -> dict[str, np.ndarray]:
    """Signals from text with the user's numbers in the place of those that they give."""
    learned = {name for used in model.signals.values() for name in used} if model else set()
    also = learned - SIGNALS.keys() - {*PAST, "default_score"}
    found = dict(texts)
    for name, values in given_signals(query.target, query.candidates, numbers, sorted(also)).items():
        counted = texts.get(name, np.full(len(values), np.nan))
        found[name] = np.where(np.isnan(values), counted, values)
    if ignored := unused(query.target, query.candidates, numbers):
        log.warning("numbers of %s are not used: neither target nor candidate", ", ".join(ignored))
    return found


def _best_set(query: Query, profiles: Mapping[str, Profile], model: Ranker | None, size: int) -> SourceSet:
    parts = default_contributions(query.raw) if model is None else model.contributions(query)
    scores = sum(parts.values(), np.zeros(len(query.candidates)))
    return best_set(query, scores, profiles, np.argsort(-scores, kind="stable").tolist(), size)


def _report(
    query: Query, profiles: Mapping[str, Profile], model: Ranker | None, top: int | None, tokenized: bool
) -> SourceReport:
    code = query.target
    contributions = default_contributions(query.raw) if model is None else model.contributions(query)
    if not contributions:
        raise BadInput(f"Nothing is known of {name_of(code)} ({code}): URIEL has no row for it. Give corpora.")
    summaries = {name: profile.summary() for name, profile in sorted(profiles.items())}
    return SourceReport(
        target=code,
        target_name=name_of(code),
        ranking=Ranking(
            query,
            contributions,
            {name: profile.scripts for name, profile in profiles.items()},
            {name: text_notes(summary) for name, summary in summaries.items()},
            top,
        ),
        method="default" if model is None else model.description,
        num_candidates=len(query.candidates),
        warnings=_warnings(query, profiles, model, tokenized),
        profiles=summaries,
        target_place=place_of(code),
    )


def _points(
    target: str, candidates: Iterable[str] | None, paths: Mapping[str, Corpus]
) -> tuple[str, list[str] | None, dict[str, Corpus]]:
    """Target, candidates and corpora as points: with scripts where one language is there in several.

    Raises:
        BadInput: If the script of one of them is not clear then.
    """
    given = None if candidates is None else list(candidates)
    tags = [_tag(name, corpus) for name, corpus in paths.items()]
    first, *others = points_of([target, *(given or ()), *tags])
    number = len(given or ())
    return first, None if given is None else others[:number], dict(zip(others[number:], paths.values(), strict=True))


def _tag(name: str, corpus: Corpus) -> str:
    return corpus.tag or name if isinstance(corpus, Source) else name


def _query(
    target: str, candidates: Sequence[str] | None, paths: Mapping[str, Corpus], rules: CandidateRules
) -> tuple[Query, str]:
    """The candidates with their signals, and what was left out of URIEL ("" where candidates are given)."""
    if candidates is None and not paths:
        return _world_query(target, rules)
    given = paths if candidates is None else candidates
    key = same_language_key(target)
    codes: dict[str, str] = {}
    for code in given:
        if same_language_key(code) != key:
            codes.setdefault(same_language_key(code), code)
    if not codes:
        raise BadInput(f"No candidate beside the target {target} itself. Give other languages, or text of some.")
    return typology_signals(target, list(codes.values())), ""


def _world_query(target: str, rules: CandidateRules) -> tuple[Query, str]:
    """All languages of URIEL that the rules keep, and a line on those that they left out."""
    keep, left_out = choose(target, rules)
    query = typology_signals(target, typology.languages())
    kept = Query(
        target,
        tuple(code for code, kept in zip(query.candidates, keep, strict=True) if kept),
        {name: values[keep] for name, values in query.raw.items()},
        {name: values[keep] for name, values in query.coverage.items()},
    )
    return kept, left_out


def _corpora(corpora: Corpora | None) -> dict[str, Corpus]:
    if corpora is None:
        return {}
    if isinstance(corpora, str | Path):
        return {source.code: source for source in find_sources(corpora)}
    for text, corpus in corpora.items():
        if not isinstance(corpus, str | Path | Source | Profile):
            raise BadInput(
                f"{arg('corpora')} of {text} is of the type {type(corpus).__name__}: give the path of its text, or a "
                "profile of it (profile_texts)."
            )
    paths = {to_point(text): corpus for text, corpus in corpora.items()}
    if len({same_language_key(point) for point in points_of(list(corpora))}) < len(corpora):
        raise BadInput(f"Two corpora of one language among {', '.join(corpora)}: join them first.")
    return paths


def _profiles(
    paths: Mapping[str, Corpus],
    wanted: Iterable[str],
    tokenizer: Tokenize | None,
    cache: str | Path | None,
    reading: Reading,
) -> dict[str, Profile]:
    """Profiles of the languages that matter, under the codes of target and candidates."""
    profiles: dict[str, Profile] = {}
    language_of = {same_language_key(language): language for language in wanted}
    for name in sorted(paths):
        language = language_of.get(same_language_key(name))
        if language is None:
            log.info("text of %s is not used: it is neither target nor candidate", name)
            continue
        corpus = paths[name]
        if isinstance(corpus, Profile):
            profiles[language] = corpus
            continue
        if not isinstance(corpus, Source) and str(corpus).endswith(".npz"):
            profiles[language] = Profile.load(corpus)
            continue
        source = corpus if isinstance(corpus, Source) else source_of(corpus, name)
        if tokenizer is None or isinstance(tokenizer, Tokenizer):
            profiles[language] = profile_source(source, tokenizer, cache=cache, reading=reading)
        else:
            nameless = Tokenizer(name="function", tokenize=tokenizer)
            profiles[language] = profile_texts(source.texts(reading), nameless)
    names = {profile.tokenizer for profile in profiles.values()}
    if len(names) > 1:
        raise BadInput(
            f"The profiles come from different tokenizers ({', '.join(map(str, sorted(names, key=str)))}), so their "
            "subwords do not compare. Profile all corpora with one tokenizer."
        )
    return profiles


def _warnings(query: Query, profiles: Mapping[str, Profile], model: Ranker | None, tokenized: bool) -> list[str]:
    found = []
    name = f"{name_of(query.target)} ({query.target})"
    if is_signed(query.target):
        found.append(f"{name} is a sign language: family and place rank, since URIEL has no features of its own for it")
    elif np.isnan(query.raw["syntactic"]).all():
        found.append(f"URIEL has no row for {name}: the ranking rests on text alone")
    elif typology.typology_code(query.target, "syntactic").num_known == 0:
        found.append(f"no syntactic feature of {name} is known: its syntax is predicted from relatives and neighbours")
    if profiles and query.target not in profiles:
        found.append(f"no text of {name}: overlap is unknown, and sources count by their size alone")
    if profiles and not tokenized and not any(profile.subwords for profile in profiles.values()):
        found.append("no tokenizer: words are compared, which says little where scripts or word forms differ")
    if "quality" in query.raw and np.isnan(query.raw["quality"]).all():
        found.append("the quality given is of none of the candidates")
    if "effect" in query.raw and np.isnan(query.raw["effect"]).all():
        found.append("the effects given are of none of the candidates on this target")
    if model is not None:
        found += model.warnings(query)
        if "effect" in query.raw:
            found.append("the ranker does not use the effects given: it was not trained with them")
        if "quality" in query.raw:
            found.append("the ranker does not use the quality given: it has its own record of each source")
    return found
