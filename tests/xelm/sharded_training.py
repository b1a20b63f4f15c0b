"""Trains a tiny model in the processes that torchrun starts, shared out over them; called by test_sharding.py.

accelerate shares models out on GPUs only, so here its state is told that it does; all that follows is the real thing,
over gloo: torch shards, gathers and reduces.

    torchrun --nproc-per-node 2 tests/xelm/sharded_training.py FOLDER full|lora|tied|chunks|unread
"""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from clustering.files import write_json
from tests.xelm.training_parts import sharded_model, sharded_stage
from xelm.training.loop import step_for_step, train_stage
from xelm.training.sharding import ask_for_shards, whole_weights

_INTERRUPTED_AFTER = 7


def main() -> None:
    """Train, be interrupted, go on from the checkpoint; write the curve and the model."""
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    ask_for_shards()
    _pretend_that_the_cpu_is_fit()
    stage = sharded_stage(folder, kind)
    for _ in itertools.islice(step_for_step(sharded_model(kind), stage), _INTERRUPTED_AFTER):
        pass
    if PartialState().is_main_process:
        shutil.copytree(stage.checkpoints, folder / "interrupted")
    PartialState().wait_for_everyone()
    model = sharded_model(kind)
    trained = train_stage(model, stage, lambda _: None)
    assert any(isinstance(p, DTensor) and p.to_local().shape != p.shape for p in model.parameters()), "not shared out"
    weights = whole_weights(model)
    if PartialState().is_main_process:
        model.save_pretrained(folder / "model", state_dict=weights)
        write_json(folder / "history.json", {"history": trained.history, "evaluations": trained.evaluations})
    PartialState().wait_for_everyone()
    torch.distributed.destroy_process_group()


def _pretend_that_the_cpu_is_fit() -> None:
    plugin = FullyShardedDataParallelPlugin()
    Accelerator(cpu=True)
    for state in (PartialState, AcceleratorState):
        state._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState().fsdp_plugin = plugin


if __name__ == "__main__":
    main()
