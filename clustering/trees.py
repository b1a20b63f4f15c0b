"""Regression trees as plain arrays: grown by scikit-learn, kept as JSON, read and explained with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tree:
    """A binary regression tree of N nodes; node 0 is the root. All arrays have shape (N,).

    Attributes:
        left: Node for values up to the threshold, or -1 at a leaf.
        right: Node for values above it, or -1 at a leaf.
        feature: Column that is asked; -1 at a leaf.
        threshold: Value it is compared with.
        value: Mean of the training labels under the node.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray


def grow_trees(
    X: np.ndarray, y: np.ndarray, *, num_trees: int, min_leaf: int, feature_share: float, seed: int
) -> list[Tree]:
    """Grow extremely randomised trees (Geurts et al. 2006): smooth for their size and hard to overfit.

    Args:
        X: Rows, shape (R, F), finite.
        y: Labels, shape (R,).
        num_trees: Trees to average.
        min_leaf: Training rows that a leaf holds at least.
        feature_share: Share of the columns tried at each split, in (0, 1].
        seed: Same seed, same trees.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(
        num_trees, min_samples_leaf=min_leaf, max_features=feature_share, random_state=seed, n_jobs=1
    )
    forest.fit(X, y)
    return [_from_sklearn(estimator.tree_) for estimator in forest.estimators_]


def explain(trees: Sequence[Tree], X: np.ndarray) -> tuple[float, np.ndarray]:
    """Prediction of averaged trees, split over the columns that were asked on the way to the leaf.

    Each step down changes the node's mean; the change goes to the column that was asked (Saabas 2014). The
    parts add up to the prediction exactly.

    Args:
        trees: At least one tree.
        X: Rows, shape (R, F).

    Returns:
        The mean of the roots, and the parts, shape (R, F): prediction = mean + parts.sum(axis=1).
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
    return float(np.mean([tree.value[0] for tree in trees])), parts / len(trees)


def trees_to_json(trees: Sequence[Tree]) -> list[dict[str, list[Any]]]:
    """Trees as lists of numbers; thresholds keep every bit that decides."""
    return [
        {
            "left": tree.left.tolist(),
            "right": tree.right.tolist(),
            "feature": tree.feature.tolist(),
            "threshold": tree.threshold.tolist(),
            "value": [round(value, 6) for value in tree.value.tolist()],
        }
        for tree in trees
    ]


def trees_from_json(stored: Sequence[dict[str, list[Any]]]) -> list[Tree]:
    """Inverse of `trees_to_json`.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a tree is malformed: fields of different lengths, or a child that is not further down.
    """
    trees = []
    for fields in stored:
        tree = Tree(
            *(np.array(fields[name], dtype=np.int64) for name in ("left", "right", "feature")),
            *(np.array(fields[name], dtype=np.float64) for name in ("threshold", "value")),
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


def _from_sklearn(tree: Any) -> Tree:
    leaf = tree.children_left < 0
    return Tree(
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        feature=np.where(leaf, -1, tree.feature).astype(np.int64),
        threshold=np.where(leaf, 0.0, tree.threshold),
        value=np.round(tree.value[:, 0, 0], 6),
    )
