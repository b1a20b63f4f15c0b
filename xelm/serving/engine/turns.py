"""Turns of jobs: they share passes and the machine, so that no client waits for another client's long answer.

A pass holds rows of several jobs, taken one from each in turn. While other jobs wait, it ends after a slice of time,
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


@dataclass(frozen=True)
class Row:
    """One answer of a job, in a pass."""

    job: Job
    index: int

    @property
    def answer(self) -> Answer:
        """The answer itself."""
        return self.job.answers[self.index]

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
    """The rows of the next pass: in turn one of each job, all under the policy of the first one.

    Args:
        waiting: Jobs with unfinished answers, in their order; those that get a share are moved to the end.
        most: Largest number of rows of a pass.
    """
    new = [job for job in waiting if not job.num_passes]
    jobs = new or list(waiting)
    sharing = [job for job in jobs if job.policy == jobs[0].policy]
    left = {id(job): deque(job.unfinished) for job in sharing}
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


@dataclass
class Slice:
    """How long the rows of one batch may continue while others wait."""

    rows: Sequence[Row]
    started_s: float = field(default_factory=time.monotonic)
    _first_step_s: float | None = None
    """Seconds of the batch's first step, which reads all prompts."""

    def is_used_up(self, waiting: Sequence[Job], *, wanted: bool = False) -> bool:
        """Whether it is the turn of another job; call it after each step.

        Args:
            waiting: Jobs with unfinished answers, including those of the batch.
            wanted: Whether a short task beside the jobs needs the models.
        """
        now_s = time.monotonic()
        if self._first_step_s is None:
            self._first_step_s = now_s - self.started_s
        spent_s = now_s - self.started_s - self._first_step_s
        if spent_s < max(SHORTEST_SLICE_S, _STEPS_FOR_A_NEW_JOB * self._first_step_s):
            return False
        if wanted or any(not job.num_passes for job in waiting):
            return True
        if spent_s < max(SHORTEST_SLICE_S, _STEPS_FOR_ANOTHER * self._first_step_s):
            return False
        ours = {(id(row.job), row.index) for row in self.rows}
        return any((id(job), index) not in ours for job in waiting for index in job.unfinished)
