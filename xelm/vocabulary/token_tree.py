"""What a model says after many beginnings of one text, which share most of their tokens: as a tree, in few passes.

Each token of the tree is read once: it attends to the tokens before it in its own beginning and to no other, by a mask
of attention, and its position is its depth. A model that does not take such a mask reads each beginning by itself.

Shape letters: `N` tokens of the tree, `V` tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

_MOST_TOKENS = 512
"""Tokens of the tree whose predictions are computed in one pass, with those before them."""
_MOST_VALUES = 2**25
_TOLERANCE, _MOST_TOLERANCE = 1e4, 0.1
"""Largest difference of a tree from its beginnings, in units of the type's precision, and at most."""
_KERNELS = ("eager", "sdpa")
_TAKES_TREES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class TokenTree:
    """Beginnings of a text, each a path of tokens from the root."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._children: list[dict[int, int]] = []
        self._roots: dict[int, int] = {}
        self._last: tuple[int, ...] = ()
        self._last_path: list[int] = []

    def add(self, ids: tuple[int, ...]) -> int:
        """Enter a beginning; the number of its last token in the tree."""
        path = self._last_path[: _common(self._last, ids)]
        for token in ids[len(path) :]:
            children = self._children[path[-1]] if path else self._roots
            if token not in children:
                children[token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(path[-1] if path else -1)
                self.depths.append(len(path))
                self._children.append({})
            path.append(children[token])
        self._last, self._last_path = ids, path
        return path[-1]

    def path(self, node: int) -> list[int]:
        """The tokens of the tree from the root to one of them."""
        found = [node]
        while self.parents[found[-1]] >= 0:
            found.append(self.parents[found[-1]])
        return found[::-1]


def read_tree(tree: TokenTree, model: Any) -> Iterator[tuple[int, float, np.ndarray]]:
    """Read every token of a tree.

    Args:
        tree: The tree; all its beginnings start with the same token.
        model: A causal language model of transformers.

    Yields:
        Number of a token of the tree, the log-probability of its beginning after the first token, and those of every
        next token, (V,), in nats; parents before their children.
    """
    size = max(1, min(_MOST_TOKENS, _MOST_VALUES // max(1, model.config.get_text_config().vocab_size)))
    whole_N = np.zeros(len(tree.tokens))
    waiting: dict[int, np.ndarray] = {}
    for first in range(0, len(tree.tokens), size):
        wanted = list(range(first, min(first + size, len(tree.tokens))))
        for node, next_V in zip(wanted, _next_tokens(tree, wanted, model), strict=True):
            parent = tree.parents[node]
            if parent >= 0:
                whole_N[node] = whole_N[parent] + waiting[parent][tree.tokens[node]]
            waiting[node] = next_V
            yield node, float(whole_N[node]), next_V
        waiting = {node: waiting[node] for node in _still_needed(tree, first + size) if node in waiting}


def _still_needed(tree: TokenTree, begin: int) -> set[int]:
    """The tokens of the tree with children from a number on."""
    return {parent for parent in tree.parents[begin:] if 0 <= parent < begin}


def _next_tokens(tree: TokenTree, wanted: Sequence[int], model: Any) -> np.ndarray:
    """Log-probabilities after each of the wanted tokens of a tree, (wanted, V), float64."""
    if _takes_trees(model):
        return _in_one_pass(tree, wanted, model)
    found: dict[int, np.ndarray] = {}
    for tip in _tips(tree, wanted):
        found |= zip(tree.path(tip), _along(tree, tip, model), strict=True)
    return np.array([found[node] for node in wanted])


def _in_one_pass(tree: TokenTree, wanted: Sequence[int], model: Any) -> np.ndarray:
    import torch

    needed = sorted({node for one in _tips(tree, wanted) for node in tree.path(one)})
    place = {node: row for row, node in enumerate(needed)}
    seen_NN = np.zeros((len(needed), len(needed)), dtype=bool)
    for row, node in enumerate(needed):
        if tree.parents[node] >= 0:
            seen_NN[row] = seen_NN[place[tree.parents[node]]]
        seen_NN[row, row] = True
    dtype, device = _dtype(model), model.device
    mask = torch.zeros(seen_NN.shape, dtype=dtype, device=device)
    mask.masked_fill_(torch.from_numpy(~seen_NN).to(device), torch.finfo(dtype).min)
    with torch.inference_mode():
        output = model(
            input_ids=torch.tensor([[tree.tokens[node] for node in needed]], device=device),
            attention_mask=mask[None, None],
            position_ids=torch.tensor([[tree.depths[node] for node in needed]], device=device),
            use_cache=False,
        )
        rows = [place[node] for node in wanted]
        return np.asarray(output.logits[0, rows].double().log_softmax(dim=-1).cpu().numpy())


def _along(tree: TokenTree, node: int, model: Any) -> np.ndarray:
    """The same after each token on the path to one, which is read by itself."""
    import torch

    ids = torch.tensor([[tree.tokens[one] for one in tree.path(node)]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return np.asarray(logits.double().log_softmax(dim=-1).cpu().numpy())


def _tips(tree: TokenTree, wanted: Sequence[int]) -> list[int]:
    """Those of some tokens of which no other one is a child."""
    inner = {tree.parents[node] for node in wanted}
    return [node for node in wanted if node not in inner]


def _takes_trees(model: Any) -> bool:
    """Whether a model reads a tree as it reads the beginnings one by one, tried once on a small one."""
    key = model.get_input_embeddings()  # of a model seen through adapters, the same each time
    known = _TAKES_TREES.get(key)
    if known is None:
        known = _TAKES_TREES[key] = _tried(model)
    return known


def _dtype(model: Any) -> Any:
    return model.get_input_embeddings().weight.dtype


def _tried(model: Any) -> bool:
    import torch

    if getattr(model.config, "_attn_implementation", None) not in _KERNELS:
        return False
    tree, most = TokenTree(), model.config.get_text_config().vocab_size
    tips = [tree.add(tuple(token % most for token in ids)) for ids in ((1, 2, 3, 4), (1, 2, 5), (1, 6, 7))]
    try:
        together = _in_one_pass(tree, tips, model)
    except (TypeError, ValueError, RuntimeError, IndexError):  # it knows no such mask
        return False
    alone = np.array([_along(tree, tip, model)[-1] for tip in tips])
    return bool(np.abs(together - alone).max() < min(_MOST_TOLERANCE, _TOLERANCE * torch.finfo(_dtype(model)).eps))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two beginnings share."""
    most = min(len(one), len(other))
    back = 0
    while one[: most - back] != other[: most - back]:
        back = min(most, 2 * back + 1)
    shared = most - back
    while shared < most and one[shared] == other[shared]:
        shared += 1
    return shared
