"""Languages by their text: a few documents are enough, scripts without spaces work."""

from __future__ import annotations

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.plans.documents import text_distances, text_points
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


def test_documents_of_a_language_lie_together_in_any_script() -> None:
    labels = np.repeat(list(SENTENCES), 5)
    points = text_points([sentence for sentences in SENTENCES.values() for sentence in sentences])
    assert np.allclose(np.linalg.norm(points, axis=1), 1.0)
    assert points.shape == (20, 19)  # one axis less than documents
    centres = np.stack([points[labels == language].mean(axis=0) for language in SENTENCES])
    assert (np.argmax(points @ centres.T, axis=1) == np.repeat(range(4), 5)).all()


def test_points_repeat_with_the_seed_and_a_blank_document_lies_at_zero() -> None:
    texts = [*SENTENCES["deu"], " "]
    assert np.array_equal(text_points(texts, seed=5), text_points(texts, seed=5))
    assert not text_points(texts)[-1].any()


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="no text"):
        text_points(["", " "])
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
