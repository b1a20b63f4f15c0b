"""Answers of a server that are interrupted and go on: the same answers, and nothing is read twice."""

from __future__ import annotations

import functools
import threading
import time

import pytest
import torch

from tests.xelm.made_runs import TEXTS, make_run
from xelm.inference.routed import RoutedLM

pytest.importorskip("fastapi")

from xelm.serving.engine.engine import Engine
from xelm.serving.engine.jobs import Event, Job
from xelm.serving.engine.sampling import Sampling
from xelm.serving.engine.turns import Row, Turn, take_rows

PROMPTS = [text for texts in TEXTS.values() for text in texts]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {kind: make_run(tmp_path_factory.getbasetemp(), kind) for kind in ("full", "lora")}


@pytest.fixture(scope="module")
def lm(runs):
    return RoutedLM.from_pretrained(runs["full"], device="cpu")


@pytest.fixture
def restless(monkeypatch):
    """Turns end after every step while others wait."""
    monkeypatch.setattr("xelm.serving.engine.turns.SHORTEST_TURN_S", 0.0)
    monkeypatch.setattr("xelm.serving.engine.turns._TIMES_AS_LONG", 0)


def make_job(engine, prompt, policy="top1", *, tell=lambda event: None, max_tokens=12, sampling=None, **more):
    options = {"max_tokens": max_tokens, **more}
    answers = engine.answers(engine.prompts([prompt]), policy, sampling or Sampling(), **options)
    return Job(answers, policy, time.monotonic() + 60, tell)


def wait(*jobs):
    ends_s = time.monotonic() + 60
    while not all(job.is_ended for job in jobs):
        assert time.monotonic() < ends_s
        time.sleep(0.002)


def together(engine, jobs):
    """Submit jobs so that all have come before one is served."""
    with engine._changed:
        for job in jobs:
            engine.submit(job)
    wait(*jobs)


class Reading:
    """How many real tokens the models of a run are given, as their embeddings count them."""

    def __init__(self, monkeypatch):
        from transformers import LlamaForCausalLM

        self.sizes: list[tuple[int, int]] = []
        forward = LlamaForCausalLM.forward

        @functools.wraps(forward)
        def counted(model, *args, **kwargs):
            ids, mask = kwargs["input_ids"], kwargs.get("attention_mask")
            real = ids.numel() if mask is None else int(mask[:, -ids.shape[1] :].sum())
            self.sizes.append((ids.shape[1], real))
            return forward(model, *args, **kwargs)

        monkeypatch.setattr(LlamaForCausalLM, "forward", counted)

    @property
    def tokens(self) -> int:
        """Real tokens in passes that read more than the newest token of each row."""
        return sum(tokens for width, tokens in self.sizes if width > 1)


@pytest.mark.parametrize("policy", ["top1", "german"])
def test_an_interrupted_answer_is_not_read_again(lm, monkeypatch, restless, policy):
    engine, started = Engine(lm), threading.Event()
    reading = Reading(monkeypatch)
    alone = lm.complete([PROMPTS[0]], policy, max_new_tokens=60)[0]
    read_alone, reading.sizes = reading.tokens, []
    assert read_alone == alone.num_prompt_tokens
    written = []

    def tell(event: Event) -> None:
        written.append(event)
        time.sleep(0.01)  # so that the answer is not over before the others come
        if len(written) == 3:
            started.set()

    long = make_job(engine, PROMPTS[0], policy, tell=tell, max_tokens=60)
    engine.submit(long)
    assert started.wait(30)
    shorts = []
    for text in TEXTS["rus"] + TEXTS["deu"]:
        shorts.append(make_job(engine, text, max_tokens=1))
        engine.submit(shorts[-1])
        wait(shorts[-1])
    wait(long)
    engine.close()
    assert long.answers[0].tokens == alone.tokens
    assert long.num_passes > 2
    assert reading.tokens == read_alone + sum(len(job.answers[0].prompt.ids) for job in shorts)
    assert engine.num_read == {"first": reading.tokens} and engine.num_kept_bytes == 0
    assert all(tokens == width for width, tokens in reading.sizes if width > 1)  # each was read alone


