"""The gateway sends each request to its expert's engine, hands the answer through, and survives an engine's death."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

from clustering.errors import BadInput
from tests.xelm.made_runs import OWNERS, TEXTS, make_run
from xelm.cli import group
from xelm.gateway.app import make_gateway
from xelm.gateway.asked import merged
from xelm.gateway.engines import Engine, Pool, read_engines
from xelm.gateway.proxy import Patience
from xelm.inference.routed import RoutedLM

NAMES = [*OWNERS, "base"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.getbasetemp(), "full")


@pytest.fixture(scope="module")
def lm(run) -> RoutedLM:
    return RoutedLM.from_pretrained(run)


class TinyEngine:
    """A server in the form of OpenAI's API, that says which model was asked for what; it can die and come back."""

    def __init__(self, models: list[str], port: int = 0):
        self.models, self.port, self.asked = models, port, []
        self.runner: web.AppRunner | None = None
        self.breaks_after: int | None = None
        self.busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/{kind:.*}", self._complete)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def _health(self, _request):
        return web.Response()

    async def _models(self, _request):
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _complete(self, request):
        body = await request.json()
        self.asked.append((request.path, body, dict(request.headers)))
        if self.busy:
            self.busy -= 1
            return web.json_response({"error": {"message": "busy"}}, status=503)
        if body.get("stream"):
            return await self._stream(request, body)
        prompts = body.get("prompt", body.get("messages"))
        prompts = prompts if isinstance(prompts, list) and "prompt" in body else [prompts]
        rows = [{"index": i, "text": f"{body['model']} {p}", "finish_reason": "stop"} for i, p in enumerate(prompts)]
        return web.json_response({"model": body["model"], "choices": rows, "usage": {"total_tokens": len(prompts)}})

    async def _stream(self, request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(5):
            if number == self.breaks_after:
                request.transport.abort()
                return response
            await response.write(b"data: " + json.dumps({"model": body["model"], "n": number}).encode() + b"\n\n")
            await asyncio.sleep(0.01)
        await response.write(b"data: [DONE]\n\n")
        return response


def with_gateway(
    lm: RoutedLM,
    engines: dict[str, TinyEngine],
    test: Callable[[aiohttp.ClientSession], Awaitable[Any]],
    wait_s: float = 5,
) -> Any:
    """Run a test that asks a gateway before these engines."""

    async def run() -> Any:
        for engine in dict.fromkeys(engines.values()):
            await engine.start()
        pool = Pool(read_engines([f"{n}={e.url}" for n, e in engines.items()], lm.names), every_s=0.1)
        runner = web.AppRunner(make_gateway(lm, pool, Patience(wait_s=wait_s, timeout_s=5)), handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await asyncio.sleep(0.15)  # the first checks
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
                return await test(session)
        finally:
            await runner.cleanup()
            for engine in dict.fromkeys(engines.values()):
                await engine.stop()

    return asyncio.run(run())


def own_engines() -> dict[str, TinyEngine]:
    return {name: TinyEngine([name]) for name in NAMES}


async def ask(session, path="/v1/completions", **body) -> tuple[int, Any, dict[str, Any] | None]:
    async with session.post(path, json=body, headers={"Authorization": "Bearer secret"}) as response:
        route = response.headers.get("x-xelm-route")
        return response.status, await response.json(), json.loads(route) if route else None


def test_a_connection_that_an_engine_closed_is_no_sign_of_its_death(lm, caplog):
    """uvicorn closes connections that were idle for five seconds, just as the next request may be on its way."""
    served: list[int] = []

    async def once_a_connection(reader, writer):
        requests = 0
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"POST") and (requests := requests + 1) > 1:
                break  # the second request of a connection finds it closed
            length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]) if b"POST" in head[:4] else 0
            await reader.readexactly(length)
            served.append(length)
            answer = b'{"data": [{"id": "german"}], "choices": [{"index": 0, "text": "da"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
            await writer.drain()
        writer.transport.abort()

    async def run():
        engine = await asyncio.start_server(once_a_connection, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{engine.sockets[0].getsockname()[1]}"
        pool = Pool(read_engines([f"*={url}"], lm.names), every_s=60)
        runner = web.AppRunner(make_gateway(lm, pool, Patience(wait_s=5, timeout_s=5)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await asyncio.sleep(0.1)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
                return [await ask(session, prompt="Guten Tag", model="german") for _ in range(5)]
        finally:
            await runner.cleanup()
            engine.close()

    answers = asyncio.run(run())
    assert [(status, body["choices"][0]["text"]) for status, body, _ in answers] == [(200, "da")] * 5
    assert "does not answer" not in caplog.text and sum(map(bool, served)) == 5


def test_each_request_goes_to_the_engine_of_its_expert_with_its_key(lm):
    engines = own_engines()

    async def test(session):
        for name, code in OWNERS.items():
            status, body, route = await ask(session, prompt=TEXTS[code][0], model="top1", max_tokens=3)
            assert (status, body["choices"][0]["text"]) == (200, f"{name} {TEXTS[code][0]}")
            assert route["expert"] == name and route["language"] == code and 0 < route["confidence"] <= 1
        turns = [{"role": "user", "content": TEXTS["deu"][0]}, {"role": "assistant", "content": "да"}]
        turns.append({"role": "user", "content": [{"type": "text", "text": TEXTS["rus"][0]}]})
        status, body, route = await ask(session, "/v1/chat/completions", messages=turns)
        assert (status, body["model"], route["expert"]) == (200, "russian", "russian")
        status, _, route = await ask(session, prompt=TEXTS["rus"][0], model="dutch")
        assert (status, route["expert"], route["language"]) == (200, "dutch", "rus")
        ids = lm.tokenizer(TEXTS["rus"][0])["input_ids"]
        assert (await ask(session, prompt=ids))[2]["expert"] == "russian"

    with_gateway(lm, engines, test)
    path, body, headers = engines["german"].asked[0]
    assert path == "/v1/completions" and headers["Authorization"] == "Bearer secret"
    assert body == {"prompt": TEXTS["deu"][0], "model": "german", "max_tokens": 3}
    assert engines["russian"].asked[-1][1]["prompt"] == lm.tokenizer(TEXTS["rus"][0])["input_ids"]


def test_prompts_of_several_experts_come_back_in_their_order(lm):
    prompts = [TEXTS["rus"][0], TEXTS["deu"][0], TEXTS["rus"][1], TEXTS["nld"][0]]

    async def test(session):
        status, body, route = await ask(session, prompt=prompts)
        assert status == 200 and body["usage"] == {"total_tokens": 4}
        owners = ["russian", "german", "russian", "dutch"]
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
        assert [c["text"] for c in body["choices"]] == [f"{o} {p}" for o, p in zip(owners, prompts, strict=True)]
        assert [one["expert"] for one in route] == owners
        status, body, _ = await ask(session, prompt=prompts, stream=True)
        assert status == 400 and "cannot be streamed as one" in body["error"]["message"]

    with_gateway(lm, own_engines(), test)


def test_choices_of_several_answers_a_prompt_keep_their_places():
    def answer(*texts):
        return {"choices": [{"index": i, "text": text} for i, text in enumerate(texts)]}

    whole = merged([([0, 2], answer("a0", "a1", "c0", "c1")), ([1], answer("b0", "b1"))], 3)
    assert [(c["index"], c["text"]) for c in whole["choices"]] == list(enumerate(["a0", "a1", "b0", "b1", "c0", "c1"]))


def test_streams_come_through_and_one_that_breaks_says_so(lm):
    engines = own_engines()

    async def stream(session):
        async with session.post("/v1/completions", json={"prompt": TEXTS["deu"][0], "stream": True}) as response:
            assert response.content_type == "text/event-stream" and "german" in response.headers["x-xelm-route"]
            return [line async for line in response.content if line.strip()]

    async def test(session):
        lines = await stream(session)
        assert [json.loads(line[6:])["n"] for line in lines[:-1]] == list(range(5)) and b"[DONE]" in lines[-1]
        engines["german"].breaks_after = 2
        lines = await stream(session)
        assert [json.loads(line[6:]).get("n") for line in lines] == [0, 1, None]
        assert json.loads(lines[-1][6:])["error"]["code"] == "engine_lost"
        engines["german"].breaks_after = 0  # nothing was sent: it is asked again
        asyncio.get_running_loop().call_later(0.4, setattr, engines["german"], "breaks_after", None)
        assert b"[DONE]" in (await stream(session))[-1]
        async with session.get("/metrics") as response:
            text = await response.text()
        assert 'xelm_gateway_broken_streams_total{engine="' in text and 'expert="german",status="200"} 3.0' in text

    with_gateway(lm, engines, test)


def test_requests_wait_for_an_engine_that_is_restarted_and_others_are_not_touched(lm):
    engines = own_engines()

    async def test(session):
        await engines["russian"].stop()
        waiting = [asyncio.create_task(ask(session, prompt=TEXTS["rus"][n % 3])) for n in range(20)]
        assert (await ask(session, prompt=TEXTS["deu"][0]))[0] == 200, "the death of one engine is its own"
        async with session.get("/health") as response:
            health = await response.json()
        assert response.status == 503 and health["without_engine"] == ["russian"]
        engines["russian"] = again = TinyEngine(["russian"], engines["russian"].port)
        await again.start()
        answers = await asyncio.gather(*waiting)
        assert [status for status, _, _ in answers] == [200] * 20
        assert {route["expert"] for _, _, route in answers} == {"russian"}
        async with session.get("/health") as response:
            assert response.status == 200
        await again.stop()

    with_gateway(lm, engines, test)


def test_an_engine_that_stays_down_or_busy_ends_in_a_sentence(lm):
    engines = own_engines()
    del engines["base"]

    async def test(session):
        engines["dutch"].busy = 2
        assert (await ask(session, prompt=TEXTS["nld"][0]))[0] == 200, "busy twice, then not"
        await engines["german"].stop()
        status, body, _ = await ask(session, prompt=TEXTS["deu"][0])
        assert status in (502, 503) and "of german" in body["error"]["message"]
        status, body, _ = await ask(session, prompt="12 + 7", model="base")
        assert (
            status == 503
            and "no engine serves base: start the gateway with --engine base=URL" in body["error"]["message"]
        )

    with_gateway(lm, engines, test, wait_s=1)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"prompt": "Haus", "model": "ensemble"}, 400, "Ask `xelm serve`"),
        ({"prompt": "Haus", "model": "topm:3"}, 400, "a mixture needs the experts in one process"),
        ({"prompt": "Haus", "model": "nobody"}, 404, "Choose one of top1, german"),
        ({"prompt": 7}, 400, "a string, token ids"),
        ({"prompt": ["a"] * 65}, 400, "at most 64"),
        ({}, 400, "a string, token ids"),
    ],
)
def test_what_it_cannot_do_it_says(lm, body, status, message):
    async def test(session):
        found, answer, _ = await ask(session, **body)
        assert found == status and message in answer["error"]["message"]
        async with session.post("/v1/completions", data=b"{nonsense") as response:
            assert response.status == 400 and "no JSON" in (await response.json())["error"]["message"]
        found, answer, _ = await ask(session, "/v1/chat/completions", messages=[{"role": "system", "content": "a"}])
        assert found == 400 and "role user" in answer["error"]["message"]

    with_gateway(lm, own_engines(), test)


