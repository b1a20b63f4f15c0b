"""An addition as text for the terminal: donor, tokenizer, and the changes for every language."""

from __future__ import annotations

import math

from tabulate import tabulate

from clustering.languages.codes import name_of
from xelm.run.records.ledger import BeforeAfter, LedgerEntry, TokenizerCheck
from xelm.run.records.relatives import RelativeCost, paid_for_repair, relative_costs
from xelm.run.records.results import Forgetting

MOST_COST = 0.5
"""Percent by which the routed loss of an older language may rise without a warning."""


def addition_text(line: LedgerEntry) -> str:
    """The ledger's line of an addition as text for a person."""
    code = line.language
    new = f"new expert {line.expert}, started from {line.donor}."
    parts = [
        f"Added {name_of(code)} ({code}): {new if line.kind == 'new' else f'{line.expert} learned it too.'}",
        _languages_read(line),
        _candidates(line),
        _trials(line),
        line.reason,
        _tokenizer(line.tokenizer),
        _losses(line),
        _relatives(line),
        _forgetting(line),
        _routes(line),
    ]
    return "\n".join(part for part in parts if part)


def _languages_read(line: LedgerEntry) -> str:
    if all(one.verdict == "claimed" for one in line.languages_read):
        return ""
    names = {"claimed": "", "related": "a relative", "foreign": "another language", "unclear": ""}
    rows = [
        [
            f"{name_of(one.language)} ({one.language})" if one.language else "unclear",
            one.documents,
            one.confidence if one.language else None,
            names[one.verdict],
        ]
        for one in line.languages_read
    ]
    table = tabulate(rows, headers=["the text's documents read as", "documents", "confidence", ""], floatfmt=".2f")
    left_out = line.documents_dropped
    return f"{table}\n{left_out} documents of other languages left out" if left_out else table


def _candidates(line: LedgerEntry) -> str:
    rows = [
        [
            f"{row.name}{'*' if row.name == line.donor else ''}",
            row.bits_per_byte,
            row.distance,
            row.nearest,
            row.overlap,
            row.subword_overlap,
        ]
        for row in line.candidates
    ]
    headers = ["donor", "bits per byte", "typology", "nearest", "words shared", "subwords shared"]
    return tabulate(rows, headers=headers, floatfmt=".3f", missingval="-")


def _trials(line: LedgerEntry) -> str:
    """The starts that were tried, at each look, with what the trials cost."""
    if not line.trials:
        return ""
    tokens = sorted({count for trial in line.trials for count in trial.tokens})
    rows = []
    for trial in line.trials:
        bits = dict(zip(trial.tokens, trial.bits_per_byte, strict=True))
        difference = "" if trial.behind_percent is None else f"{trial.behind_percent:+.2f}"
        error = "" if trial.error_percent is None else f"{trial.error_percent:.2f}"
        shown = [f"{bits[count]:.3f}" if count in bits else "" for count in tokens]
        rows.append([f"{trial.name}{'*' if trial.name == line.donor else ''}", *shown, difference, error])
    headers = ["tried, tokens:", *(f"{count:,}" for count in tokens), "behind by %", "standard error %"]
    others = ", ".join(f"{trial.name} {trial.tokens[-1]:,}" for trial in line.trials[1:])
    budget = line.budget_tokens
    cost = (
        f"of {budget:,} tokens, the trials of other starts took {line.trial_tokens:,} "
        f"({100 * line.trial_tokens / budget:.0f} %: {others}); the expert was trained on {line.tokens:,}"
    )
    table = tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1)))
    return f"{table}\n{cost}"


def _tokenizer(check: TokenizerCheck) -> str:
    own, others = check.own, check.others.values()
    usual = sorted(fit.tokens_per_byte for fit in others)
    pieces = max((fit.fallback_share for fit in others), default=0.0)
    return "\n".join(
        [
            f"tokenizer: {own.tokens_per_byte:.2f} tokens a byte (the run's languages "
            f"{usual[0]:.2f} to {usual[-1]:.2f}), {own.fallback_share:.0%} pieces of characters (at most "
            f"{pieces:.0%}), {own.unknown_share:.1%} unknown",
            *(f"  warning: {warning}" for warning in check.warnings),
        ]
    )


