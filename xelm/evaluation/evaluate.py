"""Evaluation of a run: every model on every language's held-out text, and the routed answers."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from clustering.files import sha256_of, write_json
from clustering.languages.codes import match
from clustering.progress import show_progress
from router.routes import learned
from router.routes.relatives import Relatives
from xelm.evaluation.log_probs import SPLITS, heldout_log_probs, keep_log_probs, measure
from xelm.evaluation.tables import order_models
from xelm.recipe.recipe import Recipe
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE, DENSE
from xelm.run.records.manifest import fingerprint
from xelm.run.records.results import Cell, Cells, Evaluation, Summary, with_forgetting

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

POLICIES = ("top1", "ensemble", "bayes")
logger = logging.getLogger(__name__)


def evaluate(experts: ExpertSet) -> Evaluation | None:
    """Evaluate a run on its own held-out text into `eval/`: `valid.json` (the router's loss table), then `test.json`.

    An evaluation of the same models and text that exists already is kept.

    Returns:
        The evaluation on test text; None if the run has no test text.

    Raises:
        BadInput: If a model's loss on some text is no number.
    """
    prints = {split: _fingerprint(experts, split) for split in SPLITS}
    missing = [split for split in SPLITS if not _is_current(experts, split, prints[split])]
    if missing:
        for name in show_progress(order_models(experts.models), desc="evaluate", unit="model"):
            keep_log_probs(experts, name, missing)
    for split in missing:
        documents = experts.heldout(split)
        if not documents:
            logger.warning("no %s text in this run: not evaluated on it", split)
            continue
        table = _table(experts, documents, split, POLICIES if split == "test" else (), keep=True)
        table = dataclasses.replace(table, fingerprint=prints[split])
        write_json(experts.files.evaluation(split), table.to_dict())
    return experts.result("test")


def _is_current(experts: ExpertSet, split: str, key: str) -> bool:
    kept = experts.result(split)
    if kept is None or kept.fingerprint != key:
        return False
    # Earlier versions routed a text by the whole of it.
    return not (kept.routed and kept.routing == "text" and experts.objective.follows_text)


def evaluate_on(experts: ExpertSet, data: str | None, *, policies: Sequence[str] = POLICIES) -> Evaluation:
    """The expert × language table on other text, or on the run's test text.

    Args:
        experts: A finished run.
        data: As `[data] path`, its text where the run's recipe says; None for the run's own test text. Of rows with a
            `split`, those of `test` count (all, where no row has one).
        policies: Routed policies to score.

    Returns:
        Figures of every model and policy on every language that has text.

    Raises:
        BadInput: If there is no text, or a model's loss on some text is no number.
    """
    documents = experts.heldout("test") if data is None else list(_documents(experts, data))
    if not documents:
        raise BadInput(f"{data or experts.path}: no test text to evaluate on.")
    return _table(experts, documents, "test" if data is None else data, policies, keep=False)


def _documents(experts: ExpertSet, data: str) -> Iterable[Document]:
    reading = Recipe.from_dict(experts.manifest.recipe).data.reading
    for source in find_sources(data):
        code = match(source.tag, experts.languages) or source.code
        rows = list(source.rows(reading))
        held = [row for row in rows if row.split == "test"] if any(row.split for row in rows) else rows
        yield from (Document(code, row.text, row.id, row.answer_at) for row in held)


def _table(
    experts: ExpertSet, documents: list[Document], split: str, policies: Sequence[str], *, keep: bool
) -> Evaluation:
    if not experts.objective.follows_text:
        policies = [policy for policy in policies if policy != "bayes"]
    log_probs: dict[str, list[np.ndarray]] = {}
    for name in show_progress(order_models(experts.models), desc=f"evaluate ({split})", unit="model"):
        log_probs[name] = (
            heldout_log_probs(experts, name, split, keep=keep)
            if split in SPLITS
            else measure(experts, experts.load_model(name), documents, name)
        )
    result = Evaluation(
        split,
        owners={code: experts.plan.cluster_of(code) for code in experts.languages},
        models={name: _cells(name, documents, rows) for name, rows in log_probs.items()},
    )
    if policies:
        result = _with_routed(result, experts, documents, policies, log_probs)
    dense = experts.manifest.dense
    result = dataclasses.replace(result, summary=_summary(result, dense.languages if dense else []))
    return with_forgetting(result)


def _with_routed(
    result: Evaluation,
    experts: ExpertSet,
    documents: list[Document],
    policies: Sequence[str],
    log_probs: dict[str, list[np.ndarray]],
) -> Evaluation:
    from xelm.evaluation.routed import along_of, by_whole_text, mixed_log_probs, reads_too_much
    from xelm.evaluation.router_once import RouterOnce
    from xelm.inference.routed import RoutedLM

    lm, texts = RoutedLM(experts, router=RouterOnce(experts)), [document.text for document in documents]
    if any(document.answer_at is not None for document in documents):
        policies = [policy for policy in policies if policy != "bayes"]  # which would follow the prompt's tokens too
        policies = _without_bytes(lm, policies)
    by_text: dict[str, list[np.ndarray]] = {}
    along: dict[str, list[np.ndarray]] = {}
    for policy in policies:
        # Every model has read every text above, so mixing needs no second pass, unless they read different pieces.
        ways = [by_whole_text(lm, texts, policy)]
        if experts.objective.follows_text:
            ways.append(along_of(lm, documents, policy))
        if num_bytes := reads_too_much(lm, texts, *ways):
            logger.warning(
                "%s: not evaluated: experts of different pieces answer together, and %s bytes are too many to be read "
                "one by one (docs/vocabulary.md). top1 and every expert are evaluated; `xelm eval RUN --data` can take "
                "less text.",
                *(policy, f"{num_bytes:,}"),
            )
            continue
        try:
            mixed = [mixed_log_probs(lm, policy, way, log_probs, texts) for way in ways]
            by_text[policy], along[policy] = mixed[0], mixed[-1]
        except BadInput as error:  # a tokenizer that cannot be read byte by byte
            if not lm.vocabularies.differ:
                raise
            logger.warning("%s: not evaluated: %s", policy, error)
    text_cells = {policy: _cells(policy, documents, rows) for policy, rows in by_text.items()}
    routed = {policy: _cells(policy, documents, rows) for policy, rows in along.items()}
    asked = [document.asked for document in documents]
    best = [lm.names[column] for column in lm.weights(asked, "top1").argmax(axis=1)]
    right: dict[str, list[bool]] = defaultdict(list)
    for document, expert in zip(documents, best, strict=True):
        right[document.language].append(expert == result.owners.get(document.language))
    shares = {code: sum(hits) / len(hits) for code, hits in right.items()}
    return dataclasses.replace(
        result,
        routed=routed,
        routing="prefix" if experts.objective.follows_text else "text",
        routed_by_text=text_cells if experts.objective.follows_text else {},
        right_expert=shares,
    )


def _without_bytes(lm: RoutedLM, policies: Sequence[str]) -> list[str]:
    """The policies that answer prompts with one expert, if experts read different pieces."""
    dropped = [policy for policy in policies if policy != "top1"] if lm.vocabularies.differ else []
    if dropped:
        logger.warning(
            "%s: not evaluated, as experts read different pieces here, and an answer that is judged after its prompt "
            "has no place in a mixture byte by byte.",
            ", ".join(dropped),
        )
    return [policy for policy in policies if policy not in dropped]


def _cells(name: str, documents: list[Document], log_probs: Sequence[np.ndarray]) -> Cells:
    sums: dict[str, list[float]] = {}
    for document, log_probs_T in zip(documents, log_probs, strict=True):
        found = sums.setdefault(document.language, [0.0, 0, 0, 0])
        found[0] -= float(log_probs_T.sum(dtype=np.float64))
        found[1] += len(log_probs_T)
        found[2] += len(document.judged.encode())
        found[3] += 1
    for code, (nats, *_) in sums.items():
        if not math.isfinite(nats):
            raise BadInput(f"{name}: its loss on {code} is no number ({nats}), so its weights are damaged.")
    return {
        code: Cell.of(max(nats, 0.0), int(tokens), int(num_bytes), int(number))
        for code, (nats, tokens, num_bytes, number) in sums.items()
    }


def _summary(result: Evaluation, dense_languages: Sequence[str]) -> Summary:
    """Wins and gains over dense, for the languages that dense was trained on too: only these compare fairly."""
    routed = result.routed.get("top1", {})
    compared = [code for code in routed if code in dense_languages]
    if DENSE not in result.models or not compared:
        return Summary(len(result.owners))
    ours, theirs = result.bits("top1"), result.bits(DENSE)
    gain = {code: 100 * (1 - ours[code] / theirs[code]) for code in compared}
    by_text = result.routed_by_text.get("top1")
    text_gain = [100 * (1 - by_text[code].bits_per_byte / theirs[code]) for code in compared] if by_text else []
    return Summary(
        languages=len(gain),
        wins=sum(value > 0 for value in gain.values()),
        mean_gain_percent=sum(gain.values()) / len(gain),
        gain_percent=gain,
        mean_gain_percent_by_text=sum(text_gain) / len(text_gain) if text_gain else None,
    )


def _fingerprint(experts: ExpertSet, split: str) -> str:
    manifest = experts.manifest
    entries = {BASE: manifest.base, DENSE: manifest.dense, **manifest.experts}
    models = {name: entry.weights_print for name, entry in entries.items() if entry}
    parts: list[object] = [models, split, [(d.language, d.text) for d in experts.heldout(split)]]
    if split == "test" and (relatives := Relatives.load(experts.files.router)):
        parts.append(relatives.to_dict())  # which change the routed figures alone
    if split == "test" and (experts.files.router / learned.INDEX_FILE).is_file():
        parts.append(sha256_of(experts.files.router / learned.ARRAYS_FILE))
    return fingerprint(*parts)
