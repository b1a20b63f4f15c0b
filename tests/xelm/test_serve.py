"""The server answers as the run does, keeps answers apart, and refuses what it cannot serve."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from router.routes.policy import POLICIES
from tests.xelm.made_runs import CONTEXT, OWNERS, TEXTS, make_run
from xelm.inference.routed import RoutedLM

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient

from xelm.serving.app import make_app
from xelm.serving.engine.engine import Busy, Engine
from xelm.serving.engine.jobs import Job
from xelm.serving.engine.sampling import Sampling
from xelm.serving.limits import Limits

PROMPTS = [text for texts in TEXTS.values() for text in texts]
URL = "/v1/completions"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.getbasetemp(), "full")


@pytest.fixture(scope="module")
def lm(run):
    return RoutedLM.from_pretrained(run, device="cpu")


@pytest.fixture(scope="module")
def client(lm):
    limits = Limits(max_body_bytes=20_000, max_tokens=64, timeout_s=60)
    with TestClient(make_app(Engine(lm, max_batch=8), limits), raise_server_exceptions=False) as client:
        yield client


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("model", ["top1", "topm:2", "ensemble", "bayes", "dutch"])
def test_completion_is_the_runs_own_answer_with_its_route(client, lm, model):
    body = client.post(URL, json={"model": model, "prompt": PROMPTS[:4], "max_tokens": 9}).json()
    assert [choice["text"] for choice in body["choices"]] == lm.generate(PROMPTS[:4], model, max_new_tokens=9)
    assert [choice["route"]["language"] for choice in body["choices"]] == [r.language for r in lm.route(PROMPTS[:4])]
    assert body["object"] == "text_completion" and body["model"] == model
    assert body["usage"]["prompt_tokens"] == sum(1 + len(prompt.encode()) for prompt in PROMPTS[:4])


def test_streamed_chunks_are_the_answer(client, lm):
    response = client.post(URL, json={"prompt": PROMPTS[:2], "max_tokens": 12, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    texts, reasons = ["", ""], [None, None]
    for event in events(response):
        [choice] = event["choices"]
        texts[choice["index"]] += choice["text"]
        reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert texts == lm.generate(PROMPTS[:2], max_new_tokens=12)
    assert reasons == ["length", "length"]


def test_a_stream_counts_its_tokens_when_asked(client):
    asked = {"prompt": PROMPTS[:2], "max_tokens": 5}
    whole = client.post(URL, json=asked).json()
    response = client.post(URL, json={**asked, "stream": True, "stream_options": {"include_usage": True}})
    *_, last = events(response)
    assert last["choices"] == [] and last["usage"] == whole["usage"]


def test_stop_text_n_and_seed_are_obeyed(client, lm):
    [whole] = lm.generate(PROMPTS[:1], max_new_tokens=20)
    body = client.post(URL, json={"prompt": PROMPTS[0], "max_tokens": 20, "stop": whole[3:5]}).json()
    assert body["choices"][0]["text"] == whole[: whole.index(whole[3:5])]
    assert body["choices"][0]["finish_reason"] == "stop"
    asked = {"prompt": PROMPTS[0], "max_tokens": 8, "temperature": 1, "seed": 5, "n": 3}
    first, second = (client.post(URL, json=asked).json()["choices"] for _ in range(2))
    assert [c["text"] for c in first] == [c["text"] for c in second]
    assert len({c["text"] for c in first}) > 1


def test_concurrent_requests_share_batches_and_get_their_own_answers(client, lm):
    asked = [(prompt, length, stream) for prompt in PROMPTS for length in (3, 7, 11) for stream in (False, True)]
    want = {(p, n): lm.generate([p], max_new_tokens=n)[0] for p, n, _ in asked}

    def ask(prompt, length, stream):
        response = client.post(URL, json={"prompt": prompt, "max_tokens": length, "stream": stream})
        if stream:
            return "".join(event["choices"][0]["text"] for event in events(response))
        return response.json()["choices"][0]["text"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda case: ask(*case), asked))
    assert answers == [want[prompt, length] for prompt, length, _ in asked]


def test_models_and_health(client):
    names = [row["id"] for row in client.get("/v1/models").json()["data"]]
    assert names == [*POLICIES, *OWNERS, "base"]
    assert client.get("/v1/models/dutch").json()["id"] == "dutch"
    unknown = client.get("/v1/models/gpt-9")
    assert unknown.status_code == 404 and unknown.json()["error"]["code"] == "model_not_found"
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 10_000, 400, "body"),
        (b'{"prompt": "\\ud800"}', 400, "hex escape"),
        (b"{}", 400, "prompt: Field required"),
        (b'{"prompt": 3}', 400, "prompt"),
        (b'{"prompt": []}', 400, "0 prompts"),
        (b'{"prompt": "a", "max_tokens": 0}', 400, "max_tokens"),
        (b'{"prompt": "a", "max_tokens": true}', 400, "max_tokens"),
        (b'{"prompt": "a", "temperature": NaN}', 400, "temperature"),
        (b'{"prompt": "a", "stop": [""]}', 400, "none of them empty"),
        (b'{"prompt": "a", "colour": 1}', 400, "colour"),
        (b'{"prompt": "a", "stream_options": {"colour": 1}}', 400, "colour"),
        (b'{"prompt": "a", "model": "gpt-9"}', 404, "Unknown policy 'gpt-9'"),
        (json.dumps({"prompt": "a" * CONTEXT}).encode(), 400, f"prompt 0 has {CONTEXT + 1} tokens"),
        (b'{"prompt": "' + b"a" * 30_000 + b'"}', 413, "longer than 20000 bytes"),
    ],
)
def test_malformed_requests_are_told_what_is_wrong(client, body, status, message):
    response = client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def test_other_paths_methods_and_types_are_refused(client):
    assert client.get(URL).status_code == 405
    assert client.get("/nothing").json()["error"]["message"] == "Not Found"
    assert client.post(URL, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_time_limit_and_full_queue_are_said(lm, monkeypatch):
    started, release = threading.Event(), threading.Event()
    generate = Engine._generate

    def slow(self, jobs):
        started.set()
        release.wait(20)
        generate(self, jobs)

    monkeypatch.setattr(Engine, "_generate", slow)
    engine = Engine(lm, max_queued=1)
    with (
        TestClient(make_app(engine, Limits(timeout_s=0.5))) as client,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        running = pool.submit(client.post, URL, json={"prompt": "a"})
        assert started.wait(20)
        waiting = pool.submit(client.post, URL, json={"prompt": "b"})
        while not engine.num_waiting:
            time.sleep(0.01)
        refused = client.post(URL, json={"prompt": "c"})
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert running.result().status_code == waiting.result().status_code == 504
        release.set()
        assert client.get("/health").status_code == 200


def test_one_failing_job_does_not_take_its_neighbours_along(lm, monkeypatch):
    route = lm.route

    def fragile(texts, **options):
        if any("boom" in text for text in texts):
            raise RuntimeError("boom")
        return route(texts, **options)

    with TestClient(make_app(Engine(lm))) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        monkeypatch.setattr(lm, "route", fragile)
        prompts = ["boom", *PROMPTS[:5]]
        responses = list(pool.map(lambda p: client.post(URL, json={"prompt": p, "max_tokens": 4}), prompts))
        monkeypatch.undo()
    assert [response.status_code for response in responses] == [500, 200, 200, 200, 200, 200]
    assert "boom" not in responses[0].text
    answers = [response.json()["choices"][0]["text"] for response in responses[1:]]
    assert answers == lm.generate(PROMPTS[:5], max_new_tokens=4)


def test_damage_and_caps_are_told_apart_and_others_still_answer(run, tmp_path, caplog):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "experts" / "dutch" / "model.safetensors").write_bytes(b"damaged")
    capped = RoutedLM.from_pretrained(copied, device="cpu", max_loaded=1)
    with TestClient(make_app(Engine(capped))) as client:

        def ask(model, **more):
            return client.post(URL, json={"model": model, "prompt": TEXTS["deu"][0], "max_tokens": 2, **more})

        damaged = ask("dutch")
        assert damaged.status_code == 500 and str(copied) not in damaged.text
        assert "model.safetensors: changed since the run was written" in caplog.text and "Traceback" not in caplog.text
        together = ask("bayes")
        assert together.status_code == 400 and "max_loaded=1" in together.json()["error"]["message"]
        assert ask("top1").status_code == ask("german").status_code == 200


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_closing_lets_running_answers_end_in_the_grace_and_tells_the_others(lm, grace_s):
    engine, running, waiting, first = Engine(lm, max_batch=1), [], [], threading.Event()

    def job(news):
        answers = engine.answers(engine.prompts([PROMPTS[0]]), "top1", Sampling(), max_tokens=100)

        def tell(event):
            time.sleep(0.002)  # so that the answer is not over before the engine is closed
            news.append(event)
            first.set()

        return Job(answers, "top1", time.monotonic() + 60, tell)

    jobs = [job(news) for news in (running, waiting)]
    for one in jobs:
        engine.submit(one)
    assert first.wait(20)
    engine.close(grace_s)
    assert waiting[-1].status == 503 and "shutting down" in waiting[-1].error
    assert running[-1].is_end and (running[-1].error is None) == jobs[0].is_done == (grace_s > 0)
    if not grace_s:
        assert "shutting down" in running[-1].error
    with pytest.raises(Busy, match="shutting down"):
        engine.submit(jobs[1])


def test_connections_without_a_request_are_closed_in_time(lm):
    from xelm.serving.server import make_server

    engine = Engine(lm)
    server = make_server(make_app(engine), engine, max_connections=4, headers_s=0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with contextlib.ExitStack() as stack:
                idle = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(3)]
                idle[1].sendall(b"POST /v1/completions HTTP/1.1\r\nHost:")
                body = json.dumps({"prompt": PROMPTS[0], "max_tokens": 3}).encode()
                head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                idle[2].sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
                time.sleep(1.0)  # longer than heads may take; a body has the request's own time limit
                idle[2].sendall(body)
                assert idle[2].recv(12) == b"HTTP/1.1 200"
                assert [connection.recv(1) for connection in idle[:2]] == [b"", b""]
        finally:
            server.should_exit = True
            thread.join(20)
    assert not engine.is_alive


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head(lm):
    """Without TCP_NODELAY every answer after the first on a connection comes 40 ms late: its head waits for no one, its
    body until the client has acknowledged the head, which clients put off. `xelm serve` opens its socket like this."""
    import http.client

    from xelm.serving.server import make_server

    engine = Engine(lm)
    server = make_server(make_app(engine), engine, max_connections=4)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        connection = http.client.HTTPConnection(*listening.getsockname(), timeout=20)
        try:
            seconds = []
            for _ in range(12):
                began_s = time.perf_counter()
                connection.request("GET", "/health")
                assert connection.getresponse().read()
                seconds.append(time.perf_counter() - began_s)
            assert min(seconds[2:]) < 0.03
        finally:
            connection.close()
            server.should_exit = True
            thread.join(20)


def test_command_serves_until_sigterm_and_exits_clean(run):
    import httpx

    command = [sys.executable, "-m", "xelm", "-q", "serve", str(run), "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            url = server.stdout.readline().split()[-1]
            assert url.startswith("http://127.0.0.1:")
            answer = httpx.post(url + URL, json={"prompt": PROMPTS[0], "max_tokens": 3}, timeout=60)
            assert answer.status_code == 200
            # Refused only once it has been read: closed while the client still sends, it would see a reset.
            assert httpx.post(url + URL, json={"prompt": "a" * 4_000_000}, timeout=60).status_code == 413
            asked = {"prompt": PROMPTS, "max_tokens": 60, "stream": True}
            with httpx.stream("POST", url + URL, json=asked, timeout=60) as stream:
                lines = stream.iter_lines()
                next(lines)
                server.send_signal(signal.SIGTERM)
                assert [line for line in lines if line][-1] == "data: [DONE]"
            assert server.wait(20) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()


def test_rows_of_one_expert_share_a_pass(lm, monkeypatch):
    """Eight clients ask two experts in turn: a pass holds rows of one expert, not some of each."""
    passes: list[list[tuple[str, ...]]] = []
    generate = Engine._generate
    monkeypatch.setattr(
        Engine,
        "_generate",
        lambda self, rows: (passes.append([row.answer.group for row in rows]), generate(self, rows))[1],
    )
    engine = Engine(lm)
    texts = [text for pair in zip(TEXTS["deu"], TEXTS["rus"], strict=True) for text in pair]
    ended = []

    def job(text: str) -> Job:
        answers = engine.answers(engine.prompts([text]), "top1", Sampling(), max_tokens=4)
        return Job(answers, "top1", time.monotonic() + 60, lambda event: ended.append(event) if event.is_end else None)

    jobs = [job(text) for text in texts]
    with engine._changed:  # all come at once
        for one in jobs:
            engine.submit(one)
    while len(ended) < len(jobs):
        time.sleep(0.01)
    engine.close()
    num_each = len(TEXTS["deu"])
    assert {tuple(groups) for groups in passes} == {(("german",),) * num_each, (("russian",),) * num_each}
    alone = [lm.complete([text], max_new_tokens=4)[0].tokens for text in texts]
    assert [one.answers[0].tokens for one in jobs] == alone
