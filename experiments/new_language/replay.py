"""The rule of trials, replayed on the recorded curves of every start: whom it would choose, and how good that is.

    python -m experiments.new_language.replay

`results.json` holds, for eight languages, the curve of every start at every eighth of 300,000 tokens. The starts that
`xelm add` would try are compared by its rule at these points, of which the first lies at 12 % of the budget, later than
its own first looks. The standard error of a difference was not recorded: 0.15 % is taken, as measured in trials. What
trials cost is not in these figures; README.md says what a missing twentieth of the tokens costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xelm.parts import BASE, BLIND_BITS, DENSE, DonorCandidate, Looks, judge, likeliest, read_json

HERE = Path(__file__).parent
ERROR, PIECES = 0.0015, 60


def main() -> None:
    """Print a row for each language."""
    results = read_json(HERE / "results.json")
    print(
        "| language | tried | chosen | best start | regret % | against base % | least loss of the experts, regret % |"
    )
    print("|---|---|---|---|---:|---:|---:|")
    regrets = []
    for code, entry in results["languages"].items():
        arms = {arm["start"]: arm for arm in entry["arms"] if arm["size"] == "all" and arm["start"] != "scratch"}
        bits = {start: arm["bits_per_byte"] for start, arm in arms.items()}
        candidates = [DonorCandidate(**row) for row in entry["choice"]["candidates"]]
        starts = likeliest(candidates)
        chosen, best = winner(starts, arms), min(bits, key=lambda start: bits[start])
        own = [c for c in candidates if c.name not in (BASE, DENSE)]
        least = min(own, key=lambda c: c.bits_per_byte).name
        regret, against_base, by_loss = (
            100 * (bits[one] / bits[other] - 1) for one, other in ((chosen, best), (chosen, BASE), (least, best))
        )
        regrets.append((regret, by_loss))
        print(
            f"| {code} | {', '.join(starts)} | {chosen} | {best} | {regret:.2f} | {against_base:+.2f} | {by_loss:.2f} |"
        )
    (mean, mean_by_loss), (worst, worst_by_loss) = np.mean(regrets, axis=0), np.max(regrets, axis=0)
    print(f"| mean (worst) | | | | {mean:.2f} ({worst:.2f}) | | {mean_by_loss:.2f} ({worst_by_loss:.2f}) |")


def winner(starts: list[str], arms: dict[str, dict[str, Any]]) -> str:
    """The start that the rule leaves, by the points of the curves."""
    rng, running, look = np.random.default_rng(0), starts, 0
    looks = Looks(tuple(range(len(arms[BASE]["curve"]))), 2)
    noise = {start: rng.normal(size=PIECES) * ERROR * PIECES**0.5 / 2**0.5 for start in starts}
    while len(running) > 1:
        look += 1
        nats = {
            start: [_pieces(bits, noise[start]) for _, bits in arms[start]["curve"][: look + 1]] for start in running
        }
        running = judge(nats, look, looks, blind=BLIND_BITS).staying
    return running[0]


def _pieces(bits: float, noise_P: np.ndarray) -> np.ndarray:
    """A loss spread over pieces of text, some more and some less."""
    return bits / PIECES * (1 + noise_P - noise_P.mean())


if __name__ == "__main__":
    main()
