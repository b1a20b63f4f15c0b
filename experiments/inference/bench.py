"""Speed and memory of routed inference against the same models bare: medians and ratios in one run.

    OMP_NUM_THREADS=1 python experiments/inference/bench.py --out bench.json
    python experiments/inference/bench.py --device cuda --dtype bfloat16 --hidden 1280 --layers 24 --out gpu.json

Cases that are compared take turns, so that a busy machine slows both; on a CPU the clock is the process's CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from make_run import CLUSTERS, make_run, prompts

from router.weights import Route
from xelm import RoutedLM
from xelm.serving.completions import prompt_ids

Case = Callable[[], Any]
PARTS = ("full", "lora", "start", "memory")
COLD = Path(__file__).with_name("cold.py")


class Bench:
    """Times cases in turn on one device."""

    def __init__(self, device: str, repeats: int):
        self.device, self.repeats = device, repeats
        self.rows: list[dict[str, Any]] = []

    def clock_s(self) -> float:
        """Wall time where another device works, else CPU time of this process."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def compare(self, what: str, limit: str, ours: Case, theirs: Case, *, factor: float = 1.0) -> None:
        """Median seconds of both and the median of the ratios (ours / theirs / factor)."""
        ours(), theirs()
        pairs = [(self._time(ours), self._time(theirs)) for _ in range(self.repeats)]
        self.add(
            what,
            limit,
            statistics.median(a for a, _ in pairs),
            statistics.median(b for _, b in pairs),
            [a / b / factor for a, b in pairs],
        )

    def add(self, what: str, limit: str, ours: float, theirs: float, ratios: Sequence[float], unit: str = "s") -> None:
        """Keep and print one row."""
        row = {"what": what, "limit": limit, "ours": ours, "theirs": theirs, "unit": unit}
        row |= {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        self.rows.append(row)
        print(
            f"{what:<58} {ours:8.3f} {theirs:8.3f} {unit:<3}  ratio {row['ratio']:.2f}"
            f" ({row['least']:.2f}-{row['most']:.2f})  {limit}",
            flush=True,
        )

    def _time(self, case: Case) -> float:
        start_s = self.clock_s()
        case()
        return self.clock_s() - start_s


def bare_generate(model: Any, tokenizer: Any, texts: Sequence[str], new_tokens: int) -> list[str]:
    """Text to text without xelm: one padded batch through one model."""
    batch = tokenizer([tokenizer.bos_token + text for text in texts], return_tensors="pt", padding=True)
    batch = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "token_type_ids"}
    with torch.inference_mode():
        output = model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)
    return tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def full_speed(bench: Bench, run: Path, placement: dict[str, Any], new_tokens: int) -> None:
    """Full experts: dispatch, grouping, mixtures."""
    lm = RoutedLM.from_pretrained(run, **placement)
    tokenizer, texts = lm.tokenizer, prompts(4)
    german = (texts["deu"] + prompts(8)["deu"])[:8]
    owner = {code: name for name, codes in CLUSTERS.items() for code in codes}
    mixed = [text for row in zip(*texts.values(), strict=True) for text in row]
    by_expert: dict[str, list[str]] = {name: [] for name in CLUSTERS}
    for code, its_texts in texts.items():
        by_expert[owner[code]] += its_texts
    models = {name: lm.models.get(name) for name in CLUSTERS}
    expert = models["germanic"]
    assert lm.generate(german, max_new_tokens=new_tokens) == bare_generate(expert, tokenizer, german, new_tokens)

    bench.compare(
        "top1, 8 prompts in one language / bare generate",
        "<= 1.05",
        lambda: lm.generate(german, max_new_tokens=new_tokens),
        lambda: bare_generate(expert, tokenizer, german, new_tokens),
    )
    bench.compare(
        "32 prompts, 8 languages, one by one / together",
        ">= 3",
        lambda: [lm.generate([text], max_new_tokens=new_tokens) for text in mixed],
        lambda: lm.generate(mixed, max_new_tokens=new_tokens),
    )
    bench.compare(
        "32 prompts, 8 languages / four grouped bare calls",
        "<= 1.2",
        lambda: lm.generate(mixed, max_new_tokens=new_tokens),
        lambda: [bare_generate(models[name], tokenizer, by_expert[name], new_tokens) for name in CLUSTERS],
    )
    ids = prompt_ids(german, tokenizer)
    for m in (2, 4):
        # The same m experts for all rows: the text alone would send its rows to different second-best experts.
        route = Route("deu", 1.0, dict.fromkeys(list(CLUSTERS)[:m], 1 / m), "set by the benchmark")
        bench.compare(
            f"ensemble of {m} experts / {m} x one expert",
            "<= 1.1",
            lambda m=m, route=route: lm.complete_ids(ids, [route] * len(ids), "ensemble", max_new_tokens=new_tokens),
            lambda: bare_generate(expert, tokenizer, german, new_tokens),
            factor=m,
        )
    bench.compare(
        "bayes over 4 experts / 4 x one expert",
        "<= 1.1",
        lambda: lm.generate(german, "bayes", max_new_tokens=new_tokens),
        lambda: bare_generate(expert, tokenizer, german, new_tokens),
        factor=4,
    )


