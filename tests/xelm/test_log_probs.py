"""What was measured once on held-out text is read again, and only that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.xelm.adding import copy_of, new_text, train_tiny
from xelm.adding.add import add_language
from xelm.evaluation.evaluate import evaluate
from xelm.evaluation.log_probs import SPLITS, forget_stale, heldout_log_probs, measure
from xelm.run.experts import ExpertSet


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


def test_kept_log_probabilities_equal_measured_ones(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experts = ExpertSet.load(finished)
    fresh = measure(experts, experts.load_model("base"), experts.heldout("test"))
    monkeypatch.setattr(ExpertSet, "load_model", None)
    kept = heldout_log_probs(experts, "base", "test")
    assert len(kept) == len(fresh) == len(experts.heldout("test"))
    for one, other in zip(kept, fresh, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_an_addition_measures_only_what_is_new(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.evaluation.log_probs

    measured: list[set[str]] = []
    real = xelm.evaluation.log_probs.measure

    def counting(experts: ExpertSet, model: object, documents: list[object], *more: object) -> object:
        measured.append({document.language for document in documents})  # type: ignore[attr-defined]
        return real(experts, model, documents, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(xelm.evaluation.log_probs, "measure", counting)
    run = copy_of(finished, tmp_path)
    experts = add_language(run, "swe", new_text(tmp_path, "swe"), tokens=128)
    old_models = len(experts.models) - 1
    assert len(measured) == 2 * (old_models + 4), "every old model on the new language, the new one on all four"
    assert sum(languages == {"swe"} for languages in measured) == 2 * (old_models + 1)


def test_an_evaluation_loads_each_model_once(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, loaded, real = copy_of(finished, tmp_path), list[str](), ExpertSet.load_model
    before = [ExpertSet.load(run).result(split) for split in SPLITS]
    for folder in (run / "cache" / "log_probs", run / "eval"):
        for file in folder.glob("*.*"):
            file.unlink()

    def counting(experts: ExpertSet, name: str, **options: object) -> object:
        loaded.append(name)
        return real(experts, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ExpertSet, "load_model", counting)
    evaluate(ExpertSet.load(run))
    assert sorted(loaded) == sorted(ExpertSet.load(run).models)
    assert [ExpertSet.load(run).result(split) for split in SPLITS] == before
    evaluate(ExpertSet.load(run))
    assert len(loaded) == len(ExpertSet.load(run).models), "and none again"


def test_what_belongs_to_nobody_is_forgotten(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    folder = run / "cache" / "log_probs"
    kept = sorted(folder.iterdir())
    assert len(kept) == 2 * 4 * 3, "splits, models, languages"
    (folder / "gone--deu--test--0123456789abcdef.safetensors").write_bytes(b"")
    forget_stale(ExpertSet.load(run))
    assert sorted(folder.iterdir()) == kept


@pytest.mark.parametrize("how", ["cut", "other", "no file of its kind"])
def test_damaged_values_are_noticed_and_measured_again(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    experts = ExpertSet.load(copy_of(finished, tmp_path))
    first = heldout_log_probs(experts, "base", "test")
    file = next((experts.path / "cache" / "log_probs").glob("base--deu--test--*"))
    content = file.read_bytes()
    other = content[:-400] + bytes(255 - byte for byte in content[-400:])
    file.write_bytes({"cut": content[:-8], "other": other, "no file of its kind": b"x"}[how])
    again = heldout_log_probs(experts, "base", "test")
    assert f"{file}: damaged" in caplog.text
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert file.read_bytes() == content
