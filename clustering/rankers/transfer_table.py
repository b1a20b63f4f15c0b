"""A user's own transfer results: a CSV with a score for each (target, source), in any usual form."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import same_language_key
from clustering.rankers.cells import (
    is_missing,
    language_codes,
    numbers_or_none,
    read_rows,
    score_numbers,
    with_all_three,
)
from clustering.rankers.headings import ERROR_WORDS, columns_of, feature_name, pick_score, task_column, words_of
from clustering.rankers.wide_table import long_form
from clustering.sources.signals import SIGNALS, Query, typology_signals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferTable:
    """Measured transfer between languages. Shapes: R rows.

    Attributes:
        targets: R codes of the languages helped.
        sources: R codes of the languages that helped.
        scores: Shape (R,), higher is better.
        features: Per signal or further numeric column, shape (R,), NaN = empty.
        origin: The file that it came from, for messages.
        taken: What was read as what: `target`, `source` and `score` -> the heading; in a wide table the score is in
            the cells.
        tasks: R names of tasks, if the table holds several; else ().
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    scores: np.ndarray
    features: dict[str, np.ndarray]
    origin: str
    taken: dict[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def rows_by_target(self) -> dict[str, np.ndarray]:
        """Row numbers of each target, targets sorted."""
        targets = np.array(self.targets)
        return {str(target): np.flatnonzero(targets == target) for target in np.unique(targets)}

    def groups(self) -> list[tuple[str, np.ndarray]]:
        """Targets, sorted, with their row numbers; once for each task, since scores of two tasks do not compare."""
        if not self.tasks:
            return list(self.rows_by_target().items())
        tasks = np.array(self.tasks)
        return [
            (target, rows[tasks[rows] == task])
            for target, rows in self.rows_by_target().items()
            for task in np.unique(tasks[rows])
        ]

    def of_rows(self, rows: np.ndarray) -> TransferTable:
        """The table of some of its rows."""
        return replace(
            self,
            targets=tuple(self.targets[row] for row in rows),
            sources=tuple(self.sources[row] for row in rows),
            scores=self.scores[rows],
            features={name: values[rows] for name, values in self.features.items()},
            tasks=tuple(self.tasks[row] for row in rows) if self.tasks else (),
        )

    def by_task(self) -> dict[str, TransferTable]:
        """A table for each task, tasks sorted; {"": this table} if it has only one."""
        if not self.tasks:
            return {"": self}
        tasks = np.array(self.tasks)
        return {
            str(task): replace(self.of_rows(np.flatnonzero(tasks == task)), tasks=(), origin=f"{self.origin}, {task}")
            for task in np.unique(tasks)
        }

    def queries(self) -> list[tuple[Query, np.ndarray]]:
        """Per target (and task) its query, all signals filled in, and the row numbers of its candidates."""
        made = []
        for target, rows in self.groups():
            query = typology_signals(target, [self.sources[row] for row in rows])
            query.raw.update({name: values[rows] for name, values in self.features.items()})
            made.append((query, rows))
        return made


def read_transfer_table(
    path: str | Path,
    *,
    lower_is_better: bool | None = None,
    keep_distances: bool = False,
    score_column: str | Sequence[str] | None = None,
    task: str | None = None,
) -> TransferTable:
    """Read transfer results from a CSV or TSV with a header.

    Three columns are needed, or a wide table: targets down the first column, sources along the heading, scores in
    the cells. Rows without a score, a target or a source (empty, `nan`, `-`) are left out, and counted in a warning.

    The columns are: target language, source language, score, under any usual heading (`target`,
    `Task lang`, `Transfer lang`, `accuracy`, `BLEU`, ...); codes of two or three letters, tags or names.
    LangRank's tables are read as they are. Other numeric columns become features, under our own names for
    overlaps, sizes and TTR; ranks and levels of the score, URIEL's distances (ours replace them) and columns
    that do not differ between a target's sources are left out, and logged; so are rows of a language with
    itself. Scripts and variants of a language (`zho_Hans`, `zho_Hant`) count as one, with their mean.

    A column headed `task`, `dataset` or `benchmark` beside that of the target divides the table into tasks: sources are
    compared within a task only. Other columns that could be the score are left out.

    Args:
        path: `.csv` or `.tsv`.
        lower_is_better: Whether a low score is a good one; None decides by the heading (perplexity, loss, ...).
        keep_distances: Keep the table's own URIEL distances too, as features `table_genetic` and so on.
        score_column: Heading of the score, where several columns could be it, or several, each a task of its own.
            None: the first that could.
        task: Read this task only.

    Raises:
        BadInput: If a column cannot be found, a language is unknown, a score is no number, a pair is there
            twice, or fewer than 2 targets have 2 sources; the message names the column or line.
    """
    file = Path(path)
    header, rows = read_rows(file)
    wide = long_form(header, rows)
    header, rows = wide or (header, rows)
    if score_column is not None and not isinstance(score_column, str):
        header, rows = _one_score_column(file, header, rows, score_column)
        score_column = header[-1]
    words = {name: words_of(name) for name in header}
    tasks_in = task_column(header, words)
    if tasks_in is not None:
        rows = _of_task(file, rows, header.index(tasks_in), task)
        words[tasks_in] = ()
    elif task is not None:
        raise BadInput(f"{file}: no column of tasks, headed task, so there is no task {task!r}.")
    taken, is_error = columns_of(file, header, rows, words, score_column)
    low_is_good = is_error if lower_is_better is None else lower_is_better
    table = _table(_Columns(file, header, rows, words, taken, tasks_in), low_is_good, keep_distances)
    if tasks_in is not None:
        taken["tasks"] = f"{tasks_in} ({', '.join(sorted(set(table.tasks)) or [task or 'one'])})"
    table = replace(table, taken=dict.fromkeys(taken, "(wide)") if wide is not None else taken)
    _check(table)
    return table


@dataclass(frozen=True)
class _Columns:
    """The rows of a file, and what its columns hold.

    Attributes:
        words: The words in each heading; none in that of the task.
        taken: `target`, `source` and `score` -> the heading.
        tasks_in: The heading of the task, if there is one.
    """

    file: Path
    header: list[str]
    rows: list[list[str]]
    words: dict[str, tuple[str, ...]]
    taken: dict[str, str]
    tasks_in: str | None


def _table(columns: _Columns, low_is_good: bool, keep_distances: bool) -> TransferTable:
    """The table of the rows that have a target, a source and a score; one row for each pair of languages."""
    file, header, taken = columns.file, columns.header, columns.taken
    target, source, score = (header.index(taken[what]) for what in ("target", "source", "score"))
    rows = with_all_three(file, columns.rows, [target, source, score])
    values = score_numbers(file, header, rows, taken["score"])
    values = -values if low_is_good else values
    targets, sources = language_codes(file, rows, target), language_codes(file, rows, source)
    in_column = columns.tasks_in
    tasks = () if in_column is None else tuple(row[header.index(in_column)].strip() for row in rows)
    tasks = tasks if len(set(tasks)) > 1 else ()
    others = {name: found for name, found in columns.words.items() if name not in (*taken.values(), in_column)}
    groups = tuple(map("\t".join, zip(tasks, targets, strict=True))) if tasks else targets
    features = _features(header, rows, others, values, groups, keep_distances)
    table = TransferTable(targets, sources, values, features, str(file), tasks=tasks)
    return _one_row_a_pair(table, [(row[target], row[source]) for row in rows])


def _of_task(file: Path, rows: list[list[str]], position: int, task: str | None) -> list[list[str]]:
    """The rows of a task; of all tasks for None, without those that name none."""
    names = {row[position].strip() for row in rows if not is_missing(row[position])}
    if task is not None and task not in names:
        raise BadInput(f"{file}: no task {task!r}. It has: {', '.join(sorted(names))}.")
    kept = [row for row in rows if row[position].strip() in ({task} if task is not None else names)]
    if task is None and len(kept) < len(rows):
        log.warning("%s: %d rows without a task are left out", file, len(rows) - len(kept))
    return kept


def _one_score_column(
    file: Path, header: list[str], rows: list[list[str]], columns: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The table with a row for each of several scores, named as tasks."""
    words = {name: words_of(name) for name in header}
    if absent := [name for name in columns if name not in header]:
        raise BadInput(f"{file}: no column {absent[0]!r} for the score (found: {', '.join(header)}).")
    if tasks_in := task_column(header, words):
        raise BadInput(f"{file}: several columns as scores make several tasks, which the column {tasks_in!r} does too.")
    directions = {bool(set(words[name]) & set(ERROR_WORDS)) for name in columns}
    if len(directions) > 1:
        raise BadInput(f"{file}: {', '.join(columns)}: of some a low score is good, of others a high one. Read apart.")
    kept = [name for name in header if name not in columns]
    places = [header.index(name) for name in kept]
    named = "loss" if directions == {True} else "score"
    melted = [[*(row[place] for place in places), name, row[header.index(name)]] for name in columns for row in rows]
    return [*kept, "task", named], melted


def _features(
    header: list[str],
    rows: list[list[str]],
    words: dict[str, tuple[str, ...]],
    values: np.ndarray,
    targets: tuple[str, ...],
    keep_distances: bool,
) -> dict[str, np.ndarray]:
    """The other numeric columns under our own names; those that say nothing or repeat the score are left out."""
    features: dict[str, np.ndarray] = {}
    for name in words:
        canonical = feature_name(name, words[name], keep_distances)
        if canonical == name and "level" not in words[name] and pick_score([name], words, ())[0] is not None:
            log.info("column %r left out: it is a score, which nobody has before the transfer", name)
            continue
        column = None if canonical is None else numbers_or_none(rows, header.index(name))
        if canonical is None or column is None or canonical in features:
            continue
        if _is_standing(column, values, targets):
            log.info("column %r left out: it orders the sources just as the score does", name)
        elif _differs_within(column, targets) or canonical in SIGNALS:
            features[canonical] = column
    return features


def _one_row_a_pair(table: TransferTable, labels: Sequence[tuple[str, str]]) -> TransferTable:
    """The table without rows of a language with itself, and with the mean of rows that name the same pair."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    tasks = table.tasks or ("",) * len(labels)
    for row, (task, target, source) in enumerate(zip(tasks, table.targets, table.sources, strict=True)):
        if same_language_key(target) != same_language_key(source):
            groups.setdefault((task, target, source), []).append(row)
    if (alone := len(labels) - sum(map(len, groups.values()))) > 0:
        log.info("%d rows of a language with itself are left out", alone)
    several = {pair: [labels[row] for row in rows] for pair, rows in groups.items() if len(rows) > 1}
    for (_, target, source), names in several.items():
        if len(set(names)) < len(names):
            raise BadInput(
                f"{table.origin}: the pair target {target}, source {source} is there more than once. If these are "
                "results of several tasks, name the task in a column headed task."
            )
    if several:
        (_, target, source), names = next(iter(several.items()))
        shown = " and ".join(" from ".join(pair) for pair in names)
        log.warning(
            "%d pairs of languages have several rows, of which the mean is taken: scripts and variants of a language "
            "are not distinguished (%s are target %s, source %s)",
            *(len(several), shown, target, source),
        )
    rows_of = [np.array(rows) for rows in groups.values()]

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([values[rows].mean() for rows in rows_of])

    return TransferTable(
        tuple(target for _, target, _ in groups),
        tuple(source for _, _, source in groups),
        means(table.scores),
        {name: means(values) for name, values in table.features.items()},
        table.origin,
        tasks=tuple(task for task, _, _ in groups) if table.tasks else (),
    )


def _check(table: TransferTable) -> None:
    """Check that there is something to learn or test on; raises like `read_transfer_table`."""
    usable = {target for target, rows in table.groups() if len(rows) > 1}
    if len(usable) < 2:
        raise BadInput(
            f"{table.origin}: {len(usable)} target(s) with two or more sources; ranking is learned from at least "
            "2, better 10 or more."
        )


def _is_standing(column: np.ndarray, scores: np.ndarray, targets: Sequence[str]) -> bool:
    """Whether a column is another form of the score (a level, a rescaled score), from which the answer would follow."""
    names = np.array(targets)
    agree = []
    for target in np.unique(names):
        own, other = column[names == target], scores[names == target]
        signs = np.sign(own[:, None] - own[None]) * np.sign(other[:, None] - other[None])
        agree.append(min((signs >= 0).mean(), 1.0) if (signs > 0).any() else 0.0)
        agree[-1] = max(agree[-1], (signs <= 0).mean() if (signs < 0).any() else 0.0)
    return float(np.mean(agree)) > 0.999


def _differs_within(column: np.ndarray, targets: Sequence[str]) -> bool:
    names = np.array(targets)
    return any(len(np.unique(column[names == target])) > 1 for target in np.unique(names))
