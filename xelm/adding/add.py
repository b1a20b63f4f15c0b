"""`add_language` and `remove_language`: a finished run grows by a language, and no other expert changes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import expanded
from clustering.languages.codes import match
from router.routes.relatives import Relatives
from xelm.adding.branch import announce, plan_branch
from xelm.adding.donor import DonorChoice, sample_of
from xelm.adding.donors.plan import AdditionBill, Budget, TrialPlan, plan_trials, reason_of, why_untried
from xelm.adding.donors.race import SHARE
from xelm.adding.donors.trial import hold_trials
from xelm.adding.enter import keep_first, put_language, put_model, seal, take_language, take_model
from xelm.adding.ledger import Snapshot, warn_if_behind, with_changes
from xelm.adding.prepare import Prepared, prepare
from xelm.adding.repair import fit_prior
from xelm.adding.request import Addition, NewText, read_text, request_of
from xelm.adding.vocabulary import tokenizer_for
from xelm.blending.overlay import lay_on, take_off
from xelm.corpus.store import training_texts
from xelm.evaluation.log_probs import forget_stale
from xelm.making.make_model import Making, make_model
from xelm.recipe.recipe import Recipe
from xelm.run.experts import Document, ExpertSet
from xelm.run.failures import disk_failure_reported
from xelm.run.folder import RunFolder
from xelm.run.lock import locked
from xelm.run.records.ledger import DonorTrial, Kind, LedgerEntry
from xelm.run.records.manifest import Manifest, ModelEntry
from xelm.run.transaction import edited
from xelm.run.verify import verify
from xelm.vocabulary.own import Size

logger = logging.getLogger(__name__)


def add_language(
    run: str | Path,
    language: str,
    data: str | Path,
    *,
    donor: str = "auto",
    replay: float | None = None,
    as_: Kind = "new",
    tokens: int | None = None,
    believe_label: bool = False,
    drop_other_languages: bool = False,
    trial: float = SHARE,
    vocabulary: Size | None = None,
) -> ExpertSet:
    """Add a language to a finished run (hierarchical multi-round training, HMR: Blevins et al. 2024, section 5).

    A new expert branches from the donor and is trained on the new text; the files of all other experts stay the same,
    to the byte. The run changes at the end, all at once: an addition that fails or is killed leaves it as it was, and
    after an interruption the same command resumes from the last checkpoint.

    Args:
        run: Finished run to add to.
        language: Any code or name.
        data: Text of the language: a file, or a folder that holds such a file or a folder of shards for it.
        donor: Model to start from: `auto` (the best one of three that are tried), a language of the run, or a model's
            name (an expert, `base`, `dense`).
        replay: Share of the training blocks drawn from the donor's own languages, from 0 up to, but not, 1. None: 0.2
            for a language that joins an expert, so that it keeps its own, else 0.
        as_: `new`: the language gets an expert of its own; `join`: the donor's expert is trained further on it, and
            the expert's earlier version is kept under `previous/`.
        tokens: Training budget in tokens. None: the mean budget of the run's languages for their experts, at most 40
            times the text.
        believe_label: Add the text even if it looks like another language.
        drop_other_languages: Leave out the documents that look like other languages; those of related languages stay.
        trial: If the donor is `auto`: share of the budget for which each start is tried at most, up to 0.25. The tokens
            of trials come out of the budget. 0: no trial; the donor is chosen by signals that need no training.
        vocabulary: Pieces of its own for the new expert, learned from the text by the tokenizer's own algorithm: their
            number, or `auto` for as many as make the text as cheap in tokens a word as the run's languages, and more
            where they still make it much shorter. None: the expert reads the donor's pieces.

    Returns:
        The run with the language; the last line of its manifest's ledger says what was done.

    Raises:
        BadInput: If the run has the language already, the text cannot be used or seems to be another language's, or
            an argument does not fit.
        OSError: If the disk is full or read-only; what was trained is kept, and the same command resumes.
    """
    request: dict[str, Any] = {"replay": replay, "tokens": tokens, "trial": trial, "believe_label": believe_label}
    request["vocabulary"] = vocabulary
    folder = local_folder(run)
    with disk_failure_reported(folder), locked(folder):
        # A new expert never starts from weights that were moved back, but from what the donor learned.
        experts = whole_run(folder).trained()
        addition = request_of(
            experts, language, data, donor=donor, as_=as_, drop_other_languages=drop_other_languages, **request
        )
        with _traceless(folder, addition.language):
            _add(experts, addition)
    return _loaded(folder)


def addition_bill(run: str | Path, language: str, data: str | Path, **options: Any) -> AdditionBill:
    """What `add_language` with the same arguments would train, and with how many tokens; nothing is trained or kept.

    Raises:
        BadInput: As `add_language` would.
    """
    folder = local_folder(run)
    with disk_failure_reported(folder), locked(folder):
        experts = whole_run(folder).trained()
        addition = request_of(experts, language, data, **options)
        try:
            ready = prepare(experts, addition)
            making = _planned(experts, ready, ready.choice.donor)
            trials = _trials(experts, ready, making)
            reason = ready.choice.reason + ("" if trials else _why_untried(experts, ready, making))
            choice = ready.choice.donor, reason, ready.choice.candidates
            return AdditionBill.of(ready.addition, choice, trials, _budget(experts, making))
        finally:
            if not any((folder / "work").glob(f"add-{addition.language}-*")):  # nothing is to be resumed
                _forget(folder, addition.language)


def remove_language(run: str | Path, language: str) -> ExpertSet:
    """Undo `add_language`: once all added languages are removed, every file is as it was before the first addition.

    Raises:
        BadInput: If the language was not added to this run, or another one joined its expert later.
    """
    folder = local_folder(run)
    with disk_failure_reported(folder), locked(folder):
        experts = whole_run(folder)
        ledger = experts.manifest.ledger
        code = match(language, [entry.language for entry in ledger])
        if code is None:
            added = ", ".join(entry.language for entry in ledger) or "none"
            raise BadInput(f"{language}: was not added to this run (added: {added}); only additions can be undone.")
        position = next(i for i, entry in enumerate(ledger) if entry.language == code)
        later = [e.language for e in ledger[position + 1 :] if _rests_on(e, ledger[position])]
        if later:
            raise BadInput(f"{code}: {', '.join(later)} joined its expert later; remove that first.")
        with edited(folder) as shadow:
            keeps = take_off(shadow)
            take_model(shadow, ledger[position].expert)
            take_language(shadow, code)
            lay_on(shadow, {name: replace(one, rows=one.rows.left_by(code)) for name, one in keeps.items()})
        _forget(folder, code)
    return _loaded(folder)


def local_folder(run: str | Path) -> Path:
    """The local folder of a run, which can be changed.

    Raises:
        BadInput: If the run is not on this machine.
    """
    folder = expanded(run)
    if not folder.is_dir():
        raise BadInput(f"{run}: no such run directory. A run on the hub cannot be changed in place: download it first.")
    return ExpertSet.load(folder).path


def _loaded(folder: Path) -> ExpertSet:
    experts = ExpertSet.load(folder)
    forget_stale(experts)
    return experts


def whole_run(folder: Path) -> ExpertSet:
    """The run in a folder.

    Raises:
        BadInput: If a file of it is missing or changed.
    """
    problems = verify(folder)
    if problems:
        raise BadInput(f"{folder}: the run is not whole ({problems[0]}). Run `xelm verify {folder}` for the rest.")
    return ExpertSet.load(folder)


@contextmanager
def _traceless(run: Path, code: str) -> Iterator[None]:
    """Remove what an addition leaves beside the run: its work if it succeeds, text and log if it is refused.

    An addition that is stopped (by a full disk or from outside) leaves everything, so that it can be resumed.
    """
    try:
        yield
    except BadInput:
        _forget(run, code)
        raise
    _clear_work(run, code)


def _forget(run: Path, code: str) -> None:
    _clear_work(run, code)
    for folder in (run / "cache").glob(f"{code}-*"):
        shutil.rmtree(folder)
    forget_stale(ExpertSet.load(run))
    _log_file(run, code).unlink(missing_ok=True)


def _clear_work(run: Path, code: str) -> None:
    for folder in (run / "work").glob(f"add-{code}-*"):
        shutil.rmtree(folder)
    if (run / "work").is_dir() and not any((run / "work").iterdir()):
        (run / "work").rmdir()


def _log_file(run: Path, code: str) -> Path:
    return run / "logs" / f"add-{code}.jsonl"


def _add(experts: ExpertSet, addition: Addition) -> None:
    ready = prepare(experts, addition)
    addition, choice, text = ready.addition, ready.choice, ready.text
    log_file, tried = _log_file(experts.path, addition.language), list[DonorTrial]()
    making = _planned(experts, ready, choice.donor)
    budget = _budget(experts, making)
    if plan := _trials(experts, ready, making):
        logger.info("trials: %s", ", ".join(plan.starts))
        makings = {start: _planned(experts, ready, start) for start in plan.starts}
        documents = [Document(addition.language, piece) for piece in sample_of(text.valid)]
        trials = hold_trials(makings, plan, experts, documents, log_file)
        making, tried = trials.winner, trials.tried
        reason = reason_of(tried, choice.candidates, addition.language)
        choice = replace(choice, donor=tried[0].name, reason=reason)
    else:
        choice = replace(choice, reason=choice.reason + _why_untried(experts, ready, making))
    logger.info("donor: %s", choice.reason)
    name = _name_from(experts, addition, choice.donor)
    announce(making, addition, name)
    entry = make_model(making, log_file, redo=True)
    line = _ledger_line(ready, choice, name, entry)
    line = replace(line, trials=tried, trial_share=addition.trial if tried else 0.0, budget=budget.tokens)
    _enter(experts, addition, line, making.folder, entry, text)


def _planned(experts: ExpertSet, ready: Prepared, start: str) -> Making:
    addition, text = ready.addition, ready.text
    own = tokenizer_for(experts, addition, start, text, ready.check)
    if own:
        text = read_text(experts, addition.source, Recipe.from_dict(experts.manifest.recipe).data, own)
    return plan_branch(experts, addition, start, _name_from(experts, addition, start), text, own)


def _trials(experts: ExpertSet, ready: Prepared, making: Making) -> TrialPlan | None:
    plan = plan_trials(ready.addition, ready.choice.candidates, _budget(experts, making))
    return None if plan and _reads_apart(experts, ready, plan) else plan


def _reads_apart(experts: ExpertSet, ready: Prepared, plan: TrialPlan) -> bool:
    """Whether starts would read different pieces, which cannot be compared piece by piece."""
    return ready.addition.vocabulary is not None or any(experts.vocabulary(start) for start in plan.starts)


def _why_untried(experts: ExpertSet, ready: Prepared, making: Making) -> str:
    plan = plan_trials(ready.addition, ready.choice.candidates, _budget(experts, making))
    if plan and _reads_apart(experts, ready, plan):
        return " No start was tried, since starts that read different pieces do not compare piece by piece."
    return why_untried(ready.addition, _budget(experts, making))


def _budget(experts: ExpertSet, making: Making) -> Budget:
    if making.stage is None:
        raise ValueError("an addition is always trained")
    batch_size = making.stage.settings.batch_size
    recipe_batch = Recipe.from_dict(experts.manifest.recipe).train.batch_size
    return Budget(making.stage.num_steps, batch_size, making.stage.tokens_per_step // batch_size, recipe_batch)


def _name_from(experts: ExpertSet, addition: Addition, start: str) -> str:
    return start if addition.kind == "join" else _free_name(experts, addition.language)


def _free_name(experts: ExpertSet, code: str) -> str:
    number = len(experts.plan.clusters) + 1
    while (name := f"c{number}-{code}") in experts.plan.clusters:
        number += 1
    return name


def _enter(
    experts: ExpertSet, addition: Addition, line: LedgerEntry, made: Path, entry: ModelEntry, text: NewText
) -> None:
    recipe, code = Recipe.from_dict(experts.manifest.recipe), addition.language
    before = Snapshot.of(experts, code, text.test)

    found: dict[str, Any] = {}

    def repair(grown: ExpertSet) -> bool:
        relatives = Relatives.load(grown.files.router)
        prior = fit_prior(experts, grown, code, relatives)
        if prior:
            found.update(prior=prior, unrepaired=Snapshot.of(grown, code, text.test).bits_per_byte)
            relatives.with_prior(code, prior).save(grown.files.router)
        return bool(prior)

    def complete(grown: ExpertSet, manifest: Manifest) -> None:
        changed = with_changes(manifest.ledger[-1], before, Snapshot.of(grown, code, text.test))
        manifest.ledger[-1] = replace(changed, **found)
        warn_if_behind(grown, line.expert, code)

    with edited(experts.path) as shadow:
        keeps = take_off(shadow)
        keep_first(shadow)
        put_model(shadow, made, line.expert, entry)
        shutil.copyfile(text.store.heldout_file, RunFolder(shadow).heldout(code))
        _put_data(shadow, code, text)
        put_language(shadow, line, training_texts(addition.source, recipe.data), recipe.train.seed)
        seal(shadow, complete, repair)
        if keeps:
            logger.info(
                "experts of this run were moved back to the base (xelm blend): the addition started from the trained "
                "weights, and they are moved back as before, %s %s. `xelm blend --auto` chooses again.",
                line.expert,
                "too" if line.expert in keeps else "not",
            )
        if line.expert in keeps:  # a language that joins: its pieces are no longer unread
            rows = keeps[line.expert].rows.joined_by(code, text.store.pieces())
            keeps[line.expert] = replace(keeps[line.expert], rows=rows)
        lay_on(shadow, keeps)


def _put_data(shadow: Path, code: str, text: NewText) -> None:
    manifest = Manifest.read(shadow)
    manifest.data[code] = {**asdict(text.store.counts), "sha256": text.fingerprint, "cache": text.folder.name}
    manifest.write(shadow)


def _ledger_line(ready: Prepared, choice: DonorChoice, name: str, entry: ModelEntry) -> LedgerEntry:
    addition, text = ready.addition, ready.text
    return LedgerEntry(
        language=addition.language,
        expert=name,
        kind=addition.kind,
        donor=choice.donor,
        reason=choice.reason,
        candidates=choice.candidates,
        replay=addition.replay,
        tokens=entry.tokens,
        bytes=text.store.counts.bytes,
        sha256=text.fingerprint,
        tokenizer=ready.check,
        languages_read=ready.found.table,
        documents_dropped=ready.dropped,
    )


def _rests_on(later: LedgerEntry, earlier: LedgerEntry) -> bool:
    return later.kind == "join" and later.expert == earlier.expert
