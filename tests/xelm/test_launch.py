"""Workers and Slurm jobs make the same models as one process, and one that fails stops no other.

The Slurm tests need a cluster: the one that SLURM_CONF names, or one that ../shared/slurm can start here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.files import read_json
from tests.xelm.conftest import WORDS, sentences, write_jsonl
from tests.xelm.transfers import recipe_of, write_task
from xelm.comparing.compare import compare_plans
from xelm.launch import local, slurm
from xelm.launch.options import Launch
from xelm.launch.status import run_status
from xelm.launch.work import Work
from xelm.launch.worker import do_task
from xelm.making import train as pipeline
from xelm.making.train import dry_run, train
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.failures import Failure
from xelm.run.records.manifest import kept_files
from xelm.transferring.transfer import transfer

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "processes=0 must be at least 1"),
        ({"launcher": "slurm", "time_min": 0}, "time_min=0 must be at least 1"),
        ({"fsdp": True}, "fsdp=True splits a model over processes: add processes=2"),
        ({"launcher": "slurm", "gpus": 3, "processes": 2}, "gpus=3 must be 0, or a multiple of processes=2"),
        ({"partition": "gpu"}, "partition='gpu': only for Slurm jobs. Add launcher='slurm'"),
        ({"launcher": "slurm", "workers": 2}, "for Slurm jobs use max_jobs="),
        ({"nodes": 0}, "nodes=0 must be at least 1"),
        ({"nodes": 2}, "nodes=2: only for Slurm jobs. Add launcher='slurm'"),
        (
            {"launcher": "slurm", "nodes": 2, "gpus": 3, "processes": 2},
            "gpus=3 must be 0, or a multiple of processes=2",
        ),
    ],
)
def test_options_that_contradict_one_another_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Launch(**options)


def test_workers_share_out_the_gpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    launch = Launch(processes=2)
    assert local.num_workers(launch) == 2
    assert [local._environment(slot, launch)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["3,5", "6,7"]
    assert local.num_workers(Launch()) == 4
    assert local._environment(2, Launch())["CUDA_VISIBLE_DEVICES"] == "6"


def test_nodes_multiply_the_processes_of_a_job(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    launch = Launch(launcher="slurm", nodes=3, processes=2, fsdp=True)
    assert launch.together == 6 and Launch(launcher="slurm", nodes=2, fsdp=True).together == 2
    alone = launch.for_one_process()
    assert (alone.nodes, alone.processes, alone.fsdp) == (1, 1, False), "evaluation is not shared"
    file = Work(tmp_path, tiny_recipe(), False, False, launch.together).write()
    with pytest.raises(RuntimeError, match=r"1 processes train together where 6 were asked for\."):
        do_task(file, "base")
    with pytest.raises(BadInput, match=r"a task is taught by one process: leave nodes= and processes= out"):
        transfer(recipe_of(write_task(tmp_path / "task")), tmp_path / "run", launch=replace(launch, fsdp=False))


@pytest.mark.parametrize(("nodes", "processes"), [(1, 1), (2, 1), (2, 4)])
def test_slurm_is_asked_for_nodes_and_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int, processes: int
) -> None:
    """The file that submitit would hand to sbatch, which is replaced by one that takes it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, says in (("sbatch", 'cp "$1" "$XELM_TAKEN"; echo Submitted batch job 7'), ("srun", "true")):
        (tools / name).write_text(f"#!/bin/sh\n{says}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("XELM_TAKEN", str(tmp_path / "taken"))
    launch = Launch(launcher="slurm", nodes=nodes, processes=processes, gpus=processes, mem_gib=8)
    jobs = slurm._submit(tmp_path / "jobs", tmp_path / "launch.json", ["base"], launch)
    assert jobs["base"].job_id.startswith("7")
    lines = (tmp_path / "taken").read_text().splitlines()
    asked = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in lines if "#SBATCH" in line and "=" in line)
    assert (asked["nodes"], asked["ntasks-per-node"]) == (str(nodes), str(processes))
    assert (asked["gpus-per-node"], asked["mem"]) == (str(processes), "8GB")


