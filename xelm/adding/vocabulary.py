"""The tokenizer of a new language's expert: the run's, the donor's, or one with pieces of its own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from clustering.languages.codes import name_of
from xelm.adding.request import Addition, NewText, Own
from xelm.corpus.store import training_texts
from xelm.evaluation.log_probs import measure
from xelm.models.base import context_length, load_tokenizer
from xelm.recipe.recipe import Base, Recipe
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE
from xelm.run.records.ledger import TokenizerCheck
from xelm.run.records.manifest import fingerprint
from xelm.vocabulary.own import bits_per_byte, first_rows, own_vocabulary, read_vocabulary
from xelm.vocabulary.tokenizer_table import table_of

_SAMPLE_BYTES = 20_000
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
    key = fingerprint(text.fingerprint, entry.fingerprint if entry else None, addition.vocabulary, recipe.train.seed)
    folder = experts.files.cache / f"{addition.language}-vocabulary-{key[:12]}"
    record = read_vocabulary(folder)
    if record is None:
        texts = list(training_texts(addition.source, recipe.data))
        others = [fit.tokens_per_word for fit in check.others.values() if fit.tokens_per_word]
        record = own_vocabulary(
            folder, experts.tokenizer(donor), addition.vocabulary or "auto", texts, text.valid, others
        )
    if record is None:
        logger.info(
            "vocabulary: %s takes no more tokens a word than the run's languages, so it needs no pieces of its own.",
            name_of(addition.language),
        )
        return None
    if not record.rows:
        record = _with_first_rows(experts, donor, folder, text, recipe.train.seed)
    return Own(folder, load_tokenizer(str(folder)), record.fingerprint, is_new=True)


def _with_first_rows(experts: ExpertSet, donor: str, folder: Path, text: NewText, seed: int) -> Any:
    model: Any = experts.load_model(donor)
    documents = [Document("", piece) for piece in _sample(text.valid)]
    texts, old = [document.text for document in documents], experts.tokenizer(donor)
    new, context = load_tokenizer(str(folder)), context_length(Base(model=str(experts.folder(BASE))))
    before = bits_per_byte(measure(experts, model, documents, donor), texts)
    plain = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model

    def score(grown: Any) -> float:
        return bits_per_byte(experts.objective.log_probs(grown, texts, new, context), texts)

    return first_rows(folder, plain, table_of(old), score, before=before, seed=seed)


def _sample(texts: list[str]) -> list[str]:
    sample, room = [], _SAMPLE_BYTES
    for text in texts:
        piece = text.encode()[:room].decode("utf-8", errors="ignore")
        if piece:
            sample.append(piece)
        room -= len(piece.encode())
        if room <= 0:
            break
    return sample
