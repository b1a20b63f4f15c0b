"""Experts by layer: how many layers give the gain, what they forget, and what they cost in memory and time.

    python -m experiments.forgetting.layers --base runs/base-6 --data ../shared/data/progit
    python -m experiments.forgetting.layers --base models/smollm2-135m --data ../shared/data/progit \
        --languages deu fra tur vie --k 2 --tokens 16384 --batch 2 --rate 1e-4 --layers 4 8 12 20
    python -m experiments.forgetting.layers --base models/smollm2-135m --speed

Full experts are the control. The layers are chosen by measuring (`layers = "auto:N"`). With `--speed`, nothing is
trained: experts are copies of the base's own layers with noise, since time and memory do not depend on what was
learned.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from xelm import Recipe, train
from xelm.parts import ExpertKind, write_json

HERE = Path(__file__).parent
EXPERTS, ROWS, LENGTH = 4, 32, 256


def main() -> None:
    """Train and measure, or time a mixed batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="A model.")
    parser.add_argument("--data", type=Path, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", default=["deu", "fra", "ita", "jpn", "rus", "srp", "tur", "zho"])
    parser.add_argument("--k", type=int, default=EXPERTS)
    parser.add_argument("--tokens", type=int, default=327_680)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=16, help="Blocks of 256 tokens in a step.")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3, 4], help="Numbers of layers to try.")
    parser.add_argument("--speed", action="store_true", help="Time a mixed batch and count its memory.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/layers"))
    parser.add_argument("--out", type=Path, default=HERE / "layers.json")
    options = parser.parse_args()
    found = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    key = options.base.name + (" speed" if options.speed else "")
    found[key] = [timed(number, options) for number in options.layers] if options.speed else trained(options)
    write_json(options.out, found)
    print(json.dumps(found[key], indent=1, ensure_ascii=False))


def trained(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Own gain and cost elsewhere of full experts and of experts by layer, on test text, means over experts."""
    kinds: list[dict[str, Any]] = [{"kind": "full"}]
    kinds += [{"kind": "layers", "layers": f"auto:{number}"} for number in options.layers]
    rows = []
    for kind in kinds:
        experts = train(_recipe(kind, options), options.work / str(kind.get("layers", "full")).replace(":", "-"))
        result = experts.result("test")
        assert result
        own = [result.forgetting[name].own_gain_percent or 0.0 for name in experts.names]
        cost = [result.forgetting[name].cost_elsewhere_percent or 0.0 for name in experts.names]
        rows.append(
            {
                "expert": str(kind.get("layers", "full")),
                "layers": list(getattr(Recipe.from_dict(experts.manifest.recipe).expert, "layers", [])),
                "own_gain_percent": statistics.mean(own),
                "cost_elsewhere_percent": statistics.mean(cost),
                "stored_bytes": sum(_bytes(experts.folder(name)) for name in experts.names),
            }
        )
        rows[-1]["gain_kept"] = rows[-1]["own_gain_percent"] / rows[0]["own_gain_percent"]
        rows[-1]["cost_left"] = rows[-1]["cost_elsewhere_percent"] / rows[0]["cost_elsewhere_percent"]
    return rows


def _recipe(kind: dict[str, Any], options: argparse.Namespace) -> Recipe:
    return Recipe.from_dict(
        {
            "base": {"model": str(options.base.resolve())},
            "data": {"path": str(options.data.resolve()), "languages": options.languages, "heldout_bytes": 8192},
            "clusters": {"k": options.k, "balance": "languages"},
            "expert": kind,
            "train": {
                "tokens": options.tokens,
                "batch_size": options.batch,
                "sequence_length": LENGTH,
                "learning_rate": options.rate,
                "dense": False,
            },
        }
    )


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def timed(number: int, options: argparse.Namespace) -> dict[str, Any]:
    """A batch of rows of four experts on one trunk, against the base alone and against a naive pass for each expert."""
    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32).eval()
    numbers = [round(index * (base.config.num_hidden_layers - 1) / max(1, number - 1)) for index in range(number)]
    kind = ExpertKind.of(kind="layers", layers=sorted(set(numbers)))
    ids = torch.randint(base.config.vocab_size, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    num_base = sum(p.numel() for p in base.parameters())
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        folders = {f"e{index}": Path(scratch) / f"e{index}" for index in range(EXPERTS)}
        wholes = [_noisy(kind, base, folder, index) for index, folder in enumerate(folders.values())]
        source = kind.serve(base, folders)
        mixed = source.for_rows([f"e{row % EXPERTS}" for row in range(ROWS)])
        together = mixed(input_ids=ids, use_cache=False).logits
        apart = torch.cat([whole(input_ids=ids[i::EXPERTS], use_cache=False).logits for i, whole in enumerate(wholes)])
        order = torch.cat([torch.arange(ROWS)[i::EXPERTS] for i in range(EXPERTS)])
        difference = float((together[order] - apart).abs().max())
        passes = {
            "base": partial(AutoModelForCausalLM.from_pretrained(options.base).float().eval(), ids, use_cache=False),
            "mixed": lambda: mixed(input_ids=ids, use_cache=False),
        }
        seconds = _seconds(passes, options.repeats)
        passes.clear()
        del wholes
    layers = list(getattr(kind, "layers", []))
    copied = sum(p.numel() for index in layers for p in base.model.layers[index].parameters())
    return {
        "layers": layers,
        "largest_difference": difference,
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "ratio": statistics.median(m / b for m, b in zip(seconds["mixed"], seconds["base"], strict=True)),
        "parameters_base": num_base,
        "parameters_copied": EXPERTS * copied,
        "parameters_held": _held(),
    }


def _noisy(kind: Any, base: Any, folder: Path, seed: int) -> Any:
    """A whole model with noise on its own layers, saved as an expert."""
    import copy

    import torch

    model, generator = copy.deepcopy(base), torch.Generator().manual_seed(seed)
    for number in kind.layers:
        for parameter in model.model.layers[number].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01 * parameter.std())
    kind.save(model, folder, None)
    return model


def _held() -> int:
    """Numbers in all parameters that this process holds, each storage once."""
    import gc

    import torch

    gc.collect()
    parameters = [thing for thing in gc.get_objects() if type(thing) is torch.nn.Parameter]
    return sum({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() // 4 for p in parameters}.values())


def _seconds(passes: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times of each pass, taken in turns after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for repeat in range(repeats + 1):
        for name, run in passes.items():
            began_s = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - began_s)
    return times


if __name__ == "__main__":
    main()
