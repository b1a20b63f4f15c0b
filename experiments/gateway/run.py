"""Ten thousand requests through a gateway to two engines, one of which dies on the way; writes results.json.

    python experiments/gateway/run.py runs/a --data ../shared/data

Two `xelm serve` processes share the experts of a run: one has half of them, the other the rest and the base. 64 clients
send sentences of SIB-200 in the run's languages. First the same requests go to an engine directly and through the
gateway, one at a time, for the overhead. Then all requests go through the gateway, every tenth as a stream, while one
engine is killed (SIGKILL) after a third of them and started again some seconds later.

Every answer must name its expert, and the engine must have answered with that expert: the text that an answer holds is
compared with what the expert itself answers in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from clustering import match
from xelm import RoutedLM
from xelm.parts import read_file

CLIENTS, TOKENS = 64, 4
DOWN_S = 5.0
NO_LIMIT = aiohttp.ClientTimeout(total=None)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(arguments: list[str]) -> tuple[subprocess.Popen[str], str]:
    """A command that serves, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xelm", "-q", *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def sentences(data: Path, languages: list[str], limit: int) -> list[str]:
    """Beginnings of test sentences, the languages in turn."""
    rows = []
    for file in sorted((data / "sib200").glob("*.jsonl.gz")):
        if match(file.name.split("_")[0], languages) is not None:
            texts = [row.text[:60] for row in read_file(file) if row.split == "test"]
            rows.append([text for text in texts if len(text.encode()) < 80][:limit])
    return [text for group in zip(*rows, strict=False) for text in group]


async def ask(session: aiohttp.ClientSession, url: str, model: str, text: str, stream: bool) -> dict[str, Any]:
    """One request: status, expert, text and seconds."""
    body = {"model": model, "prompt": text, "max_tokens": TOKENS, "stream": stream}
    started_s = time.perf_counter()
    try:
        async with session.post(f"{url}/v1/completions", json=body) as response:
            route = json.loads(response.headers.get("x-xelm-route", "{}"))
            raw = await response.read()
            found = {"status": response.status, "expert": route.get("expert"), "stream": stream}
    except aiohttp.ClientError as error:
        return {"status": 0, "expert": None, "stream": stream, "error": str(error)}
    found["seconds"] = time.perf_counter() - started_s
    if not stream:
        answer = json.loads(raw)
        found["text"] = answer["choices"][0]["text"] if response.status == 200 else None
    else:
        events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
        found["text"] = "".join(c.get("text") or "" for event in events for c in event.get("choices", []))
        if any("error" in event for event in events) or b"[DONE]" not in raw:
            found["status"] = 0
    return found


async def overhead(gateway: str, engine: str, texts: list[str], expert: str) -> dict[str, float]:
    """Seconds of requests one at a time, directly and through the gateway in turn."""
    direct, through = [], []
    async with aiohttp.ClientSession(timeout=NO_LIMIT) as session:
        for text in texts:
            direct.append((await ask(session, engine, expert, text, False))["seconds"])
            through.append((await ask(session, gateway, expert, text, False))["seconds"])
    more = np.array(through) - np.array(direct)
    return {
        "requests": len(texts),
        "median of engine alone (ms)": round(1e3 * float(np.median(direct)), 2),
        "median through gateway (ms)": round(1e3 * float(np.median(through)), 2),
        "median of differences (ms)": round(1e3 * float(np.median(more)), 2),
    }


async def load(gateway: str, texts: list[str], number: int, kill: Any, restart: Any) -> list[dict[str, Any]]:
    """All requests by 64 clients; the engine dies after a third of them."""
    answers: list[dict[str, Any]] = [{} for _ in range(number)]
    todo = iter(range(number))
    done = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal done
        for index in todo:
            answers[index] = await ask(session, gateway, "top1", texts[index % len(texts)], index % 10 == 0)
            done += 1
            if done % 500 == 0:
                print(f"{done} requests", file=sys.stderr, flush=True)

    async def death() -> None:
        while done < number // 3:
            await asyncio.sleep(0.05)
        kill()
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(restart)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=NO_LIMIT) as session:
        await asyncio.gather(death(), *(client(session) for _ in range(CLIENTS)))
    return answers


def main() -> None:
    """Serve, ask, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--requests", type=int, default=10_000)
    arguments = parser.parse_args()
    run = str(arguments.run)
    lm = RoutedLM.from_pretrained(run, device="cpu")
    texts = sentences(arguments.data, lm.experts.languages, 20)
    routes = lm.route(texts)
    owner = [max(route.weights, key=lambda n: (route.weights[n], n)) for route in routes]
    wanted = {
        text: lm.generate([text], policy=name, max_new_tokens=TOKENS)[0]
        for text, name in zip(texts, owner, strict=True)
    }
    serve = ["serve", run, "--device", "cpu", "--port"]
    first, first_url = started([*serve, "0"])
    second, second_url = started([*serve, "0"])
    processes = {"first": first, "second": second}
    half = lm.names[: len(lm.names) // 2]
    engines = [f"--engine={name}={first_url if name in half else second_url}" for name in lm.names]
    gateway, url = started(["gateway", run, *engines, "--port", "0", "--wait-s", "600"])
    try:
        alone = [text for text, name in zip(texts, owner, strict=True) if name == half[0]]
        cost = asyncio.run(overhead(url, first_url, (alone * 100)[:100], half[0]))

        def restart() -> None:
            processes["first"], _ = started([*serve, first_url.rsplit(":", 1)[1]])

        began_s = time.perf_counter()
        answers = asyncio.run(load(url, texts, arguments.requests, first.kill, restart))
        seconds = time.perf_counter() - began_s
    finally:
        for process in (gateway, *processes.values()):
            process.terminate()
    report = judged(answers, texts, owner, wanted, set(half))
    output = {
        "command": f"python experiments/gateway/run.py runs/{arguments.run.name} --data ../shared/data",
        "versions": {name: version(name) for name in ("aiohttp", "torch", "transformers")},
        "experts at the engine that was killed": half,
        "clients": CLIENTS,
        "seconds": round(seconds, 1),
        **report,
        "overhead": cost,
    }
    (Path(__file__).parent / "results.json").write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(output, indent=1))


def judged(
    answers: list[dict[str, Any]], texts: list[str], owner: list[str], wanted: dict[str, str], killed: set[str]
) -> dict[str, Any]:
    """Counts of answers that were lost, misrouted, or not what the expert answers."""
    lost = [index for index, answer in enumerate(answers) if answer["status"] != 200]
    expert = [owner[index % len(texts)] for index in range(len(answers))]
    misrouted = [i for i, answer in enumerate(answers) if i not in set(lost) and answer["expert"] != expert[i]]
    other = [i for i, a in enumerate(answers) if i not in set(lost) and a["text"] != wanted[texts[i % len(texts)]]]
    return {
        "requests": len(answers),
        "lost": len(lost),
        "lost, streams that had begun at the engine that was killed": sum(
            answers[i]["stream"] and expert[i] in killed for i in lost
        ),
        "misrouted": len(misrouted),
        "answered otherwise than the expert itself": len(other),
    }


if __name__ == "__main__":
    main()
