"""Train a model that is no run on pairs, into a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xelm.aligning.adapt import Course, Merged, Whole, memory_in_our_words
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.make_model import Making, make_model
from xelm.making.new_folder import is_there, put_in_place, work_beside
from xelm.making.portable import portable
from xelm.models.base import load_tokenizer
from xelm.pruning.prune import load_any
from xelm.run.records.manifest import ModelEntry, fingerprint
from xelm.transferring.bases.base import ONLY, SingleModel, fast_only


def adapt_model(course: Course, out: Path, report: Callable[[Path, dict[str, Any]], None]) -> None:
    """Train the model of the settings and write it to `out`; run again after an interruption it goes on.

    Args:
        course: What is learnt.
        out: A new folder, or one that the same call has written.
        report: Called once the model is there, with its folder and facts of the training; writes its report.

    Raises:
        BadInput: If the folder holds something else, or model and pairs do not fit.
    """
    base, name = SingleModel(course.settings), str(course.settings.model)
    key = fingerprint("align", base.identity(ONLY), course.identity())
    if is_there(out, key):
        return
    course.refuse_few()
    adapter = course.teaching.adapter or "lora"
    with work_beside(out) as work:
        tokenizer = fast_only(load_tokenizer(name), name)
        stage = course.stage(base.encoder(ONLY), tokenizer, work / f"checkpoints-{key[:12]}", adapter, {})
        base.encoder.cache_clear()
        model, absent = load_any(name)
        kind: ExpertKind = Whole(absent=tuple(sorted(absent)))
        if adapter == "lora":
            rank = course.teaching.rank
            kind = Merged(rank=rank, alpha=2 * rank, absent=tuple(sorted(absent)))
        entry, made = ModelEntry(sorted(course.pairs), portable(name), fingerprint=key), work / f"model-{key[:12]}"
        making = Making(made, entry, lambda: course.prepared(model.float(), kind, tokenizer), kind, stage, tokenizer)
        with memory_in_our_words():
            make_model(making, work / "training.jsonl")
        report(made, {"model": portable(name), "folder": out.name, **course.facts(stage, adapter)})
        put_in_place(made, out)
