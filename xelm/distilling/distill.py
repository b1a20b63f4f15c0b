"""`distill`: the experts of a run teach one student."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.corpora.find import find_sources
from clustering.errors import BadInput, arg
from xelm.corpus.blocks import Blocks
from xelm.corpus.kept_text import kept_text
from xelm.corpus.mixture import mixture
from xelm.corpus.store import TokenStore, build_store
from xelm.distilling.distillation import REPORT_FILE, Distillation
from xelm.distilling.lessons import StudentBatches, Teaching, token_batch
from xelm.distilling.measure import figures
from xelm.distilling.teacher import Teacher
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.steps import StageBudget, steps_of
from xelm.making.make_model import Making, make_model
from xelm.making.new_folder import is_there, put_in_place, work_beside
from xelm.making.portable import portable
from xelm.models import base as base_models
from xelm.objectives.objective import OBJECTIVES
from xelm.recipe.recipe import Base, Recipe
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, DENSE
from xelm.run.records.manifest import ModelEntry, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAME = "same"
_NAME = "student"
logger = logging.getLogger(__name__)


def distill(
    run: str | Path,
    out: str | Path,
    *,
    to: str | Path = SAME,
    data: str | Path | None = None,
    tokens: int | None = None,
    policy: str = "ensemble",
    temperature: float = 1.0,
    mix: float = 0.5,
    learning_rate: float | None = None,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> Distillation:
    """Let the experts of a run teach one student, on text of all its languages.

    For each document the experts answer under the router's weights; the student learns their distribution over the next
    token (Hinton et al. 2015) beside the text's own tokens. It is written as a plain checkpoint, and measured on the
    run's test text beside dense, base, the routed experts, and the average of the experts' weights, which is no way
    to one model. Run again after an interruption it goes on; run again when it is done it returns what was measured.

    Args:
        run: A finished run.
        out: New folder for the student.
        to: What the student is at first: `same`, the run's base; a model of the run (`dense`, an expert); or another
            model with the same tokenizer, a folder or a hub id.
        data: Text to learn from, as `[data] path`; its languages need no labels, files only tell how it is mixed. None:
            the run's own training text.
        tokens: Tokens to train on. None: as many as the dense baseline, or as all experts together.
        policy: Which experts answer for a document: `ensemble`, `top1`, `topm`, or a model's name.
        temperature: Softens both distributions.
        mix: Share of the teacher in the loss, 0 to 1; the rest is the text's own tokens. 0: no teacher, as a control.
        learning_rate: Peak learning rate. None: that of the run's recipe.
        micro_batch_size: Blocks of one pass, which must divide the recipe's batch size: small ones need less memory.
            None: the recipe's.
        seed: Of the order of the text.

    Returns:
        Bits per byte of the student and the others.

    Raises:
        BadInput: If the run cannot teach, the student reads other pieces, or text is missing.
        FloatingPointError: If the training diverges.
        MemoryError: If a step needs more memory than there is.
    """
    experts, folder = ExpertSet.load(run), Path(out)
    teaching = Teaching(temperature=temperature, mix=mix)
    if tokens is not None and tokens < 1:
        raise BadInput(f"{arg('tokens', tokens)} must be at least 1.")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise BadInput(f"{arg('learning_rate', learning_rate)}: must be greater than 0.")
    student = _Student.of(experts, str(to))
    recipe = Recipe.from_dict(experts.manifest.recipe)
    settings = dataclasses.replace(
        recipe.train,
        tokens=tokens or _usual_tokens(experts),
        learning_rate=learning_rate or recipe.train.learning_rate,
        micro_batch_size=micro_batch_size or recipe.train.micro_batch_size,
        seed=seed,
        evaluate_every_steps=None,
        log="files",
    )
    asked = {"policy": policy, **dataclasses.asdict(teaching), "learning_rate": settings.learning_rate, "seed": seed}
    key = _key(experts, student, asked, settings.tokens, _text_print(experts, data))
    if is_there(folder, key):
        return dataclasses.replace(Distillation.read(folder / REPORT_FILE), folder=str(folder), run=str(run))
    tokenizer = experts.tokenizer()
    objective = OBJECTIVES.find("masked") if experts.objective.reads_pairs else experts.objective
    inner = objective.batches(tokenizer, settings, _NAME)
    token_batch(inner, np.zeros((1, 8), dtype=np.int64), np.arange(8)[None], np.arange(1), 0.0)
    teacher = Teacher(experts, policy)
    with work_beside(folder) as work:
        blocks = _blocks(experts, recipe, data, work)
        size = {"batch_size": settings.batch_size, "sequence_length": next(iter(blocks.values())).sequence_length}
        steps = steps_of(settings.tokens, **size)
        num_blocks = {code: len(own) for code, own in blocks.items()}
        phases = mixture(num_blocks, settings, steps * settings.batch_size)
        budget = StageBudget.of(_NAME, steps, phases, num_blocks, **size)
        stage = budget.stage(blocks, settings, work / f"checkpoints-{key[:12]}", batches=inner)
        batches = StudentBatches(inner, teacher, stage.blocks, stage.order, teaching)
        entry = ModelEntry(sorted(blocks), portable(student.name), fingerprint=key)
        kind, made = ExpertKind.of(kind="full"), work / f"student-{key[:12]}"
        whole = dataclasses.replace(stage, batches=batches)
        logger.info("student: %s tokens, taught by %s", f"{budget.tokens:,}", ", ".join(experts.names))
        entry = make_model(Making(made, entry, student.load, kind, whole, tokenizer), work / "training.jsonl")
        table, compared = figures(experts, _load(made, experts))
        dense = experts.entry_or_none(DENSE)
        found = Distillation(
            folder.name,
            experts.path.resolve().name,
            portable(student.name),
            entry.tokens,
            dense.tokens if dense else None,
            asked,
            table,
            compared,
        )
        found.save(made / REPORT_FILE)
        put_in_place(made, folder)
    return dataclasses.replace(found, folder=str(folder), run=str(run))


def _usual_tokens(experts: ExpertSet) -> int:
    dense = experts.entry_or_none(DENSE)
    return dense.tokens if dense else max(1, sum(entry.tokens for entry in experts.manifest.experts.values()))


def _load(folder: Path, experts: ExpertSet) -> PreTrainedModel:
    model: PreTrainedModel = base_models.load_model(str(folder), experts.objective, whole=True).eval()
    return model


@dataclass(frozen=True)
class _Student:
    """What a student is at first."""

    name: str
    experts: ExpertSet
    is_ours: bool
    """Whether it is a model of the run."""

    @classmethod
    def of(cls, experts: ExpertSet, to: str) -> _Student:
        """Find it.

        Raises:
            BadInput: If it reads other pieces than the run.
        """
        name = BASE if to == SAME else to
        if name in experts.models:
            return cls(name, experts, True)
        _refuse_other_pieces(experts, name)
        return cls(name, experts, False)

    def load(self) -> Any:
        """The model, with all weights to train."""
        if not self.is_ours:
            return base_models.load_model(self.name, self.experts.objective)
        model: Any = self.experts.load_model(self.name, trainable=True)
        model = model.merge_and_unload() if hasattr(model, "get_base_model") else model
        return model.requires_grad_(True)

    def identity(self) -> Any:
        """A fingerprint of its weights."""
        if self.is_ours:
            entry = self.experts.entry_or_none(self.name)
            return entry.weights_print if entry else None
        return base_models.weights_identity(self.name, base_models.model_config(Base(model=self.name)))


def _refuse_other_pieces(experts: ExpertSet, name: str) -> None:
    ours, theirs = experts.tokenizer(), base_models.load_tokenizer(name)
    texts = [document.text[:2000] for document in experts.heldout("test")[:20]]
    same = ours.get_vocab() == theirs.get_vocab()
    if not same or any(ours(text)["input_ids"] != theirs(text)["input_ids"] for text in texts):
        raise BadInput(
            f"{name}: reads other pieces than {experts.path}, and a student learns what experts say of each piece. "
            "Choose a model with the run's tokenizer, or same."
        )
    base_models.check_vocabulary(theirs, base_models.model_config(Base(model=name)))


def _blocks(experts: ExpertSet, recipe: Recipe, data: str | Path | None, work: Path) -> dict[str, Blocks]:
    length = base_models.sequence_length(Base(model=str(experts.folder(BASE))), recipe.train.sequence_length)
    if data is None:
        return {code: Blocks(_own_store(experts, code), length) for code in experts.languages}
    tokenizer, found = experts.tokenizer(), {}
    for source in find_sources(str(data)):
        folder = work / "text" / f"{source.code}-{source.fingerprint()[:12]}"
        store = build_store(folder, source, recipe.data, tokenizer, vocab_size=len(tokenizer))
        found[source.code] = Blocks(store, length)
    return found


def _own_store(experts: ExpertSet, code: str) -> TokenStore:
    store = kept_text(experts, code)
    if store is None:
        raise BadInput(f"{experts.path}: the tokenised text of {code} is not there. Name text with {arg('data')}.")
    return store


def _text_print(experts: ExpertSet, data: str | Path | None) -> Mapping[str, Any]:
    if data is None:
        texts = experts.manifest.data
        return {code: one.get("sha256") if isinstance(one, dict) else None for code, one in texts.items()}
    return {source.code: source.fingerprint() for source in find_sources(str(data))}


def _key(experts: ExpertSet, student: _Student, asked: Mapping[str, Any], tokens: int, text: Mapping[str, Any]) -> str:
    prints = {name: getattr(experts.entry_or_none(name), "weights_print", None) for name in experts.models}
    router = {name: sha for name, sha in experts.manifest.files.items() if name.startswith("router/")}
    return fingerprint("distill", prints, router, student.identity(), asked, tokens, text, experts.manifest.recipe)
