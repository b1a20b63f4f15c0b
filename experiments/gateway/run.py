"""Ten thousand requests through a gateway to two engines, one of which dies on the way; writes results.json.

    python experiments/gateway/run.py runs/a --data ../shared/data
    python experiments/gateway/run.py runs/a --data ../shared/data --engine transformers

Two `xelm serve` processes, or two of `transformers serve`, share the experts of a run: one has half of them, the other
the rest and the base. 64 clients send sentences of SIB-200 in the run's languages. First the same requests go to an
engine directly and through the gateway, one at a time, for the overhead. Then all requests go through the gateway,
every tenth as a stream, while one engine is killed (SIGKILL) after a third of them and started again some seconds
later.

Every answer must name its expert, and the engine must have answered with that expert: the text that an answer holds is
compared with what the expert itself answers, in this process for `xelm serve`, and asked directly at the engine before
the load for `transformers serve`, which tokenises in its own way. What the gateway itself computes for a request
is read from its clock in /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from clustering import match
from xelm import RoutedLM
from xelm.parts import BASE, read_file

CLIENTS, TOKENS = 64, 4
ALONE = 200
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


@dataclass(frozen=True)
class Kind:
    """A kind of engine."""

    name: str
    run: str

    def start(self, port: int) -> tuple[subprocess.Popen[str], str]:
        """A process that serves at a port (0: any), and its address."""
        if self.name == "xelm":
            return started(["serve", self.run, "--device", "cpu", "--port", str(port)])
        port = port or free_port()
        command = ["transformers", "serve", "--port", str(port), "--device", "cpu", "--model-timeout", "3600"]
        quiet = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(command[0])), *command[1:], "--log-level", "error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=quiet,
        )
        return process, f"http://localhost:{port}"

    def model(self, name: str) -> str:
        """The expert's name at such an engine."""
        if self.name == "xelm":
            return name
        return str((Path(self.run) / (name if name == BASE else f"experts/{name}")).resolve())

    def address(self, name: str, url: str) -> str:
        """The gateway's argument for an expert at this engine."""
        return f"--engine={name}={url}" + ("" if self.name == "xelm" else f"#{self.model(name)}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def core_seconds(process: subprocess.Popen[str]) -> float:
    """Seconds of a core that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_up(url: str) -> None:
    """Wait until an engine answers."""
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            try:
                async with session.get(f"{url}/health") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit(f"{url} does not come up")


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
        choices = [c for event in events for c in event.get("choices", [])]
        found["text"] = "".join(c.get("text") or "" for c in choices)
        if any("error" in event for event in events) or not any(c.get("finish_reason") for c in choices):
            found["status"] = 0
    return found


async def overhead(gateway: str, engine: str, texts: list[str], model: str) -> dict[str, float]:
    """Seconds of requests one at a time, directly and through the gateway (which routes them) in turn."""
    direct, through = [], []
    async with aiohttp.ClientSession(timeout=NO_LIMIT) as session:
        for text in texts:
            direct.append((await ask(session, engine, model, text, False))["seconds"])
            through.append((await ask(session, gateway, "top1", text, False))["seconds"])
    more = np.array(through) - np.array(direct)
    return {
        "requests": len(texts),
        "median of engine alone (ms)": round(1e3 * float(np.median(direct)), 2),
        "median through gateway (ms)": round(1e3 * float(np.median(through)), 2),
        "median of differences (ms)": round(1e3 * float(np.median(more)), 2),
    }


async def answers_of(engine: str, texts: list[str], models: list[str]) -> dict[str, str]:
    """What an engine itself answers to each text."""
    async with aiohttp.ClientSession(timeout=NO_LIMIT) as session:
        return {t: (await ask(session, engine, m, t, False))["text"] for t, m in zip(texts, models, strict=True)}


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


def one_by_one(gateway: subprocess.Popen[str], url: str, engine: str, texts: list[str], model: str) -> dict[str, float]:
    """What the gateway adds to an engine that has nothing else to do."""
    asyncio.run(overhead(url, engine, texts[:4], model))  # what is made at the first request
    began_core_s = core_seconds(gateway)
    cost = asyncio.run(overhead(url, engine, (texts * ALONE)[:ALONE], model))
    return {**cost, "gateway (core ms a request)": round(1e3 * (core_seconds(gateway) - began_core_s) / ALONE, 2)}


def main() -> None:
    """Serve, ask, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--engine", choices=["xelm", "transformers"], default="xelm")
    parser.add_argument("--parts", nargs="+", choices=["overhead", "load"], default=["overhead", "load"])
    arguments = parser.parse_args()
    kind = Kind(arguments.engine, str(arguments.run))
    lm = RoutedLM.from_pretrained(arguments.run, device="cpu")
    texts = sentences(arguments.data, lm.experts.languages, 20)
    owner = [max(route.weights, key=lambda n: (route.weights[n], n)) for route in lm.route(texts)]
    first, first_url = kind.start(0)
    second, second_url = kind.start(0)
    processes = {"first": first, "second": second}
    half = lm.names[: len(lm.names) // 2]
    engines = [kind.address(name, first_url if name in half else second_url) for name in lm.names]
    for url in (first_url, second_url):
        asyncio.run(until_up(url))
    if kind.name == "xelm":
        wanted = {
            text: lm.generate([text], policy=name, max_new_tokens=TOKENS)[0]
            for text, name in zip(texts, owner, strict=True)
        }
    else:
        wanted = asyncio.run(answers_of(second_url, texts, [kind.model(name) for name in owner]))
    gateway, url = started(["gateway", kind.run, *engines, "--port", "0", "--wait-s", "600"])
    try:
        found: dict[str, Any] = {}
        if "overhead" in arguments.parts:
            alone = [text for text, name in zip(texts, owner, strict=True) if name == half[0]]
            found["overhead"] = one_by_one(gateway, url, first_url, alone, kind.model(half[0]))
        if "load" in arguments.parts:

            def restart() -> None:
                processes["first"], _ = kind.start(int(first_url.rsplit(":", 1)[1]))

            began_s, began_core_s = time.perf_counter(), core_seconds(gateway)
            answers = asyncio.run(load(url, texts, arguments.requests, first.kill, restart))
            found["load"] = {
                "clients": CLIENTS,
                "seconds": round(time.perf_counter() - began_s, 1),
                "gateway (core ms a request)": round(
                    1e3 * (core_seconds(gateway) - began_core_s) / arguments.requests, 2
                ),
                "experts at the engine that was killed": half,
                **judged(answers, texts, owner, wanted, set(half)),
            }
    finally:
        for process in (gateway, *processes.values()):
            process.terminate()
    file = Path(__file__).parent / "results.json"
    kept = json.loads(file.read_text(encoding="utf-8")).get("engines", {}) if file.is_file() else {}
    output = {
        "command": f"python experiments/gateway/run.py runs/{arguments.run.name} --data ../shared/data [--engine KIND]",
        "versions": {name: version(name) for name in ("aiohttp", "torch", "transformers")},
        "engines": {**kept, kind.name: {**kept.get(kind.name, {}), **found}},
    }
    file.write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


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
