"""Evaluation of a run: every model on every language's held-out text, and what routing makes of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clustering.codes import match
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.corpus.sources import find_sources
from xelm.experts import DENSE, Document, ExpertSet
from xelm.manifest import fingerprint
from xelm.tables import order_models

if TYPE_CHECKING:
    from router.scoring import Score

EXAMPLES_PER_LANGUAGE = 1
logger = logging.getLogger(__name__)


def evaluate(experts: ExpertSet) -> dict[str, Any]:
    """Evaluate a run on its own held-out text into `eval/`: `valid.json` (the router's loss table), then `test.json`.

    What was evaluated with the same models and text before is kept.

    Returns:
        The headline numbers: wins, languages, mean gain in percent.
    """
    for split in ("valid", "test"):
        path = experts.path / "eval" / f"{split}.json"
        key = _fingerprint(experts, split)
        if path.is_file() and read_json(path).get("fingerprint") == key:
            continue
        documents = experts.heldout(split)
        if not documents:
            logger.warning("no %s text in this run: not evaluated on it", split)
            continue
        policies = ("top1", "ensemble") if split == "test" else ()
        write_json(path, {"fingerprint": key, **_table(experts, documents, split, policies)})
    result = experts.result("test")
    return result["summary"] if result else {}


def evaluate_on(experts: ExpertSet, data: str | None, *, ensemble: bool = False) -> dict[str, Any]:
    """The expert × language table on other text, or on the run's test text.

    Args:
        experts: A finished run.
        data: As `[data] path`; None for the run's own test text. Of rows with a `split`, those of `test` count (all,
            where no row has one).
        ensemble: Score the policy `ensemble` too.

    Returns:
        `models` {model: {language: cell}}, `routed` {policy: {language: cell}}, `owners`, `summary`; a cell has `nats`,
        `tokens`, `bytes`, `documents`, `perplexity` (per token) and `bits_per_byte`.

    Raises:
        BadInput: If there is no text, or text of a language that the run does not have.
    """
    documents = experts.heldout("test") if data is None else list(_documents(experts, data))
    if not documents:
        raise BadInput(f"{data or experts.path}: no test text to evaluate on.")
    return _table(experts, documents, "test" if data is None else data, ("top1", "ensemble") if ensemble else ("top1",))


def _documents(experts: ExpertSet, data: str) -> Iterable[Document]:
    for source in find_sources(data):
        code = match(source.code, experts.languages) or source.code
        rows = list(source.rows("text"))
        held = [row for row in rows if row.split == "test"] if any(row.split for row in rows) else rows
        yield from (Document(code, row.text, row.id) for row in held)


def _table(experts: ExpertSet, documents: list[Document], split: str, policies: Sequence[str]) -> dict[str, Any]:
    from tqdm import tqdm

    from router.scoring import score_texts

    texts, tokenizer = [document.text for document in documents], experts.tokenizer()
    scores: dict[str, list[Score]] = {}
    for name in tqdm(order_models(experts.models), desc=f"evaluate ({split})", unit="model"):
        scores[name] = score_texts(experts.load_model(name), tokenizer, texts)
    result: dict[str, Any] = {
        "split": split,
        "owners": {code: experts.plan.cluster_of(code) for code in experts.languages},
        "models": {name: _cells(documents, rows) for name, rows in scores.items()},
        "routed": {},
    }
    if policies:
        _add_routed(result, experts, documents, policies, scores)
    result["summary"] = _summary(result)
    return result


def _add_routed(
    result: dict[str, Any],
    experts: ExpertSet,
    documents: list[Document],
    policies: Sequence[str],
    scores: dict[str, list[Score]],
) -> None:
    from xelm.routed import RoutedLM

    lm, texts = RoutedLM(experts), [document.text for document in documents]
    routes = lm.route(texts)
    best = [max(route.weights, key=lambda name: route.weights[name]) for route in routes]
    # Dispatch to one expert has been scored already: no text is run twice.
    chosen = {"top1": [scores[name][i] for i, name in enumerate(best)]}
    for policy in policies:
        rows = chosen.get(policy) or lm.score(texts, policy=policy)
        result["routed"][policy] = _cells(documents, rows)
    owners = [result["owners"].get(document.language) for document in documents]
    right: dict[str, list[bool]] = defaultdict(list)
    for document, expert, owner in zip(documents, best, owners, strict=True):
        right[document.language].append(expert == owner)
    result["right_expert"] = {code: sum(hits) / len(hits) for code, hits in right.items()}


def _cells(documents: list[Document], scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    import math

    sums: dict[str, dict[str, float]] = {}
    for document, score in zip(documents, scores, strict=True):
        cell = sums.setdefault(document.language, {"nats": 0.0, "tokens": 0, "bytes": 0, "documents": 0})
        cell["nats"] += score.nats
        cell["tokens"] += score.tokens
        cell["bytes"] += score.bytes
        cell["documents"] += 1
    for cell in sums.values():
        # Perplexity of a hopeless model overflows; JSON has no infinity.
        cell["perplexity"] = math.exp(min(cell["nats"] / max(cell["tokens"], 1), 700))
        cell["bits_per_byte"] = cell["nats"] / math.log(2) / max(cell["bytes"], 1)
    return sums


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    dense, routed = result["models"].get(DENSE), result["routed"].get("top1")
    if dense is None or routed is None:
        return {"languages": len(result["owners"])}
    gain = {code: 100 * (1 - routed[code]["bits_per_byte"] / dense[code]["bits_per_byte"]) for code in routed}
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
