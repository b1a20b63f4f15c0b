"""Document clusters: a hundred documents are enough, scripts without spaces work, files come back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.plans.documents import DocumentClusters, text_distances
from clustering.plans.make import cluster_languages

SENTENCES = {
    "zho": ["今天天气很好", "我们去公园散步", "他喜欢喝茶", "孩子们在学校学习", "这本书很有意思"],
    "jpn": [
        "今日はとても天気がいいです",
        "公園へ散歩に行きましょう",
        "彼はお茶が好きです",
        "子供は学校で勉強します",
        "この本は面白い",
    ],
    "tha": ["วันนี้อากาศดีมาก", "เราไปเดินเล่นที่สวน", "เขาชอบดื่มชา", "เด็กเรียนที่โรงเรียน", "หนังสือเล่มนี้สนุก"],
    "deu": [
        "das Wetter ist heute schön",
        "wir gehen im Park spazieren",
        "er trinkt gern Tee",
        "die Kinder lernen",
        "das Buch ist gut",
    ],
}


@pytest.fixture(scope="module")
def documents() -> tuple[list[str], list[str]]:
    """100 short documents in four languages, and the language of each."""
    generator = np.random.default_rng(0)
    texts, labels = [], []
    for language, sentences in SENTENCES.items():
        for _ in range(25):
            texts.append(" ".join(generator.choice(sentences, size=3)))
            labels.append(language)
    order = generator.permutation(len(texts))
    return [texts[row] for row in order], [labels[row] for row in order]


def test_a_hundred_documents_fall_into_their_languages(documents: tuple[list[str], list[str]]) -> None:
    texts, labels = documents
    fitted = DocumentClusters.fit(texts, 4, seed=1)
    clusters = fitted.assign(texts)
    majority = sum(max(Counter(np.array(labels)[clusters == number]).values()) for number in range(4))
    assert majority == 100
    assert fitted.components.shape[0] == 99
    new = fitted.assign(["他们在公园喝茶", "子供はお茶が好きです", "เด็กชอบดื่มชา", "die Kinder trinken Tee"])
    assert sorted(new) == [0, 1, 2, 3]


@pytest.mark.parametrize(("num_documents", "k"), [(100, 3), (7, 3), (5, 5), (4, 1)])
def test_clusters_are_balanced_while_fitting(
    documents: tuple[list[str], list[str]], num_documents: int, k: int
) -> None:
    from clustering.plans.documents import _balanced_kmeans

    texts = documents[0][:num_documents]
    points = DocumentClusters.fit(texts, k).embed(texts)
    sizes = np.bincount(_balanced_kmeans(points, k, np.random.default_rng(0)), minlength=k)
    assert sizes.sum() == num_documents
    assert sizes.max() - sizes.min() <= 1


def test_weights_follow_the_formula(documents: tuple[list[str], list[str]]) -> None:
    fitted = DocumentClusters.fit(documents[0], 4)
    texts = ["das Wetter ist gut", "", "天气"]
    squared = fitted.squared_distances(texts)
    raw = np.exp(-(squared**2) / 0.1)
    assert np.allclose(fitted.weights(texts), raw / raw.sum(axis=1, keepdims=True))
    sharp = fitted.weights(texts, temperature=1e-6)
    assert np.allclose(sharp.sum(axis=1), 1.0) and sharp[0].max() > 0.999
    with pytest.raises(BadInput, match="greater than 0"):
        fitted.weights(texts, temperature=0)


def test_fitting_repeats_with_the_seed_and_files_come_back(
    documents: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    fitted, again = (DocumentClusters.fit(documents[0], 4, seed=5) for _ in range(2))
    assert np.array_equal(fitted.centres, again.centres)
    fitted.save(tmp_path / "clusters.npz")
    loaded = DocumentClusters.load(tmp_path / "clusters.npz")
    assert np.array_equal(loaded.weights(documents[0]), fitted.weights(documents[0]))


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="k=3 does not fit 2 documents"):
        DocumentClusters.fit(["a b c", "d e f"], 3)
    with pytest.raises(BadInput, match="no text"):
        DocumentClusters.fit(["", " "], 1)
    with pytest.raises(BadInput, match="no such file"):
        DocumentClusters.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK broken")
    with pytest.raises(BadInput, match="damaged"):
        DocumentClusters.load(tmp_path / "bad.npz")
    with pytest.raises(BadInput, match="No text for: nld"):
        text_distances({"de": ["gut"], "nl": [" "]})


def test_languages_can_be_grouped_by_their_text() -> None:
    texts = {**SENTENCES, "nld": ["het weer is vandaag mooi", "wij gaan in het park wandelen", "de kinderen leren"]}
    plan = cluster_languages(list(texts), 4, "ward", texts=texts)
    assert plan.cluster_of("nld") == plan.cluster_of("deu")
    even = cluster_languages(list(texts), 2, "tfidf", texts=texts)
    assert sorted(len(codes) for codes in even.clusters.values()) == [2, 3]
    with pytest.raises(BadInput, match="texts or distances"):
        cluster_languages(list(texts), 2, texts=texts, distances="syntactic")
