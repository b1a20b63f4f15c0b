"""Heads that change the model: low-rank adapters of the task, or all weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.transferring.heads.head import Desk, Head, Lesson, head

if TYPE_CHECKING:
    import torch

    from xelm.transferring.bases.network import TaskNetwork

_WARMUP = 0.1
_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.01
_BATCH_TO_READ = 32


class Tuned(Head):
    """A model and a linear head trained together (AdamW; the learning rate rises, then falls, linearly)."""

    default_learning_rate = 0.0

    def key(self) -> list[Any]:
        s = self.settings
        return [self.name, s.epochs, self._learning_rate, s.batch_size]

    @property
    def _learning_rate(self) -> float:
        return self.settings.learning_rate or self.default_learning_rate

    def cannot(self, readers: Sequence[str], answerers: Sequence[str]) -> str | None:
        experts = sorted(set(readers))
        if len(experts) > 1:
            return f"rows are read by several models ({', '.join(experts)}), and one is trained"
        return None

    def answer(self, lesson: Lesson, desk: Desk) -> dict[str, np.ndarray]:
        import torch

        torch.manual_seed(lesson.seed)
        model, tokenizer = desk.load(lesson.readers[0])
        network, batches = self._network(model, tokenizer, lesson, desk)
        self._train(network, batches, lesson)
        found = {}
        for answerer in dict.fromkeys(lesson.answerers.values()):
            own = network if answerer == lesson.readers[0] else self._moved(network, answerer, lesson, desk)
            for test, rows in lesson.tests.items():
                if lesson.answerers[test] == answerer:
                    found[test] = _read(own, batches, rows)
        return found

    def prepare(self, model: Any) -> Any:
        """Choose which weights of a model train, in place, or wrap it."""
        raise NotImplementedError

    def _moved(self, network: TaskNetwork, answerer: str, lesson: Lesson, desk: Desk) -> TaskNetwork:
        """What was learnt on one model, on another one."""
        raise BadInput(f'adapter = "{self.name}" changes the model itself, so another expert cannot answer with it.')

    def _network(self, model: Any, tokenizer: Any, lesson: Lesson, desk: Desk) -> tuple[TaskNetwork, Any]:
        from xelm.transferring.bases.network import Batches, TaskNetwork

        settings, device = desk.settings, model.device
        prepared = self.prepare(model)
        network = TaskNetwork(prepared, len(lesson.labels), settings.pool).to(device)
        return network, Batches(tokenizer, device, settings.prefix, settings.max_length)

    def _train(self, network: TaskNetwork, batches: Any, lesson: Lesson) -> None:
        import torch

        from xelm.transferring.bases.network import NOT_JUDGED

        s, classes, sizes = self.settings, lesson.classes(), [row.num_units for row in lesson.rows]
        ends = np.cumsum(sizes)
        order_of = np.random.default_rng(lesson.seed)
        steps = s.epochs * -(-len(lesson.rows) // s.batch_size)
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self._learning_rate, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _course(step, steps))
        network.train()
        with show_progress(desc=f"train {self.name}", unit="step", total=steps) as bar:
            for _ in range(s.epochs):
                order = order_of.permutation(len(lesson.rows)).tolist()
                for start in range(0, len(order), s.batch_size):
                    batch = order[start : start + s.batch_size]
                    own = np.concatenate([classes[ends[place] - sizes[place] : ends[place]] for place in batch])
                    if (own >= 0).any():
                        wanted = torch.from_numpy(np.where(own < 0, NOT_JUDGED, own)).to(parameters[0].device)
                        scores = network(*batches.of([lesson.rows[place] for place in batch]))
                        loss = torch.nn.functional.cross_entropy(scores, wanted, ignore_index=NOT_JUDGED)
                        _refuse_no_number(loss)
                        loss.backward()
                        torch.nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
                        optimizer.step()
                        optimizer.zero_grad(set_to_none=True)
                    schedule.step()
                    bar.update(1)


@head
class LoraHead(Tuned):
    """Low-rank adapters on all linear layers (Hu et al. 2022), which another expert can carry too (as in MAD-X)."""

    name = "lora"
    default_learning_rate = 5e-4

    def key(self) -> list[Any]:
        return [*super().key(), self.settings.rank]

    def prepare(self, model: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        rank = self.settings.rank
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.05)
        return get_peft_model(model, config)

    def _moved(self, network: TaskNetwork, answerer: str, lesson: Lesson, desk: Desk) -> TaskNetwork:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        model, tokenizer = desk.load(answerer)
        other, _ = self._network(model, tokenizer, lesson, desk)
        set_peft_model_state_dict(other.model, get_peft_model_state_dict(network.model))
        other.head = copy.deepcopy(network.head)
        return other


@head
class Full(Tuned):
    """All weights of the model."""

    name = "full"
    default_learning_rate = 5e-5

    def cannot(self, readers: Sequence[str], answerers: Sequence[str]) -> str | None:
        if not set(answerers) <= set(readers):
            return "all weights were changed, so another expert cannot answer with what was learnt"
        return super().cannot(readers, answerers)

    def prepare(self, model: Any) -> Any:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model


def _read(network: TaskNetwork, batches: Any, rows: Sequence[Any]) -> np.ndarray:
    import torch

    network.eval()
    order = sorted(range(len(rows)), key=lambda place: (-len(rows[place].text), place))
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH_TO_READ):
            batch = order[start : start + _BATCH_TO_READ]
            own = torch.softmax(network(*batches.of([rows[place] for place in batch])), -1).cpu().numpy()
            begin = 0
            for place in batch:
                found[place] = own[begin : begin + rows[place].num_units]
                begin += rows[place].num_units
    return np.concatenate(found)


def _course(step: int, steps: int) -> float:
    """Share of the peak learning rate."""
    warmup = max(1, round(_WARMUP * steps))
    return (step + 1) / warmup if step < warmup else max(0.0, (steps - step) / max(1, steps - warmup))


def _refuse_no_number(loss: torch.Tensor) -> None:
    if not bool(loss.isfinite()):
        raise BadInput(f"the loss is {float(loss)}: lower [train] learning_rate.")
