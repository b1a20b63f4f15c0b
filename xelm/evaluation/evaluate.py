"""Evaluation of a run: every model on every language's held-out text, and what routing makes of them."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import match
from clustering.progress import progress
from xelm.evaluation.log_probs import SPLITS, heldout_log_probs, measure
from xelm.evaluation.tables import order_models
from xelm.recipe.recipe import Recipe
from xelm.run.experts import Document, ExpertSet
from xelm.run.manifest import fingerprint
from xelm.run.names import DENSE

POLICIES = ("top1", "ensemble", "bayes")
logger = logging.getLogger(__name__)


def evaluate(experts: ExpertSet) -> dict[str, Any]:
    """Evaluate a run on its own held-out text into `eval/`: `valid.json` (the router's loss table), then `test.json`.

    What was evaluated with the same models and text before is kept.

    Returns:
        The headline numbers: wins, languages, mean gain in percent.
    """
    for split in ("valid", "test"):
        path = experts.files.evaluation(split)
        key = _fingerprint(experts, split)
        if path.is_file() and read_json(path).get("fingerprint") == key:
            continue
        documents = experts.heldout(split)
        if not documents:
            logger.warning("no %s text in this run: not evaluated on it", split)
            continue
        table = _table(experts, documents, split, POLICIES if split == "test" else ())
        write_json(path, {"fingerprint": key, **table})
    result = experts.result("test")
    return result["summary"] if result else {}


def evaluate_on(experts: ExpertSet, data: str | None, *, policies: Sequence[str] = POLICIES) -> dict[str, Any]:
    """The expert × language table on other text, or on the run's test text.

    Args:
        experts: A finished run.
        data: As `[data] path`, its text where the run's recipe says; None for the run's own test text. Of rows with a
            `split`, those of `test` count (all, where no row has one).
        policies: Routed policies to score.

    Returns:
        `models` {model: {language: cell}}, `routed` {policy: {language: cell}}, `owners`, `summary`; a cell has `nats`,
        `tokens`, `bytes`, `documents`, `perplexity` (per token) and `bits_per_byte`.

    Raises:
        BadInput: If there is no text, or text of a language that the run does not have.
    """
    documents = experts.heldout("test") if data is None else list(_documents(experts, data))
    if not documents:
        raise BadInput(f"{data or experts.path}: no test text to evaluate on.")
    return _table(experts, documents, "test" if data is None else data, policies)


def _documents(experts: ExpertSet, data: str) -> Iterable[Document]:
    reading = Recipe.from_dict(experts.manifest.recipe).data.reading
    for source in find_sources(data):
        code = match(source.code, experts.languages) or source.code
        rows = list(source.rows(reading))
        held = [row for row in rows if row.split == "test"] if any(row.split for row in rows) else rows
        yield from (Document(code, row.text, row.id) for row in held)


def _table(experts: ExpertSet, documents: list[Document], split: str, policies: Sequence[str]) -> dict[str, Any]:
    if not experts.objective.follows_text:
        policies = [policy for policy in policies if policy != "bayes"]
    log_probs: dict[str, list[np.ndarray]] = {}
    for name in progress(order_models(experts.models), f"evaluate ({split})", unit="model"):
        log_probs[name] = (
            heldout_log_probs(experts, name, split)
            if split in SPLITS
            else measure(experts, experts.load_model(name), documents)
        )
    result: dict[str, Any] = {
        "split": split,
        "owners": {code: experts.plan.cluster_of(code) for code in experts.languages},
        "models": {name: _cells(documents, rows) for name, rows in log_probs.items()},
        "routed": {},
    }
    if policies:
        _add_routed(result, experts, documents, policies, log_probs)
    result["summary"] = _summary(result, experts.manifest.dense.languages if experts.manifest.dense else [])
    return result


def _add_routed(
    result: dict[str, Any],
    experts: ExpertSet,
    documents: list[Document],
    policies: Sequence[str],
    log_probs: dict[str, list[np.ndarray]],
) -> None:
    from router.routes.policy import parse_policy
    from router.scoring.texts import mix_token_log_probs
    from xelm.inference.routed import RoutedLM

    lm, texts = RoutedLM(experts), [document.text for document in documents]
    for policy in policies:
        weights_BK, dynamic = lm.weights(texts, policy), parse_policy(policy, lm.names).dynamic
        # Every model has read every text above: mixing needs no second pass.
        mixed = [
            mix_token_log_probs(
                [(w, log_probs[name][row]) for w, name in zip(weights_K, lm.names, strict=True) if w > 0], dynamic
            )
            for row, weights_K in enumerate(weights_BK)
        ]
        result["routed"][policy] = _cells(documents, mixed)
    best = [lm.names[column] for column in lm.weights(texts, "top1").argmax(axis=1)]
    right: dict[str, list[bool]] = defaultdict(list)
    for document, expert in zip(documents, best, strict=True):
        right[document.language].append(expert == result["owners"].get(document.language))
    result["right_expert"] = {code: sum(hits) / len(hits) for code, hits in right.items()}


def _cells(documents: list[Document], log_probs: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    for document, log_probs_T in zip(documents, log_probs, strict=True):
        cell = sums.setdefault(document.language, {"nats": 0.0, "tokens": 0, "bytes": 0, "documents": 0})
        cell["nats"] -= float(log_probs_T.sum(dtype=np.float64))
        cell["tokens"] += len(log_probs_T)
        cell["bytes"] += len(document.text.encode())
        cell["documents"] += 1
    for cell in sums.values():
        # Perplexity of a hopeless model overflows; JSON has no infinity.
        cell["perplexity"] = math.exp(min(cell["nats"] / max(cell["tokens"], 1), 700))
        cell["bits_per_byte"] = cell["nats"] / math.log(2) / max(cell["bytes"], 1)
    return sums


def _summary(result: dict[str, Any], dense_languages: Sequence[str]) -> dict[str, Any]:
    """Wins and gains over dense, for the languages that it was trained on too (one added later is no fair win)."""
    dense, routed = result["models"].get(DENSE), result["routed"].get("top1")
    compared = [code for code in routed or {} if code in dense_languages]
    if dense is None or routed is None or not compared:
        return {"languages": len(result["owners"])}
    gain = {code: 100 * (1 - routed[code]["bits_per_byte"] / dense[code]["bits_per_byte"]) for code in compared}
    return {
        "languages": len(gain),
        "wins": sum(value > 0 for value in gain.values()),
        "mean_gain_percent": sum(gain.values()) / len(gain),
        "gain_percent": gain,
    }


def _fingerprint(experts: ExpertSet, split: str) -> str:
    manifest = experts.manifest
    entries = {"base": manifest.base, "dense": manifest.dense, **manifest.experts}
    models = {name: entry.fingerprint for name, entry in entries.items() if entry}
    return fingerprint(models, split, [(d.language, d.text) for d in experts.heldout(split)])
