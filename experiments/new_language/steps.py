r"""What an addition by a named donor reaches with a small budget, in steps as small as the code at hand makes them.

    python experiments/new_language/steps.py runs/bible ../shared/data/bible --languages gla chr \
        --tokens 16384 32768 98304

Each language is added to a copy of the run, from its base. Run at another commit it gives another column of the table.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from xelm import ExpertSet, add_language


def main() -> None:
    """Print a line for each language and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A finished run.")
    parser.add_argument("data", type=Path, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", required=True)
    parser.add_argument("--tokens", nargs="+", type=int, required=True)
    options = parser.parse_args()
    for code in options.languages:
        for tokens in options.tokens:
            bits, steps = added(options.run, options.data / f"{code}.jsonl.gz", code, tokens)
            print(f"{code}, {tokens:,} tokens: {bits:.4f} bits per byte after {steps} steps", flush=True)


def added(run: Path, text: Path, code: str, tokens: int) -> tuple[float, int]:
    """Bits per byte of test text in the new language, and the optimizer steps."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy)
        experts: ExpertSet = add_language(copy, code, text, donor="base", tokens=tokens, believe_label=True)
        result = experts.result("test")
        assert result is not None
        [log] = (copy / "logs").glob(f"*{code}*.jsonl")
        return result.models[experts.plan.cluster_of(code)][code].bits_per_byte, len(
            log.read_text("utf-8").splitlines()
        )


if __name__ == "__main__":
    main()
