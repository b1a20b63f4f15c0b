"""The trained ranker: tables as people have them, no leak of the answer, honest explanations, a file without pickle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.rankers.features import pair_features
from clustering.rankers.ranker import Ranker, fit_ranker, relevance, usefulness_of
from clustering.rankers.transfer_table import TransferTable, read_transfer_table
from clustering.sources.rank import rank_sources
from clustering.sources.signals import typology_signals

LANGUAGES = ["deu", "nld", "spa", "ita", "rus", "pol", "tur", "fin"]


def write_table(path: Path, header: str = "target,source,score", favourite: str = "fin") -> Path:
    """Transfer that hangs on the source alone: `favourite` is best for everyone, then the alphabet."""
    order = [favourite, *sorted(set(LANGUAGES) - {favourite})]
    lines = [
        f"{target},{source},{1 - order.index(source) / 10}"
        for target in LANGUAGES
        for source in LANGUAGES
        if source != target
    ]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    return fit_ranker(write_table(tmp_path_factory.mktemp("t") / "t.csv"), num_trees=20)


def test_a_source_that_helped_everyone_is_ranked_first_for_a_new_target(fitted: Ranker) -> None:
    report = rank_sources("swe", ["deu", "nld", "rus", "fin"], ranker=fitted)
    assert report.ranking[0].language == "fin"
    assert report.method.startswith("ranker trained on t.csv (8 targets")


def test_contributions_of_a_ranker_sum_to_the_score(fitted: Ranker) -> None:
    report = rank_sources("swe", ["deu", "nld", "rus", "fin"], ranker=fitted)
    scores = fitted.scores(typology_signals("swe", ["deu", "nld", "rus", "fin"]))
    for entry in report.ranking:
        assert sum(entry.contributions.values()) == pytest.approx(entry.score)
    assert sorted(e.score for e in report.ranking) == pytest.approx(sorted(scores))


def test_a_report_explains_what_a_ranker_learned(fitted: Ranker) -> None:
    learned, default = (rank_sources("swe", ["deu", "rus"], ranker=r).to_markdown() for r in (fitted, None))
    assert "learned from a table" in learned and "one vote" not in learned
    assert "one vote" in default and "learned from a table" not in default
    assert "**helped others**: how good this source was" in learned


def test_a_saved_ranker_scores_the_same(fitted: Ranker, tmp_path: Path) -> None:
    fitted.save(tmp_path / "r.json")
    query = typology_signals("ces", LANGUAGES)
    assert Ranker.load(tmp_path / "r.json").scores(query).tolist() == fitted.scores(query).tolist()


def test_lightgbm_is_another_model_in_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    ranker = fit_ranker(write_table(tmp_path / "t.csv"), method="lightgbm", num_trees=20)
    ranker.save(tmp_path / "r.json")
    query = typology_signals("ces", LANGUAGES)
    assert Ranker.load(tmp_path / "r.json").scores(query).tolist() == pytest.approx(ranker.scores(query).tolist())


@pytest.mark.parametrize("damage", [{"format": "other"}, {"models": {}}, {"usefulness": [[1.0]]}])
def test_a_damaged_ranker_is_refused(fitted: Ranker, tmp_path: Path, damage: dict) -> None:
    fitted.save(tmp_path / "r.json")
    stored = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(stored | damage))
    with pytest.raises(BadInput, match=r"r\.json"):
        Ranker.load(tmp_path / "r.json")


def test_trees_that_run_in_circles_are_refused(fitted: Ranker, tmp_path: Path) -> None:
    fitted.save(tmp_path / "r.json")
    stored = json.loads((tmp_path / "r.json").read_text())
    tree = next(tree for tree in stored["models"]["typology"]["model"] if " " in tree["left"])
    tree["left"] = tree["left"].replace("1", "0", 1)
    (tmp_path / "r.json").write_text(json.dumps(stored))
    with pytest.raises(BadInput, match="malformed"):
        Ranker.load(tmp_path / "r.json")


def test_features_never_see_the_targets_own_results(tmp_path: Path) -> None:
    table = read_transfer_table(write_table(tmp_path / "t.csv"))
    turned = table.scores.copy()
    rows = table.rows_by_target()["deu"]
    turned[rows] = -turned[rows]
    other = replace(table, scores=turned)
    query = typology_signals("deu", [language for language in LANGUAGES if language != "deu"])
    before, after = (pair_features(query, usefulness_of(t))[1] for t in (table, other))
    assert np.array_equal(before, after)
    elsewhere = typology_signals("nld", query.candidates)
    assert not np.array_equal(*(pair_features(elsewhere, usefulness_of(t))[1] for t in (table, other)))


@pytest.mark.parametrize(
    "header",
    [
        "target,source,score",
        "Task lang,Aux lang,Accuracy",
        "Target lang,Transfer lang,BLEU",
        "tgt,src,f1",
        "test,train,UAS",
    ],
)
def test_usual_headings_are_understood(tmp_path: Path, header: str) -> None:
    table = read_transfer_table(write_table(tmp_path / "t.csv", header))
    assert (table.targets[0], table.sources[0]) == ("deu", "nld")
    assert table.scores.max() == 1.0


def test_losses_are_turned_round(tmp_path: Path) -> None:
    assert read_transfer_table(write_table(tmp_path / "t.csv", "target,source,perplexity")).scores.max() < 0
    path = write_table(tmp_path / "t.csv")
    assert read_transfer_table(path, lower_is_better=True).scores.max() < 0


def test_columns_that_give_the_answer_away_are_left_out(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", "target,source,score")
    head, *lines = path.read_text().splitlines()
    extra = [f"{line},{float(line.split(',')[2]) * 7:.1f},{n % 5},3" for n, line in enumerate(lines)]
    path.write_text("\n".join([head + ",Score level,word overlap,Rank", *extra]))
    assert set(read_transfer_table(path).features) == {"word_overlap"}


def test_scripts_of_a_language_are_averaged_and_a_language_with_itself_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["deu,zho_Hans,1", "deu,zho_Hant,3", "deu,fra,5", "deu,deu,9", "fra,deu,1", "fra,nld,2", "zho,cmn,9"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["target,source,score", *rows]))
    table = read_transfer_table(path)
    found = zip(table.targets, table.sources, table.scores.tolist(), strict=True)
    assert set(found) == {("deu", "zho", 2.0), ("deu", "fra", 5.0), ("fra", "deu", 1.0), ("fra", "nld", 2.0)}
    assert "zho_Hans and deu from zho_Hant" in caplog.text


def test_langrank_tables_are_read_as_they_are(shared: Path) -> None:
    parsing = read_transfer_table(shared / "langrank" / "dep.csv")
    translation = read_transfer_table(shared / "langrank" / "mt.csv")
    assert (len(parsing.rows_by_target()), len(translation.rows_by_target())) == (30, 54)
    assert (translation.targets[0], translation.sources[0]) == ("eus", "slk")
    assert set(parsing.features) == {
        *("word_overlap", "source_size", "target_size", "size_ratio", "source_ttr", "target_ttr", "ttr_distance")
    }
    assert set(translation.features) == {*parsing.features, "subword_overlap"}


def test_the_default_ranking_beats_every_single_signal(shared: Path) -> None:
    from clustering.sources.signals import default_contributions

    def mean_ndcg(table: TransferTable, name: str | None) -> float:
        found = []
        for query, rows in table.queries():
            parts = default_contributions(query.raw if name is None else {name: query.raw[name]})
            gains = 2.0 ** relevance(table.scores[rows]) - 1
            top = np.argsort(-sum(parts.values(), np.zeros(len(rows))), kind="stable")[:3]
            discounts = 1 / np.log2([2, 3, 4])
            found.append((gains[top] @ discounts) / (np.sort(gains)[::-1][:3] @ discounts))
        return float(np.mean(found))

    for task in ("dep", "mt"):
        table = read_transfer_table(shared / "langrank" / f"{task}.csv")
        whole = mean_ndcg(table, None)
        for name in ("word_overlap", "shared_family", "syntactic", "geographic", "size_ratio"):
            assert whole > mean_ndcg(table, name), (task, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,c\n1,2,3\n", "no column for target, source, score"),
        ("target,source,score\ndeu,nld,x\ndeu,fra,1\nnld,deu,1\n", "row 2: the score 'x'"),
        ("target,source,score\ndeu,nld,1\ndeu,zzzz,1\nnld,deu,1\n", "row 3: Unknown language 'zzzz'"),
        ("target,source,score\ndeu,nld,1\ndeu,nld,2\nnld,deu,1\nnld,fra,1\n", "more than once"),
        ("target,source,score\ndeu,nld,1\nnld,deu,1\nfra,nld,2\n", "0 target"),
        ("target,source,score\n", "no rows"),
        ("target,source,score\ndeu,nld\n", "row 2: 2 cells"),
    ],
)
def test_bad_tables_are_explained(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(BadInput, match=message):
        read_transfer_table(tmp_path / "t.csv")
