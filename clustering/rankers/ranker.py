"""A ranker of source languages learned from a user's own transfer results, kept as JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from clustering.errors import BadInput, arg
from clustering.files import read_json, write_json
from clustering.languages.codes import name_of, same_language_key
from clustering.languages.points import code_of
from clustering.rankers.features import pair_features, signal_of, z_scores
from clustering.rankers.history import PAST, History, alikeness
from clustering.rankers.metrics import relevance
from clustering.rankers.transfer_table import TransferTable, read_transfer_table
from clustering.rankers.trees import Tree, explain, grow_trees, trees_from_json, trees_to_json
from clustering.sources.signals import SIGNALS, Query, is_known

FORMAT = "xelm-ranker-2"
_ALIKE = "+alike"
Method = Literal["trees", "lightgbm"]
log = logging.getLogger(__name__)


class Model(Protocol):
    """A model whose predictions can be divided into parts by feature."""

    @property
    def kind(self) -> str:
        """Name of the kind of model, as in the file."""
        ...

    def explain(self, X: np.ndarray) -> np.ndarray:
        """Parts of the prediction per feature, shape (R, F)."""
        ...

    def to_json(self) -> Any:
        """The model as plain values."""
        ...


@dataclass(frozen=True)
class TreeModel:
    """Summed regression trees on the usefulness of a source, see `trees`."""

    trees: list[Tree]
    kind: str = "trees"

    def explain(self, X: np.ndarray) -> np.ndarray:
        """Parts of the prediction per feature, shape (R, F)."""
        return explain(self.trees, X)

    def to_json(self) -> Any:
        """The trees as lists of numbers."""
        return trees_to_json(self.trees)


@dataclass(frozen=True)
class Ranker:
    """A trained ranking of source languages.

    Attributes:
        models: The models of each set of signals: of `typology` alone, for queries without text, and,
            if the table has more, from `all`. Of each there is a second, `+alike`, for targets that the table
            knows as sources, if it knows enough such targets to learn from.
        signals: The signals (parts of the history and further columns of the table among them) of each set.
        history: Results of the table, from which a source's record with other targets is taken.
        origin: The table, its number of targets and pairs.
    """

    models: dict[str, Model]
    signals: dict[str, tuple[str, ...]]
    history: History
    origin: str

    @property
    def description(self) -> str:
        """One line for reports."""
        return f"ranker trained on {self.origin}"

    def contributions(self, query: Query) -> dict[str, np.ndarray]:
        """What each signal adds to the predicted usefulness of each candidate, centred on the candidates.

        Args:
            query: The target and its C candidates with their signals.

        Returns:
            {signal: shape (C,)}; their sum is the score. Results of the query's own target are not used.
        """
        name = self._model_for(query)
        features, X = pair_features(query, self.history, self.signals[name])
        parts = self.models[name].explain(X)
        together: dict[str, np.ndarray] = {}
        for feature, column in zip(features, (parts - parts.mean(axis=0)).T, strict=True):
            signal = signal_of(feature)
            together[signal] = together.get(signal, 0.0) + column
        nothing = {"default_score": np.zeros(len(query.candidates))}
        return {signal: values for signal, values in together.items() if np.any(values)} or nothing

    def scores(self, query: Query) -> np.ndarray:
        """Predicted usefulness of each candidate, shape (C,), higher is better."""
        return sum(self.contributions(query).values(), np.zeros(len(query.candidates)))

    def warnings(self, query: Query) -> list[str]:
        """Warnings on signals that the ranker learned from and this query lacks."""
        found = []
        if "all" in self.models and self._model_for(query).startswith("typology"):
            found.append("the ranker also learned from text, of which there is none: it goes by typology alone")
        known = {same_language_key(name) for name in self.history.sources}
        if not any(same_language_key(code_of(code)) in known for code in query.candidates):
            found.append("none of the candidates was a source in the ranker's table: it goes by the signals alone")
        if any(same_language_key(code_of(query.target)) == same_language_key(name) for name in self.history.targets):
            found.append(
                f"the table holds results for {name_of(query.target)} itself: those tell more than any ranking"
            )
        return found

    def _model_for(self, query: Query) -> str:
        beyond = set(self.signals.get("all", ())) - _typology() - set(PAST)
        name = "all" if any(is_known(query.raw, signal) for signal in beyond) else "typology"
        has_record = name + _ALIKE in self.models and alikeness(query.target, self.history) is not None
        return name + _ALIKE if has_record else name

    def save(self, path: str | Path) -> None:
        """Write the ranker as one JSON file (no pickle)."""
        usefulness = [[None if np.isnan(v) else v for v in row] for row in self.history.usefulness.tolist()]
        write_json(
            path,
            {
                "format": FORMAT,
                "origin": self.origin,
                "signals": {name: list(signals) for name, signals in self.signals.items()},
                "targets": list(self.history.targets),
                "sources": list(self.history.sources),
                "usefulness": usefulness,
                "models": {name: {"kind": model.kind, "model": model.to_json()} for name, model in self.models.items()},
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> Ranker:
        """Read a saved ranker.

        Raises:
            BadInput: If the file is missing, is no ranker or is damaged.
        """
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise BadInput(f"{path}: not a ranker of this version. Make one: `xelm fit TABLE.csv --out {path}`.")
        try:
            usefulness = np.array(stored["usefulness"], dtype=float)
            history = History(tuple(stored["targets"]), tuple(stored["sources"]), usefulness)
            if usefulness.shape != (len(history.targets), len(history.sources)):
                raise ValueError("the record of sources does not fit its languages")
            if "typology" not in stored["models"]:
                raise ValueError("it holds no model of typology")
            models = {name: _model(fields) for name, fields in stored["models"].items()}
            signals = {name: tuple(stored["signals"][name]) for name in models}
            return cls(models, signals, history, stored["origin"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{path}: a damaged ranker ({error}). Fit it again.") from None


def fit_ranker(
    table: TransferTable | str | Path,
    *,
    method: Method = "trees",
    num_trees: int = 100,
    seed: int = 0,
) -> Ranker:
    """Learn to rank sources from measured transfer.

    Features are our own distances (not those of the table), the table's overlaps, sizes and other numeric
    columns, the default ranking, and how good each source was for *other* targets: a target's own results
    are never part of its features.

    Args:
        table: The results, or the CSV they are in (`read_transfer_table`).
        method: `trees`: averaged randomised and boosted trees that predict a source's usefulness: its
            relevance (11 - rank for the ten best) and its standardised score, with equal weight.
            `lightgbm`: LambdaMART on the relevance; needs the package lightgbm.
        num_trees: Trees of each kind.
        seed: Same seed and table, same ranker.

    Returns:
        The ranker, for `rank_sources(..., ranker=...)`.

    Raises:
        BadInput: If the table cannot be used or holds no differences, or lightgbm is asked for and not installed.
    """
    results = table if isinstance(table, TransferTable) else read_transfer_table(table)
    history = usefulness_of(results)
    queries = [(query, results.scores[rows]) for query, rows in results.queries() if len(rows) > 1]
    also_sources = [(query, scores) for query, scores in queries if alikeness(query.target, history) is not None]
    models, signals = {}, {}
    for name, used in _signal_sets(queries).items():
        signals[name] = (*used, *(part for part in PAST if part != "alike"))
        models[name] = _fit(method, queries, history, signals[name], num_trees, seed)
        if 2 * len(also_sources) >= max(len(queries), 4):
            signals[name + _ALIKE] = (*used, *PAST)
            models[name + _ALIKE] = _fit(method, also_sources, history, signals[name + _ALIKE], num_trees, seed)
    num_pairs, num_targets = sum(len(scores) for _, scores in queries), len({query.target for query, _ in queries})
    origin = f"{Path(results.origin).name} ({num_targets} targets, {num_pairs} pairs)"
    log.info("ranker fitted on %s", origin)
    return Ranker(models, signals, history, origin)


def usefulness_of(table: TransferTable) -> History:
    """The history of each source: its scores, standardised within each target so that targets can be compared."""
    targets, sources = sorted(set(table.targets)), sorted(set(table.sources))
    column = {name: number for number, name in enumerate(sources)}
    values = np.full((len(targets), len(sources)), np.nan)
    standing: dict[tuple[int, int], list[float]] = {}
    for target, rows in table.groups():
        number = targets.index(target)
        for row, value in zip(rows, z_scores(table.scores[rows]), strict=True):
            standing.setdefault((number, column[table.sources[row]]), []).append(float(value))
    for place, found in standing.items():  # of several tasks the mean
        values[place] = np.mean(found)
    return History(tuple(targets), tuple(sources), values.round(6))  # as in the file: a saved ranker is the same


def _signal_sets(queries: Sequence[tuple[Query, np.ndarray]]) -> dict[str, tuple[str, ...]]:
    everything = tuple(dict.fromkeys(name for query, _ in queries for name in query.raw))
    typology = tuple(name for name in everything if name in _typology())
    return {"typology": typology} | ({"all": everything} if len(everything) > len(typology) else {})


def _typology() -> frozenset[str]:
    return frozenset(name for name, signal in SIGNALS.items() if not signal.needs_text)


def _fit(
    method: str,
    queries: Sequence[tuple[Query, np.ndarray]],
    history: History,
    signals: Sequence[str],
    num_trees: int,
    seed: int,
) -> Model:
    X = np.concatenate([pair_features(query, history, signals)[1] for query, _ in queries])
    order = np.concatenate([relevance(scores) for _, scores in queries])
    if order.std() == 0:
        raise BadInput("All sources of each target have the same score: there is no order to learn.")
    if method == "trees":
        # A rank says only that a source is better, a standardised score by how much.
        margins = np.concatenate([z_scores(scores) for _, scores in queries])
        return TreeModel(grow_trees(X, order / order.std() + margins, num_trees=num_trees, seed=seed))
    if method == "lightgbm":
        from clustering.rankers.lightgbm import BoostedModel

        return BoostedModel.fit(X, order, [len(scores) for _, scores in queries], num_trees=num_trees, seed=seed)
    raise BadInput(f"{arg('method', method)} is unknown. Choose trees or lightgbm.")


def _model(stored: dict[str, Any]) -> Model:
    if stored["kind"] == "trees":
        return TreeModel(trees_from_json(stored["model"]))
    if stored["kind"] == "lightgbm":
        from clustering.rankers.lightgbm import BoostedModel

        return BoostedModel(stored["model"])
    raise ValueError(f"a model of unknown kind {stored['kind']!r}")
