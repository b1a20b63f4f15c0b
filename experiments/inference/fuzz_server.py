"""Malformed requests by the thousand, then many good ones at once: no answer may be lost or mixed up.

    python experiments/inference/fuzz_server.py --malformed 10000 --concurrent 200

Starts `xelm serve` on a small run on loopback; ends it with SIGTERM. Exit code 1 if anything went wrong. Every request
has a time limit, and so has the whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from make_run import make_run, prompts

PATH = "/v1/completions"
TIMEOUT_S = 60.0
VALID = {"model": "top1", "prompt": "Guten Morgen", "max_tokens": 4, "temperature": 0, "stream": False}
VALID_CHAT = {"messages": [{"role": "user", "content": "Guten Morgen"}], "max_tokens": 4, "logprobs": True}
VALID_MORE = {"echo": False, "logprobs": 2, "top_k": 3, "min_p": 0.1, "seed": 1, "presence_penalty": 0.5}
VALUES: list[Any] = [None, True, -1, 0, 1e308, 2**70, "", "\x00", "x" * 3000, [], [[]], {}, {"a": []}, ["a", 1], [""]]
HEADERS = ["Content-Length: -5", "Content-Length: x", "Transfer-Encoding: y", "A" * 70_000, ": :", "\x00"]
KINDS = ("bytes", "cut", "flipped", "value", "field", "deep", "headers", "method", "huge", "liar")


def malformed(rng: random.Random) -> tuple[str, bytes]:
    """A kind, and the bytes of a request that a server must refuse (or, for a few values, may answer)."""
    kind = rng.choice(KINDS)
    good = json.dumps(VALID).encode()
    if kind == "bytes":
        return kind, rng.randbytes(rng.randrange(1, 300))
    if kind == "cut":
        return kind, request(good[: rng.randrange(len(good))])
    if kind == "flipped":
        place = rng.randrange(len(good))
        return kind, request(good[:place] + rng.randbytes(1) + good[place + 1 :])
    if kind == "value":
        body: dict[str, Any] = rng.choice([VALID, {**VALID, **VALID_MORE}, VALID_CHAT])
        changed = {**body, rng.choice(list(body)): rng.choice(VALUES)}
        path = "/v1/chat/completions" if "messages" in changed else PATH
        return kind, request(json.dumps(changed).encode(), path=path)
    if kind == "field":
        return kind, request(json.dumps({**VALID, f"x{rng.random()}": rng.choice(VALUES)}).encode())
    if kind == "deep":
        return kind, request(rng.choice([b"[", b'{"a":']) * rng.randrange(100, 20_000))
    if kind == "headers":
        return kind, f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{rng.choice(HEADERS)}\r\n\r\n".encode()
    if kind == "method":
        method, path = rng.choice(["GET", "PUT", "BREW"]), rng.choice([PATH, "/", "/%ff", "/v1/../x", "//"])
        return kind, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    if kind == "huge":
        return kind, request(json.dumps({**VALID, "prompt": "a" * 1_100_000}).encode())
    # The body is shorter than its header says, and the client leaves.
    return kind, request(good, length=len(good) + rng.randrange(1, 1000))


def request(body: bytes, *, length: int | None = None, path: str = PATH) -> bytes:
    """An HTTP request with a JSON body."""
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


async def exchange(port: int, data: bytes, *, finish: bool = False) -> bytes:
    """Send bytes, read until the server closes; `finish` says that nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        if finish:
            writer.write_eof()
        return await reader.read()
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> int:
    """HTTP status; 0 for a connection closed without one."""
    parts = answer.split(b" ", 2)
    return int(parts[1]) if answer.startswith(b"HTTP/1.1 ") and len(parts) > 2 else 0


async def attack(port: int, count: int, at_once: int, seed: int) -> Counter[tuple[str, int]]:
    """Send malformed requests; what came back, by kind and status (-1: nothing in time)."""
    rng, found, gate = random.Random(seed), Counter[tuple[str, int]](), asyncio.Semaphore(at_once)

    async def one(kind: str, data: bytes) -> None:
        async with gate:
            try:
                finish = kind in ("bytes", "headers", "liar")
                answer = await asyncio.wait_for(exchange(port, data, finish=finish), TIMEOUT_S)
                found[kind, status_of(answer)] += 1
            except TimeoutError:
                found[kind, -1] += 1

    for start in range(0, count, 500):
        await asyncio.gather(*(one(*malformed(rng)) for _ in range(min(500, count - start))))
    return found


async def good(port: int, texts: list[str], count: int) -> list[tuple[dict[str, Any], str | None]]:
    """Good requests all at once, half of them streamed; each with its answer (None: none)."""
    asked = [
        {**VALID, "prompt": texts[i % len(texts)], "max_tokens": 3 + i % 6, "stream": bool(i % 2)} for i in range(count)
    ]

    async def one(body: dict[str, Any]) -> str | None:
        data = request(json.dumps(body).encode())
        answer = await asyncio.wait_for(exchange(port, data), TIMEOUT_S * 3)
        return text_of(answer, body["stream"]) if status_of(answer) == 200 else None

    answers = await asyncio.gather(*(one(body) for body in asked))
    return list(zip(asked, answers, strict=True))


def text_of(answer: bytes, stream: bool) -> str:
    """The text of an answer, taken out of its HTTP and its chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    if not stream:
        return json.loads(body)["choices"][0]["text"]
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    if lines[-1] != "[DONE]":
        return "(the stream broke off)"
    return "".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1])


def check(run: Path, port: int, malformed_count: int, concurrent: int, seed: int) -> dict[str, Any]:
    """Attack, ask, compare with the run's own answers."""
    from xelm import RoutedLM

    started_s = time.monotonic()
    found = asyncio.run(attack(port, malformed_count, 32, seed))
    attacked_s = time.monotonic() - started_s
    texts = [text for its_texts in prompts(4, 40).values() for text in its_texts]
    results = asyncio.run(good(port, texts, concurrent))
    asked_s = time.monotonic() - started_s - attacked_s
    lm = RoutedLM.from_pretrained(run, device="cpu")
    wrong = [
        body
        for body, answer in results
        if answer != lm.generate([body["prompt"]], max_new_tokens=body["max_tokens"])[0]
    ]
    statuses = Counter(status for (_, status), n in found.items() for _ in range(n))
    return {
        "malformed": malformed_count,
        "statuses": {str(status): statuses[status] for status in sorted(statuses)},
        "by_kind": {kind: {str(s): n for (k, s), n in sorted(found.items()) if k == kind} for kind in KINDS},
        "server_errors": sum(n for status, n in statuses.items() if status >= 500),
        "unanswered": statuses[-1],
        "malformed_s": round(attacked_s, 1),
        "concurrent": concurrent,
        "lost": sum(answer is None for _, answer in results),
        "wrong": len(wrong),
        "concurrent_s": round(asked_s, 1),
    }


def main() -> None:
    """Serve, attack, ask, end; print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", "full", hidden=64, layers=2, vocabulary=1000)
        command = [sys.executable, "-m", "xelm", "-q", "serve", str(run), "--port", "0", "--device", "cpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                port = urlsplit(server.stdout.readline().split()[-1]).port
                assert port is not None
                result = check(run, port, arguments.malformed, arguments.concurrent, arguments.seed)
                server.send_signal(signal.SIGTERM)
                result["exit_code"] = server.wait(30)
            finally:
                server.kill()
    print(json.dumps(result, indent=1))
    bad = ("server_errors", "unanswered", "lost", "wrong", "exit_code")
    sys.exit(1 if any(result[name] for name in bad) else 0)


if __name__ == "__main__":
    main()
