"""Train one expert of a run on pairs; no other model changes, and the run changes at once or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clustering.errors import BadInput, arg
from clustering.files import write_json
from xelm.adding.add import whole_run
from xelm.adding.enter import seal
from xelm.aligning.adapt import REPORT_FILE, Course, Merged, memory_in_our_words
from xelm.aligning.readers import owner
from xelm.aligning.teaching import Adapter
from xelm.blending.overlay import lay_on, take_off
from xelm.evaluation.log_probs import forget_stale
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.make_model import CURVE_FILE, VOCABULARY_FILE, Making, make_model
from xelm.run.experts import ExpertSet
from xelm.run.failures import disk_failure_reported
from xelm.run.folder import RunFolder
from xelm.run.lock import locked
from xelm.run.names import is_expert
from xelm.run.records.entry_file import ENTRY_FILE
from xelm.run.records.manifest import Manifest, ModelEntry, fingerprint
from xelm.run.transaction import edited
from xelm.transferring.bases.base import fast_only
from xelm.transferring.bases.run import RunBase

_WORK = "align"


def expert_to_train(experts: ExpertSet, expert: str | None, languages: Sequence[str]) -> str:
    """The expert that is named, or the only one that owns a language of the pairs.

    Raises:
        BadInput: If there is none such, or several.
    """
    if expert is not None:
        if not is_expert(expert) or expert not in experts.names:
            raise BadInput(f"{arg('expert', expert)}: no expert of this run. There are: {', '.join(experts.names)}.")
        return expert
    owners = sorted({name for code in languages if (name := owner(experts, code)) is not None})
    if len(owners) == 1:
        return owners[0]
    found = f"several experts own them ({', '.join(owners)})" if owners else "no expert owns one of them"
    raise BadInput(
        f"the pairs are of {', '.join(languages)}, and {found}: name the one to train with {arg('expert')}. There are: "
        f"{', '.join(experts.names)}."
    )


def own_languages(experts: ExpertSet, expert: str, languages: Sequence[str]) -> list[str]:
    """The languages of the pairs that an expert owns.

    Raises:
        BadInput: If there are none.
    """
    own = [code for code in languages if owner(experts, code) == expert]
    if not own:
        raise BadInput(
            f"the pairs are of {', '.join(languages)}, and {expert} owns none of them. To train it on them all the "
            f"same, name them with {arg('languages')}."
        )
    return own


def adapt_run(course: Course, expert: str, report: Callable[[Path, dict[str, Any]], dict[str, Any]]) -> None:
    """Train an expert and put it in the place of what it was; run again after an interruption it goes on.

    Args:
        course: What is learnt; its settings name the run.
        expert: Name of the expert.
        report: Called with the folder of the run that holds the trained expert, and facts of the training; returns the
            report that is kept with the expert.

    Raises:
        BadInput: If the run is not whole, or could no longer be taken back to what it was before additions.
    """
    folder = Path(str(course.settings.run))
    with disk_failure_reported(folder), locked(folder):
        experts = whole_run(folder).trained()
        before = experts.entry_or_none(expert)
        assert before is not None
        if is_aligned(before, course):
            return
        _refuse_what_could_not_be_undone(experts, expert)
        course.refuse_few()
        entry = dataclasses.replace(
            before,
            fingerprint=_print(before.fingerprint, course),
            aligned={
                "from": before.fingerprint,
                "pairs": course.numbers,
                "additions": len(experts.manifest.ledger),
            },
        )
        making, facts = _making(experts, expert, entry, course)
        with memory_in_our_words():
            make_model(making, folder / "logs" / f"{_WORK}-{expert}.jsonl", redo=True)
        with edited(folder) as shadow:
            moved = take_off(shadow)
            _replace(shadow, expert, making.folder, entry)
            seal(shadow)
            found = report(shadow, {"model": folder.resolve().name, "expert": expert, **facts})
            write_json(RunFolder(shadow).model(expert) / REPORT_FILE, found)
            manifest = Manifest.read(shadow)
            manifest.refresh_files(shadow)
            manifest.write(shadow)
            lay_on(shadow, moved)
        _clear(folder)
    forget_stale(ExpertSet.load(folder))


def is_aligned(entry: ModelEntry, course: Course) -> bool:
    """Whether the expert is what this training makes of the weights that it was trained from."""
    return entry.aligned is not None and entry.fingerprint == _print(entry.aligned.get("from"), course)


def _print(before: Any, course: Course) -> str:
    return fingerprint("align", before, course.identity())


def _refuse_what_could_not_be_undone(experts: ExpertSet, expert: str) -> None:
    """Removing the added languages brings back tables of the first state, in which this expert was another."""
    ledger = experts.manifest.ledger
    if ledger and expert not in {line.expert for line in ledger}:
        added = ", ".join(line.language for line in ledger)
        raise BadInput(
            f"{expert} was trained before {added} was added, and removing that would bring back figures of the expert "
            f"as it was. Align an expert that languages were added to, or remove {added} first and add it afterwards."
        )


def _making(experts: ExpertSet, expert: str, entry: ModelEntry, course: Course) -> tuple[Making, dict[str, Any]]:
    kind, adapter = _kind(experts, expert, course)
    tokenizer = fast_only(experts.tokenizer(expert), expert)
    base = RunBase(course.settings, experts=experts)
    work = experts.files.checkpoints(f"{_WORK}-{expert}", entry.fingerprint)
    stage = course.stage(base.encoder(expert), tokenizer, work / "checkpoints", adapter, kind.anchors)
    base.encoder.cache_clear()
    own = experts.folder(expert)
    making = Making(
        work / "expert",
        entry,
        lambda: course.prepared(experts.load_model(expert, trainable=True), kind, tokenizer),
        kind,
        stage,
        tokenizer,
        vocabulary=own if (own / VOCABULARY_FILE).is_file() else None,
    )
    return making, course.facts(stage, kind.kind if isinstance(kind, Merged) else experts.kind(expert).name())


def _kind(experts: ExpertSet, expert: str, course: Course) -> tuple[ExpertKind, Adapter]:
    """What of the expert trains: by its own kind, or, of a whole model, adapters that are merged."""
    own, wanted, rank = experts.kind(expert).name(), course.teaching.adapter, course.teaching.rank
    if own != "full":
        if wanted is not None:
            raise BadInput(
                f"{arg('adapter', wanted)}: {expert} is of kind {own}, and what is trained is what it has of its own. "
                "Leave the option out."
            )
        return _of_recipe(experts, own), "lora" if own == "lora" else "full"
    if wanted == "full":
        return _of_recipe(experts, own), "full"
    return Merged(rank=rank, alpha=2 * rank), "lora"


def _of_recipe(experts: ExpertSet, kind: str) -> ExpertKind:
    table = experts.manifest.recipe.get("expert")
    recipe = ExpertKind.of(**table) if isinstance(table, dict) else ExpertKind.of(kind=kind)
    return recipe if recipe.kind == kind else recipe.as_kind(kind)


def _replace(shadow: Path, expert: str, made: Path, entry: ModelEntry) -> None:
    """The trained expert in place of the former, whose own curve of training is kept."""
    target = RunFolder(shadow).model(expert)
    curve = (target / CURVE_FILE).read_bytes() if (target / CURVE_FILE).is_file() else None
    shutil.rmtree(target)
    shutil.copytree(made, target)
    (target / CURVE_FILE).unlink(missing_ok=True)
    if curve is not None:
        (target / CURVE_FILE).write_bytes(curve)
    write_json(target / ENTRY_FILE, dataclasses.asdict(entry))
    manifest = Manifest.read(shadow)
    manifest.experts[expert] = entry
    manifest.write(shadow)


def _clear(run: Path) -> None:
    for folder in (run / "work").glob(f"{_WORK}-*"):
        shutil.rmtree(folder)
    if (run / "work").is_dir() and not any((run / "work").iterdir()):
        (run / "work").rmdir()
