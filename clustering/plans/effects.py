"""Effects of training on one language on every other, measured on a base: a matrix, saved as versioned JSON.

`matrix[i, j] = bits of j after training on i / bits of j before, - 1`: above 0 language i harms j, below 0 it helps.
`xelm.measure_effects` makes it; this module holds everything that needs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clustering.distances.matrix import Distances
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import rows_among, to_codes

FORMAT = "xelm-effects"
FORMAT_VERSION = 1
KIND = "measured effects"


@dataclass(frozen=True)
class Probe:
    """Effects at one size of branch.

    Attributes:
        tokens: For each language, the tokens that its branch was trained on.
        matrix: Shape (L, L): row i trained on, column j read; NaN where nothing was trained on i.
        errors: Standard errors of `matrix` over documents of the language read, shape (L, L); NaN for one document.
        joint: The same effect of a training on all languages together, each with the blocks of its own branch, shape
            (L,); NaN for languages that were not in it. None where there was no such training.
    """

    tokens: dict[str, int]
    matrix: np.ndarray
    errors: np.ndarray
    joint: np.ndarray | None = None

    @property
    def all_tokens(self) -> int:
        """Tokens of all branches, and of the training on all languages together."""
        own = sum(self.tokens.values())
        return own if self.joint is None else 2 * own

    @property
    def split_gains(self) -> np.ndarray | None:
        """Gain of a language alone against all together, at equal tokens each, as a share of bits, shape (L,).

        Above 0 a model of its own is better for it; NaN where one of the two was not trained.
        """
        return None if self.joint is None else (1 + self.joint) / (1 + np.diag(self.matrix)) - 1


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of L languages on one another, measured on one base.

    Attributes:
        languages: L ISO 639-3 codes, in row order.
        probe: The longer branches.
        shorter: Shorter branches, which plans are made from; with the longer ones they show how effects move with the
            budget. None where only one size was measured.
        bits_before: Bits per byte of each language's text under the base, shape (L,).
        cosines: Cosine between the updates (weights after minus before) of two languages, shape (L, L); None: unknown.
        layer_cosines: The same for each layer (`embedding`, `0`, `1`, …, `other`).
        layer_sizes: For each layer, the length of each language's update against that of the base's weights, shape
            (L,); of adapters, the length alone.
        budget_tokens: Tokens of the training that the probes stand for; the dense baseline's, or all experts'.
        about: What was measured: the base's fingerprint, kind of training, objective, documents of each language.
    """

    languages: tuple[str, ...]
    probe: Probe
    shorter: Probe | None = None
    bits_before: np.ndarray | None = None
    cosines: np.ndarray | None = None
    layer_cosines: dict[str, np.ndarray] = field(default_factory=dict)
    layer_sizes: dict[str, np.ndarray] = field(default_factory=dict)
    budget_tokens: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.languages)
        if not size:
            raise BadInput("effects need at least one language.")
        for name, table in (("matrix", self.probe.matrix), ("errors", self.probe.errors)):
            if table.shape != (size, size):
                raise BadInput(f"effects of {size} languages, but the {name} has shape {table.shape}.")

    def __repr__(self) -> str:
        others = off_diagonal(self.matrix)
        known = others[np.isfinite(others)]
        mean = f", mean {100 * known.mean():+.2f} %" if len(known) else ""
        return f"Effects({len(self.languages)} languages: {' '.join(self.languages)}{mean})"

    @classmethod
    def of(cls, languages: Sequence[str], matrix: Any, **more: Any) -> Effects:
        """Effects from a bare matrix, such as one measured elsewhere.

        Args:
            languages: L codes or names.
            matrix: Shape (L, L), row i trained on, column j read.
            more: Other attributes.
        """
        codes = tuple(to_codes(languages))
        values = np.asarray(matrix, dtype=np.float64)
        probe = Probe(dict.fromkeys(codes, 0), values, np.full(values.shape, np.nan))
        return cls(codes, probe, **more)

    @property
    def matrix(self) -> np.ndarray:
        """The effects, shape (L, L): row i trained on, column j read."""
        return self.probe.matrix

    @property
    def errors(self) -> np.ndarray:
        """Their standard errors over documents, shape (L, L)."""
        return self.probe.errors

    @property
    def costs(self) -> np.ndarray:
        """What plans are made from, shape (L, L): the effects of the shorter branches, or of the longer ones where not
        all languages have both.

        A longer branch also forgets what the text of a companion would have kept, such as the pieces that it alone
        reads; that is no cost of sharing an expert. The shorter ones rank plans better (experiments/plans).
        """
        return self.shorter.matrix if self.shorter and np.isfinite(self.shorter.matrix).all() else self.matrix

    @property
    def tokens(self) -> int:
        """Tokens that measuring took, including both sizes and trainings on all languages."""
        return sum(probe.all_tokens for probe in (self.probe, self.shorter) if probe)

    def rows_of(self, languages: Sequence[str]) -> list[int]:
        """Rows of languages given by any code or name.

        Raises:
            BadInput: If a language was not measured.
        """
        _, rows = rows_among(languages, self.languages)
        if absent := [str(name) for name, row in zip(languages, rows, strict=True) if row < 0]:
            raise BadInput(
                f"the effects were not measured for: {', '.join(absent)}. They know: {', '.join(self.languages)}. "
                "Measure them too (`xelm measure`), or leave them out."
            )
        return rows

    def on(self, target: str, sources: Sequence[str]) -> np.ndarray:
        """The effect of each source on a target, by any of their codes; shape (C,), NaN where it was not measured."""
        _, (column, *rows) = rows_among([target, *sources], self.languages)
        if column < 0:
            return np.full(len(sources), np.nan)
        return np.array([np.nan if row < 0 else self.matrix[row, column] for row in rows])

    def subset(self, languages: Sequence[str]) -> np.ndarray:
        """The costs of some languages, in that order.

        Raises:
            BadInput: If one of them was not measured, or only alone.
        """
        rows = self.rows_of(languages)
        table = self.costs[np.ix_(rows, rows)]
        if not np.isfinite(table).all():
            row, column = np.argwhere(~np.isfinite(table))[0]
            one, other = self.languages[rows[row]], self.languages[rows[column]]
            raise BadInput(f"the effect of {one} on {other} was not measured. Measure all languages together.")
        return table

    def distances(self) -> Distances:
        """The effects as distances in [0, 1]: 0 for the pair that helps most (or harms least), 1 for the most harm.

        The two directions of a pair are averaged.
        """
        both = (self.matrix + self.matrix.T) / 2
        size = len(both)
        values = np.zeros_like(both)
        if size > 1:
            others = off_diagonal(both)
            low, high = float(others.min()), float(others.max())
            values = (both - low) / (high - low) if high > low else np.full_like(both, 0.5)
        np.fill_diagonal(values, 0.0)
        return Distances(self.languages, np.clip(values, 0.0, 1.0), np.ones((size, size), dtype=np.int32), KIND)

    def save(self, path: str | Path) -> None:
        """Write them as JSON that appears whole."""
        write_json(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` brings equal effects back."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "languages": list(self.languages),
            "probe": _probe_to_json(self.probe),
            "shorter": _probe_to_json(self.shorter) if self.shorter else None,
            "bits_before": None if self.bits_before is None else self.bits_before.tolist(),
            "cosines": None if self.cosines is None else _lines(self.cosines),
            "layer_cosines": {layer: _lines(table) for layer, table in self.layer_cosines.items()},
            **self._sizes_to_json(),
            "budget_tokens": self.budget_tokens,
            "about": self.about,
        }

    def _sizes_to_json(self) -> dict[str, Any]:
        if not self.layer_sizes:  # as in files of before
            return {}
        return {"layer_sizes": {layer: _lines(sizes[None])[0] for layer, sizes in self.layer_sizes.items()}}

    @classmethod
    def load(cls, path: str | Path) -> Effects:
        """Read what `save` wrote.

        Raises:
            BadInput: If the file is missing, damaged, or of a version this program cannot read.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BadInput(f"{path}: no effects: made by `xelm measure`, they say `format: {FORMAT}`.")
        if content.get("format_version") != FORMAT_VERSION:
            raise BadInput(
                f"{path}: effects of format {content.get('format_version')!r}, this program reads {FORMAT_VERSION}. "
                "Update xelm, or measure again."
            )
        try:
            return cls.from_dict(content)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{path}: damaged effects ({type(error).__name__}: {error}). Measure again.") from None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Effects:
        """The effects in JSON values."""
        before = content.get("bits_before")
        return cls(
            tuple(map(str, content["languages"])),
            _probe_from_json(content["probe"]),
            _probe_from_json(content["shorter"]) if content.get("shorter") else None,
            None if before is None else np.array(before, dtype=np.float64),
            _table(content["cosines"]) if content.get("cosines") else None,
            {str(layer): _table(table) for layer, table in content.get("layer_cosines", {}).items()},
            {str(layer): _table([line])[0] for layer, line in content.get("layer_sizes", {}).items()},
            int(content.get("budget_tokens", 0)),
            dict(content.get("about", {})),
        )


def as_effects(effects: Effects | str | Path) -> Effects:
    """Effects, or those in a file."""
    return effects if isinstance(effects, Effects) else Effects.load(effects)


def off_diagonal(table: np.ndarray) -> np.ndarray:
    """All cells of a square table but its diagonal, shape (L * L - L,)."""
    return table[~np.eye(len(table), dtype=bool)]


def _probe_to_json(probe: Probe) -> dict[str, Any]:
    joint = None if probe.joint is None else " ".join(map(repr, probe.joint.tolist()))
    return {"tokens": probe.tokens, "matrix": _lines(probe.matrix), "errors": _lines(probe.errors), "joint": joint}


def _probe_from_json(content: Mapping[str, Any]) -> Probe:
    tokens = {str(code): int(number) for code, number in content["tokens"].items()}
    joint = _table([content["joint"]])[0] if content.get("joint") else None
    return Probe(tokens, _table(content["matrix"]), _table(content["errors"]), joint)


def _lines(table: np.ndarray) -> list[str]:
    # One line of text per row: a matrix with one number a line is hard to read.
    return [" ".join(map(repr, row)) for row in table.tolist()]


def _table(lines: Sequence[str]) -> np.ndarray:
    return np.array([[float(cell) for cell in line.split()] for line in lines], dtype=np.float64)