@pytest.mark.slow
def test_workers_make_the_same_run_as_one_process(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    train(tiny_recipe(), tmp_path / "apart", launch=Launch(workers=2))
    train(tiny_recipe(), tmp_path / "here")
    assert _contents(tmp_path / "apart") == _contents(tmp_path / "here")


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    two = train(tiny_recipe(), tmp_path / "two", launch=Launch(processes=2), report=False)
    one = train(tiny_recipe(), tmp_path / "one", report=False)
    _assert_same_losses(one, two)


def test_a_batch_that_processes_cannot_share_is_told(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 3))
    with pytest.raises(BadInput, match=r"batch_size=4 cannot be shared by 3 processes"):
        train(tiny_recipe(), tmp_path / "run", report=False)


def test_a_model_that_was_finished_before_its_process_was_ended_has_not_failed(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_late(work_file: Path, names: list[str], _launch: Launch) -> dict[str, Failure]:
        return {name: Failure("ended by signal 9.") for name in names if do_task(work_file, name)}

    monkeypatch.setattr(pipeline, "run_workers", ended_late)
    experts = train(tiny_recipe(), tmp_path / "run", launch=Launch(workers=2), report=False)
    assert {model.state for model in run_status(experts.path).models} == {"done"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm cluster; jobs see the environment of these tests."""
    if not shutil.which("sbatch"):
        pytest.skip("Slurm is not installed")
    changed = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    tools = Path(__file__).resolve().parents[3] / "shared" / "slurm"
    state: Path | None = None
    if "SLURM_CONF" not in os.environ:
        if not (tools / "start-local-slurm").is_file():
            pytest.skip("SLURM_CONF names no cluster, and there is none to start")
        state = Path(f"/tmp/xelm-slurm-{os.getpid()}")
        started = subprocess.run(
            [tools / "start-local-slurm", state],
            capture_output=True,
            text=True,
            env=os.environ | {"LOCAL_SLURM_CPUS": "4", "LOCAL_SLURM_NODES": "2"},
        )
        if started.returncode:
            pytest.skip(f"no Slurm can be started here: {started.stderr.strip().splitlines()[-1]}")
        changed["SLURM_CONF"] = str(state / "slurm.conf")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in changed.items():
            patch.setenv(key, value)
        yield
    if state:
        subprocess.run([tools / "stop-local-slurm", state], check=True, capture_output=True)
        shutil.rmtree(state)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_slurm_jobs_make_the_same_run_as_one_process(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    train(tiny_recipe(), tmp_path / "jobs", launch=Launch(launcher="slurm", time_min=20, poll_s=1))
    train(tiny_recipe(), tmp_path / "here")
    assert _contents(tmp_path / "jobs") == _contents(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_slurm_jobs_compare_plans_as_one_process_does(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    recipe = tiny_recipe(data={"valid_fraction": 0.1, "test_fraction": 0.2}, train={"tokens": 128 * 24})
    plans, options = "typological,one,measured", {"seeds": 1, "share": 0.2}
    launch = Launch(launcher="slurm", time_min=20, poll_s=1)
    jobs = compare_plans(recipe, plans, out=tmp_path / "jobs", launch=launch, **options)
    here = compare_plans(recipe, plans, out=tmp_path / "here", **options)
    assert jobs.to_json() == here.to_json()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_slurm_jobs_teach_a_task_as_one_process_does(tmp_path: Path) -> None:
    recipe = recipe_of(write_task(tmp_path / "task"), sources={"languages": ["eng"]})
    launch = Launch(launcher="slurm", time_min=20, poll_s=1)
    jobs, here = transfer(recipe, tmp_path / "jobs", launch=launch), transfer(recipe, tmp_path / "here")
    assert jobs.to_json() == here.to_json()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_two_processes_of_a_slurm_job_learn_what_one_does(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    launch = Launch(launcher="slurm", time_min=20, poll_s=1, processes=2)
    two = train(tiny_recipe(), tmp_path / "two", launch=launch, report=False)
    one = train(tiny_recipe(), tmp_path / "one", report=False)
    _assert_same_losses(one, two)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("processes", [1, 2])
def test_two_nodes_of_a_slurm_job_learn_what_one_process_does(
    tmp_path: Path, tiny_recipe: MakeRecipe, processes: int
) -> None:
    if int(subprocess.run(["sinfo", "-h", "-o", "%D"], capture_output=True, text=True).stdout.split()[0]) < 2:
        pytest.skip("this cluster has one node")
    launch = Launch(launcher="slurm", time_min=20, poll_s=1, nodes=2, processes=processes)
    two = train(tiny_recipe(), tmp_path / "two", launch=launch, report=False)
    one = train(tiny_recipe(), tmp_path / "one", report=False)
    _assert_same_losses(one, two)
    started = [file.read_text() for file in (two.path / "logs" / "slurm").glob("*.out")]
    places = {place for text in started for place in re.findall(r"node=\d\(\d\), global_rank=\d\(\d\)", text)}
    ranks = range(2 * processes)
    # The last job, which needs no other process, has one node.
    assert places == {f"node={rank // processes}(2), global_rank={rank}({len(ranks)})" for rank in ranks} | {
        "node=0(1), global_rank=0(1)"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_slurm_refuses_in_a_sentence(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    with pytest.raises(BadInput, match=r"Slurm did not take the jobs: "):
        train(tiny_recipe(), tmp_path / "run", launch=Launch(launcher="slurm", partition="nowhere"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_of_four_experts_one_cancelled_and_one_with_bad_data_the_others_finish(
    tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    recipe = _four_experts(tmp_path, tiny_recipe)
    run, file = tmp_path / "run", tmp_path / "recipe.toml"
    file.write_text(_toml(recipe))
    command = [sys.executable, "-m", "xelm", "train", str(file), "--out", str(run), "--launcher", "slurm"]
    dry_run(recipe, run)
    spoilt = next((run / "cache").glob("rus-*")) / "tokens.bin"
    good = spoilt.read_bytes()
    spoilt.write_bytes(np.full(len(good) // 2, 60_000, dtype=np.uint16).tobytes())

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    cancelled = _when_one_runs(run, but="rus")
    subprocess.run(["scancel", read_json(run / "work" / "slurm" / "jobs.json")[cancelled]], check=True)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: 2 of 5 models failed; finished models are kept.")
    assert f"{cancelled}: Slurm job" in last
    assert "CANCELLED" in last
    states = {model.name: model.state for model in run_status(run).models}
    failed = next(name for name in states if name.endswith("rus"))
    assert states.pop(failed) == "failed"
    assert states.pop(cancelled) == "pending"
    assert set(states.values()) == {"done"}

    made = {name: (run / "experts" / name / "model.safetensors").stat().st_mtime for name in states if name != "base"}
    spoilt.write_bytes(good)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {name: (run / "experts" / name / "model.safetensors").stat().st_mtime for name in made} == made
    train(recipe, tmp_path / "undisturbed")
    assert _contents(run) == _contents(tmp_path / "undisturbed")


def _four_experts(folder: Path, tiny_recipe: MakeRecipe) -> Recipe:
    words = {**WORDS, "tur": "ev su sabah akşam sokak güzel büyük çocuk ekmek güneş gün gece ve bu bir değil"}
    for code, line in words.items():
        rows = sentences(code, 60) if code in WORDS else [f"{' '.join(line.split()[i % 9 :])} {i}." for i in range(60)]
        write_jsonl(folder / "corpus" / f"{code}.jsonl", rows)
    base = train(tiny_recipe(clusters={"k": 1}, train={"dense": False}), folder / "first", report=False)
    return tiny_recipe(
        base={"new": None, "model": str(base.folder("base"))},
        data={"path": str(folder / "corpus")},
        clusters={"k": 4},
        # Long enough that one can be cancelled on its way: it trains on until Slurm's KillWait (here 5 s) is over.
        train={"tokens": 800_000, "dense": False, "checkpoint_every_steps": 20},
    )


def _toml(recipe: Recipe) -> str:
    lines = []
    for section in ("base", "data", "clusters", "train"):
        keys = {key: value for key, value in vars(getattr(recipe, section)).items() if value not in (None, {})}
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    return "\n".join(lines)


def _when_one_runs(run: Path, *, but: str) -> str:
    """The first expert that has a checkpoint."""
    ends_at = time.monotonic() + 120
    while time.monotonic() < ends_at:
        if (run / "xelm.json").is_file() and (run / "work" / "slurm" / "jobs.json").is_file():
            for model in run_status(run).models:
                if model.state == "running" and model.checkpoint_step and not model.name.endswith(but):
                    return model.name
        time.sleep(0.2)
    raise AssertionError("no expert began")


def _assert_same_losses(one: ExpertSet, two: ExpertSet) -> None:
    # Two halves of a sum are added in another order: equal bits would mean that nothing was shared.
    assert _contents(one.path) != _contents(two.path)
    for name in one.models:
        losses = [[point["loss"] for point in experts.history(name)] for experts in (one, two)]
        assert len(losses[0]) > 3
        assert np.allclose(*losses, rtol=0, atol=1e-4), name


def _contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in [*kept_files(run), "xelm.json"]}
