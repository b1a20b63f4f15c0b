"""An addition before any training: its text read and checked, the tokenizer's fit, and the donor by the signals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clustering.sources.profiles import Profile
from xelm.adding.branch import own_budget
from xelm.adding.donor import DonorChoice, choose_donor
from xelm.adding.label import TextLanguages, read_languages, refuse_other_language, report_languages, without_others
from xelm.adding.request import Addition, NewText, read_text
from xelm.adding.tokenizer_fit import check_tokenizer
from xelm.corpus.store import training_texts
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.run.records.heldout import read_heldout, texts_of
from xelm.run.records.ledger import TokenizerCheck

_PROFILED_BYTES = 200_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """An addition that is ready to be trained."""

    addition: Addition
    """With the text and the budget that are used."""
    found: TextLanguages
    """What all documents of the text read as."""
    dropped: int
    """Documents of other languages that are skipped."""
    text: NewText
    check: TokenizerCheck
    choice: DonorChoice
    """By the signals that need no training."""


def prepare(experts: ExpertSet, addition: Addition) -> Prepared:
    """Read and check the text, and weigh the donors.

    Raises:
        BadInput: If the text cannot be used, or seems to be another language's.
    """
    recipe = Recipe.from_dict(experts.manifest.recipe)
    addition, found, dropped = _checked(experts, addition, recipe)
    text = read_text(experts, addition.source, recipe.data)
    profiles = _profiles(experts, addition, recipe)
    check = check_tokenizer(addition.language, profiles)
    for warning in check.warnings:
        logger.warning("tokenizer: %s", warning)
    choice = choose_donor(experts, addition.language, text.valid, profiles, wanted=addition.donor)
    addition = replace(addition, tokens=addition.tokens or own_budget(experts, text.store.counts.tokens))
    return Prepared(addition, found, dropped, text, check, choice)


def _checked(experts: ExpertSet, addition: Addition, recipe: Recipe) -> tuple[Addition, TextLanguages, int]:
    """The addition with the text to be used, the languages that all its documents read as, and how many are skipped."""
    source, reading = addition.source, recipe.data.reading
    found = read_languages(experts, source, reading, skip=recipe.data.on_bad_line == "skip")
    kept = found
    if addition.drop_other_languages:
        source = without_others(source, found)
        kept = replace(found, readings=[one for one in found.readings if one.verdict != "foreign"])
    dropped = len(found.readings) - len(kept.readings)
    if not addition.believe_label:
        refuse_other_language(experts, source, reading, kept)
    report_languages(found, dropped)
    return replace(addition, source=source), found, dropped


def _profiles(experts: ExpertSet, addition: Addition, recipe: Recipe) -> dict[str, Profile]:
    """Words and subwords of the new language and of the run's, from about equal amounts of text."""
    from clustering.sources.profiles import profile_texts
    from xelm.models.profile_tokenizers import load_tokenizer

    tokenizer = load_tokenizer(str(experts.folder(BASE)))
    own = _first_bytes(training_texts(addition.source, recipe.data), min(_PROFILED_BYTES, recipe.data.heldout_bytes))
    profiles = {addition.language: profile_texts(own, tokenizer)}
    for code in experts.languages:
        profiles[code] = profile_texts(texts_of(read_heldout(experts.files.heldout(code))), tokenizer)
    return profiles


def _first_bytes(texts: Iterator[str], num_bytes: int) -> Iterator[str]:
    read = 0
    for text in texts:
        yield text
        read += len(text.encode())
        if read >= num_bytes:
            return