def test_a_client_that_leaves_takes_no_engine_down(lm):
    engines = own_engines()

    async def test(session):
        with suppress(asyncio.TimeoutError):
            async with asyncio.timeout(0.015):
                async with session.post(
                    "/v1/completions", json={"prompt": TEXTS["deu"][0], "stream": True}
                ) as response:
                    async for _ in response.content:
                        pass
        for _ in range(3):
            assert (await ask(session, prompt=TEXTS["deu"][0]))[0] == 200
        async with session.get("/health") as response:
            assert response.status == 200

    with_gateway(lm, engines, test, wait_s=0.5)


def test_one_engine_for_all_and_models_by_the_engines_own_names(lm):
    engine = TinyEngine(["base", *OWNERS])

    async def test(session):
        assert (await ask(session, prompt=TEXTS["rus"][0]))[1]["model"] == "russian"
        assert (await ask(session, prompt=TEXTS["nld"][0]))[1]["model"] == "dutch"
        async with session.get("/v1/models") as response:
            assert [row["id"] for row in (await response.json())["data"]] == ["top1", "auto", *lm.names]

    with_gateway(lm, {"*": engine}, test)
    assert Engine("german", "http://a", listed=["/models/german"]).model_for("german") == "/models/german"
    assert Engine("german", "http://a", listed=["x", "german"]).model_for("german") == "german"
    assert read_engines(["german=http://a/v1/#m"], NAMES)[0] == Engine("german", "http://a", "m")


