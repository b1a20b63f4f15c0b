"""The demo: every step of xelm on the bundled starter corpus."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from xelm.evaluation.tables import result_table
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import FILE_NAME

NEW_LANGUAGE = "por"
PROMPTS = {
    "eng": "The old fisherman",
    "deu": "Die alte Lehrerin sagt, dass",
    "spa": "La abuela de mi vecino",
    "rus": "Каждое утро старый",
    "tur": "Yaşlı adam her sabah",
    "jpn": "おばあさんは毎朝",
    "kor": "할머니는 매일 아침",
    "ind": "Setiap pagi nenek saya",
}


def run_demo(out: Path, say: Callable[[str], None]) -> Path:
    """Train, evaluate and extend a run on the starter corpus; continue where an earlier call stopped.

    Args:
        out: The run directory to make.
        say: Called with each piece of output.

    Returns:
        The report's path.
    """
    with as_file(files("xelm") / "starter") as corpus:
        experts = _trained(out, corpus, say)
        say(result_table(experts))
        say(_answers(experts))
        say(_new_language(experts, corpus))
        say(_sources(corpus))
    return out / "report.html"


def _trained(out: Path, corpus: Path, say: Callable[[str], None]) -> ExpertSet:
    from xelm.making.train import clusters_text, dry_run, train

    if (out / FILE_NAME).is_file() and (done := ExpertSet.load(out)).manifest.ledger:
        say(f"{out} holds a finished demo: nothing to train\n\n{clusters_text(done.plan)}")
        return done
    recipe = Recipe.load(corpus / "recipe.toml")
    plan, budget = dry_run(recipe, out)
    say(f"{clusters_text(plan)}\n\n{budget.to_text()}")
    return train(recipe, out)


def _answers(experts: ExpertSet) -> str:
    from xelm.inference.routed import RoutedLM

    lm, prompts = RoutedLM(experts), list(PROMPTS.values())
    answers = lm.generate(prompts, policy="top1", max_new_tokens=48)
    lines = ["routed answers (a byte model of a hundred thousand parameters: expect letters, not sense)"]
    for prompt, answer, route in zip(prompts, answers, lm.route(prompts), strict=True):
        expert = max(route.weights, key=lambda name: route.weights[name])
        lines.append(f"  [{route.language} {route.confidence:.2f} -> {expert}] {prompt}|{' '.join(answer.split())}")
    return "\n".join(lines)


def _new_language(experts: ExpertSet, corpus: Path) -> str:
    from clustering import match, name_of
    from xelm.adding.add import add_language

    if match(NEW_LANGUAGE, experts.languages) is None:
        experts = add_language(experts.path, NEW_LANGUAGE, corpus / f"{NEW_LANGUAGE}.jsonl")
    entry = next(e for e in experts.manifest.ledger if e.language == NEW_LANGUAGE)
    result = experts.result("test")
    bits = {name: result.bits(name)[NEW_LANGUAGE] for name in result.models} if result else {}
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in sorted(bits.items(), key=lambda item: item[1])[:4])
    return (
        f"{name_of(NEW_LANGUAGE)} added as {entry.expert} from {entry.donor}; no other expert changed\n"
        f"  {entry.reason}\n  bits per byte on its test text: {numbers}"
    )


def _sources(corpus: Path) -> str:
    from clustering import name_of, rank_sources

    report = rank_sources(NEW_LANGUAGE, candidates=[f.stem for f in corpus.glob("*.jsonl")], corpora=corpus, top=3)
    rows = [f"  {row.name}: {row.score:.2f}" for row in report.ranking]
    return "\n".join([f"best sources to transfer to {name_of(NEW_LANGUAGE)} from", *rows])
