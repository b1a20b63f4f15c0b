"""A model shared out over processes (FSDP) learns what a whole one does, and its files are those of a whole one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from clustering.files import read_json
from tests.xelm.training_parts import sharded_model, sharded_stage, stage_of, tiny_llama
from xelm.training.loop import train_stage

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "tied", "lora", "chunks", "unread"])
def test_two_processes_with_half_a_model_each_learn_what_one_does(tmp_path: Path, kind: str) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    _train_shared_out(two, kind)
    model = sharded_model(kind)
    trained = train_stage(model, sharded_stage(one, kind), lambda _: None)
    _assert_near(two, {"history": trained.history, "evaluations": trained.evaluations})
    model.save_pretrained(one / "model")
    assert _weights(two / "model").keys() == _weights(one / "model").keys()
    for name, value in _weights(one / "model").items():
        torch.testing.assert_close(_weights(two / "model")[name], value, rtol=0, atol=1e-5)

    # What two processes left off, one goes on with: its checkpoint is of a whole model.
    shutil.copytree(two / "interrupted", tmp_path / "after" / "checkpoints")
    steps: list[int] = []
    stage = sharded_stage(tmp_path / "after", kind)
    after = train_stage(sharded_model(kind), stage, lambda point: steps.append(point["step"]))
    assert steps[0] == 6, "the checkpoint is of step 5"
    _assert_near(two, {"history": after.history, "evaluations": after.evaluations})


def _train_shared_out(folder: Path, kind: str) -> None:
    script = [str(REPOSITORY / "tests" / "xelm" / "sharded_training.py"), str(folder), kind]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *script]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def _assert_near(folder: Path, whole: dict[str, Any]) -> None:
    shared = read_json(folder / "history.json")
    assert len(shared["history"]) == len(whole["history"]) == 12
    losses = [[point["loss"] for point in curve["history"]] for curve in (shared, whole)]
    assert np.allclose(*losses, rtol=0, atol=1e-4)
    assert len(shared["evaluations"]) == len(whole["evaluations"])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*.safetensors")))


def test_shards_without_gpus_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    if torch.cuda.device_count() > 1:
        pytest.skip("there are GPUs")
    with pytest.raises(BadInput, match="fsdp=True needs several processes and a GPU for each"):
        train_stage(tiny_llama(), stage_of(tmp_path), lambda _: None)
