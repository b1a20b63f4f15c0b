"""The headline: whether the experts helped, by how much, and how sure that is."""

from __future__ import annotations

from typing import Any

from xelm.report.facts import Facts, expert_tokens
from xelm.report.text import compact, count, listed, plural, signed
from xelm.run.names import is_base, is_dense

_SMALL_TEST_BYTES = 20_000
"""Bytes of test text; with about fewer than these, differences of a percent may be chance."""


def headline(facts: Facts) -> dict[str, Any]:
    """The verdict, the figures behind it, and a bar of gain per language.

    Returns:
        `verdict`, `sentence`, `tiles` [{value, label}], `notes` [str], `bars` (see `_bars`).
    """
    compared = facts.compared()
    gains = {code: -(facts.change(facts.answer(), code) or 0.0) for code in compared}
    verdict, sentence = _verdict(facts, gains)
    return {
        "verdict": verdict,
        "sentence": sentence,
        "tiles": _tiles(facts, gains),
        "notes": _notes(facts, compared),
        "bars": _bars(facts, gains),
    }


def _verdict(facts: Facts, gains: dict[str, float]) -> tuple[str, str]:
    if not facts.models:
        return "Not measured: this run holds no test text", (
            "Whether the experts helped is not known. `xelm eval RUN --data PATH` measures it on other text."
        )
    if not gains:
        return "Not measured: no language of this run has test text", "So nothing can be said about the experts here."
    wins, number = sum(gain > 0 for gain in gains.values()), len(gains)
    mean = sum(gains.values()) / number
    size = f"{abs(mean):.1f} % {'fewer' if mean > 0 else 'more'} bits per byte"
    if is_base(facts.baseline):
        return f"No dense baseline, so no verdict; against its own base, better in {_share(wins, number)}", (
            f"The routed experts need {size} than the base they branched from, in the mean of the languages. That is "
            "no fair comparison: the experts were trained for longer."
        )
    return _against_dense(wins, number, mean), (
        f"The routed experts need {size} than one dense model, in the mean of the languages, {_equal_tokens(facts)}"
    )


def _against_dense(wins: int, number: int, mean: float) -> str:
    if wins == number:
        return f"It helped: experts beat the dense model in {_share(wins, number)}"
    if wins == 0:
        return f"It did not help: the dense model is better in {_share(number, number)}"
    if mean > 0 and 2 * wins > number:
        return f"It mostly helped: experts beat the dense model in {_share(wins, number)}"
    if mean <= 0 and 2 * wins <= number:
        return f"It did not help: experts beat the dense model in only {_share(wins, number)}"
    return f"Undecided: experts beat the dense model in {_share(wins, number)}"


def _share(part: int, number: int) -> str:
    if number == 1:
        return f"{part} of 1 language"
    return f"all {number} languages" if part == number else f"{part} of {number} languages"


def _equal_tokens(facts: Facts) -> str:
    dense = facts.experts.manifest.dense
    experts = expert_tokens(facts)
    if dense is None or dense.tokens == experts:
        return f"after equally many training tokens ({count(experts)})."
    return f"after {count(experts)} training tokens against {count(dense.tokens)} for dense."


def _tiles(facts: Facts, gains: dict[str, float]) -> list[dict[str, str]]:
    manifest, tiles = facts.experts.manifest, []
    if gains:
        wins = sum(gain > 0 for gain in gains.values())
        against = "dense" if is_dense(facts.baseline) else "base"
        tiles.append({"value": f"{wins} / {len(gains)}", "label": f"languages better than {against}"})
        mean = signed(sum(gains.values()) / len(gains))
        tiles.append({"value": f"{mean} %", "label": f"mean gain in bits per byte over {against}"})
    tiles.append({"value": count(len(facts.languages)), "label": "languages"})
    tiles.append({"value": count(len(facts.experts.names)), "label": "experts"})
    if facts.num_parameters:
        tiles.append({"value": compact(facts.num_parameters), "label": "parameters in the base"})
    base = f", after {compact(manifest.base.tokens)} of base" if manifest.base and manifest.base.tokens else ""
    tiles.append({"value": compact(expert_tokens(facts)), "label": f"tokens for the experts together{base}"})
    return tiles


def _notes(facts: Facts, compared: list[str]) -> list[str]:
    notes, names = [], {code: language.name for code, language in facts.languages.items()}
    added = [language.name for language in facts.languages.values() if language.added]
    if added and compared:
        notes.append(
            f"{listed(added)} {'was' if len(added) == 1 else 'were'} added later and not counted here: the "
            f"{facts.baseline} model never saw {'it' if len(added) == 1 else 'them'}."
        )
    joined = sorted({line.expert for line in facts.experts.manifest.ledger if line.kind == "join"})
    if joined and compared:
        notes.append(
            f"Later trained further for an added language: {listed(joined)}. There, tokens are no longer equal to "
            "those of the comparison."
        )
    absent = [names[c] for c, language in facts.languages.items() if c not in compared and not language.added]
    if absent and compared:
        notes.append(f"No test text, so not counted: {listed(absent)}.")
    if compared and facts.routed:
        notes.append(_routing(facts, compared))
    if compared:
        sizes = {code: facts.answer()[code].bytes for code in compared}
        least = min(sizes, key=lambda code: (sizes[code], code))
        if sizes[least] < _SMALL_TEST_BYTES:
            documents = plural(facts.answer()[least].documents, "document")
            notes.append(
                f"The test text is small (least for {names[least]}: {count(sizes[least])} bytes in {documents}): "
                "differences of a percent or so may be chance."
            )
    return notes


def _routing(facts: Facts, compared: list[str]) -> str:
    """The sentence that tells what chose the experts of the routed figures."""
    by_text = facts.routed_by_text.get("top1")
    if not by_text:
        return (
            'Routed figures take the experts of each whole text (routing="text"): its language counts as known '
            "beforehand."
        )
    changes = [facts.change(by_text, code) or 0.0 for code in compared]
    return (
        "Routed figures are causal: the text before each token chooses its experts. With the experts of each whole "
        f'text (routing="text", its language known beforehand) the mean gain would be '
        f"{signed(-sum(changes) / len(changes))} %."
    )


def _bars(facts: Facts, gains: dict[str, float]) -> dict[str, Any] | None:
    """Bars of gain, best first; positions in percent of the track, which holds zero and every value."""
    if not gains:
        return None
    low, high = min(0.0, *gains.values()), max(0.0, *gains.values())
    span = (high - low) or 1.0
    rows = [
        {
            "language": facts.languages[code],
            "gain": gain,
            "left": f"{100 * (min(gain, 0.0) - low) / span:.2f}",
            "width": f"{100 * abs(gain) / span:.2f}",
        }
        for code, gain in sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    ]
    return {"rows": rows, "zero": f"{-100 * low / span:.2f}", "baseline": facts.baseline}
