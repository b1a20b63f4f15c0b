"""Turns of jobs: they share passes and the machine, so that no client waits for another client's long answer.

A pass holds rows of several jobs that the same experts answer, taken one from each job in turn: the more rows an expert
has at a time, the less each costs. While other jobs wait, it ends after a slice of time,
and its rows continue later from the tokens that they have. A job without any pass so far comes first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from xelm.serving.engine.jobs import Answer, Event, Job

SHORTEST_SLICE_S = 0.1
# Reading all tokens again costs as much as the first step of a pass, so a slice is this many times its length.
_STEPS_FOR_ANOTHER, _STEPS_FOR_A_NEW_JOB = 8, 1
# Rows that end within so many times that cost go on to their end, whoever waits.
_STEPS_TO_THE_END = 4
_MOST_CREDIT_S = 2.0


@dataclass(frozen=True)
class Row:
    """One answer of a job, in a pass."""

    job: Job
    index: int

    @property
    def answer(self) -> Answer:
        """The answer itself."""
        return self.job.answers[self.index]

    def announce(self) -> None:
        """Tell the client the route, once."""
        if not self.answer.is_announced:
            self.answer.is_announced = True
            self.job.tell(Event(self.index, route=self.answer.route))

    def step(self, token: int) -> bool:
        """Add the row's newest token; return whether the row is done."""
        answer = self.answer
        if answer.finish_reason is None and not self.job.is_over:
            text = answer.add(token)
            log_probs = tuple(answer.log_probs[-1:])
            if text or log_probs or answer.finish_reason:
                self.job.tell(Event(self.index, text, answer.finish_reason, log_probs=log_probs))
        return answer.finish_reason is not None or self.job.is_over


def take_rows(waiting: deque[Job], most: int) -> list[Row]:
    """The rows of the next pass: in turn one of each job, all under the policy and of the group of the first one.

    Args:
        waiting: Jobs with unfinished answers, in their order; those that get a share are moved to the end. Answers
            without a route wait.
        most: Largest number of rows of a pass.
    """
    routed = [job for job in waiting if any(job.answers[index].route for index in job.unfinished)]
    jobs = [job for job in routed if not job.num_passes] or routed
    if not jobs:
        return []
    first = next(job.answers[index] for job in [jobs[0]] for index in job.unfinished if job.answers[index].route)
    sharing = [job for job in jobs if job.policy == jobs[0].policy]
    left = {id(job): deque(_of_group(job, first)) for job in sharing}
    rows: list[Row] = []
    while len(rows) < most and any(left.values()):
        rows += [Row(job, left[id(job)].popleft()) for job in sharing if left[id(job)]][: most - len(rows)]
    served = {id(row.job) for row in rows}
    for job in sharing:
        if id(job) in served:
            waiting.remove(job)
            waiting.append(job)
            job.num_passes += 1
    return rows


def _of_group(job: Job, first: Answer) -> list[int]:
    answers = ((index, job.answers[index]) for index in job.unfinished)
    return [index for index, answer in answers if answer.route and answer.group == first.group]


@dataclass
class Slice:
    """How long the rows of one batch may continue while others wait."""

    rows: Sequence[Row]
    credit_s: float = 0.0
    """Time by which batches before went on longer than they had to: new jobs may come that much earlier now."""
    started_s: float = field(default_factory=time.monotonic)
    _first_step_s: float | None = None
    """Seconds of the batch's first step, which reads all prompts."""
    left_s: float = 0.0
    """The credit of the batch that comes next."""
    _num_steps: int = 0
    """Number of steps after the first."""

    def is_used_up(self, waiting: Sequence[Job], *, wanted: bool = False) -> bool:
        """Whether it is the turn of another job; call it after each step.

        Args:
            waiting: Jobs with unfinished answers, including those of the batch.
            wanted: Whether a short task beside the jobs needs the models.
        """
        now_s = time.monotonic()
        if self._first_step_s is None:
            self._first_step_s = now_s - self.started_s
            return False
        self._num_steps += 1
        spent_s = now_s - self.started_s - self._first_step_s
        cost_s = _STEPS_FOR_A_NEW_JOB * self._first_step_s
        self.left_s = min(_MOST_CREDIT_S, self.credit_s + spent_s - cost_s)
        if self.left_s < 0 or self.credit_s + spent_s < SHORTEST_SLICE_S:
            return False
        if self._ends_soon(spent_s / self._num_steps):
            return False
        if wanted or any(not job.num_passes for job in waiting):
            return True
        if spent_s < max(SHORTEST_SLICE_S, _STEPS_FOR_ANOTHER * self._first_step_s):
            return False
        ours = {(id(row.job), row.index) for row in self.rows}
        return any((id(job), index) not in ours for job in waiting for index in job.unfinished)

    def _ends_soon(self, step_s: float) -> bool:
        """Whether going on to the end costs little beside reading all again later."""
        left = [row.answer.num_left for row in self.rows if row.answer.finish_reason is None and not row.job.is_over]
        return max(left, default=0) * step_s <= _STEPS_TO_THE_END * (self._first_step_s or 0.0)
