"""The plan: which languages share an expert, with the distances behind it; saved as versioned JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clustering.distances.matrix import CoveredCode, Distances
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import (
    match,
    name_of,
    point_beside,
    same_language_key,
    to_code,
    to_codes,
    to_point,
)
from clustering.languages.points import code_of, script_of
from clustering.plans.assess import Assessment, assess
from clustering.plans.quality import Quality

FORMAT = "xelm-plan"
FORMAT_VERSION = 1
_NAMED_CODES = 3


@dataclass(frozen=True, eq=False)
class ClusterPlan:
    """Languages in clusters, one expert per cluster.

    Attributes:
        clusters: Cluster name (safe as a folder name) -> ISO 639-3 codes; every language in exactly one.
        method: How the clusters were made; `by hand` for `from_clusters`.
        distances: Between the languages, in the order of `languages`; None if they are not known.
        coverage: Per language the URIEL row its typology was read from and how much that row knows.
        quality: Figures about the clusters.
        linkage: Merges for a dendrogram as scipy writes them, leaves numbered in the order of `languages`;
            None if the method makes no tree.
        version: A number that grows by one with every language added.
    """

    clusters: dict[str, list[str]]
    method: str
    distances: Distances | None = None
    coverage: dict[str, CoveredCode] = field(default_factory=dict)
    quality: Quality = field(default_factory=Quality)
    linkage: np.ndarray | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if not self.clusters:
            raise BadInput("A plan needs at least one cluster.")
        for name, codes in self.clusters.items():
            if not codes:
                raise BadInput(f"Cluster {name!r} has no language. Give it one or leave it out.")
            if not name or name != Path(name).name or name.startswith(".") or not name.isprintable() or " " in name:
                raise BadInput(f"Cluster name {name!r} cannot be a folder name. Use letters, digits, - and _.")
        to_codes(self.languages)
        if self.distances is not None and list(self.distances.languages) != self.languages:
            raise BadInput("A plan's distances must be in the order of its languages.")

    def __repr__(self) -> str:
        clusters = ", ".join(f"{name}: {' '.join(codes)}" for name, codes in self.clusters.items())
        return f"ClusterPlan({self.method}, {{{clusters}}})"

    @property
    def languages(self) -> list[str]:
        """All codes, cluster after cluster."""
        return [code for codes in self.clusters.values() for code in codes]

    def cluster_of(self, language: str) -> str:
        """Name of the cluster of a language given by any code, tag or name (`sw` finds `swh`).

        Raises:
            BadInput: If no cluster has it (`UnknownLanguageError` if there is no such language).
        """
        code = match(language, self.languages)
        self._refuse_unclear_script(language)
        for name, codes in self.clusters.items():
            if code in codes:
                return name
        raise BadInput(
            f"{name_of(to_code(language))} ({language}) is in no cluster of this plan. "
            f"It has: {', '.join(sorted(self.languages))}."
        )

    def _refuse_unclear_script(self, language: str) -> None:
        point = to_point(language)
        key = same_language_key(point)
        meant = [code for code in self.languages if same_language_key(code_of(code)) == key]
        if script_of(point) is None and len(meant) > 1:
            raise BadInput(f"{language!r}: this plan has it in several scripts. Say which: {' or '.join(meant)}.")

    @classmethod
    def from_clusters(
        cls, clusters: Mapping[str, Sequence[str]], distances: Distances | None = None, method: str = "by hand"
    ) -> ClusterPlan:
        """A plan made by hand.

        Args:
            clusters: Cluster name -> languages by any code or name.
            distances: Distances. None: measured (`combined`), or left out if URIEL lacks a language.
            method: Name of the method.

        Raises:
            BadInput: If a language is unknown or given twice, a cluster is empty or a name is unfit.
        """
        points = iter(to_codes([language for codes in clusters.values() for language in codes]))
        plan = cls({name: [next(points) for _ in codes] for name, codes in clusters.items()}, method)
        return plan._assessed(assess(plan.clusters, distances))

    def with_language(self, language: str, cluster: str | None = None, *, new: bool = False) -> ClusterPlan:
        """A new plan with one more language; every other language keeps its cluster.

        Args:
            language: Code, tag or name of a language that the plan does not have.
            cluster: Existing cluster to join, or with `new` the name of one to open; None opens one and names it.
            new: Whether to open `cluster` as a new one.

        Returns:
            The plan, `version` one higher. Distances are measured again, or dropped where they were the user's
            own and cannot be.

        Raises:
            BadInput: If the plan has the language already, or has no such cluster (with `new`: has one already).
        """
        code = point_beside(language, self.languages)
        if (present := match(language, self.languages)) is not None:
            raise BadInput(f"{name_of(code)} is in this plan already, as {present} in {self.cluster_of(present)}.")
        if cluster is not None and (cluster in self.clusters) == new:
            problem = f"There is a cluster {cluster!r} already" if new else f"No cluster {cluster!r}"
            raise BadInput(f"{problem} in this plan. It has: {', '.join(self.clusters)}.")
        name = cluster or self._free_name(code)
        clusters = {key: [*codes] for key, codes in self.clusters.items()}
        clusters.setdefault(name, []).append(code)
        grown = ClusterPlan(clusters, self.method, version=self.version + 1)
        return grown._assessed(assess(clusters, kind=self.distances.kind if self.distances else None))

    def _assessed(self, found: Assessment) -> ClusterPlan:
        return replace(self, distances=found.distances, coverage=found.coverage, quality=found.quality)

    def _free_name(self, code: str) -> str:
        number = len(self.clusters) + 1
        while cluster_name(number, [code]) in self.clusters:
            number += 1
        return cluster_name(number, [code])

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, complete or not at all."""
        write_json(path, plan_to_json(self))

    @classmethod
    def load(cls, path: str | Path) -> ClusterPlan:
        """Read a plan.

        Raises:
            BadInput: If the file is missing, not JSON, not a plan, or of a version this program cannot read.
        """
        try:
            return plan_from_json(read_json(path))
        except BadInput as error:
            message = str(error)
            raise BadInput(message if message.startswith(str(path)) else f"{path}: {message}") from None


