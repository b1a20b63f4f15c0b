"""What an addition changed, measured: loss of every language and reading of held-out sentences, before and after."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.evaluation.log_probs import measure
from xelm.run.experts import Document, ExpertSet

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

SHORTEST_SENTENCE = 50
"""Characters."""
MOST_SENTENCES = 200
"""Of each language."""
_SENTENCE_END = re.compile(r"(?<=[.!?;։።။।])\s+|(?<=[。！？])|\n+")


@dataclass(frozen=True)
class Routes:
    """How a run's router reads held-out sentences."""

    confusion: dict[str, dict[str, int]]
    """Language -> language it was read as -> sentences."""
    experts: dict[str, dict[str, int]]
    """Language -> expert of most weight -> sentences."""

    def right(self, code: str) -> float:
        """Share of a language's sentences that are read as it, 0 to 1."""
        counts = self.confusion[code]
        return counts.get(code, 0) / sum(counts.values())


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


def sentences_of(texts: Sequence[str]) -> list[str]:
    """Sentences and verses of at least `SHORTEST_SENTENCE` characters, shorter ones joined to the next; at most
    `MOST_SENTENCES`, spread over the texts."""
    sentences = []
    for text in texts:
        part = ""
        for piece in _SENTENCE_END.split(text):
            part = f"{part} {piece}".strip()
            if len(part) >= SHORTEST_SENTENCE:
                sentences.append(part)
                part = ""
    step = max(1, len(sentences) // MOST_SENTENCES)
    return sentences[::step][:MOST_SENTENCES]


@dataclass(frozen=True)
class Snapshot:
    """A run as it answers at one moment."""

    bits_per_byte: dict[str, float]
    """Of each language's test text, routed (`top1`)."""
    routes: Routes

    @classmethod
    def of(cls, experts: ExpertSet, new: str, new_texts: Sequence[str]) -> Snapshot:
        """Take it: from the run's own test text, and from the new language's, whether or not the run has it.

        Args:
            experts: The run, before or after the addition.
            new: Code of the new language.
            new_texts: Its held-out documents.
        """
        from xelm.inference.routed import RoutedLM

        lm = RoutedLM(experts, languages="run")
        routed = (experts.result("test") or {}).get("routed", {}).get("top1", {})
        bits = {code: cell["bits_per_byte"] for code, cell in sorted(routed.items())}
        if new not in bits:
            bits[new] = _routed_bits(experts, lm, new, new_texts)
        texts: dict[str, list[str]] = {code: [] for code in experts.languages}
        for document in experts.heldout("test"):
            texts[document.language].append(document.text)
        texts[new] = list(new_texts)
        return cls(bits, read_routes(lm, {code: sentences_of(rows) for code, rows in texts.items()}))


def changes(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """The part of the ledger's line that says what changed.

    Returns:
        `bits_per_byte`: code -> {`before`, `after`}; `routes`: {`before`, `after`} as `Routes`, and `right`: code ->
        {`before`, `after`}, the share of sentences read as their own language.
    """
    codes = sorted(after.bits_per_byte)
    return {
        "bits_per_byte": {
            code: {"before": before.bits_per_byte.get(code), "after": after.bits_per_byte[code]} for code in codes
        },
        "routes": {
            "before": asdict(before.routes),
            "after": asdict(after.routes),
            "right": {
                code: {"before": before.routes.right(code), "after": after.routes.right(code)}
                for code in sorted(after.routes.confusion)
            },
        },
    }


def _routed_bits(experts: ExpertSet, lm: RoutedLM, code: str, texts: Sequence[str]) -> float:
    """Bits per byte of texts, each read by the model of most weight."""
    best_B = lm.weights(texts, "top1").argmax(axis=1)
    nats = 0.0
    for column in sorted(set(best_B.tolist())):
        documents = [Document(code, text) for text, best in zip(texts, best_B, strict=True) if best == column]
        log_probs = measure(experts, experts.load_model(lm.names[column]), documents)
        nats -= sum(float(log_probs_T.sum(dtype=np.float64)) for log_probs_T in log_probs)
    return nats / math.log(2) / max(1, sum(len(text.encode()) for text in texts))


def _counted(names: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
