"""Formulas of alignment, teaching, gaps and transfer with values worked out by hand (the working stands beside it)."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

from xelm.adding import label as labels_of_text
from xelm.adding import languages_read, text
from xelm.adding import tokenizer_fit as fit
from xelm.adding.donors import race
from xelm.aligning import teaching as pairs_teaching
from xelm.aligning.pairs import HELDOUT
from xelm.aligning.probes import Centred, Vectors, _hits, leakage, retrieval, unit
from xelm.aligning.teaching import PairBatches, Teaching, contrast
from xelm.distilling import teacher
from xelm.distilling.lessons import divergence
from xelm.evaluation import sentences
from xelm.measuring import branches
from xelm.objectives.gaps.spans import corrupted_lengths, left_out, noise_of
from xelm.objectives.head import CHUNK_BYTES, LossKind, is_chunked
from xelm.objectives.masked import MaskedBatches
from xelm.objectives.objective import IGNORED
from xelm.objectives.tlm import TlmBatches
from xelm.pruning import choose, likely, prune
from xelm.transferring.heads.nearest import csls
from xelm.transferring.measures.bootstrap import Draws, Hits
from xelm.transferring.measures.figures import macro_f1
from xelm.vocabulary.pieces import learn
from xelm.vocabulary.rows import new_rows

NEAR = pytest.approx


def test_csls_takes_away_the_nearest_of_both_sides() -> None:
    cosines = np.array([[1.0, 0.0], [0.5, 0.5]])
    # 2 cos - r(row) - r(column), of the nearest one: rows 1, 0.5; columns 1, 0.5.
    assert csls(cosines, 1).tolist() == [[0.0, -1.5], [-0.5, 0.0]]
    # Of the nearest two: rows 0.5, 0.5; columns 0.75, 0.25.
    assert csls(cosines, 2).tolist() == [[0.75, -0.75], [-0.25, 0.25]]
    # Ten unless told otherwise: of 0 … 11 the ten greatest have the mean 6.5; each column has itself alone.
    assert csls(np.arange(12.0)[None])[0, 11] == NEAR(2 * 11 - 6.5 - 11)


def test_translations_find_each_other_in_each_direction() -> None:
    found = _hits(np.array([[0.9, 0.8], [0.95, 0.7]]))
    assert found.to_pivot.tolist() == [True, False]  # the second row is nearest to the first column
    assert found.from_pivot.tolist() == [False, False]  # 0.95 over 0.9, 0.8 over 0.7
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[NEAR(0.6), NEAR(0.8)], [0.0, 0.0]]
    up, right = np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    # A language is the other one a quarter turn away, and shifted: only the rotation brings them together.
    ours, theirs = up + np.array([2, 0]), right + np.array([0, 2])
    vectors = Vectors(ours, theirs, ours, theirs)
    hits = {way: found.to_pivot.tolist() for way, found in retrieval(vectors).items()}
    assert hits["raw"] == [True, False]  # cosines 0.8, 0 and 0, -0.8
    assert hits["centred"] == [True, False] and hits["procrustes"] == [True, True]
    nothing = np.empty((0, 2))
    assert Centred.of(Vectors(ours, right, nothing, nothing)).ours.tolist() == [2.0, 0.0]
    assert Centred.of(Vectors(up, right, up + 5, right)).ours.tolist() == [5.0, 5.0]
    assert "procrustes" not in retrieval(Vectors(up, right, nothing, nothing))


def test_what_the_mean_tells_of_a_language_is_gone_when_it_is_taken_away() -> None:
    cloud = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    languages = {"deu": cloud, "nld": cloud + 10}
    assert leakage(languages, languages, centred=False) == 1.0
    assert leakage(languages, languages, centred=True) == NEAR(0.5)  # chance: the same points


def test_contrast_is_the_entropy_of_finding_the_own_target_both_ways() -> None:
    eye, rows = torch.eye(2), torch.tensor([0, 1])
    # Cosines 1 and 0 at temperature 0.5: e^2 against 1, twice; the two directions are the same here.
    found = contrast(eye, eye, rows, Teaching(temperature=0.5))
    assert found.item() == NEAR(2 * math.log(1 + math.exp(-2)))
    # A margin of 0.5 leaves the own one with (1 - 0.5) / 0.5 = 1.
    found = contrast(eye, eye, rows, Teaching(temperature=0.5, margin=0.5))
    assert found.item() == NEAR(2 * math.log(1 + math.exp(-1)))
    # Equal pivot sentences are no wrong answers to each other.
    assert contrast(eye, eye, torch.tensor([7, 7]), Teaching(temperature=0.5)).item() == 0.0
    # Ours lie at (1, 0) and (0.6, 0.8): the targets are found at e^0, e^1 and e^0.8, e^0.6; back, e^0.8 and e^1.
    slanted = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    there = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-0.2))
    back = math.log(1 + math.exp(-0.4)) + math.log(1 + math.exp(-0.8))
    assert contrast(slanted, eye, rows, Teaching(temperature=1.0)).item() == NEAR((there + back) / 2)
    defaults = Teaching()
    assert (defaults.temperature, defaults.contrast, defaults.margin, defaults.epochs) == (0.05, 1.0, 0.0, 3)
    assert pairs_teaching._RATES == {"lora": 5e-4, "full": 3e-5}


def test_the_scale_of_distances_is_the_mean_square_from_the_mean() -> None:
    targets = np.array([[0.0, 0.0], [2.0, 4.0]], dtype=np.float32)  # 1 + 4 from (1, 2), both
    batches = PairBatches([], {}, targets, None, None, Teaching())  # type: ignore[arg-type]
    assert batches.spread == NEAR(5.0)


def test_a_student_pays_the_divergence_from_its_teacher() -> None:
    teacher_JV, student_JV = torch.tensor([[0.8, 0.2]]).log(), torch.zeros(1, 2)
    assert divergence(teacher_JV, student_JV, 1.0).item() == NEAR(0.8 * math.log(1.6) + 0.2 * math.log(0.4))
    # At 2 the teacher has √0.8 : √0.2 = 2 : 1; times 2².
    softened = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert divergence(teacher_JV, student_JV, 2.0).item() == NEAR(4 * softened)


def test_spans_leave_out_a_seventh_in_threes() -> None:
    # 15 % of 100 in spans of 3; of 10, 1.5 rounds to 2; of 2, one must go and one stay.
    assert [noise_of(number) for number in (100, 20, 10, 2, 1)] == [(15, 5), (3, 1), (2, 1), (1, 1), (0, 0)]
    assert corrupted_lengths(100) == (100 - 15 + 5 + 1, 15 + 5 + 1)
    ids = np.arange(10, 20)
    assert left_out(ids, [(2, 4), (7, 8)], [90, 91]) == (
        [10, 11, 90, 14, 15, 16, 91, 18, 19],
        [90, 12, 13, 91, 17],
    )


def test_of_the_chosen_tokens_eight_in_ten_are_masked_one_is_another_one_stays() -> None:
    batches = MaskedBatches(3, 100_000, (0,), (0.3, 0.15, 0.05), seed=0)
    assert [batches.rate(done) for done in (0.0, 0.33, 0.34, 0.99, 1.0)] == [0.3, 0.3, 0.15, 0.05, 0.05]
    ids = np.full((1, 40_000), 7)
    ids[0, :100] = 0  # special tokens are never chosen
    batch = batches.batch(ids, np.arange(40_000)[None], np.array([0]), 0.0)
    chosen = batch.labels != IGNORED
    assert not chosen[0, :100].any() and chosen.mean() == NEAR(0.3, abs=0.01)
    seen = batch.input_ids[chosen]
    assert (seen == 3).mean() == NEAR(0.8, abs=0.01)
    assert (seen == 7).mean() == NEAR(0.1, abs=0.01)  # the rest is drawn from 100,000


def test_positions_begin_again_after_the_end_of_a_side() -> None:
    batches = TlmBatches(4, 10, (0,), (0.3,), 0, ends=(2,), pad_id=1)
    assert batches.sides(np.array([5, 6, 2, 7, 8, 2])).tolist() == [0, 1, 2, 0, 1, 2]


def test_accuracies_and_their_intervals() -> None:
    hits = Hits(np.array([1.0, 3.0]), np.array([1, 4]))
    assert hits.accuracy == NEAR(4 / 5)  # of units, not of rows
    draws = Draws({"deu": ["a", "b"]}, 3)
    assert draws.accuracies({"deu": hits})[0].tolist() == [NEAR(0.8)]
    whole = draws.interval(np.array([7.0, *range(101)]))
    assert (whole.value, whole.low, whole.high) == NEAR((7.0, 2.5, 97.5))
    assert Draws({"deu": ["a"]}, 3).interval(np.array([1.0, 1.0])).low is None
    # a: 2 · 1 / (2 + 2); b: 2 · 2 / (2 + 3); c is never answered.
    assert macro_f1(["a", "a", "b", "b", "c"], ["a", "b", "b", "b", "a"]) == NEAR((0.5 + 0.8 + 0) / 3)


def test_a_large_loss_is_computed_in_chunks() -> None:
    def chunked(positions: int, vocab_size: int, kind: LossKind = "auto") -> bool:
        return is_chunked(kind, positions=positions, vocab_size=vocab_size)

    # Logits are held three times in fp32: 3 · 4 · 683 · 2^15 is the first multiple above 2^28.
    assert [chunked(682, 2**15), chunked(683, 2**15), chunked(683, 2**15 - 1)] == [False, True, False]
    assert [chunked(1, 2, "chunks"), chunked(10**6, 2**15, "logits")] == [True, False]
    assert CHUNK_BYTES == 4 * 1024 * 2**15  # 1,024 positions of 32,768 tokens


def test_limits_from_which_something_is_said_or_done() -> None:
    """Measured or chosen once; whoever changes one sees it here. Where each comes from stands beside it in its file."""
    assert (fit._MANY_TOKENS, fit._MANY_TOKENS_A_WORD, fit._MANY_PIECES, fit._MANY_UNKNOWN) == (1.5, 2.0, 0.2, 0.001)
    label = labels_of_text
    assert (label._REPORTED, label._AS_ITS_OWN, label._TELLS_APART) == (0.02, 0.2, 1.15)
    assert (sentences.SHORTEST_SENTENCE, sentences.MOST_SENTENCES, text.MOST_COST) == (50, 200, 0.5)
    read = languages_read
    assert (read._AGAINST, read._CLEAR, read._RELATED, read._KIN, read._SURE) == (0.1, 0.25, 0.5, 0.6, 0.9)
    assert (race.SHARE, race.MOST_SHARE, race.FEWEST_STEPS, race._SURELY) == (0.2, 0.25, 4, 2.0)
    assert (branches.DEFAULT_SHARE, branches._SHORTER) == (0.05, 0.2)
    assert (teacher._LEAST, teacher._READ, HELDOUT) == (1e-3, 2048, 0.2)
    assert (prune.UNCHANGED, choose._EVERY, likely._STRENGTH, likely._FEWEST_USED) == (0.95, 5, 0.002, 20)
    assert (new_rows._NEAREST, new_rows._SHARPNESS) == (10, 10.0)
    assert (learn._ALPHABET_COVERAGE, learn._MIN_FREQUENCY, learn._SPARE) == (0.9999, 2, 1.5)
    assert inspect.signature(csls).parameters["neighbours"].default == 10
