"""`[router] identifier`: checked before training, kept in the run, used by whoever answers, grown with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from clustering.errors import BadInput
from router.identify.ready import ReadyMadeIdentifier
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from tests.xelm.conftest import sentences, tiny_table
from xelm import ExpertSet, Recipe, RoutedLM
from xelm.adding.add import add_language, remove_language
from xelm.making.train import dry_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that identifies languages with langid."""
    return train_tiny(tmp_path_factory.mktemp("finished"), router={"identifier": "langid"})


def test_the_run_routes_with_the_identifier_of_its_recipe(finished: Path) -> None:
    lm = RoutedLM.from_pretrained(finished, device="cpu")
    assert isinstance(lm.identifier, ReadyMadeIdentifier) and lm.identifier.backend.name == "langid"
    assert ExpertSet.load(finished).verify() == []
    assert [file.name for file in (finished / "router").iterdir()] == ["identifier.json"]
    routes = lm.route(["Guten Morgen, wie geht es dir?", "Доброе утро, как дела?", "こんにちは、お元気ですか"])
    assert [route.language for route in routes] == ["deu", "rus", "jpn"]  # the last is langid's, of no expert


def test_a_language_it_knows_comes_and_leaves_again(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    before = contents(run)
    add_language(run, "ell", data=new_text(tmp_path, "ell"), tokens=512, believe_label=True)
    assert tuple(RoutedLM.from_pretrained(run, device="cpu").identifier.languages) == ("deu", "nld", "rus", "ell")
    remove_language(run, "ell")
    assert contents(run) == before


def test_a_language_it_does_not_know_is_refused_before_anything_is_done(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    before = contents(run)
    with pytest.raises(BadInput, match=r"langid does not know Shuar \(jiv\).*combined"):
        add_language(run, "jiv", data=new_text(tmp_path, "jiv", words=" ".join(sentences("nld", 3))))
    assert contents(run) == before


@pytest.mark.parametrize(
    ("identifier", "message"), [("langidd", "choose combined or fasttext"), ("fasttext", "write 'fasttext:PATH'")]
)
def test_an_identifier_that_cannot_be_used_is_refused_before_training(
    corpus: Path, tmp_path: Path, identifier: str, message: str
) -> None:
    recipe = Recipe.from_dict(tiny_table(data={"path": str(corpus)}, router={"identifier": identifier}))
    with pytest.raises(BadInput, match=message):
        dry_run(recipe, tmp_path / "run")


def test_a_model_file_is_looked_for_beside_the_recipe_and_the_run_names_no_folder(tmp_path: Path) -> None:
    from xelm.making.portable import portable_recipe

    (tmp_path / "lid.bin").touch()
    file = tmp_path / "recipe.toml"
    file.write_text(
        '[base.new]\n[data]\npath = "c"\n[clusters]\nk = 1\n[train]\ntokens = 9\n[router]\n'
        'identifier = "fasttext:lid.bin"\n'
    )
    recipe = Recipe.load(file)
    assert recipe.router.identifier == f"fasttext:{tmp_path / 'lid.bin'}"
    assert portable_recipe(recipe)["router"]["identifier"] == "fasttext:lid.bin"
