"""Measure what an addition changed: loss of every language and routes of held-out sentences, before and after."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from router.models.pool import ExpertPool
from xelm.evaluation.evaluate import evaluate_on
from xelm.evaluation.log_probs import measure
from xelm.evaluation.routed import growing_of
from xelm.evaluation.sentences import sentences_of
from xelm.run.experts import Document, ExpertSet
from xelm.run.records.ledger import BeforeAfter, ForgettingChanges, LedgerEntry, RouteChanges, Routes
from xelm.run.records.results import Forgetting

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

logger = logging.getLogger(__name__)
_CLEARLY = 1.005
"""A difference of less than half a percent may be chance."""


def read_routes(lm: RoutedLM, sentences: Mapping[str, Sequence[str]]) -> Routes:
    """Route sentences of each language, given by code; languages without any are left out."""
    confusion: dict[str, dict[str, int]] = {}
    experts: dict[str, dict[str, int]] = {}
    for code, texts in sorted(sentences.items()):
        if not texts:
            continue
        routes = lm.route(texts)
        confusion[code] = _counted([route.language or "none" for route in routes])
        experts[code] = _counted([max(route.weights, key=lambda name: route.weights[name]) for route in routes])
    return Routes(confusion, experts)


@dataclass(frozen=True)
class Snapshot:
    """The measured answers of a run at one moment."""

    bits_per_byte: dict[str, float]
    """Bits per byte of each language's test text, routed (`top1`)."""
    routes: Routes
    forgetting: dict[str, Forgetting]
    """Own gain and cost elsewhere of each expert, on test text."""

    @classmethod
    def of(cls, experts: ExpertSet, new: str, new_texts: Sequence[str]) -> Snapshot:
        """Measure the run on its own test text and on the new language's, whether or not the run has that language.

        Args:
            experts: The run, before or after the addition.
            new: Code of the new language.
            new_texts: Held-out documents of the new language.
        """
        from xelm.inference.routed import RoutedLM

        lm = RoutedLM(experts, languages="run")
        result = experts.result("test")
        if result and result.routed and result.routing == "text" and experts.objective.follows_text:
            # Kept from xelm 0.1, which routed by the whole text; the figures after the addition are causal.
            result = evaluate_on(experts, None, policies=("top1",))
        bits = dict(sorted(result.bits("top1").items())) if result and "top1" in result.routed else {}
        if new not in bits:
            bits[new] = _routed_bits(experts, lm, new_texts)
        texts: dict[str, list[str]] = {code: [] for code in experts.languages}
        for document in experts.heldout("test"):
            texts[document.language].append(document.text)
        texts[new] = list(new_texts)
        routes = read_routes(lm, {code: sentences_of(rows) for code, rows in texts.items()})
        return cls(bits, routes, result.forgetting if result else {})


def with_changes(line: LedgerEntry, before: Snapshot, after: Snapshot) -> LedgerEntry:
    """The ledger's line of an addition, completed with the measured changes."""
    bits = {
        code: BeforeAfter(before.bits_per_byte.get(code), value) for code, value in sorted(after.bits_per_byte.items())
    }
    right = {
        code: BeforeAfter(before.routes.right(code), after.routes.right(code))
        for code in sorted(after.routes.confusion)
    }
    return dataclasses.replace(
        line,
        bits_per_byte=bits,
        routes=RouteChanges(before.routes, after.routes, right),
        forgetting=ForgettingChanges(before.forgetting, after.forgetting),
    )


def _routed_bits(experts: ExpertSet, lm: RoutedLM, texts: Sequence[str]) -> float:
    """Bits per byte of texts, routed (`top1`) as in the run's evaluation."""
    if experts.objective.follows_text:
        one_at_a_time = ExpertPool({name: partial(experts.load_model, name) for name in lm.names}, max_loaded=1)
        scorer = dataclasses.replace(lm.scorer("top1"), models=one_at_a_time)
        log_probs = scorer.growing(texts, growing_of(lm, texts, "top1")[1])
    else:
        best_B = lm.weights(texts, "top1").argmax(axis=1)
        log_probs = []
        for column in sorted(set(best_B.tolist())):
            documents = [Document("", text) for text, best in zip(texts, best_B, strict=True) if best == column]
            log_probs += measure(experts, experts.load_model(lm.names[column]), documents, lm.names[column])
    nats = -sum(float(log_probs_T.sum(dtype=np.float64)) for log_probs_T in log_probs)
    return nats / math.log(2) / max(1, sum(len(text.encode()) for text in texts))


def _counted(names: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def warn_if_behind(experts: ExpertSet, name: str, code: str) -> None:
    """Warn where another model reads the test text of a language clearly better than the expert trained on it."""
    result = experts.result("test")
    cells = {model: own[code].bits_per_byte for model, own in result.models.items() if code in own} if result else {}
    best = min(cells, key=lambda model: cells[model], default=name)
    if name in cells and cells[name] > _CLEARLY * cells[best]:
        leave = ", or leave vocabulary out: its new pieces cost more than they save"
        logger.warning(
            "%s takes %.2f bits per byte under %s, which was trained on it, and %.2f under %s, which was not. Train it "
            "on more tokens%s. `xelm remove %s` takes it out again.",
            *(code, cells[name], name, cells[best], best),
            *(leave if experts.vocabulary(name) else "", code),
        )
