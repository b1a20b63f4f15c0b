"""Regression trees as plain arrays: grown by scikit-learn, kept as JSON, read and explained with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_FIELDS = ("left", "right", "feature", "threshold", "value")


@dataclass(frozen=True)
class Tree:
    """A binary regression tree of N nodes; node 0 is the root. All arrays have shape (N,).

    Attributes:
        left: Node for values up to the threshold, or -1 at a leaf.
        right: Node for values above it, or -1 at a leaf.
        feature: Column that is asked; -1 at a leaf.
        threshold: Value it is compared with.
        value: What the node would predict, scaled by the tree's share in the sum.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray


def grow_trees(X: np.ndarray, y: np.ndarray, *, num_trees: int, seed: int) -> list[Tree]:
    """Grow two small families of trees and average them: they err in different places.

    Half are extremely randomised trees (Geurts et al. 2006), smooth and hard to overfit; half are boosted
    (Friedman 2001), sharper where signals act together. Settings are the customary ones for a few hundred to a
    few thousand noisy rows.

    Args:
        X: Rows, shape (R, F), finite.
        y: Labels, shape (R,).
        num_trees: Trees of each family.
        seed: Same seed, same trees.

    Returns:
        Trees whose values are scaled so that a prediction is their sum, up to a constant.
    """
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor

    leaf = max(5, len(X) // 1000)  # a tree has a thousand leaves at most: large tables make no large files
    randomised = ExtraTreesRegressor(num_trees, min_samples_leaf=leaf, max_features=0.3, random_state=seed, n_jobs=1)
    randomised.fit(X, y)
    trees = [_from_sklearn(one.tree_, 0.5 / num_trees) for one in randomised.estimators_]
    rate = 7.0 / num_trees
    boosted = GradientBoostingRegressor(
        n_estimators=num_trees,
        learning_rate=rate,
        max_depth=4,
        min_samples_leaf=leaf,
        subsample=0.6,
        max_features=0.3,
        random_state=seed,
    )
    boosted.fit(X, y)
    return trees + [_from_sklearn(one.tree_, 0.5 * rate) for one in boosted.estimators_[:, 0]]


def explain(trees: Sequence[Tree], X: np.ndarray) -> np.ndarray:
    """Prediction of summed trees, split over the columns that were asked on the way to the leaf.

    Each step down changes the node's mean; the change goes to the column that was asked (Saabas 2014). The
    parts add up to the prediction, but for a constant.

    Args:
        trees: Any number of trees.
        X: Rows, shape (R, F).

    Returns:
        The parts, shape (R, F).
    """
    parts = np.zeros(X.shape)
    X = X.astype(np.float32)  # as scikit-learn does, or rows on a threshold would go the other way
    every_row = np.arange(len(X))
    for tree in trees:
        nodes = np.zeros(len(X), dtype=np.int64)
        while True:
            rows = every_row[tree.left[nodes] >= 0]
            if not len(rows):
                break
            here = nodes[rows]
            asked = tree.feature[here]
            below = np.where(X[rows, asked] <= tree.threshold[here], tree.left[here], tree.right[here])
            parts[rows, asked] += tree.value[below] - tree.value[here]
            nodes[rows] = below
    return parts


def trees_to_json(trees: Sequence[Tree]) -> list[dict[str, str]]:
    """Trees as numbers in text, a line per field; they read back to the same bits."""
    return [{name: _to_text(getattr(tree, name)) for name in _FIELDS} for tree in trees]


def trees_from_json(stored: Sequence[dict[str, str]]) -> list[Tree]:
    """Inverse of `trees_to_json`.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a tree is malformed: fields of different lengths, or a child that is not further down.
    """
    trees = []
    for fields in stored:
        tree = Tree(
            *(np.array(fields[name].split(), dtype=np.int64) for name in _FIELDS[:3]),
            *(np.array(fields[name].split(), dtype=np.float64) for name in _FIELDS[3:]),
        )
        size = len(tree.value)
        numbers = np.arange(size)
        inner = tree.left >= 0
        lengths = {len(part) for part in (tree.left, tree.right, tree.feature, tree.threshold)}
        # Children come after their parent, so that no walk can run in a circle.
        ordered = (tree.left > numbers) & (tree.right > numbers) & (tree.left < size) & (tree.right < size)
        if lengths != {size} or size == 0 or not ordered[inner].all() or (tree.feature[inner] < 0).any():
            raise ValueError("a tree is malformed")
        trees.append(tree)
    return trees


def _to_text(values: np.ndarray) -> str:
    return " ".join(repr(value) if value % 1 else str(int(value)) for value in values.tolist())


def _from_sklearn(tree: Any, scale: float) -> Tree:
    leaf = tree.children_left < 0
    # Rounded once, when grown, so that a saved ranker gives the very same scores.
    value = np.array([float(f"{number:.6g}") for number in (scale * tree.value[:, 0, 0]).tolist()])
    return Tree(
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        feature=np.where(leaf, -1, tree.feature).astype(np.int64),
        threshold=np.where(leaf, 0.0, tree.threshold),
        value=value,
    )
