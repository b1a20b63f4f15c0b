"""One thread that answers jobs from a queue, those that sample alike together in a batch.

A batch is generated to its end before the next one starts; inside it every row keeps its own length, stop texts, stream
and cancellation. Rows are told apart by their place in the batch, which the generation hands over.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from clustering.errors import BadInput
from router.models.pool import TooManyExperts
from xelm.inference.completions import decoder, prompt_ids
from xelm.inference.routed import RoutedLM
from xelm.inference.stream import TextGrowth
from xelm.serving.jobs import Answer, Event, Job, Sampling

logger = logging.getLogger(__name__)
_LATE = Event(error="the time limit passed.", status=504, is_end=True)
_CLOSING = Event(error="the server is shutting down.", status=503, is_end=True)


class Busy(Exception):
    """The queue is full or closed."""


class Engine:
    """Answers jobs over a run.

    Args:
        lm: The run.
        max_batch: Most answers in one pass, >= 1.
        max_queued: Most answers that wait, >= 1; more are refused.
    """

    def __init__(self, lm: RoutedLM, *, max_batch: int = 32, max_queued: int = 1024):
        if max_batch < 1 or max_queued < 1:
            raise BadInput(f"max_batch={max_batch} and max_queued={max_queued} must be at least 1.")
        self.lm = lm
        self._max_batch, self._max_queued = max_batch, max_queued
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running: list[Job] = []
        # Fast tokenizers set themselves up anew at each call, which two threads may not do at once.
        self._tokenizing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="xelm-engine", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Answers in the queue."""
        return sum(len(job.answers) for job in list(self._waiting))

    @property
    def is_alive(self) -> bool:
        """Whether jobs are still answered."""
        return self._thread.is_alive() and not self._closed

    def answers(
        self, prompts: Sequence[str], sampling: Sampling, *, max_tokens: int, stops: Sequence[str] = (), n: int = 1
    ) -> list[Answer]:
        """Prepare the answers of a job: `n` for each prompt in a row.

        Raises:
            BadInput: If the policy is unknown, or a prompt leaves no room in the context.
        """
        lm, prepared = self.lm, []
        lm.policy(sampling.policy)
        with self._tokenizing:
            encoded = prompt_ids(prompts, lm.tokenizer)
        for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
            room = lm.context - len(ids)
            if not ids or room < 1:
                raise BadInput(
                    f"prompt {index} has {len(ids)} tokens; 1 to {lm.context - 1} leave room for an answer in the "
                    f"experts' context of {lm.context}."
                )
            for _ in range(n):
                growth = TextGrowth(decoder(lm.tokenizer), stops)
                prepared.append(Answer(prompt, ids, min(max_tokens, room), growth, lm.end_tokens))
        return prepared

    def submit(self, job: Job) -> None:
        """Put a job in the queue.

        Raises:
            Busy: If the queue is full, or the engine is closed.
        """
        with self._changed:
            if self._closed:
                raise Busy("the server is shutting down.")
            if self.num_waiting + len(job.answers) > self._max_queued:
                raise Busy(f"{self._max_queued} answers are waiting already; try again later.")
            self._waiting.append(job)
            self._changed.notify()

    def close(self, grace_s: float = 0.0, timeout_s: float = 10.0) -> None:
        """End the thread: what waits is refused, what runs may go on for a while and is then given up.

        Args:
            grace_s: How long running answers may still take.
            timeout_s: How long to wait for the token at hand after that.
        """
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for job in dropped:
            job.tell(_CLOSING)
        self._thread.join(grace_s)
        for job in self._running:
            job.cancelled.set()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                self._running = self._take()
            self._answer(self._running)

    def _take(self) -> list[Job]:
        """The oldest job and those behind it that can share its batch; jobs that nobody waits for are dropped."""
        taken: list[Job] = []
        left: deque[Job] = deque()
        num_rows = 0
        for job in self._waiting:
            if job.is_over:
                job.tell(_LATE)
            elif not taken or (
                job.sampling == taken[0].sampling
                and job.sampling.seed is None
                and num_rows + len(job.answers) <= self._max_batch
            ):
                taken.append(job)
                num_rows += len(job.answers)
            else:
                left.append(job)
        self._waiting = left
        return taken

    def _answer(self, jobs: list[Job]) -> None:
        try:
            if jobs:
                self._generate(jobs)
        except Exception as error:
            untouched = [job for job in jobs if not job.has_begun] if len(jobs) > 1 else []
            failed = [job for job in jobs if job not in untouched and not job.is_done]
            if failed:
                # What is wrong with files or settings is said in a sentence; anything else needs its traceback.
                logger.error("A batch failed: %s", error, exc_info=not isinstance(error, BadInput))
            status = 400 if isinstance(error, TooManyExperts) else 500
            for job in failed:
                job.tell(Event(error=_public(error), status=status, is_end=True))
            # One job may be to blame for all: the others get their answers without it.
            for job in untouched:
                self._answer([job])
            jobs = [job for job in jobs if job.is_done and job not in untouched]
        for job in jobs:
            given_up = _CLOSING if self._closed else _LATE
            job.tell(Event(is_end=True) if job.is_done else given_up)

    def _generate(self, jobs: list[Job]) -> None:
        import torch

        sampling = jobs[0].sampling
        rows = [_Row(job, index, answer) for job in jobs for index, answer in enumerate(job.answers)]
        routes = self.lm.route([row.answer.prompt for row in rows])
        for row, route in zip(rows, routes, strict=True):
            row.job.tell(Event(row.index, route=route))
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        self.lm.complete_ids(
            [row.answer.ids for row in rows],
            routes,
            sampling.policy,
            max_new_tokens=max(row.answer.max_tokens for row in rows),
            batch_size=self._max_batch,
            eos_token_id=sorted(self.lm.end_tokens) or None,
            for_batch=lambda chosen: {"stopping_criteria": _watch([rows[index] for index in chosen])},
            **sampling.options,
        )


class _Row:
    """A row of a batch: one answer of a job."""

    def __init__(self, job: Job, index: int, answer: Answer):
        self.job, self.index, self.answer = job, index, answer

    def step(self, token: int) -> bool:
        """Take the row's newest token; whether the row is done."""
        if self.answer.finish_reason is None and not self.job.is_over:
            text = self.answer.add(token)
            if text or self.answer.finish_reason:
                self.job.tell(Event(self.index, text, self.answer.finish_reason))
        return self.answer.finish_reason is not None or self.job.is_over


def _watch(rows: list[_Row]) -> Any:
    """Stopping criteria that hand every new token to its row."""
    import torch
    from transformers import StoppingCriteriaList

    def step(input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
        done = [row.step(token) for row, token in zip(rows, input_ids[:, -1].tolist(), strict=True)]
        return torch.tensor(done, device=input_ids.device)

    return StoppingCriteriaList([step])


def _public(error: Exception) -> str:
    """What a client is told: memory is its business, files and code are not."""
    if isinstance(error, TooManyExperts):
        return str(error)
    if "out of memory" in str(error).lower():
        return "out of memory: ask for fewer or shorter answers."
    return "the answer could not be generated; the server's log says why."
