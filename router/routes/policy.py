"""From the router's weights to the weights that answer: one expert, the best few, all, or one by name.

A policy is one class, registered by `@policy("name")`: ours in a file each of `router.policies`, those of installed
packages by an entry point of the group `xelm.policies` that names their module. Its name is read once, at the edge.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from clustering.errors import BadInput
from clustering.registry import Registry

POLICIES = ("top1", "topm", "ensemble", "bayes")
"""The policies that come with xelm, from the simplest to the most costly."""

# An expert below this weight changes the mixture by less than 1e-4 nats a token, but costs a full pass.
NEGLIGIBLE_WEIGHT = 1e-4


@dataclass(frozen=True)
class Policy(ABC):
    """How the router's weights become the weights that answer. A field of a subclass is its option, if it has one."""

    name: ClassVar[str] = ""
    """Its name; set by `@policy`."""
    option: ClassVar[str | None] = None
    """Python's name of the option after a colon (`m` of `topm:3`); None if there is no option."""
    dynamic: ClassVar[float] = False
    """How far weights follow the text: the log-weight of an expert grows by this share of its log-probability of each
    token. False (0): they stay; True (1): the posterior over experts."""
    decides: ClassVar[bool] = True
    """Whether it drops all but the best experts; if the router abstains, all likely experts answer instead."""

    @classmethod
    def read(cls, option: str | None) -> Policy:
        """Make a policy from the option after the colon; None without one.

        Raises:
            BadInput: If the option cannot be read.
        """
        return cls()

    def __str__(self) -> str:
        """The spelling from which `parse_policy` makes it again."""
        return self.name

    @abstractmethod
    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """The weights that answer.

        Args:
            weights_BK: The router's weights, shape (B, K), float64, rows summing to 1.
            experts: The K names.

        Returns:
            A new array (B, K), rows summing to 1; 0 for experts that are not run.
        """


@dataclass(frozen=True)
class NamedExpert(Policy):
    """One expert answers everything."""

    name: ClassVar[str] = "expert"
    decides: ClassVar[bool] = False
    expert: str = ""

    def __str__(self) -> str:
        return self.expert

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """All weight on this expert."""
        chosen_BK = np.zeros_like(weights_BK)
        chosen_BK[:, list(experts).index(self.expert)] = 1.0
        return chosen_BK


_REGISTRY: Registry[type[Policy]] = Registry("policy", package="router.policies", group="xelm.policies")
P = TypeVar("P", bound=type[Policy])


def policy(name: str) -> Callable[[P], P]:
    """Register a class of policies under a name, which has no colon."""

    def register(chosen: P) -> P:
        chosen.name = name
        _REGISTRY.register(name, chosen)
        return chosen

    return register


def policy_names() -> list[str]:
    """All policies, those of installed packages last."""
    found = _REGISTRY.names()
    return [*POLICIES, *(name for name in found if name not in POLICIES)]


def parse_policy(policy: str, experts: Sequence[str], *, m: int | None = None) -> Policy:
    """Read a policy.

    Args:
        policy: `top1`, `topm` (the 2 best), `topm:3` (the 3 best), `ensemble`, `bayes`, one of an installed package, or
            an expert's name. The name of a policy wins over an expert of the same name.
        experts: Names of the experts.
        m: The option of the policy, instead of the part after a colon: experts kept by `topm`, >= 1.

    Raises:
        BadInput: If it is none of these (the message suggests near names), or its option cannot be read.
    """
    name, colon, option = policy.partition(":")
    if _REGISTRY.has(name):
        chosen = _REGISTRY.find(name)
        if chosen.option is not None:
            return chosen.read(str(m) if m is not None else option if colon else None)
        if not colon:
            return chosen.read(None)
    if policy in experts:
        return NamedExpert(policy)
    known = [*policy_names(), *experts]
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
        policy: A policy, or its name (`parse_policy`).
        experts: The K names, in the order of the columns.
        m: The option of a policy given by name: experts kept by `topm`, >= 1.
        abstained_B: Texts whose language the router did not decide, shape (B,): a policy that drops experts (`top1`,
            `topm`) does not change their weights, so that all likely experts answer together.

    Returns:
        Shape (B, K), rows summing to 1. Equal weights keep the lower column.

    Raises:
        BadInput: If the policy is unknown, the shape does not fit, or the policy gives no weights.
    """
    chosen = policy if isinstance(policy, Policy) else parse_policy(policy, experts, m=m)
    weights_BK = np.asarray(weights_BK, dtype=np.float64)
    if weights_BK.ndim != 2 or weights_BK.shape[1] != len(experts):
        raise BadInput(f"weights_BK has shape {weights_BK.shape}; {len(experts)} experts need (B, {len(experts)}).")
    kept_BK = chosen.choose(weights_BK, experts)
    _check(kept_BK, weights_BK.shape, chosen)
    if abstained_B is not None and chosen.decides:
        kept_BK[abstained_B] = drop_negligible(weights_BK[abstained_B])
    return kept_BK


def drop_negligible(weights_BK: np.ndarray) -> np.ndarray:
    """The weights without those under `NEGLIGIBLE_WEIGHT`, renormalised."""
    kept_BK = np.where(weights_BK < NEGLIGIBLE_WEIGHT, 0.0, weights_BK)
    return np.asarray(kept_BK / kept_BK.sum(axis=1, keepdims=True))


def keep_best(weights_BK: np.ndarray, num_kept: int) -> np.ndarray:
    """The `num_kept` largest weights of each row, renormalised; equal weights keep the lower column."""
    dropped_BJ = np.argsort(-weights_BK, axis=1, kind="stable")[:, num_kept:]
    kept_BK = weights_BK.copy()
    np.put_along_axis(kept_BK, dropped_BJ, 0.0, axis=1)
    return np.asarray(kept_BK / kept_BK.sum(axis=1, keepdims=True))


def _check(kept_BK: np.ndarray, shape: tuple[int, ...], chosen: Policy) -> None:
    fits = np.shape(kept_BK) == shape
    if not fits or not (kept_BK >= 0).all() or not np.allclose(kept_BK.sum(axis=1), 1, atol=1e-6):
        raise BadInput(f"The policy {chosen} gave no distribution over {shape[1]} experts for each text.")
