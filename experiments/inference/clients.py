"""`xelm serve` under many clients: what sharing passes saves, and what a short request waits behind a long one.

    OMP_NUM_THREADS=1 python experiments/inference/clients.py --run /tmp/runs/clients --out clients.json

A run of four untrained experts (`make_run.py`) is served on loopback. First 64 clients send their requests, each with
its own sampling settings, all at once; then the same requests are sent one by one. Then a job of 4,096 tokens runs, and
requests of one token come at random moments. Last, requests of one token that begin with the same text, as with a
system prompt, and others that do not. Seconds of a core that the server had are read from /proc: on a machine with
other work they say what the wall clock says on a quiet one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
from make_run import make_run, prompts

CLIENTS, TOKENS = 64, 24
LONG, SHORT = 4096, 20
PARTS = ["mixed", "behind", "shared"]
NO_LIMIT = aiohttp.ClientTimeout(total=None)


def settings(number: int) -> dict[str, Any]:
    """The sampling of a client: no two neighbours choose tokens alike."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 0.9},
        {"temperature": 1.0, "top_k": 20},
        {"temperature": 1.3, "min_p": 0.05},
        {"temperature": 0.8, "presence_penalty": 0.5},
        {"temperature": 0, "frequency_penalty": 0.4},
    ]
    return {**kinds[number % len(kinds)], "seed": number}


async def ask(session: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[str, float]:
    """The text of an answer, and the seconds until it came."""
    started_s = time.perf_counter()
    async with session.post("/v1/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return answer["choices"][0]["text"], time.perf_counter() - started_s


def core_s(process: subprocess.Popen[str]) -> float:
    """Seconds of a core that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def mixed(session: aiohttp.ClientSession, server: subprocess.Popen[str]) -> dict[str, Any]:
    """64 requests at once, and one by one; answers must be the same."""
    texts = [text for row in zip(*prompts(8).values(), strict=True) for text in row]
    bodies = [
        {"model": "top1", "prompt": texts[i % len(texts)], "max_tokens": TOKENS, **settings(i)} for i in range(CLIENTS)
    ]
    await asyncio.gather(*(ask(session, body) for body in bodies[:8]))  # the experts are loaded
    marks = [(time.perf_counter(), core_s(server))]
    together = await asyncio.gather(*(ask(session, body) for body in bodies))
    marks.append((time.perf_counter(), core_s(server)))
    alone = [await ask(session, body) for body in bodies]
    marks.append((time.perf_counter(), core_s(server)))
    (wall, core), (wall_alone, core_alone) = ((b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks))
    return {
        "clients": CLIENTS,
        "tokens of an answer": TOKENS,
        "together (s)": round(wall, 2),
        "one by one (s)": round(wall_alone, 2),
        "one by one / together": round(wall_alone / wall, 2),
        "together (core s)": round(core, 2),
        "one by one (core s)": round(core_alone, 2),
        "one by one / together, of a core": round(core_alone / core, 2),
        "answers that are the same": sum(a[0] == b[0] for a, b in zip(together, alone, strict=True)),
    }


async def behind(session: aiohttp.ClientSession, tokens: int, after: int) -> dict[str, Any]:
    """Requests of one token while a long job runs, beside the same when nothing else is asked."""
    texts = prompts(1)
    short = {"model": "top1", "prompt": texts["rus"][0][:40], "max_tokens": 1, "temperature": 0}
    long = {"model": "top1", "prompt": texts["deu"][0][:40], "max_tokens": tokens, "temperature": 0, "stream": True}
    await ask(session, short)
    idle = [(await ask(session, short))[1] for _ in range(SHORT)]
    arrivals: list[float] = []

    async def follow() -> None:
        async with session.post("/v1/completions", json=long) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    arrivals.append(time.perf_counter())

    job = asyncio.create_task(follow())
    while len(arrivals) < after:
        await asyncio.sleep(0.01)
    chance, rows = random.Random(0), []
    while len(rows) < SHORT and not job.done():
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        before = statistics.median(b - a for a, b in itertools.pairwise(arrivals[-20:]))
        waited = (await ask(session, short))[1]
        rows.append((waited, 2 * statistics.median(idle) + before, len(arrivals)))
    gaps = [b - a for a, b in itertools.pairwise(arrivals)]
    job.cancel()
    return {
        "tokens of the long job": tokens,
        "written of it when the first came": after,
        "requests of one token": len(rows),
        "idle, median (ms)": round(1e3 * statistics.median(idle), 1),
        "a step of the long job, median (ms)": round(1e3 * statistics.median(gaps), 1),
        "behind it, median (ms)": round(1e3 * statistics.median(row[0] for row in rows), 1),
        "behind it, longest (ms)": round(1e3 * max(row[0] for row in rows), 1),
        "twice idle and a step, median (ms)": round(1e3 * statistics.median(row[1] for row in rows), 1),
        "within twice idle and a step": sum(row[0] <= row[1] for row in rows),
        "written of the long job when the last came": rows[-1][2],
    }


async def shared(session: aiohttp.ClientSession, beginnings: list[int]) -> dict[str, Any]:
    """Requests of one token with one long beginning, beside others as long of which each begins in its own way."""
    texts = [text for row in prompts(64).values() for text in row]
    system, found = " ".join(texts), dict[str, Any]()
    for length in beginnings:
        body = {"model": "top1", "max_tokens": 1, "temperature": 0}
        async with session.post("/v1/completions", json={**body, "prompt": system[:length]}) as response:
            num_tokens = (await response.json())["usage"]["prompt_tokens"]
        rows: dict[str, list[float]] = {"one beginning": [], "beginnings of their own": []}
        for number in range(SHORT):
            for name, beginning in (("one beginning", system), ("beginnings of their own", f"{number:03d} {system}")):
                prompt = beginning[:length] + " " + texts[number][:40]
                rows[name].append((await ask(session, {**body, "prompt": prompt}))[1])
        medians = {name: round(1e3 * statistics.median(times), 1) for name, times in rows.items()}
        found[f"{num_tokens} tokens"] = {f"{name}, median (ms)": value for name, value in medians.items()}
    return {"requests of each": SHORT, **found}


async def measure(url: str, server: subprocess.Popen[str], parts: list[str], tokens: int, after: int) -> dict[str, Any]:
    """All parts that are wanted."""
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession(url, timeout=NO_LIMIT, connector=aiohttp.TCPConnector(limit=0)) as session:
        if "mixed" in parts:
            found["mixed"] = await mixed(session, server)
        if "behind" in parts:
            found["behind"] = await behind(session, tokens, after)
        if "shared" in parts:
            found["shared"] = await shared(session, [256, 1024, 4096])
    return found


def main() -> None:
    """Serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run, made if it is not there")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=LONG, help="of the long job")
    parser.add_argument("--after", type=int, default=20, help="tokens of the long job before the first short request")
    arguments = parser.parse_args()
    make_run(arguments.run, "full", hidden=arguments.hidden, layers=arguments.layers, context=LONG + 512)
    command = [sys.executable, "-m", "xelm", "-q", "serve", str(arguments.run), "--device", "cpu", "--port", "0"]
    with subprocess.Popen(
        [*command, "--max-tokens", str(LONG), "--timeout-s", "1200"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            found = asyncio.run(measure(url, server, arguments.parts, arguments.tokens, arguments.after))
        finally:
            server.terminate()
    kept = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    for part in found.values():
        part["model"] = f"width {arguments.hidden}, {arguments.layers} layers"
    output = {**kept, "versions": {n: version(n) for n in ("torch", "transformers")}, **found}
    arguments.out.write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
