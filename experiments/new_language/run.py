"""New languages: continued from the donor's expert (HMR), from base, from dense, from every other expert, from scratch.

    xelm train experiments/bible/recipe.toml --out runs/bible
    python -m experiments.new_language.run --run runs/bible --data ../shared/data/bible

Every arm of a language reads the same blocks in the same order with the same settings; only the start differs. Run
again after an interruption it continues.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clustering import profile_texts
from experiments.new_language.arms import SCRATCH, Arm, Text, read_text, run_arm
from xelm import ExpertSet
from xelm.parts import BASE, DENSE, choose_donor, package_versions, read_heldout, read_json, write_json

HERE = Path(__file__).parent
NEW_LANGUAGES = ("ttq", "glv", "syc", "dik", "djk", "nhg", "eus", "que")
SIZES = (50_000, 200_000)
logger = logging.getLogger("experiments.new_language")


def main() -> None:
    """Run all arms and write `results.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="A finished run without the new languages.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", default=list(NEW_LANGUAGES))
    parser.add_argument("--tokens", type=int, default=300_000, help="Of each arm.")
    parser.add_argument("--work", type=Path, default=Path("runs/new_language"), help="Texts and finished arms.")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    experts = ExpertSet.load(options.run)
    languages = {code: _language(experts, code, options) for code in options.languages}
    write_json(options.out, {**_circumstances(experts, options.tokens), "languages": languages})
    logger.info("results: %s", options.out)


def _circumstances(experts: ExpertSet, tokens: int) -> dict[str, Any]:
    recipe = experts.manifest.recipe
    return {
        "tokens_per_arm": tokens,
        "seed": recipe["train"]["seed"],
        "packages": package_versions(),
        "recipe": recipe,
        "clusters": experts.plan.clusters,
    }


def _language(experts: ExpertSet, code: str, options: argparse.Namespace) -> dict[str, Any]:
    """The donor search and all arms of one language."""
    file = options.data / f"{code}.jsonl.gz"
    whole = read_text(file, code, None, options.work, experts)
    choice = choose_donor(experts, code, whole.valid, _profiles(experts, whole))
    starts = [*experts.names, BASE, DENSE, SCRATCH]
    arms = [_arm(experts, whole, start, options) for start in starts]
    for num_bytes in SIZES:
        text = read_text(file, code, num_bytes, options.work, experts)
        arms += [_arm(experts, text, start, options) for start in (choice.donor, BASE)]
    return {"choice": choice.to_dict(), "arms": [asdict(arm) for arm in arms]}


def _arm(experts: ExpertSet, text: Text, start: str, options: argparse.Namespace) -> Arm:
    file = options.work / f"{text.code}-{text.size.replace(' ', '')}-{start}-{options.tokens}.json"
    if not file.exists():
        started_s = time.perf_counter()
        arm = run_arm(experts, text, start, options.tokens, options.work / "part")
        shutil.rmtree(options.work / "part", ignore_errors=True)
        write_json(file, asdict(arm))
        seconds = time.perf_counter() - started_s
        logger.info("%s %s from %s: %.4f in %.0f s", text.code, text.size, start, arm.bits_per_byte, seconds)
    return Arm(**read_json(file))


def _profiles(experts: ExpertSet, text: Text) -> dict[str, Any]:
    from xelm.parts import load_tokenizer

    tokenizer = load_tokenizer(str(experts.folder(BASE)))
    folder = experts.path / "eval" / "heldout"
    profiles = {
        code: profile_texts((row.text for row in read_heldout(folder / f"{code}.jsonl")), tokenizer)
        for code in experts.languages
    }
    return profiles | {text.code: profile_texts(text.valid + text.test, tokenizer)}


if __name__ == "__main__":
    main()
