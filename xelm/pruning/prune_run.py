"""A run with only the pieces that some of its languages need."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput, arg
from clustering.files import atomic_write, read_json, write_json
from clustering.languages.codes import match
from xelm.corpus.kept_text import kept_text, text_folder
from xelm.evaluation.evaluate import evaluate
from xelm.models.base import load_tokenizer, quiet_transformers
from xelm.models.rows import num_rows
from xelm.pruning.parts import (
    REPORT_FILE,
    Pruning,
    Reduction,
    Texts,
    compare,
    corpus_texts,
    lines_of,
    pruning,
    reduce_vocabulary,
)
from xelm.pruning.resize import taken_rows
from xelm.recipe.recipe import Data
from xelm.run.experts import ExpertSet
from xelm.run.folder import EVALUATIONS, HISTORY, REPORT, model_path
from xelm.run.names import BASE
from xelm.run.records.manifest import Manifest, fingerprint, kept_files
from xelm.vocabulary.tokenizer_table import write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ENTRY_FILE, _TOKENIZER_FILES = "xelm_model.json", ("tokenizer", "special_tokens", "vocab", "merges", "chat_template")
_DERIVED = (*EVALUATIONS, REPORT, *HISTORY)


def prune_run(run: Path, languages: Sequence[str], out: Path, corpus: str | Path | None, **settings: Any) -> Pruning:
    """Write a run whose models all keep the pieces that some of its languages need.

    It has the same experts, plan and router, is evaluated again, and begins a history of its own: its languages cannot
    be removed, and models that others joined are not kept in earlier versions.

    Args:
        run: A finished run.
        languages: Codes.
        out: A new folder.
        corpus: Text to choose pieces by; None: the run's tokenised training text.
        settings: `min_count` and `unchanged`, as for `prune`.

    Raises:
        BadInput: If the run lacks a language or its text, or cannot be pruned.
    """
    experts = ExpertSet.load(run)
    if experts.is_blended:
        raise BadInput(f"{run}: its experts were moved back to the base. Undo it first: `xelm blend RUN --keep 1`.")
    if own := [name for name in experts.names if experts.vocabulary(name) is not None]:
        raise BadInput(
            f"{run}: {', '.join(own)} read pieces of their own, which pruning would take. Prune the run before such "
            "languages are added."
        )
    codes = [_code(experts, language) for language in languages]
    texts = _texts(experts, codes) if corpus is None else corpus_texts(Data(path=str(corpus)), codes)
    whole, tokenizer = experts.load_model(BASE), experts.tokenizer()
    reduction = reduce_vocabulary(whole, tokenizer, texts, **settings)
    with atomic_write(out) as partial, quiet_transformers():
        small = taken_rows(whole, reduction.kept)
        for name in experts.models:
            _write_model(experts, name, partial / model_path(name), tokenizer, reduction)
        comparison = compare(whole, small, tokenizer, load_tokenizer(str(partial / BASE)), texts, reduction)
        _write_rest(experts, partial, reduction)
        result = pruning(out, texts, tokenizer, reduction, whole, small, comparison)
        write_json(partial / REPORT_FILE, result.to_dict() | {"folder": ""})
        _seal(partial)
    return result


def _code(experts: ExpertSet, language: str) -> str:
    code = match(language, experts.languages)
    if code is None:
        raise BadInput(f"{language}: no language of this run, which has {', '.join(experts.languages)}.")
    return code


def _texts(experts: ExpertSet, codes: Sequence[str]) -> Texts:
    """The training text of a run from its tokens, and its test text."""
    tokenizer, train = experts.tokenizer(), {}
    for code in codes:
        store = kept_text(experts, code)
        if store is None:
            place = text_folder(experts, code) or experts.path
            raise BadInput(f"{place}: the tokenised text of {code} is not there. Give {arg('corpus')} instead.")
        ends = [*store.starts[1:].tolist(), len(store.tokens)]
        documents = tokenizer.batch_decode(
            [store.tokens[start:end].tolist() for start, end in zip(store.starts.tolist(), ends, strict=True)],
            skip_special_tokens=True,
        )
        train[code] = lines_of(documents)
    heldout = {code: [row.text for row in experts.heldout("test", [code])] for code in codes}
    return Texts(train, {code: lines_of(rows) for code, rows in heldout.items()})


def _write_model(
    experts: ExpertSet, name: str, folder: Path, tokenizer: PreTrainedTokenizerBase, reduction: Reduction
) -> None:
    """A model of the run: a whole one with fewer rows, a change to the base as it is."""
    source = experts.folder(name)
    shares = experts.kind(name).shares_base
    if shares:
        _refuse_rows_of_its_own(experts, name)
    kept = None if shares else ("safetensors", "safetensors.index.json")
    shutil.copytree(source, folder, ignore=lambda _, names: [n for n in names if _is_replaced(n, kept)])
    if not shares:
        taken_rows(experts.load_model(name), reduction.kept).save_pretrained(folder)
    write_tokenizer(tokenizer, reduction.table, folder)
    entry = folder / _ENTRY_FILE
    if entry.is_file():
        table = read_json(entry)
        write_json(entry, table | {"fingerprint": _new_print(table.get("fingerprint"), reduction)})


def _is_replaced(name: str, weights: tuple[str, ...] | None) -> bool:
    return name.startswith(_TOKENIZER_FILES) or (weights is not None and name.endswith(weights))


def _refuse_rows_of_its_own(experts: ExpertSet, name: str) -> None:
    from safetensors import safe_open

    rows = num_rows(experts.load_model(BASE).config)
    for file in sorted(experts.folder(name).glob("*.safetensors")):
        with safe_open(file, "np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (a safetensors file is no dictionary)
                if rows in tensors.get_slice(key).get_shape():
                    raise BadInput(f"{name}: changes the vocabulary's rows ({key}), so the run cannot be pruned.")


def _new_print(old: str | None, reduction: Reduction) -> str:
    return fingerprint(old, {"pruned": reduction.kept})


def _write_rest(experts: ExpertSet, run: Path, reduction: Reduction) -> None:
    """Everything that is no model, and a manifest that tells of the pruned ones."""
    models = tuple(f"{model_path(name)}/" for name in experts.models)
    for name in kept_files(experts.path):
        if not name.startswith((*models, *_DERIVED)):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(experts.path / name, run / name)
    manifest = Manifest.read(experts.path)
    for name in experts.models:
        entry = experts.entry_or_none(name)
        if entry is None:
            continue
        parent = entry.parent_fingerprint and _new_print(entry.parent_fingerprint, reduction)
        entry = replace(entry, fingerprint=_new_print(entry.fingerprint, reduction), parent_fingerprint=parent)
        manifest.put(name, entry)
    manifest.ledger = []
    manifest.data = {code: {**counts, "cache": None} for code, counts in manifest.data.items()}
    manifest.write(run)


def _seal(run: Path) -> None:
    from xelm.report import write_report

    result = evaluate(ExpertSet.load(run))
    manifest = Manifest.read(run)
    manifest.metrics = result.headline() if result else {}
    manifest.write(run)
    write_report(ExpertSet.load(run))
    manifest.refresh_files(run)
    manifest.write(run)
