"""From the answers of an experiment to its report."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from clustering.languages.codes import name_of
from xelm.run.records.manifest import package_versions
from xelm.transferring.cells import NONE, OWN, PLAIN, Cell
from xelm.transferring.data.examples import Example
from xelm.transferring.experiment import Experiment
from xelm.transferring.measures.bootstrap import Draws, Hits, Interval
from xelm.transferring.report.report import CellResult, Choice, RowResult, TransferReport

RowKey = tuple[str, str, str, str, int]
_FEWEST_SOURCES = 3
"""Fewer measured sources make no ranking."""


class Results:
    """Everything that was answered, judged."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._hits: dict[RowKey, dict[str, list[Hits]]] = {}
        self._facts: dict[tuple[RowKey, str], dict[str, Any]] = {}
        for cell in experiment.cells:
            self._judge(cell)
        tests = {cell.target: experiment.rowset.asked(cell.target, cell.languages) for cell in experiment.cells}
        keys = {code: _keys(code, rows, experiment.rowset.parallel) for code, rows in tests.items()}
        self._draws = Draws(keys, experiment.recipe.evaluate.replicates)
        self._means = {key: {target: _mean(own) for target, own in found.items()} for key, found in self._hits.items()}

    def report(self) -> TransferReport:
        """The report."""
        e = self._experiment
        rows = [self._row(key) for key in self._hits]
        rowset, recipe = e.rowset, e.recipe
        return TransferReport(
            task=rowset.task.kind,
            unit=rowset.task.unit,
            base=recipe.base.run or recipe.base.model or recipe.base.features,
            labels=rowset.labels,
            languages={
                code: {"name": name_of(code), "train": len(rowset.train(code)), "test": len(rowset.test(code))}
                for code in rowset.languages
            },
            seeds=recipe.train.seeds,
            draws=recipe.train.draws or 1,
            rows=rows,
            choices=self._choices(rows),
            leaks=asdict(rowset.leaks),
            skipped=[asdict(item) for item in e.skipped],
            notes=list(e.notes),
            made={"recipe": json.loads(json.dumps(recipe.to_dict())), "packages": package_versions()},
        )

    def _judge(self, cell: Cell) -> None:
        e = self._experiment
        parts = e.parts(cell)
        if not parts:
            return
        lesson = parts[0].lesson
        probabilities = e.answers(cell, parts)
        given = [lesson.labels[number] for number in probabilities.argmax(axis=1)]
        rows = lesson.tests[parts[0].test]
        answers, begin = [], 0
        for row in rows:
            answers.append(given[begin : begin + row.num_units])
            begin += row.num_units
        hits = Hits(
            np.array(
                [sum(g == a for g, a in zip(r.labels, own, strict=True)) for r, own in zip(rows, answers, strict=True)]
            ),
            np.array([sum(label is not None for label in row.labels) for row in rows]),
        )
        facts = self._facts.setdefault(
            (cell.row, cell.target),
            {
                "languages": list(cell.languages),
                "rows": len(rows),
                "taught": len(lesson.rows),
                "keys": set(),
                "figures": [],
            },
        )
        facts["keys"].add(tuple(part.key for part in parts))
        facts["figures"].append(lesson.task.figures(rows, answers))
        self._hits.setdefault(cell.row, {}).setdefault(cell.target, []).append(hits)

    def _row(self, key: RowKey) -> RowResult:
        technique, policy, head, sources, shots = key
        cells = [self._cell(key, target) for target in sorted(self._hits[key])]
        row = RowResult(technique, policy, head, sources, shots, cells, None, None, 1, None, None, None, None, None)
        targets = [cell.target for cell in row.transfer]
        if not targets:
            return row
        values = np.array([cell.accuracy.value for cell in row.transfer])
        replicates = max(len(self._facts[key, target]["keys"]) for target in targets)
        reference = self._reference(key)
        return replace(
            row,
            mean=self._draws.interval(self._accuracies(key, targets).mean(axis=1)),
            spread=float(np.std([np.mean(x) for x in zip(*(c.by_seed for c in row.transfer), strict=True)], ddof=1))
            if replicates > 1
            else None,
            num_replicates=replicates,
            variance=float(np.mean((values - values.mean()) ** 2)) if len(values) > 1 else None,
            worst=targets[int(values.argmin())],
            mean_gap=_average([cell.gap for cell in row.transfer]),
            mean_own_gap=_average([cell.own_gap for cell in row.transfer]),
            macro_f1=_average([cell.figures.get("macro_f1") for cell in row.transfer]),
            against=self._against(key, reference, targets) if reference else None,
            reference=list(reference) if reference else None,
        )

    def _cell(self, key: RowKey, target: str) -> CellResult:
        facts, hits = self._facts[key, target], self._hits[key][target]
        value = self._draws.interval(self._accuracies(key, [target])[:, 0])
        is_home = target in facts["languages"]
        home, own = self._home(key, facts["languages"]), self._accuracy((PLAIN, key[1], key[2], OWN, 0), target)
        names = {name for figures in facts["figures"] for name in figures}
        return CellResult(
            target=target,
            languages=facts["languages"],
            accuracy=value,
            figures={name: float(np.mean([f[name] for f in facts["figures"]])) for name in sorted(names)},
            by_seed=[one.accuracy for one in hits],
            num_rows=facts["rows"],
            num_units=int(hits[0].units.sum()),
            num_taught=facts["taught"],
            is_home=is_home,
            gap=None if home is None or is_home else home - value.value,
            own_gap=None if not own or is_home else (own - value.value) / own,
        )

    def _home(self, key: RowKey, languages: Sequence[str]) -> float | None:
        """Accuracy of the sources in their own languages, each taught alone, in the mean."""
        found = [self._accuracy((PLAIN, key[1], key[2], sources, 0), code) for code in languages for sources in (code,)]
        return _average(found) if found and None not in found else None

    def _accuracy(self, key: RowKey, target: str) -> float | None:
        hits = self._means.get(key, {}).get(target)
        return hits.accuracy if hits else None

    def _accuracies(self, key: RowKey, targets: Sequence[str]) -> np.ndarray:
        return self._draws.accuracies({target: self._means[key][target] for target in targets})

    def _reference(self, key: RowKey) -> RowKey | None:
        """The zero-shot row of the first model and head, of the same sources or else of the first ones."""
        plain = [other for other in self._hits if other[0] == PLAIN and other[4] == 0 and other[3] not in (OWN, NONE)]
        if not plain:
            return None
        first = plain[0]
        same = (PLAIN, first[1], first[2], key[3], 0)
        return next((other for other in (same, first) if other in self._hits and other != key), None)

    def _against(self, key: RowKey, other: RowKey, targets: Sequence[str]) -> Interval | None:
        """Mean accuracy less that of another row, on targets that both have and that the other was not taught in."""
        common = [
            target
            for target in targets
            if target in self._hits[other] and target not in self._facts[other, target]["languages"]
        ]
        if not common:
            return None
        difference = self._accuracies(key, common).mean(axis=1) - self._accuracies(other, common).mean(axis=1)
        return self._draws.interval(difference)

    def _choices(self, rows: Sequence[RowResult]) -> list[Choice]:
        """Of zero-shot with single sources: which one `rank_sources` puts first for each target."""
        plain = [row for row in rows if row.technique == PLAIN and row.shots == 0]
        if not plain:
            return []
        same = [row for row in plain if (row.policy, row.head) == (plain[0].policy, plain[0].head)]
        found: dict[str, dict[str, float]] = {}
        for row in same:
            if row.sources in self._experiment.chooser.candidates:
                for cell in row.transfer:
                    found.setdefault(cell.target, {})[row.sources] = cell.accuracy.value
        choices = []
        for target, accuracies in sorted(found.items()):
            if len(accuracies) >= _FEWEST_SOURCES:
                ranking = [code for code in self._experiment.chooser.ranking(target) if code in accuracies]
                best = max(ranking, key=lambda code: (accuracies[code], -ranking.index(code)))
                choices.append(Choice(target, ranking, best, accuracies))
        return choices


def _keys(code: str, rows: Sequence[Example], parallel: bool) -> list[Hashable]:
    return [str(row.id) if parallel and row.id is not None else f"{code} {number}" for number, row in enumerate(rows)]


def _mean(hits: Sequence[Hits]) -> Hits:
    return Hits(np.mean([one.right for one in hits], axis=0), hits[0].units)


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
