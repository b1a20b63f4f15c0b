"""The server says what OpenAI's clients say: nulls, chats, log-probabilities, echo, penalties, keys, metrics."""

from __future__ import annotations

import concurrent.futures
import json
import math
import threading
import time

import numpy as np
import pytest

from tests.xelm.made_runs import CONTEXT, TEXTS, make_run
from xelm.inference.routed import RoutedLM

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient

from xelm.serving.app import make_app
from xelm.serving.chat import chat_prompt
from xelm.serving.engine.engine import Engine
from xelm.serving.engine.jobs import Job
from xelm.serving.engine.sampling import Sampling, penalised, pick
from xelm.serving.limits import Access, Limits
from xelm.serving.schema import ChatRequest, CompletionRequest, Message

PROMPTS = [text for texts in TEXTS.values() for text in texts]
URL = "/v1/completions"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), "full"), device="cpu")


@pytest.fixture(scope="module")
def client(lm):
    with TestClient(make_app(Engine(lm, max_batch=8)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def chatting(lm, monkeypatch):
    monkeypatch.setattr(lm.tokenizer, "chat_template", TEMPLATE)


def ask(client, **body):
    response = client.post(URL, json={"prompt": PROMPTS[0], "max_tokens": 6, **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_every_optional_field_may_be_null(client, chatting):
    optional = [name for name, field in CompletionRequest.model_fields.items() if not field.is_required()]
    body = client.post(URL, json={"prompt": PROMPTS[0], **dict.fromkeys(optional)}).json()
    assert len(body["choices"]) == 1
    optional = [name for name, field in ChatRequest.model_fields.items() if not field.is_required()]
    messages = [{"role": "user", "content": PROMPTS[0], "name": None}]
    response = client.post("/v1/chat/completions", json={"messages": messages, **dict.fromkeys(optional)})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("model", ["top1", "ensemble", "bayes"])
def test_log_probabilities_of_an_answer_and_of_its_prompt_are_those_of_the_causal_model(client, lm, model):
    import torch

    body = ask(client, model=model, logprobs=3, echo=True)
    [choice] = body["choices"]
    logprobs = choice["logprobs"]
    answer = lm.complete([PROMPTS[0]], model, max_new_tokens=6)[0]
    assert choice["text"] == PROMPTS[0] + answer.text
    num_prompt = answer.num_prompt_tokens - 1
    assert len(logprobs["tokens"]) == num_prompt + len(answer.tokens)
    assert logprobs["tokens"][:6] == list(PROMPTS[0][:6]) and "ß" in PROMPTS[0]
    assert logprobs["text_offset"][num_prompt] == len(PROMPTS[0])
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer(PROMPTS[0], add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        logits = lm.as_causal_lm(model)(torch.tensor([ids[:-1]])).logits[0]
    want = torch.log_softmax(logits, -1)[range(num_prompt), ids[1:]].tolist()
    assert logprobs["token_logprobs"][:num_prompt] == pytest.approx(want, abs=1e-4)
    for value, top in zip(logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        assert 3 <= len(top) <= 4 and max(top.values()) >= value and value in top.values()
    # Greedy answers take the likeliest token.
    answered = zip(logprobs["token_logprobs"][num_prompt:], logprobs["top_logprobs"][num_prompt:], strict=True)
    assert all(value == max(top.values()) for value, top in answered)


def test_echo_alone_generates_nothing(client):
    body = ask(client, echo=True, logprobs=0, max_tokens=0)
    assert body["choices"][0]["text"] == PROMPTS[0] and body["usage"]["completion_tokens"] == 0
    refused = client.post(URL, json={"prompt": "a", "max_tokens": 0})
    assert refused.status_code == 400 and "asks for nothing" in refused.json()["error"]["message"]


def test_token_ids_are_taken_as_they_are(client, lm):
    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer(PROMPTS[0], add_special_tokens=False)["input_ids"]]
    same = ask(client, prompt=[ids, ids[:9]])
    assert same["choices"][0]["text"] == ask(client)["choices"][0]["text"]
    assert same["usage"]["prompt_tokens"] == len(ids) + 9
    whole = ask(client, prompt=ids, echo=True, logprobs=1, max_tokens=0)["choices"][0]["logprobs"]
    assert whole["token_logprobs"][0] is None and len(whole["tokens"]) == len(ids)
    refused = client.post(URL, json={"prompt": [[len(lm.tokenizer)]]})
    assert refused.status_code == 400 and "the vocabulary has 0 to" in refused.json()["error"]["message"]


def test_requests_of_different_sampling_share_a_pass_and_keep_their_own_answers(lm, monkeypatch):
    asked = [
        {"temperature": 0},
        {"temperature": 1.0, "seed": 5},
        {"temperature": 1.0, "seed": 5, "top_k": 3},
        {"temperature": 0.7, "seed": 6, "min_p": 0.2, "frequency_penalty": 1.5},
        {"temperature": 0, "presence_penalty": 2},
    ]
    passes = []
    generate = Engine._generate
    monkeypatch.setattr(Engine, "_generate", lambda self, rows: (passes.append(len(rows)), generate(self, rows))[1])
    engine = Engine(lm)

    def jobs():
        made = []
        for options in asked:
            sampling = CompletionRequest(prompt=PROMPTS[0], **options).sampling
            answers = engine.answers(engine.prompts([PROMPTS[0]]), "top1", sampling, max_tokens=12)
            made.append(Job(answers, "top1", time.monotonic() + 60, lambda event: None))
        return made

    def wait(job):
        while not job.is_done:
            time.sleep(0.005)
        return job.answers[0].tokens

    alone = []
    for job in jobs():
        engine.submit(job)
        alone.append(wait(job))
    passes.clear()
    together = jobs()
    with engine._changed:  # nobody is served until all have come
        engine._waiting.extend(together)
        engine._changed.notify()
    assert [wait(job) for job in together] == alone
    assert passes[0] == len(asked)
    assert len({tuple(tokens) for tokens in alone}) >= len(asked) - 1  # a small penalty may change nothing
    engine.close()


def test_one_token_is_not_kept_waiting_by_many_long_answers(lm, monkeypatch):
    monkeypatch.setattr("xelm.serving.engine.turns.SHORTEST_TURN_S", 0.02)
    engine = Engine(lm, max_batch=4)
    ended = []

    def job(name, n, length):
        prompts = engine.prompts([PROMPTS[0][:10]])
        answers = engine.answers(prompts, "top1", Sampling(1.0), max_tokens=length, n=n)
        return Job(answers, "top1", time.monotonic() + 60, lambda e: ended.append(name) if e.is_end else None)

    long, started = job("long", 12, 100), threading.Event()
    long.tell = lambda event: (started.set(), ended.append("long") if event.is_end else None)[1]
    engine.submit(long)
    assert started.wait(20)
    short = job("short", 1, 1)
    engine.submit(short)
    while len(ended) < 2:
        time.sleep(0.01)
    assert ended == ["short", "long"]
    assert all(len(answer.tokens) == 100 or answer.finish_reason == "stop" for answer in long.answers)
    engine.close()


def test_an_answer_that_was_interrupted_is_the_same_as_one_that_was_not(lm, monkeypatch):
    monkeypatch.setattr("xelm.serving.engine.turns.SHORTEST_TURN_S", 0.0)
    monkeypatch.setattr("xelm.serving.engine.turns._TIMES_AS_LONG", 0)
    asked = [(prompt, model) for prompt in PROMPTS[:4] for model in ("top1", "ensemble", "bayes")]
    with TestClient(make_app(Engine(lm, max_batch=2))) as client, concurrent.futures.ThreadPoolExecutor(12) as pool:

        def answer(case):
            return ask(client, prompt=case[0], model=case[1], max_tokens=20)["choices"][0]["text"]

        assert list(pool.map(answer, asked)) == [lm.generate([p], m, max_new_tokens=20)[0] for p, m in asked]


def test_penalties_and_filters_do_what_they_say():
    import torch

    scores = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    less = penalised(scores, Sampling(presence_penalty=0.5, frequency_penalty=0.25), [0, 0, 2])
    # Token 0 came twice: 0.5 + 2 * 0.25 nats less; token 2 once: 0.75 nats less.
    assert (scores - less).tolist() == pytest.approx([1.0, 0.0, 0.75, 0.0])

    def drawn(**options):
        generator = torch.Generator().manual_seed(0)
        return {pick(scores, Sampling(1.0, **options), generator) for _ in range(400)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.5) == {0} and drawn(top_p=0.51) == {0, 1}
    assert drawn(min_p=0.2) == {0, 1, 2}
    counts = np.zeros(4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4000):
        counts[pick(scores, Sampling(2.0), generator)] += 1
    want = np.sqrt([0.5, 0.3, 0.15, 0.05])
    assert counts / 4000 == pytest.approx(want / want.sum(), abs=0.03)


def test_more_answers_than_ever_fit_are_refused_and_not_put_off(lm):
    with TestClient(make_app(Engine(lm, max_queued=100))) as client:
        response = client.post(URL, json={"prompt": ["a"] * 64, "n": 64})
    assert response.status_code == 400 and "at most 100 at a time" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"temperature": 1e-320}, "temperature: 1e-320 is too low to draw tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"best_of": 4}, "best_of=4"),
        ({"echo": True, "stream": True}, "not while streaming"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"prompt": [[]]}, "prompt 0 has 0 tokens"),
        ({"prompt": ["a", [1]]}, "prompt"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(client, body, message):
    response = client.post(URL, json={"prompt": "a", **body})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_chat_is_routed_by_the_last_users_turn_and_answered_after_the_template(client, lm, chatting):
    german, russian = TEXTS["deu"][0], TEXTS["rus"][0]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": russian[:20]},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": german}]},
    ]
    asked = {"messages": messages, "max_completion_tokens": 7, "logprobs": True, "top_logprobs": 2}
    body = client.post("/v1/chat/completions", json=asked).json()
    [choice] = body["choices"]
    assert choice["route"]["language"] == "deu" and body["object"] == "chat.completion"
    text = f"<system>s\n<user>{russian[:20]}\n<assistant>a\n<user>{german}\n<assistant>"
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    answer = lm.complete_ids([ids], lm.route([german]), max_new_tokens=7)[0]
    assert choice["message"] == {"role": "assistant", "content": answer.text}
    assert [len(one["top_logprobs"]) for one in choice["logprobs"]["content"]] == [2] * len(answer.tokens)
    lines = client.post("/v1/chat/completions", json={**asked, "stream": True}).text.split("\n\n")
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines if line and not line.endswith("[DONE]")]
    assert pieces[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == answer.text


def test_a_special_token_spelled_in_a_message_is_text(lm, chatting):
    spelled = f"eins {lm.tokenizer.eos_token} zwei"
    prompt = chat_prompt([Message(role="user", content=spelled)], lm.tokenizer)
    assert lm.tokenizer.eos_token_id not in prompt.ids
    assert lm.tokenizer.decode(prompt.ids) == f"<user>{spelled}\n<assistant>"


def test_a_base_without_a_chat_template_says_so(client, lm):
    assert not lm.tokenizer.chat_template
    response = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}]})
    assert response.status_code == 400 and "no chat template" in response.json()["error"]["message"]


