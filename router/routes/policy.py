"""From the router's weights to the weights that answer: one expert, the best few, all, or one by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clustering.errors import BadInput

POLICIES = ("top1", "topm", "ensemble", "bayes")
DEFAULT_NUM_KEPT = 2
# An expert below this weight changes the mixture by less than 1e-4 nats a token, but costs a full pass.
NEGLIGIBLE_WEIGHT = 1e-4


@dataclass(frozen=True)
class Policy:
    """A parsed policy.

    Attributes:
        name: One of `POLICIES`, or "expert".
        num_kept: For `topm`, how many experts stay.
        expert: For "expert", its name.
    """

    name: str
    num_kept: int = DEFAULT_NUM_KEPT
    expert: str | None = None

    @property
    def dynamic(self) -> bool:
        """Whether weights follow the text as it unfolds."""
        return self.name == "bayes"


def parse_policy(policy: str, experts: Sequence[str], *, m: int | None = None) -> Policy:
    """Read a policy.

    Args:
        policy: `top1`, `topm` (the 2 best), `topm:3` (the 3 best), `ensemble`, `bayes`, or an expert's name. The name
            of a policy wins over an expert of the same name.
        experts: Names of the experts.
        m: Experts kept by `topm`, >= 1, instead of a number in `policy`.

    Raises:
        BadInput: If it is none of these; the message names near ones.
    """
    name, _, number = policy.partition(":")
    if name == "topm":
        return Policy("topm", num_kept=_num_kept(policy, number, m))
    if policy in POLICIES:
        return Policy(policy)
    if policy in experts:
        return Policy("expert", expert=policy)
    known = [*POLICIES, *experts]
    near = difflib.get_close_matches(policy, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise BadInput(f"Unknown policy {policy!r}. {hint}Choose one of {', '.join(known)}, or topm:3 for the 3 best.")


def apply_policy(
    weights_BK: np.ndarray,
    policy: str | Policy,
    experts: Sequence[str],
    *,
    m: int | None = None,
    abstained_B: np.ndarray | None = None,
) -> np.ndarray:
    """Turn router weights into the weights of the experts that answer.

    Args:
        weights_BK: Expert weights of B texts, shape (B, K), rows summing to 1.
        policy: As for `parse_policy`. `ensemble` keeps the weights but for those under
            `NEGLIGIBLE_WEIGHT`; `bayes` keeps all, as its prior.
        experts: The K names, in the order of the columns.
        m: As for `parse_policy`.
        abstained_B: Texts whose language the router would not settle, shape (B,): `top1` and `topm` leave their
            weights as they are, so that all likely experts answer together.

    Returns:
        Shape (B, K), rows summing to 1. Equal weights keep the lower column.

    Raises:
        BadInput: If the policy is unknown or the shape does not fit.
    """
    parsed = policy if isinstance(policy, Policy) else parse_policy(policy, experts, m=m)
    weights_BK = np.asarray(weights_BK, dtype=np.float64)
    if weights_BK.ndim != 2 or weights_BK.shape[1] != len(experts):
        raise BadInput(f"weights_BK has shape {weights_BK.shape}; {len(experts)} experts need (B, {len(experts)}).")
    if parsed.name == "expert":
        assert parsed.expert is not None
        chosen_BK = np.zeros_like(weights_BK)
        chosen_BK[:, list(experts).index(parsed.expert)] = 1.0
        return chosen_BK
    if parsed.name == "bayes":
        return weights_BK.copy()
    if parsed.name == "ensemble":
        return _drop_negligible(weights_BK)
    kept_BK = _keep_best(weights_BK, 1 if parsed.name == "top1" else parsed.num_kept)
    if abstained_B is not None:
        kept_BK[abstained_B] = _drop_negligible(weights_BK[abstained_B])
    return kept_BK


def _drop_negligible(weights_BK: np.ndarray) -> np.ndarray:
    kept_BK = np.where(weights_BK < NEGLIGIBLE_WEIGHT, 0.0, weights_BK)
    return np.asarray(kept_BK / kept_BK.sum(axis=1, keepdims=True))


def _keep_best(weights_BK: np.ndarray, num_kept: int) -> np.ndarray:
    dropped_BJ = np.argsort(-weights_BK, axis=1, kind="stable")[:, num_kept:]
    kept_BK = weights_BK.copy()
    np.put_along_axis(kept_BK, dropped_BJ, 0.0, axis=1)
    return np.asarray(kept_BK / kept_BK.sum(axis=1, keepdims=True))


def _num_kept(policy: str, number: str, m: int | None) -> int:
    if m is None and not number:
        return DEFAULT_NUM_KEPT if ":" not in policy else _refuse(policy)
    if m is not None:
        return m if m >= 1 else _refuse(f"topm:{m}")
    return int(number) if number.isdecimal() and int(number) >= 1 else _refuse(policy)


def _refuse(policy: str) -> int:
    raise BadInput(f"Policy {policy!r}: the number of experts must be a whole number of at least 1, as in topm:3.")
