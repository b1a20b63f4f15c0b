"""A run of experts by layer: trained, resumed, answered, extended, checked and exported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, models_of, new_text, train_tiny
from tests.xelm.conftest import WORDS, tiny_table
from tests.xelm.training_parts import tiny_llama
from xelm.adding.add import add_language, remove_language
from xelm.expert_kinds.kind import ExpertKind
from xelm.inference.routed import RoutedLM
from xelm.making.train import train
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.export import export


def test_only_the_chosen_layers_train(tmp_path: Path) -> None:
    model = ExpertKind.of(kind="layers", layers=[1]).prepare(tiny_llama(num_layers=3))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name in model.state_dict() if name.startswith("model.layers.1.")}


@pytest.mark.parametrize(
    ("layers", "message"),
    [([], "needs layers"), ([3], "the model has 3 layers: 0 to 2"), ([-1], "counted from 0"), ([1, 1], "named twice")],
)
def test_layers_that_cannot_be_are_refused(layers: list[int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ExpertKind.of(kind="layers", layers=layers).prepare(tiny_llama(num_layers=3))


NEW_BASE = {"tokenizer": "byte", "hidden_size": 16, "num_layers": 3, "num_heads": 2, "context_length": 160}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of experts with two layers of three of their own."""
    folder = tmp_path_factory.mktemp("layers")
    base = {"new": {**NEW_BASE, "tokens": 1600, "learning_rate": 5e-3}}
    return train_tiny(folder, base=base, expert={"kind": "layers", "layers": [0, 2]})


def test_an_expert_is_its_own_layers_and_nothing_else(run: Path) -> None:
    experts = ExpertSet.load(run)
    base = experts.load_model("base").state_dict()
    for name in experts.names:
        assert (experts.folder(name) / "layers.safetensors").is_file()
        assert not (experts.folder(name) / "model.safetensors").exists()
        changed = {key for key, t in experts.load_model(name).state_dict().items() if not torch.equal(t, base[key])}
        assert changed and all(key.startswith(("model.layers.0.", "model.layers.2.")) for key in changed)
    assert experts.verify() == []


def test_a_run_answers_from_one_trunk_as_from_whole_models(run: Path) -> None:
    lm, experts = RoutedLM.from_pretrained(run, device="cpu"), ExpertSet.load(run)
    texts = [f"{words[:40]}" for words in WORDS.values()]
    assert lm.models.get(lm.names[0]).get_base_model() is lm.models.get("base").get_base_model()
    for policy in ("top1", "topm:2", "ensemble", "bayes"):
        assert all(0 < score.bits_per_byte < 20 for score in lm.score(texts, policy))
        assert len(lm.generate(texts, policy, max_new_tokens=4)) == 3
    for name in lm.names:
        [mine] = lm.score(texts[:1], name)
        ids = [lm.tokenizer.bos_token_id, *lm.tokenizer(texts[0], add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            log_probs = torch.log_softmax(experts.load_model(name)(torch.tensor([ids])).logits[0], -1)
        assert mine.nats == pytest.approx(-float(log_probs[range(len(ids) - 1), ids[1:]].sum()), abs=1e-3)


def test_a_language_is_added_from_such_an_expert_and_leaves_without_a_trace(run: Path, tmp_path: Path) -> None:
    copied = copy_of(run, tmp_path)
    before = contents(copied)
    experts = add_language(copied, "swe", data=new_text(tmp_path, "swe"), tokens=640)
    name = experts.plan.cluster_of("swe")
    assert (experts.folder(name) / "layers.json").is_file() and experts.verify() == []
    assert RoutedLM.from_pretrained(copied, device="cpu").generate(["och att det som"], name, max_new_tokens=3)
    assert models_of(copied, experts.names[:-1]) == {
        file: value for file, value in models_of(copied, experts.names).items() if f"/{name}/" not in file
    }
    remove_language(copied, "swe")
    assert contents(copied) == before


def test_training_again_does_nothing(run: Path) -> None:
    before = contents(run)
    recipe = Recipe.from_dict(
        tiny_table(
            data={"path": str(run.parent / "corpus")},
            base={"new": {**NEW_BASE, "tokens": 1600, "learning_rate": 5e-3}},
            expert={"kind": "layers", "layers": [0, 2]},
        )
    )
    train(recipe, run)
    assert {name: before[name] for name in before if name.startswith("experts/")} == {
        name: value for name, value in contents(run).items() if name.startswith("experts/")
    }


@pytest.mark.parametrize("kind", [{"kind": "layers", "layers": [1]}, {"kind": "lora", "rank": 2}])
def test_an_exported_expert_opens_with_transformers_alone(tmp_path: Path, kind: dict[str, object], run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = {"new": {**NEW_BASE, "tokens": 1600, "learning_rate": 5e-3}}
    made = run if kind["kind"] == "layers" else train_tiny(tmp_path, base=base, expert=kind)
    experts = ExpertSet.load(made)
    name = experts.names[0]
    folder = export(made, name, tmp_path / "exported")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("der abend ist", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, experts.load_model(name)(ids).logits, atol=1e-5, rtol=0)
    with pytest.raises(BadInput, match="not empty"):
        export(made, name, folder)
