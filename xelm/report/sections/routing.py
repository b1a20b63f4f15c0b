"""Where a held-out sentence of each language goes, and how many documents reach the expert that owns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clustering import name_of
from xelm.report.facts import Facts
from xelm.report.text import first_sentence, language_tag

if TYPE_CHECKING:
    from router.routes.weigh import Route
    from xelm.inference.routed import RoutedLM
    from xelm.run.experts import ExpertSet

_LONGEST_TEXT = 140
_MOST_BARS = 4
_LEAST_WEIGHT = 0.005


def router_of(experts: ExpertSet) -> RoutedLM | None:
    """The run's router, with at most one expert in memory; None if the run has none."""
    if not experts.files.router.is_dir():
        return None
    from xelm.inference.routed import RoutedLM

    return RoutedLM(experts, max_loaded=1)


def heldout_texts(experts: ExpertSet, code: str) -> list[str]:
    """Held-out documents of a language, those of `test` first; empty if there are none."""
    if not experts.files.heldout(code).is_file():
        return []
    return [document.text for split in ("test", "valid") for document in experts.heldout(split, [code])]


def routing(facts: Facts, lm: RoutedLM | None) -> dict[str, Any]:
    """One routed sentence per language.

    Args:
        facts: The run.
        lm: Its router.

    Returns:
        `examples` (see `_example`), `share`: mean over languages of the documents that reached their own expert, in
        percent (None if not measured), `silent`: languages without held-out text, `has_router`.
    """
    texts = {code: next(iter(heldout_texts(facts.experts, code)), None) for code in facts.languages}
    shown = {code: first_sentence(text, _LONGEST_TEXT) for code, text in texts.items() if text}
    routes = lm.route(list(shown.values())) if lm else []
    shares = [share for code, share in facts.right_expert.items() if code in facts.languages]
    return {
        "examples": [_example(facts, code, shown[code], route) for code, route in zip(shown, routes, strict=bool(lm))],
        "share": 100 * sum(shares) / len(shares) if shares else None,
        "silent": [language.name for code, language in facts.languages.items() if code not in shown],
        "has_router": lm is not None,
    }


def _example(facts: Facts, code: str, text: str, route: Route) -> dict[str, Any]:
    language, share = facts.languages[code], facts.right_expert.get(code)
    return {
        "language": language,
        "text": text,
        "found": "/".join(map(name_of, route.languages)) or None,
        "found_tag": language_tag(route.languages[0]) if len(route.languages) == 1 else "und",
        "is_right": code in route.languages,
        "confidence": f"{100 * route.confidence:.0f}",
        "bars": _bars(facts, route.weights),
        "reason": route.reason,
        "share": None if share is None else f"{100 * share:.0f}",
        "documents": cell.documents if (cell := facts.answer().get(code)) else 0,
    }


def _bars(facts: Facts, weights: dict[str, float]) -> list[dict[str, Any]]:
    """The weights, largest first; small ones are added up as `others`."""
    order = sorted(weights, key=lambda name: (-weights[name], name))
    shown = [name for name in order[:_MOST_BARS] if weights[name] >= _LEAST_WEIGHT]
    bars = [{"name": n, "colour": facts.colours.get(n), "percent": f"{100 * weights[n]:.1f}"} for n in shown]
    rest = sum(weights.values()) - sum(weights[name] for name in shown)
    if rest >= _LEAST_WEIGHT:
        bars.append({"name": "others", "colour": None, "percent": f"{100 * rest:.1f}"})
    return bars
