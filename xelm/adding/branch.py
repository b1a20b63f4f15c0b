"""The training of a new language's expert: its first weights, the blocks that it reads, and its budget."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from clustering.errors import BadInput, arg
from clustering.languages.codes import name_of
from xelm.adding.request import Addition, NewText, Own
from xelm.corpus.blocks import Blocks
from xelm.corpus.kept_text import kept_text, text_folder
from xelm.corpus.mixture import Phase
from xelm.corpus.store import TokenStore
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.steps import StageBudget, steps_of
from xelm.making.make_model import Making
from xelm.models import base as base_models
from xelm.recipe.recipe import Base, Recipe, Train
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, is_base
from xelm.run.records.manifest import ModelEntry, fingerprint
from xelm.vocabulary.training import prepared, rate_of_rows, rows_identity

_ENOUGH_STEPS = 48
"""Steps that a small budget is read in, of a block each at least: a language that is new to all models learns more from
many small steps (experiments/new_language)."""
_MOST_EPOCHS = 40
"""How often a text is read at most if no budget is given: with more, the expert learns it by heart."""
logger = logging.getLogger(__name__)


def plan_branch(
    experts: ExpertSet, addition: Addition, donor: str, name: str, text: NewText, own: Own | None = None
) -> Making:
    """Plan how the expert `name` is made from the donor.

    Args:
        experts: The run.
        addition: The request.
        donor: The model to start from.
        name: Name of the expert: a new one, or the donor's if the language joins it.
        text: Text of the new language, read with the tokenizer `own`.
        own: A tokenizer other than the run's.

    Raises:
        BadInput: If the text for replay is missing.
    """
    settings = Recipe.from_dict(experts.manifest.recipe).train
    kind = _kind_of(experts, donor, own)
    if own and addition.replay:
        raise BadInput(
            f"{arg('replay', addition.replay)}: the old text is kept as pieces of the run, and {donor} reads pieces of "
            f"its own. Give {arg('replay', 0)}."
        )
    stores = {addition.language: text.store} | _replayed(experts, addition, donor)
    shares = _shares(addition, [code for code in stores if code != addition.language])
    length = base_models.sequence_length(Base(model=str(experts.folder(BASE))), settings.sequence_length)
    tokens = addition.tokens or own_budget(experts, text.store.counts.tokens)
    new = own.folder if own and own.is_new else None
    settings = _in_enough_steps(settings, tokens, length)
    size = {"batch_size": settings.batch_size, "sequence_length": length}
    steps = steps_of(tokens, **size)
    parent = experts.entry_or_none(donor)
    origin = parent.fingerprint if parent else None
    inputs = [text.fingerprint, shares, steps, kind.identity(), asdict(settings), origin]
    inputs += [{"vocabulary": own.fingerprint, **rows_identity(new is not None)}] if own else []
    entry = ModelEntry(
        [*experts.plan.clusters.get(name, []), addition.language],
        donor,
        kind=kind.kind,
        fingerprint=fingerprint(name, *inputs),
        parent_fingerprint=parent.fingerprint if parent else None,
        tokens_before=parent.tokens_after if parent else None,
        vocabulary=own.fingerprint if own else None,
    )
    work = experts.files.checkpoints(addition.name, entry.fingerprint)
    blocks = {code: Blocks(store, length) for code, store in stores.items()}
    phases = [Phase(1.0, {code: shares[code] for code in sorted(shares)})]
    budget = StageBudget.of(addition.name, steps, phases, {code: len(b) for code, b in blocks.items()}, **size)
    tokenizer = own.tokenizer if own else experts.tokenizer()
    batches = experts.objective.batches(tokenizer, settings, addition.name)
    options = {"rows_rate": partial(rate_of_rows, new, budget.tokens) if new else None, **kind.keeping}
    stage = budget.stage(blocks, settings, work / "checkpoints", batches=batches, **options)
    return Making(
        work / "expert",
        entry,
        lambda: _start(experts, donor, kind, own),
        kind,
        stage,
        tokenizer,
        vocabulary=own.folder if own else None,
    )


def announce(making: Making, addition: Addition, name: str) -> None:
    """Say what is trained from where, and warn of a text that is read too often."""
    planned = making.planned
    epochs = (planned.epochs or {})[addition.language]
    if epochs > _MOST_EPOCHS:
        logger.warning("%s: its text is read %.0f times; expect overfitting.", addition.language, epochs)
    logger.info(
        "%s: %s from %s, %s tokens (its text %.1f times)",
        name,
        name_of(addition.language),
        making.entry.parent,
        f"{making.num_tokens:,}",
        epochs,
    )


def _kind_of(experts: ExpertSet, donor: str, own: Own | None) -> ExpertKind:
    """How the new expert trains: as the recipe says, unless the donor's weights do not allow this kind.

    An expert of a kind that shares the base is read on top of the base, so it cannot start from other full weights.
    Kinds without room for rows of a vocabulary give way to a full expert.
    """
    wanted = Recipe.from_dict(experts.manifest.recipe).expert
    if wanted.shares_base and not is_base(donor) and experts.kind(donor) is not type(wanted):
        return wanted.as_kind("full")
    if own and not wanted.takes_rows():
        return wanted.as_kind("full")
    return wanted


def _start(experts: ExpertSet, donor: str, kind: ExpertKind, own: Own | None) -> Any:
    if own and own.is_new:
        return prepared(experts.load_model(donor, trainable=True), kind, own.folder)
    return kind.make_trainable(experts.load_model(donor, trainable=True))


def _in_enough_steps(settings: Train, tokens: int, length: int) -> Train:
    """The recipe's settings, in smaller steps at the same rate where the budget would leave too few of them."""
    batch_size = max(1, min(settings.batch_size, tokens // (_ENOUGH_STEPS * length)))
    if batch_size == settings.batch_size:
        return settings
    return replace(settings, batch_size=batch_size, micro_batch_size=None)


def own_budget(experts: ExpertSet, text_tokens: int) -> int:
    """The mean budget of the run's languages for their experts, but at most `_MOST_EPOCHS` times the new text."""
    first = len(experts.languages) - len(experts.manifest.ledger)
    usual = Recipe.from_dict(experts.manifest.recipe).train.tokens // max(1, first)
    most = _MOST_EPOCHS * text_tokens
    if usual > most:
        logger.warning(
            "only %s tokens of text: trained for %s tokens (%d times the text) instead of the %s that a language of "
            "this run got. More text helps most; the option tokens sets another budget.",
            f"{text_tokens:,}",
            f"{most:,}",
            _MOST_EPOCHS,
            f"{usual:,}",
        )
    return min(usual, most)


def _replayed(experts: ExpertSet, addition: Addition, donor: str) -> dict[str, TokenStore]:
    """The text of the donor's own languages (for base and dense, all languages of the run) if it is replayed."""
    if not addition.replay:
        return {}
    codes = experts.plan.clusters.get(donor, sorted(experts.manifest.data))
    return {code: _old_store(experts, code) for code in codes}


def _old_store(experts: ExpertSet, code: str) -> TokenStore:
    store = kept_text(experts, code)
    if store is None:
        place = text_folder(experts, code) or "its place in the run"
        raise BadInput(f"replay needs the tokenised text of {code}, and {place} is missing. Use {arg('replay', 0)}.")
    return store


def _shares(addition: Addition, old: list[str]) -> dict[str, float]:
    shares = {addition.language: 1.0 - (addition.replay if old else 0.0)}
    return shares | {code: addition.replay / len(old) for code in old}
