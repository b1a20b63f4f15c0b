"""`add_language` and `remove_language`: a finished run grows by a language, and nobody else changes."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clustering.codes import match, name_of, resolve
from clustering.errors import BadInput
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_order
from xelm.corpus.sources import SUFFIXES, Source, find_sources
from xelm.corpus.store import TokenStore, build_store, open_store, training_texts
from xelm.donor import DonorChoice, choose_donor
from xelm.experts import ExpertSet
from xelm.growing import heldout_lines, put_language, put_model, seal, take_language, take_model
from xelm.manifest import Manifest, ModelEntry, fingerprint, verify
from xelm.models import base as base_models
from xelm.models.expert import as_expert
from xelm.recipe import Base, Expert, Recipe
from xelm.stages import Making, make_model
from xelm.transaction import edited
from xelm.workspace import locked

logger = logging.getLogger(__name__)
_OTHER_LANGUAGE = 0.9
"""Share of documents read as another language of the run from which the label is not believed."""


@dataclass(frozen=True)
class Addition:
    """What is asked for."""

    language: str
    source: Source
    donor: str
    replay: float
    kind: Literal["new", "join"]
    tokens: int | None
    believe_label: bool


def add_language(
    run: str | Path,
    language: str,
    data: str | Path,
    *,
    donor: str = "auto",
    replay: float = 0.0,
    as_: Literal["new", "join"] = "new",
    tokens: int | None = None,
    believe_label: bool = False,
) -> ExpertSet:
    """Add a language to a finished run (hierarchical multi-round training, HMR: Blevins et al. 2024, section 5).

    A new expert branches from the donor and is trained on the new text; the files of all other experts stay as they
    are, to the byte. The run changes at the end, all at once: an addition that fails or is killed leaves it as it was,
    and the same command goes on from the last checkpoint.

    Args:
        run: The run directory.
        language: Any code or name.
        data: A .txt, .jsonl, .jsonl.gz or .parquet file, or a folder that holds one of that language.
        donor: `auto`, a language of the run, or a model's name (an expert, `base`, `dense`).
        replay: Share of the training blocks drawn from the donor's own languages, in [0, 1).
        as_: `new`: an expert of its own; `join`: the donor's expert is trained on and takes the language in, the
            version before is kept under `previous/`.
        tokens: Budget. None: what a language of the run got for its expert on average.
        believe_label: Go on where the text looks like another language of the run.

    Returns:
        The run with the language.

    Raises:
        BadInput: If the run has the language already, the text cannot be used or seems to be another language's, or
            an argument does not fit.
    """
    folder = Path(run)
    ExpertSet.load(folder)
    with locked(folder):
        experts = _whole_run(folder)
        code = _new_code(experts, language)
        _check_arguments(replay, as_, tokens)
        source = _source(Path(data), code)
        addition = Addition(code, source, donor, replay, as_, tokens, believe_label)
        _add(experts, addition)
    return ExpertSet.load(folder)


def remove_language(run: str | Path, language: str) -> ExpertSet:
    """Undo `add_language`: every file is as if the language had never been added.

    Raises:
        BadInput: If the language was not added to this run, or another one joined its expert later.
    """
    folder = Path(run)
    ExpertSet.load(folder)
    with locked(folder):
        experts = _whole_run(folder)
        ledger = experts.manifest.ledger
        code = match(resolve(language).code, [entry["language"] for entry in ledger])
        if code is None:
            added = ", ".join(entry["language"] for entry in ledger) or "none"
            raise BadInput(f"{language}: was not added to this run (added: {added}); only additions can be undone.")
        position = next(i for i, entry in enumerate(ledger) if entry["language"] == code)
        later = [e["language"] for e in ledger[position + 1 :] if _rests_on(e, ledger[position])]
        if later:
            raise BadInput(f"{code}: {', '.join(later)} joined its expert later; remove that first.")
        with edited(folder) as shadow:
            take_model(shadow, ledger[position]["expert"])
            take_language(shadow, code)
            seal(shadow)
        _forget(folder, ledger[position])
    return ExpertSet.load(folder)


def _rests_on(later: dict[str, Any], earlier: dict[str, Any]) -> bool:
    return later["as"] == "join" and later["expert"] == earlier["expert"]


def _whole_run(folder: Path) -> ExpertSet:
    problems = verify(folder)
    if problems:
        raise BadInput(f"{folder}: the run is not whole ({problems[0]}). Run `xelm verify {folder}` for the rest.")
    return ExpertSet.load(folder)


def _new_code(experts: ExpertSet, language: str) -> str:
    code = resolve(language).code
    there = match(code, experts.languages)
    if there:
        raise BadInput(f"{name_of(code)} is in this run already, as {there} in {experts.plan.cluster_of(there)}.")
    return code


def _check_arguments(replay: float, as_: str, tokens: int | None) -> None:
    if not 0 <= replay < 1:
        raise BadInput(f"replay={replay} is a share of the training blocks: choose 0 up to, but not, 1.")
    if as_ not in ("new", "join"):
        raise BadInput(f"as={as_!r}: choose new (an expert of its own) or join (the donor's expert takes it in).")
    if tokens is not None and tokens < 1:
        raise BadInput(f"tokens={tokens} must be at least 1.")


def _source(data: Path, code: str) -> Source:
    if data.is_dir():
        return dataclasses.replace(find_sources(str(data), [code])[0], code=code)
    if not data.is_file():
        raise BadInput(f"{data}: no such file or folder.")
    if not data.name.endswith(SUFFIXES):
        raise BadInput(f"{data}: unknown kind of file; use {', '.join(SUFFIXES)}.")
    return Source(code, (data,))


def _add(experts: ExpertSet, addition: Addition) -> None:
    run, code = experts.path, addition.language
    recipe = Recipe.from_dict(experts.manifest.recipe)
    tokenizer = experts.tokenizer()
    text_print = addition.source.fingerprint()
    cache = run / "cache" / f"{code}-{fingerprint(text_print, dataclasses.asdict(recipe.data))[:12]}"
    store = build_store(cache, addition.source, recipe.data, tokenizer, vocab_size=len(tokenizer))
    heldout = heldout_lines(store.heldout_file)
    valid = [row["text"] for row in heldout if row["split"] == "valid"] or [row["text"] for row in heldout]
    _check_text(experts, addition, valid)
    choice = choose_donor(experts, code, valid, _word_types(experts, addition, recipe), wanted=addition.donor)
    logger.info("donor: %s", choice.reason)
    name = _expert_name(experts, addition, choice)
    making, tokens = _making(experts, recipe, addition, choice.donor, name, store, text_print)
    logger.info("%s: %s from %s, %s tokens", name, name_of(code), choice.donor, f"{tokens:,}")
    entry = make_model(making, run / "logs" / f"{name}.jsonl", redo=True)
    with edited(run) as shadow:
        put_model(shadow, making.folder, name, entry)
        shutil.copyfile(store.heldout_file, shadow / "eval" / "heldout" / f"{code}.jsonl")
        _put_data(shadow, code, store, cache, text_print)
        line = _ledger_line(addition, choice, name, entry, store, text_print)
        put_language(shadow, line, training_texts(addition.source, recipe.data), recipe.train.seed)
        seal(shadow)
    shutil.rmtree(making.folder.parent, ignore_errors=True)


def _check_text(experts: ExpertSet, addition: Addition, valid: list[str]) -> None:
    from router.combined_identifier import CombinedIdentifier

    identifier = CombinedIdentifier.load(experts.path / "router")
    posterior_BL, familiarity_B = identifier.identify(valid)
    taken = [
        identifier.languages[int(row.argmax())]
        for row, familiar in zip(posterior_BL, familiarity_B, strict=True)
        if row.max() * familiar > _OTHER_LANGUAGE
    ]
    if not taken or addition.believe_label:
        return
    most = max(sorted(set(taken)), key=taken.count)
    if taken.count(most) > _OTHER_LANGUAGE * len(valid):
        raise BadInput(
            f"the text given as {name_of(addition.language)} reads as {name_of(most)} ({most}), which this run has: "
            f"{taken.count(most)} of {len(valid)} held-out documents. If the label is right, give --believe-label."
        )


def _word_types(experts: ExpertSet, addition: Addition, recipe: Recipe) -> dict[str, set[str]]:
    from clustering.profiles import profile_texts

    types = {addition.language: set(profile_texts(training_texts(addition.source, recipe.data)).words)}
    for code in experts.languages:
        rows = heldout_lines(experts.path / "eval" / "heldout" / f"{code}.jsonl")
        types[code] = set(profile_texts(row["text"] for row in rows).words)
    return types


def _expert_name(experts: ExpertSet, addition: Addition, choice: DonorChoice) -> str:
    if addition.kind == "join":
        if choice.donor not in experts.names:
            raise BadInput(
                f"join needs an expert to join; {choice.donor} is none. There are: {', '.join(experts.names)}."
            )
        return choice.donor
    number = len(experts.plan.clusters) + 1
    while (name := f"c{number}-{addition.language}") in experts.plan.clusters:
        number += 1
    return name


def _making(
    experts: ExpertSet,
    recipe: Recipe,
    addition: Addition,
    donor: str,
    name: str,
    store: TokenStore,
    text_print: str,
) -> tuple[Making, int]:
    run, settings = experts.path, recipe.train
    length = base_models.sequence_length(Base(model=str(experts.folder("base"))), settings.sequence_length)
    stores = {addition.language: store}
    old = _donor_languages(experts, donor, addition)
    for code in old:
        stores[code] = _old_store(experts, code)
    blocks = {code: Blocks(s, length) for code, s in stores.items()}
    shares = {addition.language: 1.0 - (addition.replay if old else 0.0)}
    shares |= {code: addition.replay / len(old) for code in old}
    tokens = addition.tokens or settings.tokens // max(1, len(experts.languages) - len(experts.manifest.ledger))
    steps = max(1, round(tokens / (settings.batch_size * length)))
    order = draw_order(
        {code: len(b) for code, b in blocks.items()},
        shares,
        steps * settings.batch_size,
        seed=settings.seed,
        name=f"add-{addition.language}",
    )
    kind = dataclasses.replace(recipe.expert, kind="full") if donor == "dense" else recipe.expert
    parent = experts.entry_or_none(donor)
    inputs = [text_print, shares, steps, asdict(kind), asdict(settings), parent.fingerprint if parent else None]
    languages = [*experts.plan.clusters.get(name, []), addition.language]
    entry = ModelEntry(languages, donor, kind=kind.kind, fingerprint=fingerprint(name, *inputs))
    work = run / "work" / f"add-{addition.language}-{str(entry.fingerprint)[:12]}"
    from xelm.training.loop import Stage

    stage = Stage(name, order, blocks, settings.learning_rate, settings, work / "checkpoints")
    making = Making(work / "expert", entry, lambda: _branch(experts, donor, kind), stage, experts.tokenizer())
    return making, steps * settings.batch_size * length


def _branch(experts: ExpertSet, donor: str, kind: Expert) -> Any:
    model = experts.load_model(donor, trainable=True)
    adapted = hasattr(model, "peft_config")  # a LoRA donor's adapters are trained on, not adapted again
    return model if adapted else as_expert(model, kind)


def _donor_languages(experts: ExpertSet, donor: str, addition: Addition) -> list[str]:
    if not addition.replay:
        return []
    return experts.plan.clusters.get(donor, sorted(experts.manifest.data))


def _old_store(experts: ExpertSet, code: str) -> TokenStore:
    name = experts.manifest.data[code].get("cache")
    folder = experts.path / "cache" / str(name)
    if not (folder / "counts.json").is_file():
        raise BadInput(f"replay needs the tokenised text of {code}, and {folder} is gone. Use replay=0.")
    return open_store(folder, code)


def _put_data(shadow: Path, code: str, store: TokenStore, cache: Path, text_print: str) -> None:
    manifest = Manifest.read(shadow)
    manifest.data[code] = {**asdict(store.counts), "sha256": text_print, "cache": cache.name}
    manifest.write(shadow)


def _ledger_line(
    addition: Addition, choice: DonorChoice, name: str, entry: ModelEntry, store: TokenStore, text_print: str
) -> dict[str, Any]:
    return {
        "language": addition.language,
        "expert": name,
        "as": addition.kind,
        "donor": choice.donor,
        "reason": choice.reason,
        "candidates": choice.to_dict()["candidates"],
        "replay": addition.replay,
        "tokens": entry.tokens,
        "bytes": store.counts.bytes,
        "sha256": text_print,
        "fertility": float(np.round(store.counts.tokens / max(1, store.counts.bytes), 4)),
    }


def _forget(run: Path, entry: dict[str, Any]) -> None:
    for folder in (run / "cache").glob(f"{entry['language']}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    if entry["as"] == "new":
        (run / "logs" / f"{entry['expert']}.jsonl").unlink(missing_ok=True)
