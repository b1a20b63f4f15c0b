"""Pieces of their own for experts in training, `[expert] vocabulary`: learned before anything is trained.

A cluster's pieces come from its languages' training text, as those of an added language do (`xelm.adding.vocabulary`);
their first embeddings are made from the finished base.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write
from xelm.adding.tokenizer_fit import fit_of
from xelm.corpus.store import heldout_texts, training_texts
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.inputs import Inputs
from xelm.models.base import context_length, empty_model, load_tokenizer
from xelm.models.layer_groups import selects
from xelm.recipe.recipe import Base, Recipe
from xelm.run.records.manifest import fingerprint
from xelm.training.processes import processes
from xelm.vocabulary.own import FORM, Size, Vocabulary, own_vocabulary, read_vocabulary
from xelm.vocabulary.rows.first_rows import settle_rows
from xelm.vocabulary.training import prepared

if TYPE_CHECKING:
    from clustering import ClusterPlan
    from xelm.objectives.objective import Objective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnPieces:
    """The vocabulary that an expert of a run reads, and its text in these pieces."""

    learned: Path
    """Its folder in the run's cache, without first embeddings."""
    record: Vocabulary
    inputs: Inputs
    """The run's inputs as the expert reads them: its languages, and those that are replayed to it."""
    valid: tuple[str, ...]
    """Held-out text of its languages."""

    def rows_folder(self, run: Path, base_print: str | None, seed: int) -> Path:
        """Where the vocabulary is kept with first embeddings that are made from a base."""
        key = fingerprint(self.record.fingerprint, self.learned.name, base_print, seed)
        return run / "cache" / f"rows-{key[:12]}"

    def first_model(self, folder: Path, kind: ExpertKind, load: Callable[[], Any], base: Inputs, how: First) -> Any:
        """The expert before its training: the base with first embeddings for the new pieces.

        Several processes that train it together wait for the first of them to choose the embeddings.

        Args:
            folder: From `rows_folder`.
            kind: How the expert trains.
            load: Loads the base.
            base: The run's inputs, as the base reads them.
            how: What the embeddings are chosen by.
        """
        import torch

        together = processes()
        if together.is_main_process:
            # Adapters begin at random: with the same numbers whether the embeddings are there already or not.
            with torch.random.fork_rng():
                self._settle(folder, load, base, how)
        together.wait_for_everyone()
        return prepared(load(), kind, folder)

    def _settle(self, folder: Path, load: Callable[[], Any], base: Inputs, how: First) -> None:
        if not folder.is_dir():
            with atomic_write(folder) as partial:
                shutil.copytree(self.learned, partial)
        context = context_length(how.source)

        def log_probs(model: Any, texts: Sequence[str], read_by: Any) -> list[np.ndarray]:
            return how.objective.log_probs(model.eval(), texts, read_by, context)

        settle_rows(folder, load, base.tokenizer, self.valid, log_probs, seed=how.seed)


@dataclass(frozen=True)
class First:
    """What the first embeddings of new pieces are chosen by."""

    objective: Objective
    source: Base
    """The finished base, whose context limits what it reads at once."""
    seed: int
    """Of the control."""


def own_pieces(recipe: Recipe, plan: ClusterPlan, inputs: Inputs, run: Path) -> dict[str, OwnPieces]:
    """The vocabularies of a run's experts; what was learned before is taken from the run's cache.

    Args:
        recipe: The recipe.
        plan: The languages of each expert.
        inputs: The run's inputs, read with the base's pieces.
        run: The run's folder.

    Returns:
        Expert -> its vocabulary, of the experts that get one.

    Raises:
        BadInput: If the tokenizer cannot learn pieces, a cluster has no held-out text, or the embedding is frozen.
    """
    size = recipe.expert.vocabulary
    if size is None:
        return {}
    _refuse_frozen(recipe, inputs)
    rates = _tokens_a_word(inputs) if size == "auto" else {}
    found = {}
    for name, codes in plan.clusters.items():
        others = [rate for code, rate in rates.items() if code not in codes] or list(rates.values())
        learned = _learned(name, codes, size, others, recipe, inputs, run)
        if learned is None:
            logger.info("vocabulary: %s takes no more tokens a word than the others, so it needs no pieces.", name)
            continue
        folder, record, valid = learned
        read = list(inputs.stores) if recipe.expert.replay else codes
        as_read = inputs.read_by(load_tokenizer(str(folder)), read, recipe.data, run)
        found[name] = OwnPieces(folder, record, as_read, valid)
    return found


def _learned(
    name: str, codes: Sequence[str], size: Size, others: Sequence[float], recipe: Recipe, inputs: Inputs, run: Path
) -> tuple[Path, Vocabulary, tuple[str, ...]] | None:
    """The folder and the record of a cluster's vocabulary, and its held-out text; None if it needs none."""
    valid = tuple(_heldout(codes, inputs))
    if not valid:
        raise BadInput(
            f"[expert] vocabulary = {size!r}: {', '.join(codes)} have no held-out text to choose pieces by. Set [data] "
            "valid_fraction above 0, or leave vocabulary out."
        )
    texts = {code: inputs.fingerprints[code] for code in codes}
    settings = recipe.data.settings() | {"path": "", "languages": None}
    vocab = sorted(inputs.tokenizer.get_vocab().items())
    key = fingerprint(vocab, texts, settings, size, sorted(others), FORM)
    folder = run / "cache" / f"vocabulary-{name}-{key[:12]}"
    record = read_vocabulary(folder)
    if record is None:
        record = own_vocabulary(folder, inputs.tokenizer, size, _training(codes, recipe, inputs), valid, others)
        if record is not None:
            logger.info("vocabulary: %s gets %s pieces of its own", name, f"{record.new_pieces:,}")
    return None if record is None else (folder, record, valid)


def _training(codes: Sequence[str], recipe: Recipe, inputs: Inputs) -> Iterable[str]:
    sources = {source.code: source for source in inputs.sources}
    return chain.from_iterable(training_texts(sources[code], recipe.data) for code in codes)


def _heldout(codes: Sequence[str], inputs: Inputs) -> list[str]:
    """Valid documents of the languages, or where there are none, test documents, the languages by turns."""
    found = [
        heldout_texts(inputs.stores[code], "valid") or heldout_texts(inputs.stores[code], "test") for code in codes
    ]
    most = max(map(len, found), default=0)
    return [texts[place] for place in range(most) for texts in found if place < len(texts)]


def _tokens_a_word(inputs: Inputs) -> Mapping[str, float]:
    fits = {code: fit_of(profile) for code, profile in sorted(inputs.profiles().items())}
    return {code: fit.tokens_per_word for code, fit in fits.items() if fit.tokens_per_word}


def _refuse_frozen(recipe: Recipe, inputs: Inputs) -> None:
    """Refuse a `freeze` that names the embedding."""
    model = empty_model(inputs.config, recipe.objective)
    parts = [model.get_input_embeddings(), model.get_output_embeddings()]
    rows = {id(part.weight) for part in parts if part is not None}
    names = [name for name, weight in model.named_parameters() if id(weight) in rows]
    frozen = [selector for selector in recipe.expert.freeze if any(selects(selector, name) for name in names)]
    if frozen:
        raise BadInput(
            f"[expert] vocabulary = {recipe.expert.vocabulary!r} trains the rows of new pieces, and freeze = "
            f"{frozen} names {', '.join(names)}, which has them. Leave one of the two out."
        )