def test_routes_are_those_of_the_run(client, lm):
    texts = [TEXTS["deu"][0], TEXTS["rus"][0]]
    routes = client.post("/v1/route", json={"input": texts}).json()["routes"]
    assert [r["language"] for r in routes] == [r.language for r in lm.route(texts)]
    assert routes[0]["weights"] == pytest.approx(dict(lm.route(texts)[0].weights))
    [spans] = client.post("/v1/route", json={"input": texts[0], "spans": True}).json()["routes"]
    assert spans[0]["start"] == 0 and spans[-1]["stop"] == len(texts[0])


def test_metrics_count_requests_tokens_and_answers(lm):
    with TestClient(make_app(Engine(lm))) as client:
        ask(client, prompt=PROMPTS[:2], max_tokens=5)
        client.post(URL, json={})
        text = client.get("/metrics").text
    assert 'xelm_requests_total{path="/v1/completions",status="200"} 1.0' in text
    assert 'xelm_requests_total{path="/v1/completions",status="400"} 1.0' in text
    assert f'xelm_tokens_total{{kind="prompt"}} {float(sum(1 + len(p.encode()) for p in PROMPTS[:2]))}' in text
    assert 'xelm_tokens_total{kind="answer"} 10.0' in text
    assert "xelm_waiting_answers 0.0" in text and "xelm_kept_bytes 0.0" in text
    assert f'xelm_read_tokens_total{{time="first"}} {float(sum(1 + len(p.encode()) for p in PROMPTS[:2]))}' in text
    assert 'xelm_read_tokens_total{time="again"} 0.0' in text


def test_an_api_key_guards_v1_alone(lm):
    access = Access(api_key="secret")
    with TestClient(make_app(Engine(lm), access=access)) as client:
        assert client.get("/health").status_code == 200
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            refused = client.get("/v1/models", headers=header)
            assert refused.status_code == 401 and "API key" in refused.json()["error"]["message"]
        assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("LOCALHOST", 200), ("[::1]:8000", 200), ("evil.example", 421), ("localhost.evil", 421)],
)
def test_a_web_page_cannot_ask_a_server_on_loopback(lm, host, status):
    access = Access(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))
    with TestClient(make_app(Engine(lm), access=access)) as client:
        assert client.get("/health", headers={"Host": host}).status_code == status


def test_limits_hold_for_chats_too(lm, chatting):
    with TestClient(make_app(Engine(lm), Limits(max_tokens=3))) as client:
        body = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}]}).json()
        assert body["usage"]["completion_tokens"] <= 3
        long = {"messages": [{"role": "user", "content": "a" * CONTEXT}]}
        assert "leave room" in client.post("/v1/chat/completions", json=long).json()["error"]["message"]
    assert math.isfinite(body["created"])
