"""A short greedy continuation in each language, made once and kept in `eval/samples.json`."""

from __future__ import annotations

import logging
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.report.facts import Facts
from xelm.report.sections.routing import heldout_texts
from xelm.report.text import REPLACEMENT, clean, cut
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.run.records.manifest import fingerprint

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

MAX_LANGUAGES = 24
MAX_NEW_TOKENS = 48
_PROMPT_CHARACTERS = 36
_DEFAULT_CONTEXT = 2048
_TINY, _SMALL = 20_000_000, 500_000_000
logger = logging.getLogger(__name__)


def samples(facts: Facts, lm: RoutedLM | None) -> dict[str, Any]:
    """Continuations by the expert that owns each language, read from the run or generated now.

    Args:
        facts: The run.
        lm: The run that answers; without it, only samples generated before are shown.

    Returns:
        `rows` [{language, prompt, glue, text}], `max_new_tokens`, `max_languages`, `num_left_out` (languages that have
        no sample), `caution` (what to expect of a model of this size; None if it is large).
    """
    kept = _kept(facts.experts)
    made = _made(facts, lm, kept) if lm and facts.experts.objective.generates else kept
    if made != kept:
        content = {"max_new_tokens": MAX_NEW_TOKENS, "samples": made}
        write_json(facts.experts.files.samples, content)
    rows = [_row(facts, row) for row in made if row["language"] in facts.languages]
    return {
        "rows": rows,
        "max_new_tokens": MAX_NEW_TOKENS,
        "max_languages": MAX_LANGUAGES,
        "caution": _caution(facts.num_parameters),
        "num_left_out": len(facts.languages) - len(rows),
    }


def _kept(experts: ExpertSet) -> list[dict[str, str]]:
    file = experts.files.samples
    if not file.is_file():
        return []
    content = read_json(file)
    rows = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(map(_is_sample, rows)):
        raise BadInput(f"{file}: damaged. Remove it, and `xelm report` writes the samples again.")
    return rows


def _is_sample(row: Any) -> bool:
    needed = {"language", "expert", "prompt", "text"}  # older runs kept no fingerprint
    return isinstance(row, dict) and needed <= row.keys() and all(isinstance(value, str) for value in row.values())


def _made(facts: Facts, lm: RoutedLM, kept: list[dict[str, str]]) -> list[dict[str, str]]:
    """Every sample; one is kept if neither its expert nor its prompt has changed."""
    known = {row["fingerprint"]: row for row in kept if "fingerprint" in row}  # older runs kept none
    rows = [_unanswered(facts, code, prompt) for code, prompt in _prompts(facts, lm).items()]
    missing = [row for row in rows if row["fingerprint"] not in known]
    if missing:
        logger.info("samples: %d to write, %d tokens each", len(missing), MAX_NEW_TOKENS)
    options = {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": False, "num_beams": 1}
    for name in facts.experts.names:
        mine = [row for row in missing if row["expert"] == name]
        if mine:
            texts = lm.generate([row["prompt"] for row in mine], name, **options)
            known.update({row["fingerprint"]: {**row, "text": text} for row, text in zip(mine, texts, strict=True)})
    return [known[row["fingerprint"]] for row in rows if row["fingerprint"] in known]


def _unanswered(facts: Facts, code: str, prompt: str) -> dict[str, str]:
    name = facts.languages[code].expert
    entry = facts.experts.manifest.experts.get(name)
    key = fingerprint(code, name, entry.weights_print if entry else None, prompt, MAX_NEW_TOKENS)
    return {"language": code, "expert": name, "fingerprint": key, "prompt": prompt}


def _row(facts: Facts, row: dict[str, str]) -> dict[str, Any]:
    # The page drops white space at the ends of a text, but between prompt and answer it matters.
    glue = " " if row["text"][:1].isspace() else ""
    # If the tokens ran out, the last character may be incomplete.
    text = row["text"].rstrip(REPLACEMENT)
    return {"language": facts.languages[row["language"]], "prompt": row["prompt"], "glue": glue, "text": text}


def _chosen(facts: Facts) -> list[str]:
    """At most `MAX_LANGUAGES` languages, the first of every expert before the second of any, in the plan's order."""
    in_turn = [code for codes in zip_longest(*facts.experts.plan.clusters.values()) for code in codes if code]
    taken = set(in_turn[:MAX_LANGUAGES])
    return [code for code in facts.languages if code in taken]


def _prompts(facts: Facts, lm: RoutedLM) -> dict[str, str]:
    room = _context(facts.experts) - MAX_NEW_TOKENS
    prompts = {}
    for code in _chosen(facts):
        text = next(iter(heldout_texts(facts.experts, code)), "")
        prompt = cut(clean(text), _PROMPT_CHARACTERS)
        # If prompt and answer do not fit into a short context, the prompt is halved and the answer ends with it.
        while len(prompt) > 1 and len(lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]) >= max(room, 8):
            prompt = prompt[: len(prompt) // 2]
        if prompt.strip():
            prompts[code] = prompt
    return prompts


def _context(experts: ExpertSet) -> int:
    file = experts.folder(BASE) / "config.json"
    config = read_json(file, finite=False)
    if isinstance(config, dict):
        config = config.get("text_config", config)
    if not isinstance(config, dict):
        raise BadInput(f"{file}: damaged, no configuration of a model.")
    limits = [config.get(key) for key in ("max_position_embeddings", "n_positions")]
    return next((limit for limit in limits if isinstance(limit, int)), _DEFAULT_CONTEXT)


def _caution(num_parameters: int | None) -> str | None:
    if num_parameters is None or num_parameters >= _SMALL:
        return None
    if num_parameters < _TINY:
        return "This base is tiny: expect the letters and word shapes of a language, not sense."
    return "This base is small: expect fluent pieces, not facts or reasoning."
