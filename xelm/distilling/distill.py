"""`distill`: the experts of a run teach one student."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clustering.errors import BadInput, arg
from xelm.distilling.distillation import REPORT_FILE, Distillation
from xelm.distilling.lessons import Teaching
from xelm.distilling.measure import figures
from xelm.distilling.student import SAME, Student
from xelm.distilling.teacher import Teacher
from xelm.distilling.text import blocks_of, text_print
from xelm.distilling.training import Training
from xelm.making.new_folder import is_there, put_in_place, work_beside
from xelm.making.portable import portable
from xelm.models import base as base_models
from xelm.recipe.recipe import Recipe, Train
from xelm.run.experts import ExpertSet
from xelm.run.names import DENSE
from xelm.run.records.manifest import ModelEntry, fingerprint


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
    student = Student.of(experts, str(to))
    settings = _settings(experts, tokens, learning_rate, micro_batch_size, seed)
    asked = {"policy": policy, **dataclasses.asdict(teaching), "learning_rate": settings.learning_rate, "seed": seed}
    key = _key(experts, student, asked, settings.tokens, text_print(experts, data))
    if is_there(folder, key):
        return dataclasses.replace(Distillation.read(folder / REPORT_FILE), folder=str(folder), run=str(run))
    training = Training(experts, settings, Teacher(experts, policy), teaching, key)
    with work_beside(folder) as work:
        made, entry = training.of(student, blocks_of(experts, data, work), work)
        found = _measured(experts, student, made, entry, asked, folder.name)
        found.save(made / REPORT_FILE)
        put_in_place(made, folder)
    return dataclasses.replace(found, folder=str(folder), run=str(run))


def _settings(
    experts: ExpertSet, tokens: int | None, learning_rate: float | None, micro_batch_size: int | None, seed: int
) -> Train:
    """How the student is trained: as the run's recipe says, but for what was asked."""
    if tokens is not None and tokens < 1:
        raise BadInput(f"{arg('tokens', tokens)} must be at least 1.")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise BadInput(f"{arg('learning_rate', learning_rate)}: must be greater than 0.")
    usual = Recipe.from_dict(experts.manifest.recipe).train
    return dataclasses.replace(
        usual,
        tokens=tokens or _usual_tokens(experts),
        learning_rate=learning_rate or usual.learning_rate,
        micro_batch_size=micro_batch_size or usual.micro_batch_size,
        seed=seed,
        evaluate_every_steps=None,
        log="files",
    )


def _measured(
    experts: ExpertSet, student: Student, made: Path, entry: ModelEntry, asked: Mapping[str, Any], name: str
) -> Distillation:
    model = base_models.load_model(str(made), experts.objective, whole=True).eval()
    table, compared = figures(experts, model)
    dense = experts.entry_or_none(DENSE)
    return Distillation(
        name,
        experts.path.resolve().name,
        portable(student.name),
        entry.tokens,
        dense.tokens if dense else None,
        dict(asked),
        table,
        compared,
    )


def _usual_tokens(experts: ExpertSet) -> int:
    dense = experts.entry_or_none(DENSE)
    return dense.tokens if dense else max(1, sum(entry.tokens for entry in experts.manifest.experts.values()))


def _key(experts: ExpertSet, student: Student, asked: Mapping[str, Any], tokens: int, text: Mapping[str, Any]) -> str:
    prints = {name: getattr(experts.entry_or_none(name), "weights_print", None) for name in experts.models}
    router = {name: sha for name, sha in experts.manifest.files.items() if name.startswith("router/")}
    return fingerprint("distill", prints, router, student.identity(), asked, tokens, text, experts.manifest.recipe)
