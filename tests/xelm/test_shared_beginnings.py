"""A server reads what prompts have in common once: a system prompt, or the turns of a chat so far."""

from __future__ import annotations

import time

import pytest

from tests.xelm.made_runs import TEXTS, make_run
from tests.xelm.test_continuing import Reading, make_job, together, wait
from xelm.inference.routed import RoutedLM

pytest.importorskip("fastapi")

from xelm.serving.engine.engine import Engine
from xelm.serving.engine.jobs import Job, Prompt
from xelm.serving.engine.sampling import Sampling
from xelm.serving.engine.shared import SharedBeginnings

SYSTEM = " ".join(TEXTS["deu"])[:70] + " "
QUESTIONS = ["Wo ist der Hund", "Was macht die Katze heute hier", "Wer"]


@pytest.fixture(scope="module", params=["full", "lora"])
def lm(request, tmp_path_factory):
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), request.param), device="cpu")


@pytest.fixture(autouse=True)
def short_ones_too(monkeypatch):
    """Tiny models have little room."""
    monkeypatch.setattr("xelm.serving.engine.shared._FEWEST_TOKENS", 32)


def asked(engine, prompts, policy="german", **options):
    jobs = [make_job(engine, prompt, policy, **options) for prompt in prompts]
    together(engine, jobs)
    return jobs


def test_a_system_prompt_is_read_once_and_the_answers_are_the_same(lm, monkeypatch):
    prompts = [SYSTEM + question for question in QUESTIONS]
    alone = [lm.complete([prompt], "german", max_new_tokens=12)[0] for prompt in prompts]
    engine, reading = Engine(lm), Reading(monkeypatch)
    first = asked(engine, prompts[:1])
    assert reading.tokens == alone[0].num_prompt_tokens and "shared" not in engine.num_read
    jobs = first + asked(engine, prompts[1:])
    engine.close()
    assert [job.answers[0].tokens for job in jobs] == [answer.tokens for answer in alone]
    num_system = len(SYSTEM.encode())
    assert engine.num_read["shared"] >= num_system + num_system // 2  # of two prompts, the shorter one filled up
    assert engine.num_read["first"] + engine.num_read["shared"] == sum(len(job.answers[0].prompt.ids) for job in jobs)
    assert reading.tokens == engine.num_read["first"]


def test_a_chat_goes_on_from_its_last_turn(lm):
    engine = Engine(lm)
    [job] = asked(engine, [SYSTEM], max_tokens=30)
    turn = job.answers[0].ids
    following = Prompt(SYSTEM + "…", [*turn, *lm.tokenizer(" und dann?", add_special_tokens=False)["input_ids"]])
    fresh = Engine(lm)
    until = time.monotonic() + 60
    again, unshared = (
        Job(one.answers([following], "german", Sampling(), max_tokens=12), "german", until, lambda _: None)
        for one in (engine, fresh)
    )
    for one, its in ((engine, again), (fresh, unshared)):
        one.submit(its)
        wait(its)
        one.close()
    # The last token of an answer was read by nothing.
    assert engine.num_read["shared"] == len(turn) - 1 and "shared" not in fresh.num_read
    assert again.answers[0].tokens == unshared.answers[0].tokens


def test_experts_share_nothing_with_each_other(lm):
    engine = Engine(lm)
    for policy in ("german", "russian", "dutch"):
        asked(engine, [SYSTEM], policy)
    assert "shared" not in engine.num_read
    asked(engine, [SYSTEM + "Wo"], "german")
    engine.close()
    assert engine.num_read["shared"] == len(lm.tokenizer(SYSTEM)["input_ids"])


def test_drawn_answers_to_one_prompt_share_it_and_differ(lm):
    engine = Engine(lm)
    job = make_job(engine, SYSTEM, "german", sampling=Sampling(1.0, seed=3), n=2, max_tokens=20)
    engine.submit(job)
    wait(job)
    repeated = make_job(engine, SYSTEM, "german", sampling=Sampling(1.0, seed=3), n=2, max_tokens=20)
    engine.submit(repeated)
    wait(repeated)
    engine.close()
    first, second = ([answer.tokens for answer in one.answers] for one in (job, repeated))
    assert first == second and first[0] != first[1]
    assert engine.num_read["shared"] == 2 * (len(job.answers[0].prompt.ids) - 1)


def test_what_was_used_longest_ago_is_dropped_first(lm):
    engine = Engine(lm)
    shared = engine._passes.shared
    for text in ("a" * 40, "b" * 40, "c" * 40):
        asked(engine, [text], max_tokens=1)
    with engine._computing:  # a client knows the end of an answer before its cache is kept
        one = shared.num_bytes / 3
    print([(k.expert, len(k.ids), k.row.batch.num_bytes) for k in shared._kept])
    assert engine.num_shared_bytes == 3 * one > 0
    models = engine.lm.models

    def find(text, models=models):
        return shared.find("german", engine.prompts([text])[0].ids, models)

    assert find("a" * 40).num_tokens == 40  # with the start token, without the last one
    shared.drop(round(2 * one))
    assert find("b" * 40) is None and find("a" * 40) and find("c" * 40)
    assert find("a" * 30 + "x") is None  # too little to be worth it
    assert find("a" * 40, object()) is None and shared.num_bytes == 0
    engine.close()


def test_most_of_a_text_is_kept_once():
    from types import SimpleNamespace

    made = []
    shared = SharedBeginnings()

    def offer(ids):
        row = SimpleNamespace(batch=SimpleNamespace(models=None, num_bytes=len(ids)), num_tokens=len(ids))
        made.append(ids)
        shared.put("x", ids, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("router.mixture.beginnings.can_begin", lambda row: True)
        patch.setattr("router.mixture.beginnings.beginning", lambda row, number, copied=False: row)
        offer(list(range(100)))
        offer([*range(90), *range(200, 220)])  # nine tenths are kept already
        assert shared.num_bytes == 100
        offer(list(range(150)))  # goes on where the first one ends, which it replaces
        assert shared.num_bytes == 150
        offer([*range(50), *range(200, 250)])
        assert shared.num_bytes == 250
        for start in range(1000, 1080):
            offer([start] * 40)
        assert shared.num_bytes == 64 * 40
