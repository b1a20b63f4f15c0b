"""Between a request and the engine: a job goes in, its events come back as an answer or a stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import Request

from clustering.errors import BadInput
from xelm.serving.engine.engine import Busy, Engine
from xelm.serving.engine.jobs import Event, Job, Prompt
from xelm.serving.envelope import Choice, Envelope, error_body
from xelm.serving.limits import Limits
from xelm.serving.metrics import Metrics
from xelm.serving.refused import CLIENT_LEFT, Refused, refusal
from xelm.serving.schema import ChatRequest, CompletionRequest

_LOOK_FOR_CLIENT_S = 1.0
News = asyncio.Queue[Event]


class Exchange:
    """Hands jobs to an engine and waits for them.

    Args:
        engine: The engine that answers the jobs.
        limits: Limits of a request.
        metrics: Counts the answers.
    """

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics):
        self.engine, self._limits, self._metrics = engine, limits, metrics

    async def prepare(self, work: Callable[[], list[Prompt]]) -> list[Prompt]:
        """Tokenise prompts on another thread.

        Raises:
            Refused: If they cannot be tokenised.
        """
        try:
            return await asyncio.to_thread(work)
        except BadInput as error:
            raise refusal(error, 400) from None

    async def submit(
        self, prompts: Sequence[Prompt], asked: CompletionRequest | ChatRequest, max_tokens: int, deadline_s: float
    ) -> tuple[Job, News]:
        """Put a request in the engine's queue.

        Events of a request that streams come as they are made; those of another come together at its end, since waking
        every client at every token takes longer than a small model's step.

        Raises:
            Refused: If the model is unknown, a prompt does not fit, or the queue is full.
        """
        news: News = asyncio.Queue()
        loop = asyncio.get_running_loop()

        untold: deque[Event] = deque()

        def hand_over() -> None:
            while untold:
                news.put_nowait(untold.popleft())

        def tell(event: Event) -> None:
            untold.append(event)
            # While the server shuts down, the loop may be gone before the engine.
            if (asked.stream or event.is_end or event.error) and not loop.is_closed():
                loop.call_soon_threadsafe(hand_over)

        try:
            self.engine.lm.policy(asked.model)
        except BadInput as error:
            raise refusal(error, 404, "model_not_found") from None
        try:
            answers = self.engine.answers(
                prompts,
                asked.model,
                asked.sampling,
                max_tokens=min(max_tokens, self._limits.max_tokens),
                stops=asked.stops,
                n=asked.n,
                num_logprobs=asked.num_logprobs,
            )
            job = Job(answers, asked.model, deadline_s, tell)
            self.engine.submit(job)
        except BadInput as error:
            raise refusal(error, 400) from None
        except Busy as error:
            raise Refused(503, str(error), "server_error") from None
        return job, news

    async def whole(self, request: Request, job: Job, news: News) -> list[Choice]:
        """Wait for all answers.

        Raises:
            Refused: If the job failed, or the client left.
        """
        choices = [Choice(finish_reason=answer.finish_reason) for answer in job.answers]
        try:
            while True:
                event = await _next(news, job)
                if event is None:
                    if await request.is_disconnected():
                        raise Refused(CLIENT_LEFT, "the client left.")
                    continue
                if event.error:
                    raise Refused(event.status, event.error, "server_error")
                if event.is_end:
                    self._metrics.answers(job.answers)
                    return choices
                choices[event.index].take(event)
        finally:
            job.cancelled.set()

    async def stream(self, job: Job, news: News, envelope: Envelope, *, wants_usage: bool) -> AsyncIterator[str]:
        """The answers as server-sent events, piece by piece."""
        try:
            while True:
                event = await _next(news, job)
                if event is None:
                    continue
                if event.error:
                    yield _sse(error_body(event.error, "server_error"))
                    return
                if event.is_end:
                    self._metrics.answers(job.answers)
                    if wants_usage:
                        yield _sse(envelope.usage_piece(job.answers))
                    yield "data: [DONE]\n\n"
                    return
                yield _sse(envelope.piece(event))
        finally:
            job.cancelled.set()

    async def with_echo(self, choices: list[Choice], job: Job, asked: CompletionRequest) -> list[Choice]:
        """The same answers with their prompts in front, and the prompts' log-probabilities if they are wanted.

        Raises:
            Refused: If the run's experts do not all fit into memory.
        """
        prompts = [answer.prompt for answer in job.answers]
        scored: dict[int, list[Any]] = {}
        if asked.logprobs is not None:
            try:
                scored = await asyncio.to_thread(self.engine.prompt_log_probs, prompts, asked.model, asked.logprobs)
            except BadInput as error:
                raise refusal(error, 400) from None
        for choice, prompt in zip(choices, prompts, strict=True):
            choice.text = prompt.text + choice.text
            choice.log_probs = scored.get(id(prompt), []) + choice.log_probs
        return choices


async def _next(news: News, job: Job) -> Event | None:
    """The next event; None if there is none for a while. A job past its time limit ends, whatever the engine does."""
    if not news.empty():
        return news.get_nowait()
    try:
        return await asyncio.wait_for(news.get(), _LOOK_FOR_CLIENT_S)
    except TimeoutError:
        if time.monotonic() > job.deadline_s + _LOOK_FOR_CLIENT_S:
            return Event(error="the time limit passed.", status=504, is_end=True)
        return None


def _sse(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
