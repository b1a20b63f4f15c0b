"""`align`: how well a model, or the models of a run, put translations side by side; with `train`, teach them to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustering.errors import BadInput, arg, refuse_text
from clustering.languages.codes import to_code
from xelm.aligning.adapt import REPORT_FILE, Course
from xelm.aligning.adapt_model import adapt_model
from xelm.aligning.adapt_run import adapt_run, expert_to_train, own_languages
from xelm.aligning.alignment import Alignment, AlignmentRow, Leakage
from xelm.aligning.measure import Measurement
from xelm.aligning.pairs import HELDOUT, PairSet, read_pairs
from xelm.aligning.readers import Reader, is_run, open_readers
from xelm.aligning.teaching import Adapter, Teaching
from xelm.run.experts import ExpertSet
from xelm.transferring.bases.base import ONLY, ModelBase, SingleModel
from xelm.transferring.bases.run import RunBase
from xelm.transferring.recipe import Pool, TaskBase


def align(
    model: str | Path,
    pairs: str | Path,
    *,
    pivot: str = "eng",
    languages: Sequence[str] | None = None,
    expert: str | None = None,
    train: bool = False,
    out: str | Path | None = None,
    layer: int | None = None,
    pool: Pool = "mean",
    prefix: str = "",
    max_length: int = 256,
    batch_size: int = 32,
    device: str = "auto",
    heldout: float = HELDOUT,
    most: int = 2000,
    adapter: Adapter | None = None,
    rank: int = 16,
    epochs: int = 3,
    learning_rate: float | None = None,
    step_pairs: int = 32,
    contrast: float = 1.0,
    temperature: float = 0.05,
    margin: float = 0.0,
    seed: int = 0,
) -> Alignment:
    """Measure how well a model puts translations side by side, or train it on pairs so that it does so better.

    For each language: how often a sentence's vector is nearest to that of its translation, among all tested pairs, to
    the pivot and back: by cosine (raw), with the mean of each language taken away (centred), by CSLS (Conneau et al.
    2018), and after a rotation fitted on other pairs (orthogonal Procrustes). And how well a linear classifier tells
    the language from a vector. Zero-shot transfer is worst where translations do not find each other.

    With `train`, both sentences of a pair are drawn to the vector that the pivot's sentence had at first (Reimers and
    Gurevych 2020), and of all targets of a step the own one must be nearest (as in LaBSE: Feng et al. 2022). No label
    is needed. A model is written to `out`; of a run one expert changes in place, all other models stay as they are, to
    the byte. Run again after an interruption it goes on; run again when it is done it returns what was measured then.

    Args:
        model: A run, or an encoder, masked or causal model: a folder or a hub id.
        pairs: Folder of <code>.jsonl (or .tsv, …): rows with `text` and the translation under the pivot's code, or with
            an `id` that the pivot's own file has too. `split` may say which pairs are tested.
        pivot: Language that all others are compared with.
        languages: Languages to read. None: all of the folder but the pivot; to train an expert, those that it owns.
        expert: For a run: one model to measure beside the base (None: base, dense, and each language's own expert), or
            the expert to train (None: the one that owns the languages).
        train: Train on the pairs that are not held out, and measure before and after.
        out: New folder for the trained model. A run is changed in place.
        layer: Hidden layer of the vectors, from 0 (embeddings); negative ones count from the last. None: the last.
        pool: How the states of a text become one vector.
        prefix: Text put before each text, if the model was trained so (`query: `).
        max_length: Most tokens of a text; the rest is cut off.
        batch_size: Texts of one pass when vectors are read.
        device: As for torch (`cpu`, `cuda`); `auto` takes a GPU if there is one.
        heldout: Share of the pairs that is tested where rows name no split; means, rotations and training take the
            others.
        most: Most pairs of a language that are tested, and most that means and rotation come from. The more there are,
            the harder it is to find the right one.
        adapter: What is trained: `lora`, adapters that are then added to the weights, or `full`, all weights. None:
            `lora`; of an expert that is no whole model, what it has of its own.
        rank: Rank of `lora`.
        epochs: How often each pair is read.
        learning_rate: Peak learning rate. None: 5e-4 for `lora`, 3e-5 for `full`.
        step_pairs: Pairs of one step, which are contrasted with each other.
        contrast: Weight of the contrast beside the distance; 0: none.
        temperature: Of the contrast: small ones look at the nearest wrong sentence alone.
        margin: By how much the own target must be nearer. LaBSE has 0.3, where both sides move; here one is fixed.
        seed: Of order and adapters.

    Returns:
        Accuracies with intervals by model and language, leakage, and warnings; with `train` before and after.

    Raises:
        BadInput: If model or pairs cannot be used.
        FloatingPointError: If the training diverges.
        MemoryError: If a step needs more memory than there is.
    """
    refuse_text("languages", languages or ())
    for name, value, least in (("most", most, 2), ("max_length", max_length, 8), ("batch_size", batch_size, 1)):
        if value < least:
            raise BadInput(f"{arg(name, value)}: must be at least {least}.")
    _check_out(model, train, out)
    teaching = Teaching(
        adapter=adapter,
        rank=rank,
        epochs=epochs,
        learning_rate=learning_rate,
        step_pairs=step_pairs,
        contrast=contrast,
        temperature=temperature,
        margin=margin,
        seed=seed,
    )
    settings = TaskBase(
        run=str(model) if is_run(model) else None,
        model=None if is_run(model) else str(model),
        layer=layer,
        pool=pool,
        prefix=prefix,
        max_length=max_length,
        batch_size=batch_size,
        device=device,
    )
    if settings.run is None and expert is not None:
        raise BadInput(f"{arg('expert', expert)}: {model} is no run, so it has no experts.")
    found = read_pairs(pairs, pivot, languages=languages, heldout=heldout)
    with _no_recipe():
        if not train:
            return _measured(settings, found, pivot, most, expert)
        if settings.run is None:
            return _train_model(Course(found, settings, teaching), Path(str(out)), pivot, most)
        return _train_run(settings, teaching, found, expert, every=languages is not None, pivot=pivot, most=most)


@contextmanager
def _no_recipe() -> Iterator[None]:
    """Name arguments where the encoder of a transfer names keys of its recipe."""
    try:
        yield
    except BadInput as error:
        error.args = (str(error.args[0]).replace("[base] ", ""),)
        raise


def _train_run(
    settings: TaskBase,
    teaching: Teaching,
    pairs: Mapping[str, PairSet],
    expert: str | None,
    *,
    every: bool,
    pivot: str,
    most: int,
) -> Alignment:
    """Train an expert on the languages of the pairs that it owns, or on every one."""
    experts = ExpertSet.load(str(settings.run))
    name = expert_to_train(experts, expert, list(pairs))
    kept = list(pairs) if every else own_languages(experts, name, list(pairs))
    return _train_expert(Course({code: pairs[code] for code in kept}, settings, teaching), name, pivot, most)


def _check_out(model: str | Path, train: bool, out: str | Path | None) -> None:
    if not train and out is not None:
        raise BadInput(f"{arg('out', str(out))} is for the trained model: give {arg('train', True)} too.")
    if train and is_run(model) and out is not None:
        raise BadInput(
            f"{arg('out', str(out))}: an expert of a run is trained in place. Copy the run's folder to keep the former."
        )
    if train and not is_run(model) and out is None:
        raise BadInput(f"a trained model is written to a new folder: name it with {arg('out')}.")


def _measured(settings: TaskBase, pairs: Mapping[str, PairSet], pivot: str, most: int, expert: str | None) -> Alignment:
    measurement = Measurement(pairs, to_code(pivot), most=most)
    base, readers = open_readers(settings, list(pairs), expert)
    return _of(measurement, [(reader, base, reader.name) for reader in readers])


def _of(measurement: Measurement, asked: Sequence[tuple[Reader, ModelBase, str]]) -> Alignment:
    """Measure models, each as a reader (with the name it gets in the table) and a name among those of a base."""
    rows, leaks = list[AlignmentRow](), list[Leakage]()
    for reader, base, name in asked:
        own, leak = measurement.of(reader, base.encoder(name))
        rows += own
        leaks += [leak] if leak else []
        base.encoder.cache_clear()  # lets the model go before the next one is loaded
    return Alignment(measurement.pivot, rows, leaks, measurement.notes)


def _before_and_after(
    course: Course, pivot: str, most: int, before: ModelBase, after: ModelBase, name: str
) -> Alignment:
    measurement, codes = Measurement(course.pairs, to_code(pivot), most=most), tuple(course.pairs)
    return _of(measurement, [(Reader("before", codes), before, name), (Reader("after", codes), after, name)])


def _train_model(course: Course, out: Path, pivot: str, most: int) -> Alignment:
    def report(folder: Path, facts: dict[str, Any]) -> None:
        after = SingleModel(dataclasses.replace(course.settings, model=str(folder)))
        found = _before_and_after(course, pivot, most, SingleModel(course.settings), after, ONLY)
        dataclasses.replace(found, training=facts).save(folder / REPORT_FILE)

    adapt_model(course, out, report)
    found = Alignment.read(out / REPORT_FILE)
    return dataclasses.replace(found, training={**found.training, "folder": str(out)})


def _train_expert(course: Course, name: str, pivot: str, most: int) -> Alignment:
    run = Path(str(course.settings.run))

    def report(shadow: Path, facts: dict[str, Any]) -> dict[str, Any]:
        former, now = ExpertSet.load(run).trained(), ExpertSet.load(shadow)
        before = RunBase(course.settings, experts=former)
        after = RunBase(dataclasses.replace(course.settings, run=str(shadow)), experts=now)
        found = _before_and_after(course, pivot, most, before, after, name)
        facts["bits_per_byte"] = {"before": _bits(former, name), "after": _bits(now, name)}
        return dataclasses.replace(found, training=facts).to_dict()

    adapt_run(course, name, report)
    return Alignment.read(ExpertSet.load(run).folder(name) / REPORT_FILE)


def _bits(experts: ExpertSet, name: str) -> dict[str, float]:
    """Bits per byte of an expert on held-out text of its languages: what the training cost it as a language model."""
    result = experts.result("test")
    bits = result.bits(name) if result and name in result.models else {}
    return {code: bits[code] for code in experts.plan.clusters[name] if code in bits}
