"""Results as tables for the terminal."""

from __future__ import annotations

from tabulate import tabulate

from xelm.run.experts import ExpertSet
from xelm.run.names import DENSE, is_base, is_dense
from xelm.run.records.results import Evaluation, Forgetting, Summary


def model_table(result: Evaluation) -> str:
    """Bits per byte of every model on every language, its own expert marked, what routing makes of them, and what each
    expert forgot."""
    owners = result.owners
    bits = {name: result.bits(name) for name in (*result.models, *result.routed)}
    if "top1" in result.routed_by_text:
        by_text = result.routed_by_text["top1"]
        bits["top1 by text"] = {code: cell.bits_per_byte for code, cell in by_text.items()}
    with_dense = DENSE in result.models
    rows = []
    for code in next(iter(bits.values())):
        cells = [f"{bits[name][code]:.3f}{'*' if owners.get(code) == name else ''}" for name in bits]
        if with_dense:
            gain = result.summary.gain_percent.get(code)
            cells.append("-" if gain is None else f"{gain:+.1f}")
        rows.append([code, *cells])
    headers = ["language", *bits, *(["gain %"] if with_dense else [])]
    text = tabulate(rows, headers=headers, disable_numparse=True, stralign="right")
    parts = [
        f"bits per byte on {result.split} text (* the language's own expert)",
        text,
        routing_line(result),
        summary_line(result.summary),
        forgetting_table(result),
    ]
    return "\n".join(part for part in parts if part)


def summary_line(summary: Summary) -> str:
    """Whether the experts helped, in one line."""
    if summary.wins is None:
        return "no dense baseline in this run, so nothing to compare the routed experts with"
    by_text = summary.mean_gain_percent_by_text
    known = "" if by_text is None else f' ({by_text:+.1f} % with routing="text")'
    return (
        f"routed experts (top1) beat dense at equal tokens on {summary.wins} of {summary.languages} languages; "
        f"mean gain {summary.mean_gain_percent:+.1f} % bits per byte{known}"
    )


def routing_line(result: Evaluation) -> str:
    """What the experts of the routed figures were chosen by, in one line; empty without routed figures."""
    if not result.routed:
        return ""
    if result.routing == "text":
        return 'routed by the whole text (routing="text"): its language counts as known beforehand'
    changes = [f"{policy} {_signed(result.change_by_text(policy), 2)} %" for policy in result.routed_by_text]
    return (
        'routed by the text before each token (routing="prefix"); by the whole text, as if its language were known '
        f'(routing="text"), bits per byte change by: {", ".join(changes)}'
    )


def forgetting_table(result: Evaluation) -> str:
    """Gain of each expert on its own languages and loss on all others, against the base; empty without experts."""
    if not result.forgetting:
        return ""
    codes = list(next(iter(result.forgetting.values())).change_percent)
    rows = [
        [
            name,
            *own_and_elsewhere(measurement),
            *(
                f"{_signed(measurement.change_percent.get(code))}{'*' if result.owners.get(code) == name else ''}"
                for code in codes
            ),
        ]
        for name, measurement in result.forgetting.items()
    ]
    headers = ["expert", "own gain %", "cost elsewhere %", *codes]
    text = tabulate(rows, headers=headers, disable_numparse=True, stralign="right")
    return (
        f"each expert against the base on {result.split} text: change of bits per byte in percent, negative is better "
        f"(* its own languages)\n{text}\n{forgetting_line(result.summary)}"
    )


def own_and_elsewhere(measurement: Forgetting | None) -> list[str]:
    """Own gain and cost elsewhere as two cells of a table."""
    return [
        _signed(measurement.own_gain_percent if measurement else None),
        _signed(measurement.cost_elsewhere_percent if measurement else None),
    ]


def forgetting_line(summary: Summary) -> str:
    """Own gain and cost elsewhere in one line, means over experts."""
    return (
        f"own gain {_signed(summary.own_gain_percent)} %, cost elsewhere {_signed(summary.cost_elsewhere_percent)} % "
        "bits per byte against the base (means over experts)"
    )


def result_table(experts: ExpertSet) -> str:
    """The table of a finished run's own test text."""
    result = experts.result("test")
    return model_table(result) if result else "no test text in this run, so no table"


def order_models(names: list[str]) -> list[str]:
    """Base and dense first, experts after them."""
    return sorted(names, key=lambda name: (not is_base(name), not is_dense(name)))


def _signed(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"