@pytest.mark.parametrize("given", ["german", "german=gpu1:8000", "nobody=http://a", "=http://a"])
def test_engines_that_cannot_be_read_are_refused(run, given):
    with pytest.raises(BadInput, match="engines="):
        read_engines([given], NAMES)
    result = CliRunner().invoke(group, ["gateway", str(run), "--engine", given, "--port", "0"])
    assert isinstance(result.exception, BadInput)


def test_the_command_answers_without_torch_and_ends_on_sigterm(run):
    code = "import sys; from xelm.cli import main\ntry:\n    main()\nfinally:\n    "
    code += "print('torch' in sys.modules, file=sys.stderr)"
    engine = ["--engine", "*=http://127.0.0.1:9"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "gateway", str(run), *engine, "--port", "0", "--wait-s", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])

        async def test():
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                return await ask(session, prompt=TEXTS["rus"][0])

        status, body, _ = asyncio.run(test())
        assert status in (502, 503) and body["error"]["code"] in ("engine_down", "engine_lost")
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0 and errors.strip().endswith("False"), errors
    finally:
        process.kill()


def test_a_port_that_is_taken_is_refused(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        engine = ["--engine", "*=http://127.0.0.1:9"]
        result = CliRunner().invoke(group, ["gateway", str(run), *engine, "--port", str(port)])
    assert isinstance(result.exception, BadInput) and "--port" in str(result.exception)
