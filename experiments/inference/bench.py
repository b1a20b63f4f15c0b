"""Speed and memory of routed inference against the same models bare: medians and ratios in one run.

    OMP_NUM_THREADS=1 python experiments/inference/bench.py --out experiments/inference/results.json
    python experiments/inference/bench.py --device cuda --dtype bfloat16 --hidden 1280 --layers 24 --out gpu.json

Cases that are compared take turns, so that a busy machine slows both. On a CPU the clock of a ratio is the process's
CPU time, on a GPU wall time; the ratio by wall time stands beside it. Parts may be measured one after another: `--out`
keeps the rows of other parts and of other settings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))
from make_run import CLUSTERS, make_run, prompts

from xelm import RoutedLM
from xelm.parts import Route, prompt_ids

Case = Callable[[], Any]
Seconds = tuple[float, float]
"""By the clock of the ratios, and by the wall."""
PARTS = ("full", "lora", "start", "memory")
COLD = Path(__file__).with_name("cold.py")


class Bench:
    """Times cases in turn on one device."""

    def __init__(self, device: str, repeats: int):
        self.device, self.repeats = device, repeats
        self.part = ""
        self.rows: list[dict[str, Any]] = []

    def clock_s(self) -> Seconds:
        """Wall time where another device works, else CPU time of this process; and wall time."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter(), time.perf_counter()
        return time.process_time(), time.perf_counter()

    def compare(self, what: str, limit: str, ours: Case, theirs: Case, *, factor: float = 1.0, times: int = 1) -> None:
        """Median seconds of both and the median of the ratios (ours / theirs / factor), of `times` x repeats pairs."""
        ours(), theirs()
        pairs = [(self._time(ours), self._time(theirs)) for _ in range(self.repeats * times)]
        wall = statistics.median(a[1] / b[1] / factor for a, b in pairs)
        self.add(what, limit, [(a[0], b[0]) for a, b in pairs], factor=factor, wall_ratio=wall)

    def add(
        self,
        what: str,
        limit: str,
        pairs: Sequence[tuple[float, float]],
        *,
        unit: str = "s",
        factor: float = 1.0,
        wall_ratio: float | None = None,
    ) -> None:
        """Keep and print one row."""
        ratios = [a / b / factor for a, b in pairs]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        row = {"part": self.part, "what": what, "limit": limit, "ours": ours, "theirs": theirs, "unit": unit}
        row |= {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        shown = "" if wall_ratio is None else f"  by the wall {wall_ratio:.2f}"
        self.rows.append(row if wall_ratio is None else {**row, "wall_ratio": wall_ratio})
        print(
            f"{what:<58} {ours:8.3f} {theirs:8.3f} {unit:<3}  ratio {row['ratio']:.2f}"
            f" ({row['least']:.2f}-{row['most']:.2f})  {limit}{shown}",
            flush=True,
        )

    def _time(self, case: Case) -> Seconds:
        start_s = self.clock_s()
        case()
        end_s = self.clock_s()
        return end_s[0] - start_s[0], end_s[1] - start_s[1]

    def tell_equal(self, what: str, ours: Sequence[str], theirs: Sequence[str]) -> None:
        """Keep how many answers are the same text: greedy answers in float32 all should be."""
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
        self.rows.append({"part": self.part, "what": what, "equal": equal, "of": len(ours)})
        print(f"{what}: {equal} of {len(ours)} equal", flush=True)


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
    bench.tell_equal(
        "greedy answers, top1 / bare generate",
        lm.generate(german, max_new_tokens=new_tokens),
        bare_generate(expert, tokenizer, german, new_tokens),
    )

    bench.compare(
        "top1, 8 prompts in one language / bare generate",
        "<= 1.05",
        lambda: lm.generate(german, max_new_tokens=new_tokens),
        lambda: bare_generate(expert, tokenizer, german, new_tokens),
        times=3,
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
        AutoModelForCausalLM.from_pretrained(run / "base", **options),
        run / "experts" / first,
        adapter_name=first,
        autocast_adapter_dtype=False,  # ours has the adapters in the base's dtype too
    )
    for name in others:
        peft_model.load_adapter(run / "experts" / name, adapter_name=name, autocast_adapter_dtype=False)
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

    bench.tell_equal("greedy answers, LoRA batch / peft adapter_names", ours(), by_peft())
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
        self.bench.add(what, limit, [(ours[key], theirs[key]) for ours, theirs in self.found], unit=unit)

    def add_seconds(self, what: str, limit: str) -> None:
        """Two rows: wall time, and CPU time, which has the checksums that are taken beside the loading too."""
        self.add("wall_s", f"{what}, wall time", limit, "s")
        self.add("cpu_s", f"{what}, CPU time", limit, "s")


def start(bench: Bench, full: Path) -> None:
    """First answers after the start of a process."""
    text, device = prompts(1)["deu"], ("--device", bench.device)
    expert = full / "experts" / "germanic"
    answer = ("routed", full, text, 1, *device)
    Pair(bench, answer, ("bare", expert, text, 0, *device)).add_seconds("first answer / loading one expert", "<= 1.3")
    Pair(bench, answer, ("bare", expert, text, 1, *device)).add_seconds("first answer / bare first answer", "")
    unchecked = (*answer, "--no-check")
    Pair(bench, unchecked, ("bare", expert, text, 0, *device)).add_seconds(
        "first answer without checksums / loading one expert", ""
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
        parts: dict[str, Case] = {
            "full": lambda: full_speed(bench, full, placement, arguments.new_tokens),
            "lora": lambda: lora_speed(bench, lora, placement, arguments.new_tokens),
            "start": lambda: start(bench, full),
            "memory": lambda: memory(bench, full, lora),
        }
        setting = {**sizes, "parameters": num_parameters(full / "base"), "new_tokens": arguments.new_tokens}
        setting |= {"repeats": arguments.repeats, **machine(arguments.device)}
        for bench.part in arguments.parts:
            parts[bench.part]()
            if arguments.out:
                record(arguments.out, setting, [row for row in bench.rows if row["part"] == bench.part])


def num_parameters(folder: Path) -> int:
    """Of the model in a folder, tied weights counted once."""
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured with."""
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": version("peft"),
    }


def record(file: Path, setting: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of one part, beside those of other parts and of other settings."""
    found: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.is_file() else []
    measured = {row["part"] for row in rows}
    same = [row for one in found if one["setting"] == setting for row in one["rows"] if row["part"] not in measured]
    ordered = sorted([*same, *rows], key=lambda row: PARTS.index(row["part"]))
    others = [one for one in found if one["setting"] != setting]
    file.write_text(json.dumps([*others, {"setting": setting, "rows": ordered}], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
