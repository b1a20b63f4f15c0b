"""Turns of jobs: they share passes and the machine, so that no client waits for another client's long answer.

A pass holds rows of several jobs that the same experts answer, taken one from each job in turn: the more rows an expert
has at a time, the less each costs. It ends as soon as a row is finished or a new job comes, and after a while in favour
of others that wait: where rows keep their caches, going on later costs nothing. Where models keep none, all tokens are
read again, so a pass is then cut less readily.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from xelm.serving.engine.jobs import Answer, Event, Job

SHORTEST_TURN_S = 0.1
# What has to be done again after an interruption may be at most such a part of a turn.
_TIMES_AS_LONG = 8
# Rows that end within so many times that cost go on to their end, whoever waits.
_TIMES_TO_THE_END = 4


@dataclass(frozen=True)
class Row:
    """One answer of a job, in a pass."""

    job: Job
    index: int

    @property
    def answer(self) -> Answer:
        """The answer itself."""
        return self.job.answers[self.index]

    @property
    def is_done(self) -> bool:
        """Whether it needs no further token."""
        return self.answer.finish_reason is not None or self.job.is_over

    def announce(self) -> None:
        """Tell the client the route, once."""
        if not self.answer.is_announced:
            self.answer.is_announced = True
            self.job.tell(Event(self.index, route=self.answer.route))

    def step(self, token: int) -> bool:
        """Add the row's newest token, and tell the client; return whether the row is done."""
        answer = self.answer
        if not self.is_done:
            text = answer.add(token)
            log_probs = tuple(answer.log_probs[-1:])
            if text or log_probs or answer.finish_reason:
                self.job.tell(Event(self.index, text, answer.finish_reason, log_probs=log_probs))
            if self.job.is_done:
                self.job.end(Event(is_end=True))
        return self.is_done


def take_rows(waiting: deque[Job], most: int, *, new_first: bool = True) -> list[Row]:
    """The rows of the next pass: in turn one of each job, all under the policy and of the group of the first one.

    Args:
        waiting: Jobs with unfinished answers, in their order; those that get a share are moved to the end. Answers
            without a route wait.
        most: Largest number of rows of a pass.
        new_first: Whether jobs without any pass so far come first.
    """
    jobs = [job for job in waiting if any(job.answers[index].route for index in job.unfinished)]
    if new_first:
        jobs.sort(key=lambda job: job.num_passes > 0)
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
class Turn:
    """How long the rows of a pass may continue while others wait; it begins when they have been read."""

    rows: Sequence[Row]
    owed_s: float = 0.0
    """Time for which new jobs have to wait: as much as reading others' prompts took before."""
    again_s: float = 0.0
    """Time that an interruption costs, since so much is then to be done again."""
    keeps: bool = True
    """Whether the rows keep their caches; if not, all their tokens are read again after an interruption."""
    reads: bool = False
    """Whether the first step reads all tokens."""
    repeats: bool = False
    """Whether these tokens were read before, which may come again."""
    started_s: float = field(default_factory=time.monotonic)
    read_s: float = 0.0
    """Time of the step that read all tokens."""
    spent_s: float = 0.0
    """Time since then."""
    _num_steps: int = 0

    def is_over(self, waiting: Sequence[Job], *, wanted: bool = False) -> bool:
        """Whether the pass ends here; call it after each step.

        Args:
            waiting: Jobs with unfinished answers, including those of the pass.
            wanted: Whether a short task beside the jobs needs the models.
        """
        now_s = time.monotonic()
        if self.reads and not self.read_s:
            self.read_s, self.started_s = now_s - self.started_s, now_s
            self.again_s += self.read_s if self.repeats or not self.keeps else 0.0
        else:
            self._num_steps += 1
            self.spent_s = now_s - self.started_s
        if self.keeps and any(row.is_done for row in self.rows):
            return True
        if self.spent_s < max(self.owed_s, self.again_s) or self._ends_soon():
            return False
        if wanted or any(not job.num_passes for job in waiting):
            return True
        if self.spent_s < max(SHORTEST_TURN_S, _TIMES_AS_LONG * self.again_s):
            return False
        ours = {(id(row.job), row.index) for row in self.rows}
        return any((id(job), index) not in ours for job in waiting for index in job.unfinished)

    def _ends_soon(self) -> bool:
        """Whether going on to the end costs little beside what an interruption costs."""
        if not self.again_s or not self._num_steps:
            return False
        left = [row.answer.num_left for row in self.rows if not row.is_done]
        return max(left, default=0) * self.spent_s / self._num_steps <= _TIMES_TO_THE_END * self.again_s
