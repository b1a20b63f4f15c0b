"""One cold measurement in a process of its own: seconds to a first answer, or memory at its peak.

Prints a JSON object: `wall_s` and `cpu_s` since the process started, `peak_mib` above what the imports took (on a GPU:
of its allocator). `bench.py` runs it again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import torch

MIB = 2**20


def since_start_s() -> float:
    """Wall-clock seconds since the operating system started this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def peak_mib(device: str) -> float:
    """The most memory so far, in MiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    # Not ru_maxrss, which starts at the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def bare(folder: Path, prompts: list[str], new_tokens: int, device: str) -> None:
    """What a user without xelm writes: load one checkpoint, continue the prompts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, device_map=device)
    if new_tokens:
        batch = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
        model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)


def routed(run: Path, prompts: list[str], new_tokens: int, device: str, max_loaded: int | None, check: bool) -> None:
    """The same through the run."""
    from xelm import RoutedLM

    lm = RoutedLM.from_pretrained(run, device=device, max_loaded=max_loaded, check_files=check)
    lm.generate(prompts, max_new_tokens=new_tokens)


def main() -> None:
    """Measure one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["bare", "routed"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", help="A JSON list; read before any memory is counted.")
    parser.add_argument("--new-tokens", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-loaded", type=int)
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--warm-imports", action="store_true", help="Import first, so that memory counts models only.")
    arguments = parser.parse_args()
    prompts = json.loads(arguments.prompts)
    before_mib = 0.0
    if arguments.warm_imports:
        import peft  # noqa: F401
        from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401

        from xelm.parts import MixtureForCausalLM  # noqa: F401

        before_mib = 0.0 if arguments.device.startswith("cuda") else peak_mib("cpu")
    if arguments.case == "bare":
        bare(arguments.folder, prompts, arguments.new_tokens, arguments.device)
    else:
        routed(
            arguments.folder,
            prompts,
            arguments.new_tokens,
            arguments.device,
            arguments.max_loaded,
            not arguments.no_check,
        )
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "wall_s": since_start_s(),
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": peak_mib(arguments.device) - before_mib,
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