def _losses(line: LedgerEntry) -> str:
    code, own = line.language, line.bits_per_byte[line.language]
    others = {
        other: (cell.before, cell.after)
        for other, cell in line.bits_per_byte.items()
        if other != code and cell.before is not None
    }
    same = sum(before == after for before, after in others.values())
    line_text = f"bits per byte, routed: {code} {own.before:.3f} before, {own.after:.3f} after"
    if same == len(others):
        return f"{line_text}; the other {len(others)} languages exactly as before"
    worst = max(after / before for before, after in others.values())
    return (
        f"{line_text}; {same} of {len(others)} other languages exactly as before, the largest change "
        f"{100 * (worst - 1):+.2f} %"
    )


def _relatives(line: LedgerEntry) -> str:
    """What the newcomer costs older languages that it may be taken for: their routed loss, and how they are read."""
    costs = relative_costs(line)
    if not costs:
        return _prior(line)
    headers = [f"cost of {line.language} to", "bits per byte, routed, %", "sentences read right, % before", "after"]
    if line.unrepaired:
        headers[1:2] = ["bits per byte, routed, %: without repair", "with it"]
    numbers = ["right"] * (len(headers) - 1)
    table = tabulate(map(_row, costs), headers=headers, disable_numparse=True, colalign=("left", *numbers))
    parts = [table, _prior(line)]
    if costs[0].percent > MOST_COST:
        dearest = f"{name_of(costs[0].language)} ({costs[0].language})"
        parts.append(
            f"warning: {dearest} costs {costs[0].percent:.1f} % more now, since the two are hard to distinguish. "
            "More or cleaner text of both helps, and so does one expert for both (--as join)."
        )
    return "\n".join(part for part in parts if part)


def _row(cost: RelativeCost) -> list[str]:
    without = [] if cost.unrepaired_percent is None else [f"{cost.unrepaired_percent:+.2f}"]
    right = ["" if share is None else f"{100 * share:.1f}" for share in (cost.right_before, cost.right_after)]
    return [f"{name_of(cost.language)} ({cost.language})", *without, f"{cost.percent:+.2f}", *right]


def _prior(line: LedgerEntry) -> str:
    """The repair, and what the newcomer pays for it."""
    if not line.prior:
        return ""
    code, pays = line.language, paid_for_repair(line)
    return (
        f"repair: the odds of {code} are divided by {math.exp(-line.prior):.1f}, so that older languages keep their "
        f"loss on held-out text within {MOST_COST} %; {code} itself pays {pays:+.2f} % for it"
    )


def _forgetting(line: LedgerEntry) -> str:
    """The expert's own gain and cost elsewhere, and those before the addition if the expert existed then."""
    if line.forgetting is None or line.expert not in line.forgetting.after:
        return ""
    after, before = line.forgetting.after[line.expert], line.forgetting.before.get(line.expert)
    line_text = f"{line.expert} against the base: {_own_and_elsewhere(after)}"
    return f"{line_text} (before: {_own_and_elsewhere(before)})" if before else line_text


def _own_and_elsewhere(measurement: Forgetting) -> str:
    own, elsewhere = measurement.own_gain_percent, measurement.cost_elsewhere_percent
    parts = [
        "own gain not measured" if own is None else f"own gain {own:+.1f} %",
        "cost elsewhere not measured" if elsewhere is None else f"cost elsewhere {elsewhere:+.1f} %",
    ]
    return ", ".join(parts)


def _routes(line: LedgerEntry) -> str:
    if line.routes is None:
        return ""
    code, right = line.language, line.routes.right
    parts = [f"{100 * right[code].after:.1f} % of the new language"] if code in right else []
    others = [cell for other, cell in right.items() if other != code]
    if others:
        before, after = (100 * sum(values) / len(others) for values in zip(*map(_pair, others), strict=True))
        parts.append(f"{after:.2f} % of the others ({before:.2f} % before)")
    return f"held-out sentences read as their language: {', '.join(parts)}" if parts else ""


def _pair(cell: BeforeAfter) -> tuple[float, float]:
    return cell.before or 0.0, cell.after
