"""One thread that answers jobs from a queue, whose rows share passes.

Inside a pass every row keeps its own length, sampling, stop texts, stream and cancellation. Rows are known by their
position in the batch, which the generation passes on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from clustering.errors import BadInput, arg
from router.mixture.experts import MixedSource
from router.models.pool import TooManyExperts
from router.routes.weigh import Route
from xelm.inference.completions import decoder, prompt_ids, translated
from xelm.inference.routed import RoutedLM
from xelm.inference.routed_lm.able import check_follows_text
from xelm.inference.stream import TextGrowth
from xelm.serving.engine.echo import prompt_log_probs
from xelm.serving.engine.jobs import Answer, Event, Job, Prompt, drop_oldest, num_kept_bytes
from xelm.serving.engine.passes import Passes
from xelm.serving.engine.sampling import Sampling, TokenLogProb
from xelm.serving.engine.turns import Row, take_rows
from xelm.serving.engine.words import in_request

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
        max_kept_bytes: Most memory for the caches of answers that wait for their turn, and of finished ones, which
            prompts that begin alike go on from; what is beyond it is read again.
    """

    def __init__(self, lm: RoutedLM, *, max_batch: int = 32, max_queued: int = 1024, max_kept_bytes: int = 1 << 30):
        if max_batch < 1 or max_queued < 1:
            raise BadInput(f"{arg('max_batch', max_batch)} and {arg('max_queued', max_queued)} must be at least 1.")
        check_follows_text(lm.experts, "a server")
        self.lm = lm
        self._max_batch, self._max_queued = max_batch, max_queued
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running: list[Row] = []
        # Fast tokenizers change their settings at each call, which two threads must not do at the same time.
        self._tokenizing = threading.Lock()
        # Scoring a prompt and generating use the same models, and adapters on one base allow only one pass at a time.
        self._computing = threading.Lock()
        self._num_scoring, self._num_scored = 0, 0
        self._passes = Passes(
            lm, max_batch, max_kept_bytes, waiting=lambda: list(self._waiting), wanted=lambda: self._num_scoring > 0
        )
        self._thread = threading.Thread(target=self._work, name="xelm-engine", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Answers in the queue that are in no running pass."""
        running = {(id(row.job), row.index) for row in list(self._running)}
        return sum((id(job), index) not in running for job in list(self._waiting) for index in job.unfinished)

    @property
    def num_read(self) -> dict[str, int]:
        """Tokens of prompts and answers that models have read, for the `first` time or `again`; and those that they did
        not read, since an earlier prompt of the same expert began alike (`shared`)."""
        return dict(self._passes.num_read)

    @property
    def num_kept_bytes(self) -> int:
        """Memory of the caches of answers that wait for their turn."""
        return num_kept_bytes(answer for job in list(self._waiting) for answer in job.answers)

    @property
    def num_shared_bytes(self) -> int:
        """Memory of the caches that prompts which begin alike go on from."""
        return self._passes.shared.num_bytes

    @property
    def is_alive(self) -> bool:
        """Whether jobs are still answered."""
        return self._thread.is_alive() and not self._closed

    def prompts(self, given: Sequence[str] | Sequence[Sequence[int]]) -> list[Prompt]:
        """Prompts, given as text (which gets the start token) or as token ids (which are used unchanged).

        Raises:
            BadInput: If an id is not in the vocabulary.
        """
        tokenizer = self.lm.tokenizer
        with self._tokenizing:
            texts = [one for one in given if isinstance(one, str)]
            if not texts:
                rows = [[int(token) for token in one] for one in given]
                return [_prompt_of_ids(number, row, tokenizer) for number, row in enumerate(rows)]
            num_lead = len(prompt_ids([""], tokenizer)[0])
            encoded = prompt_ids(texts, tokenizer)
            return [Prompt(text, list(ids), num_lead) for text, ids in zip(texts, encoded, strict=True)]

    def chat(self, make: Callable[[Any], Prompt]) -> Prompt:
        """A prompt that `make` builds with the run's tokenizer, which one thread at a time may use."""
        with self._tokenizing:
            return make(self.lm.tokenizer)

    def prompt_log_probs(self, prompts: Sequence[Prompt], policy: str, num_top: int) -> dict[int, list[TokenLogProb]]:
        """Log-probabilities of the prompts' own tokens, by `id` of the prompt; the running pass ends for it.

        Raises:
            BadInput: If the experts do not all fit into memory.
        """
        with self._changed:
            self._num_scoring += 1
        try:
            with self._computing:
                model = self.lm.as_causal_lm(policy)
                distinct = {id(prompt): prompt for prompt in prompts}
                return {key: prompt_log_probs(model, prompt, num_top) for key, prompt in distinct.items()}
        finally:
            with self._changed:
                self._num_scoring, self._num_scored = self._num_scoring - 1, self._num_scored + 1
                self._changed.notify_all()

    def answers(
        self,
        prompts: Sequence[Prompt],
        policy: str,
        sampling: Sampling,
        *,
        max_tokens: int,
        stops: Sequence[str] = (),
        n: int = 1,
        num_logprobs: int | None = None,
    ) -> list[Answer]:
        """Prepare the answers of a job: `n` in a row for each prompt.

        Raises:
            BadInput: If the policy is unknown, a prompt leaves no room in the context, or there are more answers than
                may ever wait.
        """
        lm = self.lm
        lm.policy(policy)
        if len(prompts) * n > self._max_queued:
            raise BadInput(
                f"{len(prompts)} prompts with n={n} are {len(prompts) * n} answers; this server takes at most "
                f"{self._max_queued} at a time. Send fewer in one request."
            )
        prepared = []
        for index, prompt in enumerate(prompts):
            # Where experts read different pieces, a prompt's length is known only after its routing.
            room = max_tokens if prompt.ids and lm.vocabularies.differ else self._room(prompt.ids, max_tokens, index)
            for number in range(n):
                growth = TextGrowth(decoder(lm.tokenizer), stops)
                most = min(max_tokens, room)
                prepared.append(
                    Answer(prompt, most, growth, lm.end_tokens, sampling, number=number, num_logprobs=num_logprobs)
                )
        return prepared

    def _room(self, ids: Sequence[int], max_tokens: int, index: int) -> int:
        context = self.lm.context
        if not ids or context - len(ids) < bool(max_tokens):
            raise BadInput(
                f"prompt {index} has {len(ids)} tokens; 1 to {context - 1} leave room for an answer in the experts' "
                f"context of {context}."
            )
        return context - len(ids)

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
        """End the thread: answers that no pass has begun are refused; others may continue for a while.

        Args:
            grace_s: How long those that have begun may still take.
            timeout_s: How long to wait for the current token after that.
        """
        with self._changed:
            self._closed = True
            dropped = [job for job in self._waiting if not job.num_passes]
            self._waiting = deque(job for job in self._waiting if job.num_passes)
            self._changed.notify_all()
        for job in dropped:
            job.end(_CLOSING)
        self._thread.join(grace_s)
        for job in list(self._waiting):
            job.cancelled.set()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._settle()
                while not self._waiting and not self._closed:
                    self._changed.wait()
                    self._settle()
                if not self._waiting:
                    return
                unrouted = [job for job in self._waiting if any(answer.route is None for answer in job.answers)]
            if unrouted:
                self._route(unrouted)
            with self._changed:
                # Those that score now go first: a lock alone would mostly be taken again by this thread.
                ready = self._num_scored + self._num_scoring
                while self._num_scored < ready:
                    self._changed.wait()
                self._running = take_rows(self._waiting, self._max_batch, new_first=not self._passes.owed_s)
            if self._running:
                self._answer(self._running)
            self._running = []

    def _route(self, jobs: list[Job]) -> None:
        """Find out which experts answer, of several jobs at a time; a job that they cannot answer is told why."""
        try:
            with self._computing:
                self._routed([Row(job, index) for job in jobs for index in range(len(job.answers))])
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._route([job])
                return
            self._failed(jobs, error)

    def _settle(self) -> None:
        """Send the last event of jobs that are finished or that no client waits for any more, and remove them."""
        for job in list(self._waiting):
            if job.is_done:
                self._end(job, Event(is_end=True))
            elif job.is_over:
                self._end(job, _CLOSING if self._closed else _LATE)

    def _end(self, job: Job, event: Event) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        for answer in job.answers:
            answer.kept = None
        job.end(event)

    def _answer(self, rows: list[Row]) -> None:
        jobs = list({id(row.job): row.job for row in rows}.values())
        try:
            with self._computing:
                self._generate(rows)
        except Exception as error:
            # Memory may be what lacked; what was kept is read again.
            drop_oldest((answer for job in list(self._waiting) for answer in job.answers), 0)
            self._passes.shared.drop(0)
            if len(jobs) > 1:
                # One job may have made all fail, so each is tried again without the others.
                for job in jobs:
                    self._answer([row for row in rows if row.job is job and row.answer.finish_reason is None])
                return
            self._failed(jobs, error)

    def _failed(self, jobs: list[Job], error: Exception) -> None:
        # Wrong files or settings are explained by a sentence; any other error needs its traceback.
        logger.error("A batch failed: %s", error, exc_info=not isinstance(error, BadInput))
        status = 400 if isinstance(error, TooManyExperts) else 500
        with self._changed:
            for job in jobs:
                self._end(job, Event(error=_public(error), status=status, is_end=True))

    def _generate(self, rows: list[Row]) -> None:
        self._passes.run(rows)

    def _routed(self, rows: list[Row]) -> None:
        """Give rows their routes and groups; jobs that their experts cannot answer are told why, and end."""
        new = [row for row in rows if row.answer.route is None]
        refused: dict[int, tuple[Job, str]] = {}
        for row, route in zip(new, self.lm.route([row.answer.prompt.text for row in new]) if new else [], strict=True):
            try:
                self._read_with(row, route)
            except BadInput as error:
                refused[id(row.job)] = (row.job, str(error))
                continue
            names = self.lm.experts_for(route, row.job.policy)
            row.answer.reader = names[0] if len(names) == 1 else None
            # One pass serves them all where one model has all adapters.
            row.answer.group = () if row.answer.reader and isinstance(self.lm.models, MixedSource) else names
            row.answer.route = route
        with self._changed:
            for job, why in refused.values():
                self._end(job, Event(error=why, status=400, is_end=True))

    def _read_with(self, row: Row, route: Route) -> None:
        """Let an answer be read with the tokenizer of its experts, if they have one of their own."""
        lm = self.lm
        if not lm.vocabularies.differ:
            return
        answer, tokenizer = row.answer, lm.tokenizer_for(route, row.job.policy)
        ids = answer.prompt.ids
        if tokenizer is not lm.tokenizer:
            if answer.num_logprobs is not None:
                raise BadInput("logprobs: the expert of this text reads pieces of its own, which no answer can name.")
            with self._tokenizing:
                ids = translated(ids, lm.tokenizer, tokenizer)
        answer.read_with(ids, decoder(tokenizer), self._room(ids, answer.max_tokens, row.index))


def _prompt_of_ids(number: int, ids: list[int], tokenizer: Any) -> Prompt:
    wrong = [token for token in ids if not 0 <= token < len(tokenizer)]
    if wrong:
        raise BadInput(f"prompt {number}: token {wrong[0]}; the vocabulary has 0 to {len(tokenizer) - 1}.")
    return Prompt(tokenizer.decode(ids, skip_special_tokens=True), ids)


def _public(error: Exception) -> str:
    """The message for a client: it may learn about memory, but not about files and code."""
    if isinstance(error, TooManyExperts):
        return error.spelled(in_request)
    if "out of memory" in str(error).lower():
        return "out of memory: ask for fewer or shorter answers."
    return "the answer could not be generated; the server's log says why."