def cluster_name(number: int, codes: Sequence[str]) -> str:
    """Readable name, safe as a folder name: `c1-deu-nld`, and `c2-ces-pol-rus-etc` beyond three languages."""
    shown = [*codes[:_NAMED_CODES], *(["etc"] if len(codes) > _NAMED_CODES else [])]
    return "-".join([f"c{number}", *shown])


def plan_to_json(plan: ClusterPlan) -> dict[str, Any]:
    """The plan as JSON values; `plan_from_json` brings back an equal plan."""
    distances = plan.distances
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": plan.version,
        "method": plan.method,
        "clusters": plan.clusters,
        "names": {code: name_of(code) for code in plan.languages},
        "quality": asdict(plan.quality),
        "typology": {code: asdict(covered) for code, covered in plan.coverage.items()},
        # One line of text per row: a matrix with one number a line is hard to read.
        "distances": None
        if distances is None
        else {
            "kind": distances.kind,
            "values": [" ".join(map(repr, row)) for row in distances.values.tolist()],
            "coverage": [" ".join(map(str, row)) for row in distances.coverage.tolist()],
        },
        "linkage": None if plan.linkage is None else [" ".join(map(repr, row)) for row in plan.linkage.tolist()],
    }


def plan_from_json(content: Any) -> ClusterPlan:
    """The plan in JSON values.

    Raises:
        BadInput: If they are not a plan.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadInput("not a plan: made by `xelm cluster … --out plan.json`, it says `format: xelm-plan`.")
    if content.get("format_version") != FORMAT_VERSION:
        raise BadInput(
            f"plan format {content.get('format_version')!r}, this program reads {FORMAT_VERSION}. Update xelm, or "
            "make the plan again."
        )
    try:
        clusters = {str(name): [str(code) for code in codes] for name, codes in content["clusters"].items()}
        plan = ClusterPlan(clusters, str(content["method"]), version=int(content["version"]))
        return replace(
            plan,
            distances=_distances_from_json(content.get("distances"), plan.languages),
            coverage={code: CoveredCode(**covered) for code, covered in content.get("typology", {}).items()},
            quality=Quality(**content.get("quality", {})),
            linkage=_rows(content["linkage"], len(plan.languages) - 1, 4) if content.get("linkage") else None,
        )
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"the plan is damaged ({type(error).__name__}: {error}). Make it again with xelm cluster."
        ) from None


def _distances_from_json(content: Any, languages: list[str]) -> Distances | None:
    if content is None:
        return None
    size = len(languages)
    values, coverage = _rows(content["values"], size, size), _rows(content["coverage"], size, size)
    return Distances(tuple(languages), values, coverage.astype(np.int32), str(content["kind"]))


def _rows(lines: list[str], num_rows: int, num_columns: int) -> np.ndarray:
    table = np.array([[float(cell) for cell in line.split()] for line in lines])
    if table.shape != (num_rows, num_columns):
        raise ValueError(f"a table of shape {table.shape}, expected {(num_rows, num_columns)}")
    return table