@pytest.mark.parametrize(("kind", "max_batch"), [("full", 2), ("lora", 3)])
def test_interrupted_answers_are_those_of_each_prompt_alone(runs, restless, kind, max_batch):
    lm = RoutedLM.from_pretrained(runs[kind], device="cpu")
    asked = [(text, policy) for text in PROMPTS[2:5] for policy in ("top1", "ensemble", "bayes", "dutch")]
    alone = [lm.complete([text], policy, max_new_tokens=9 + place)[0] for place, (text, policy) in enumerate(asked)]
    engine = Engine(lm, max_batch=max_batch)
    jobs = [
        make_job(engine, text, policy, max_tokens=9 + place, num_logprobs=2)
        for place, (text, policy) in enumerate(asked)
    ]
    together(engine, jobs)
    engine.close()
    assert [job.answers[0].tokens for job in jobs] == [answer.tokens for answer in alone]
    assert max(job.num_passes for job in jobs) > 3
    assert engine.num_read == {"first": sum(len(job.answers[0].prompt.ids) for job in jobs)}
    for job, (_, policy) in list(zip(jobs, asked, strict=True))[:4]:
        answer = job.answers[0]
        with torch.inference_mode():
            logits = lm.as_causal_lm(policy)(
                torch.tensor([answer.ids[:-1]]), num_prompt=torch.tensor([len(answer.prompt.ids)])
            ).logits[0]
        wanted = torch.log_softmax(logits.float(), -1)[len(answer.prompt.ids) - 1 :]
        found = [one.log_prob for one in answer.log_probs]
        assert found == pytest.approx(wanted[range(len(answer.tokens)), answer.tokens].tolist(), abs=1e-4)


def test_drawn_answers_stop_texts_and_several_answers_survive_interruptions(lm, restless):
    asked = [
        {"sampling": Sampling(1.0, seed=5), "n": 3},
        {"sampling": Sampling(0.8, top_p=0.9, presence_penalty=0.5, seed=6)},
        {"stops": [lm.generate([PROMPTS[0]], max_new_tokens=20)[0][6:8]]},
        {},
    ]
    engine = Engine(lm, max_batch=2)

    def jobs():
        pieces = [[] for _ in asked]
        made = [
            make_job(engine, PROMPTS[place % 2], max_tokens=25, tell=pieces[place].append, **options)
            for place, options in enumerate(asked)
        ]
        return made, pieces

    alone, _ = jobs()
    for job in alone:
        engine.submit(job)
        wait(job)
    cut, pieces = jobs()
    together(engine, cut)
    engine.close()
    for one, other, events in zip(alone, cut, pieces, strict=True):
        for index, (want, found) in enumerate(zip(one.answers, other.answers, strict=True)):
            assert (found.tokens, found.finish_reason) == (want.tokens, want.finish_reason)
            own = [event for event in events if event.index == index]
            assert own[0].route is not None and own[-1].finish_reason == found.finish_reason
        assert [event.is_end for event in events].count(True) == 1 and events[-1].is_end
    assert cut[2].answers[0].finish_reason == "stop"


def test_beyond_the_bound_the_oldest_caches_are_dropped_and_those_rows_read_again(lm, restless):
    alone = [lm.complete([text], max_new_tokens=15)[0].tokens for text in PROMPTS[:6]]
    engine = Engine(lm, max_kept_bytes=1)
    jobs = [make_job(engine, text, max_tokens=15) for text in PROMPTS[:6]]
    together(engine, jobs)
    engine.close()
    assert [job.answers[0].tokens for job in jobs] == alone
    assert engine.num_read["first"] == sum(len(job.answers[0].prompt.ids) for job in jobs)
    assert engine.num_shared_bytes == 0
    assert engine.num_read["again"] > engine.num_read["first"]


def test_a_finished_answer_is_told_while_its_neighbours_go_on(lm):
    engine, order = Engine(lm), []
    jobs = [
        make_job(engine, text, max_tokens=most, tell=lambda e, most=most: order.append(most) if e.is_end else None)
        for text, most in zip(TEXTS["deu"], (50, 1, 20), strict=True)
    ]
    together(engine, jobs)
    engine.close()
    assert order == [1, 20, 50]
    assert {job.answers[0].group for job in jobs} == {("german",)}


def test_a_cancelled_answer_leaves_no_cache(lm):
    engine, started = Engine(lm), threading.Event()
    long = make_job(engine, PROMPTS[0], max_tokens=100, tell=lambda event: started.set())
    engine.submit(long)
    assert started.wait(30)
    long.cancelled.set()
    wait(long)
    assert long.answers[0].kept is None and engine.num_kept_bytes == 0 and engine.num_waiting == 0
    engine.close()


