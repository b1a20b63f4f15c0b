"""The tokenizer of a new language's expert: the run's, the donor's, or one with pieces of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from clustering.languages.codes import name_of
from xelm.adding.request import Addition, NewText, Own
from xelm.corpus.store import training_texts
from xelm.models.base import context_length, load_tokenizer
from xelm.recipe.recipe import Base, Recipe
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.run.records.ledger import TokenizerCheck
from xelm.run.records.manifest import fingerprint
from xelm.vocabulary.own import FORM, own_vocabulary, read_vocabulary
from xelm.vocabulary.rows.first_rows import settle_rows

logger = logging.getLogger(__name__)


def tokenizer_for(
    experts: ExpertSet, addition: Addition, donor: str, text: NewText, check: TokenizerCheck
) -> Own | None:
    """The tokenizer that the new language's expert reads with; None if it is the run's.

    Args:
        experts: The run.
        addition: The request.
        donor: The model to start from.
        text: Text of the new language.
        check: How the run's tokenizer splits the run's languages.
    """
    if addition.vocabulary is not None:
        return _new(experts, addition, donor, text, check) or _of_donor(experts, donor)
    return _of_donor(experts, donor)


def _of_donor(experts: ExpertSet, donor: str) -> Own | None:
    found = experts.vocabulary(donor)
    return None if found is None else Own(experts.folder(donor), experts.tokenizer(donor), found, is_new=False)


def _new(experts: ExpertSet, addition: Addition, donor: str, text: NewText, check: TokenizerCheck) -> Own | None:
    recipe = Recipe.from_dict(experts.manifest.recipe)
    entry = experts.entry_or_none(donor)
    start = entry.fingerprint if entry else None
    key = fingerprint(text.fingerprint, start, addition.vocabulary, recipe.train.seed, FORM)
    folder = experts.files.cache / f"{addition.language}-vocabulary-{key[:12]}"
    tokenizer = experts.tokenizer(donor)
    record = read_vocabulary(folder)
    if record is None:
        others = [fit.tokens_per_word for fit in check.others.values() if fit.tokens_per_word]
        texts = training_texts(addition.source, recipe.data)
        record = own_vocabulary(folder, tokenizer, addition.vocabulary or "auto", texts, text.valid, others)
    if record is None:
        logger.info(
            "vocabulary: %s takes no more tokens a word than the run's languages, so it needs no pieces of its own.",
            name_of(addition.language),
        )
        return None
    context = context_length(Base(model=str(experts.folder(BASE))))

    def log_probs(model: Any, texts: Sequence[str], read_by: Any) -> list[np.ndarray]:
        return experts.objective.log_probs(model, texts, read_by, context)

    seed = recipe.train.seed
    settle_rows(folder, lambda: experts.load_model(donor), tokenizer, text.valid, log_probs, seed=seed)
    return Own(folder, load_tokenizer(str(folder)), record.fingerprint, is_new=True)
