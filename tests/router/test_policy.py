"""Policies turn router weights into the weights that answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from router.routes.policy import apply_policy, parse_policy

EXPERTS = ["slavic", "germanic", "bantu"]
WEIGHTS = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])


def test_top1_takes_the_best_and_the_lower_column_on_ties():
    assert apply_policy(WEIGHTS, "top1", EXPERTS).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("policy", "m"), [("topm", None), ("topm:2", None), ("topm", 2)])
def test_topm_renormalises_the_best(policy, m):
    kept = apply_policy(WEIGHTS, policy, EXPERTS, m=m)
    assert np.allclose(kept, [[0, 0.625, 0.375], [0.5, 0.5, 0], [0, 0, 1]])


def test_topm_of_more_than_all_is_all():
    assert np.allclose(apply_policy(WEIGHTS, "topm:9", EXPERTS), WEIGHTS)


def test_ensemble_drops_only_negligible_experts_and_bayes_none():
    weights = np.array([[1 - 1e-5, 1e-5, 0.0]])
    assert apply_policy(weights, "ensemble", EXPERTS).tolist() == [[1, 0, 0]]
    assert np.allclose(apply_policy(weights, "bayes", EXPERTS), weights, atol=0)
    assert np.allclose(apply_policy(WEIGHTS, "ensemble", EXPERTS), WEIGHTS)


def test_expert_by_name_answers_everything():
    assert apply_policy(WEIGHTS, "bantu", EXPERTS).tolist() == [[0, 0, 1]] * 3


def test_abstained_texts_keep_their_weights():
    kept = apply_policy(WEIGHTS, "top1", EXPERTS, abstained_B=np.array([True, False, False]))
    assert np.allclose(kept, [[0.2, 0.5, 0.3], [1, 0, 0], [0, 0, 1]])


def test_only_bayes_is_dynamic():
    assert [parse_policy(p, EXPERTS).dynamic for p in ("top1", "topm:3", "ensemble", "bayes", "slavic")] == [
        False,
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("top2", "Did you mean top"),
        ("germanik", "Did you mean germanic"),
        ("topm:0", "whole number"),
        ("topm:x", "whole number"),
        ("topm:", "whole number"),
        ("", "Unknown policy ''"),
    ],
)
def test_unknown_policy_names_near_ones(policy, message):
    with pytest.raises(BadInput, match=message):
        apply_policy(WEIGHTS, policy, EXPERTS)


def test_wrong_shape_and_m_are_refused():
    with pytest.raises(BadInput, match="shape"):
        apply_policy(WEIGHTS, "top1", EXPERTS[:2])
    with pytest.raises(BadInput, match="whole number"):
        apply_policy(WEIGHTS, "topm", EXPERTS, m=0)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda w: sum(w) > 1e-3), min_size=1))
def test_rows_sum_to_one_under_every_policy(rows):
    weights = np.array(rows)
    weights /= weights.sum(1, keepdims=True)
    for policy in ("top1", "topm", "ensemble", "bayes", "slavic"):
        assert np.allclose(apply_policy(weights, policy, EXPERTS).sum(1), 1)