def lora_speed(bench: Bench, run: Path, placement: dict[str, Any], new_tokens: int) -> None:
    """LoRA experts: one mixed batch against the bare base and against peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lm = RoutedLM.from_pretrained(run, **placement)
    tokenizer, texts = lm.tokenizer, prompts(4)
    mixed = [text for row in zip(*texts.values(), strict=True) for text in row]
    names = [max(route.weights, key=lambda name: route.weights[name]) for route in lm.route(mixed)]
    lm.generate(mixed[:8], max_new_tokens=2)
    options = {"device_map": placement["device"], "dtype": placement["dtype"]}
    base = AutoModelForCausalLM.from_pretrained(run / "base", **options)
    first, *others = CLUSTERS
    peft_model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(run / "base", **options), run / "experts" / first, adapter_name=first
    )
    for name in others:
        peft_model.load_adapter(run / "experts" / name, adapter_name=name)
    peft_model.eval()

    def by_peft() -> list[str]:
        generate = peft_model.generate
        try:
            peft_model.generate = lambda **batch: generate(**batch, adapter_names=names)
            return bare_generate(peft_model, tokenizer, mixed, new_tokens)
        finally:
            peft_model.generate = generate

    def ours() -> list[str]:
        return lm.generate(mixed, max_new_tokens=new_tokens)

    same = sum(a == b for a, b in zip(ours(), by_peft(), strict=True))
    print(f"LoRA: {same} of {len(mixed)} greedy answers equal peft's")
    bench.compare(
        "LoRA, 32 prompts over 4 adapters / bare base",
        "<= 1.3",
        ours,
        lambda: bare_generate(base, tokenizer, mixed, new_tokens),
    )
    bench.compare(
        "peft adapter_names, same batch / bare base",
        "",
        by_peft,
        lambda: bare_generate(base, tokenizer, mixed, new_tokens),
    )
    bench.compare("LoRA, 32 prompts over 4 adapters / peft adapter_names", "", ours, by_peft)


def cold(case: str, folder: Path, texts: Sequence[str], new_tokens: int, *more: str) -> dict[str, float]:
    """One run of `cold.py`."""
    command = [sys.executable, str(COLD), case, str(folder), "--new-tokens", str(new_tokens), *more]
    done = subprocess.run(
        [*command, "--prompts", json.dumps(list(texts))], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


class Pair:
    """Two cases of `cold.py` that take turns."""

    def __init__(self, bench: Bench, ours: Sequence[Any], theirs: Sequence[Any]):
        self.bench = bench
        self.found = [(cold(*ours), cold(*theirs)) for _ in range(bench.repeats)]

    def add(self, key: str, what: str, limit: str, unit: str) -> None:
        """Add a row about one of the figures."""
        pairs = [(ours[key], theirs[key]) for ours, theirs in self.found]
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        self.bench.add(what, limit, a, b, [x / y for x, y in pairs], unit)


def start(bench: Bench, full: Path) -> None:
    """First answers after the start of a process."""
    text, device = prompts(1)["deu"], ("--device", bench.device)
    expert, clock = full / "experts" / "germanic", "wall_s" if bench.device.startswith("cuda") else "cpu_s"
    answer = ("routed", full, text, 1, *device)
    Pair(bench, answer, ("bare", expert, text, 0, *device)).add(
        clock, "first answer, process start / loading one expert", "<= 1.3", "s"
    )
    Pair(bench, answer, ("bare", expert, text, 1, *device)).add(
        clock, "first answer, process start / bare first answer", "", "s"
    )


def memory(bench: Bench, full: Path, lora: Path) -> None:
    """Peaks of memory above what the imports take."""
    everyone, warm = [text for [text] in prompts(1).values()], ("--device", bench.device, "--warm-imports")
    Pair(bench, ("routed", lora, everyone, 8, *warm), ("bare", lora / "base", everyone, 8, *warm)).add(
        "peak_mib", "peak memory, 4 LoRA experts / base", "<= 1.15", "MiB"
    )
    capped = ("routed", full, everyone, 8, *warm, "--max-loaded", "1")
    Pair(bench, capped, ("bare", full / "experts" / "germanic", everyone, 8, *warm)).add(
        "peak_mib", "peak memory, 4 experts with max_loaded=1 / one expert", "<= 1.2", "MiB"
    )


def main() -> None:
    """Run all comparisons; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--runs", type=Path, help="Where the runs are made and kept; default: a temporary folder.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    bench = Bench(arguments.device, arguments.repeats)
    placement = {"device": arguments.device, "dtype": arguments.dtype}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.runs or Path(temporary)
        sizes = {"hidden": arguments.hidden, "layers": arguments.layers, "dtype": arguments.dtype}
        full, lora = (make_run(folder / kind, kind, **sizes) for kind in ("full", "lora"))
        if "full" in arguments.parts:
            full_speed(bench, full, placement, arguments.new_tokens)
        if "lora" in arguments.parts:
            lora_speed(bench, lora, placement, arguments.new_tokens)
        if "start" in arguments.parts:
            start(bench, full)
        if "memory" in arguments.parts:
            memory(bench, full, lora)
    if arguments.out:
        setting = {name: str(value) for name, value in vars(arguments).items() if name not in ("runs", "out")}
        device = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "cpu"
        result = {"setting": setting, "device": device, "torch": torch.__version__, "rows": bench.rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
