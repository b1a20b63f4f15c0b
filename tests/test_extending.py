"""Every example of docs/extending.md is one file that works, installed beside xelm by an entry point."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.xelm.stored_runs import unpack

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n# (xelm\.\w+): (\w+)\.py\n(.*?)```", PAGE, flags=re.DOTALL)
CHANGES = re.findall(r"```diff\n(.*?)```", PAGE, flags=re.DOTALL)
USE = """
import json, sys
import numpy as np
from clustering import cluster_languages, rank_sources
from router.identify.stored import load_identifier, save_identifier, train_identifier
from pathlib import Path
from xelm import Recipe
from xelm.expert_kinds.kind import ExpertKind

languages = ["deu", "nld", "rus", "ukr", "jpn"]
plan = cluster_languages(languages, 3, "farthest", distances="family-depth+syntactic", balance="languages")
identifier = train_identifier("by-script", {"deu": [], "rus": []})
save_identifier(identifier, Path("router"))
report = rank_sources("ukr", ["rus", "pol", "deu"])
recipe = Recipe.from_dict({
    "base": {"new": {}}, "data": {"path": "corpus"}, "clusters": {"k": 2, "method": "farthest"},
    "train": {"tokens": 1, "objective": "late"}, "expert": {"kind": "bitfit"}, "router": {"identifier": "by-script"},
})
batch = recipe.objective.batches(None, recipe.train, "x").batch(
    np.arange(8)[None], np.array([[0, 1, 2, 3, 4, 5, 0, 1]]), np.array([0]), 0.0)
from tests.xelm.training_parts import tiny_llama
model = recipe.expert.prepare(tiny_llama())
from router.routes.policy import apply_policy
from tests.xelm.transfers import recipe_of, write_task
from xelm import transfer
shown = [{"kind": "longest", "share": 0.3}]
task = recipe_of(write_task(Path("topics")), augment=shown, sources={"languages": ["deu"]})
longest = [row for row in transfer(task, "out").rows if row.technique == "longest"]
print(json.dumps({
    "taught": sorted({cell.num_taught for row in longest for cell in row.cells}),
    "policy": apply_policy(np.array([[0.05, 0.65, 0.3]]), "nucleus", ["a", "b", "c"]).round(6).tolist(),
    "plan": [plan.method, plan.distances.kind, sorted(map(len, plan.clusters.values()))],
    "near": [float(plan.distances.subset(["deu", other]).values[0, 1]) for other in ("nld", "jpn")],
    "identified": load_identifier("router").posterior(["Guten Tag", "Добрый день"]).argmax(axis=1).tolist(),
    "others": list(load_identifier("router").other_languages),
    "script": {s.code if hasattr(s, "code") else s.language: s.signals["same_script"] for s in report.ranking},
    "voted": all("same_script" in s.contributions for s in report.ranking),
    "judged": batch.num_targets,
    "trained": sorted({p.ndim for p in model.parameters() if p.requires_grad}),
}))
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What came of using every example, each installed as one module with an entry point."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "extensions-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extensions\nVersion: 1.0\n")
    points = []
    for group, module, source in EXAMPLES:
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        points.append(f"[{group}]\n{module} = {module}\n")
    (info / "entry_points.txt").write_text("".join(points))
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_each_concept_is_one_file() -> None:
    assert [group for group, _, _ in EXAMPLES] == [
        "xelm.distances",
        "xelm.clustering_methods",
        "xelm.identifiers",
        "xelm.policies",
        "xelm.signals",
        "xelm.expert_kinds",
        "xelm.objectives",
        "xelm.techniques",
    ]


def test_a_distance_and_a_method(used: dict[str, object]) -> None:
    assert used["plan"] == ["farthest+languages", "family-depth+syntactic", [1, 2, 2]]
    near, far = used["near"]  # type: ignore[misc]
    assert near < far  # type: ignore[has-type]


def test_an_identifier_is_saved_with_a_run_and_comes_back(used: dict[str, object]) -> None:
    assert (used["identified"], used["others"]) == ([0, 1], ["ell"])


def test_a_policy(used: dict[str, object]) -> None:
    assert used["policy"] == [[0.0, 0.684211, 0.315789]]  # 0.65 alone is less than nine tenths, with 0.3 it is more


def test_a_signal_is_reported_and_votes(used: dict[str, object]) -> None:
    assert used["script"] == {"rus": 1.0, "pol": 0.0, "deu": 0.0} and used["voted"]


def test_an_expert_kind_and_an_objective(used: dict[str, object]) -> None:
    assert used["trained"] == [1]  # norms and biases
    assert used["judged"] == 2  # of eight tokens those at places 4 and 5 of their document


def test_a_technique_of_transfer(used: dict[str, object]) -> None:
    assert used["taught"] == [19]  # of 63 rows


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout to which the page's changes have been made."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "xelm", folder / "xelm", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "page.diff").write_text("".join(CHANGES), encoding="utf-8")
    subprocess.run(["git", "apply", "page.diff"], cwd=folder, check=True, env={**os.environ, "GIT_DIR": "nowhere"})
    return folder


def test_a_section_of_the_report_and_a_command_change_three_files_and_two(changed: Path) -> None:
    assert [change.count("+++ b/") for change in CHANGES] == [3, 2]
    run = unpack(changed) / "first"
    program = (
        "import sys, xelm, xelm.report.page\nfrom xelm.cli import main\nassert xelm.__file__.startswith(sys.argv[1])\n"
        "print(xelm.report.page.render(xelm.ExpertSet.load(sys.argv[2])).partition('<h2>Parents')[2][:200])\n"
        "sys.argv = ['xelm', 'owner', sys.argv[2], 'nl']\nmain()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{changed}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", program, str(changed), str(run)]
    done = subprocess.run(command, cwd=changed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<li>c1-deu-nld was branched from base</li>" in done.stdout
    assert done.stdout.splitlines()[-1] == "c1-deu-nld"