def test_models_that_keep_no_cache_are_read_again_and_answer_the_same(lm, monkeypatch, restless):
    alone = [lm.complete([text], policy, max_new_tokens=15)[0].tokens for text in PROMPTS[:3] for policy in POLICIES]
    monkeypatch.setattr("router.mixture.kept.can_keep", lambda model: False)
    engine = Engine(lm, max_batch=2)
    jobs = [make_job(engine, text, policy, max_tokens=15) for text in PROMPTS[:3] for policy in POLICIES]
    together(engine, jobs)
    engine.close()
    assert [job.answers[0].tokens for job in jobs] == alone
    assert engine.num_read["again"] > 0


POLICIES = ("top1", "bayes")


def test_scoring_ends_a_pass_and_goes_first(lm):
    engine, started = Engine(lm), threading.Event()
    told = []

    def tell(event: Event) -> None:
        told.append(event)
        time.sleep(0.01)
        started.set()

    long = make_job(engine, PROMPTS[0], max_tokens=100, tell=tell)
    engine.submit(long)
    assert started.wait(30)
    prompts = engine.prompts([PROMPTS[1]])
    assert len(engine.prompt_log_probs(prompts, "top1", 1)[id(prompts[0])]) == len(prompts[0].ids) - 1
    assert not long.is_done
    wait(long)
    engine.close()
    assert long.answers[0].tokens == lm.complete([PROMPTS[0]], max_new_tokens=100)[0].tokens


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        monkeypatch.setattr("xelm.serving.engine.turns.time.monotonic", lambda: self.now_s)

    def steps_of(self, turn, row, waiting) -> int:
        """Steps of a quarter second until the turn is over."""
        for step in range(1, row.answer.max_tokens):
            self.now_s += 0.25
            row.answer._growth.tokens.append(5)
            if turn.is_over(waiting):
                return step
        return row.answer.max_tokens


@pytest.fixture
def still(lm):
    engine = Engine(lm)
    yield engine
    engine.close()


def endless(engine, max_tokens=100):
    job = make_job(engine, PROMPTS[0], max_tokens=max_tokens)
    job.deadline_s = 1e9
    return job


def test_a_pass_that_keeps_its_caches_ends_at_once_for_a_new_job(still, monkeypatch):
    clock = Clock(monkeypatch)

    def steps(turn_of, other_passes) -> int:
        running, other = endless(still), endless(still)
        running.num_passes, other.num_passes, row = 1, other_passes, Row(running, 0)
        return clock.steps_of(turn_of([row], started_s=clock.now_s), row, [running, other])

    assert steps(Turn, 0) == 1
    # Others that have begun get their turn after a while, and new ones what reading others took before.
    monkeypatch.setattr("xelm.serving.engine.turns.SHORTEST_TURN_S", 1.0)
    assert steps(Turn, 1) == 4
    assert steps(lambda rows, **more: Turn(rows, owed_s=0.5, **more), 0) == 2
    # Where a model has to be loaded again for a quarter second, turns are eight times as long.
    assert steps(lambda rows, **more: Turn(rows, again_s=0.25, **more), 1) == 8


def test_a_pass_that_reads_again_goes_on_to_a_near_end_and_yields_before_a_far_one(still, monkeypatch):
    clock = Clock(monkeypatch)

    def steps(max_tokens: int) -> int:
        running, waiting = endless(still, max_tokens), endless(still, 1)
        row = Row(running, 0)
        turn = Turn([row], keeps=False, reads=True, started_s=clock.now_s)
        clock.now_s += 1.0  # reading the prompt took a second
        assert not turn.is_over([running, waiting])
        return clock.steps_of(turn, row, [running, waiting])

    # After four steps the cost of another reading is earned. What is left then, 96 tokens or 12, takes 24 s or 3 s.
    assert steps(100) == 4 and steps(16) == 16


def test_new_jobs_come_first_unless_others_are_owed_time(still):
    from collections import deque

    old, new = endless(still), endless(still)
    for job, group in ((old, ("a",)), (new, ("b",))):
        [answer] = job.answers
        answer.route, answer.group = still.lm.route([PROMPTS[0]])[0], group
    old.num_passes = 3
    assert [row.job for row in take_rows(deque([old, new]), 8)] == [new]
    new.num_passes = 0
    assert [row.job for row in take_rows(deque([old, new]), 8, new_first=False)] == [old]
