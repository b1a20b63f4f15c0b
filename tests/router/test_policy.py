"""Policies turn router weights into the weights that answer."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from router.policies.bayes import NEGLIGIBLE_PRIOR
from router.routes.policy import POLICIES, Policy, apply_policy, parse_policy, policy_names
from router.scoring.texts import mix_token_log_probs

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


@pytest.mark.parametrize("spelling", ["top1", "topm:3", "ensemble", "bayes", "bantu"])
def test_a_policy_prints_as_it_is_spelt_and_reads_back(spelling):
    parsed = parse_policy(spelling, EXPERTS)
    assert str(parsed) == spelling and parse_policy(str(parsed), EXPERTS) == parsed


@pytest.mark.parametrize("spelling", ["ensemble:3", "top1:", "bayes:x", "expert", "slavic:2"])
def test_an_option_of_a_policy_that_takes_none_is_refused(spelling):
    with pytest.raises(BadInput, match=f"Unknown policy '{spelling}'"):
        parse_policy(spelling, EXPERTS)


def test_all_policies_are_named_ours_first():
    assert policy_names()[: len(POLICIES)] == list(POLICIES)


def test_a_share_between_stays_between_the_ensemble_and_bayes():
    # Two experts of equal weight; the second finds both tokens e times likelier: after one token Bayes gives it
    # e / (1 + e), half a share e^0.5 / (1 + e^0.5), none 1/2.
    parts = [(0.5, np.array([-2.0, -2.0])), (0.5, np.array([-1.0, -1.0]))]
    for dynamic, weight in ((False, 0.5), (0.5, np.exp(0.5) / (1 + np.exp(0.5))), (True, np.e / (1 + np.e))):
        found = mix_token_log_probs(parts, dynamic)
        assert found[0] == pytest.approx(np.log(0.5 * np.exp(-2) + 0.5 * np.exp(-1)))
        assert found[1] == pytest.approx(np.log((1 - weight) * np.exp(-2) + weight * np.exp(-1)))


PACKAGE = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from router.routes.policy import Policy, policy

@policy("tempered")
@dataclass(frozen=True)
class Tempered(Policy):
    option: ClassVar[str | None] = "power"
    dynamic: ClassVar[float] = 0.5
    power: float = 2.0

    @classmethod
    def read(cls, option):
        return cls(float(option)) if option else cls()

    def __str__(self):
        return f"tempered:{self.power}"

    def choose(self, weights_BK, experts):
        sharp_BK = weights_BK ** self.power
        return sharp_BK / sharp_BK.sum(axis=1, keepdims=True)
"""
PROGRAM = """
import numpy as np
from router.routes.policy import apply_policy, parse_policy, policy_names
assert policy_names()[-1] == "tempered"
assert str(parse_policy("tempered:3", "ab")) == "tempered:3.0" and parse_policy("tempered", "ab").dynamic == 0.5
assert np.allclose(apply_policy([[0.25, 0.75]], "tempered", "ab"), [[0.1, 0.9]])
"""


def test_a_policy_of_an_installed_package_is_one_file(tmp_path):
    (tmp_path / "tempered.py").write_text(PACKAGE)
    facts = tmp_path / "tempered-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tempered\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[xelm.policies]\ntempered = tempered\n")
    path = [str(tmp_path), str(Path(__file__).resolve().parents[2])]
    program = f"import sys; sys.path[:0] = {path}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_policy_that_gives_no_weights_is_refused():
    class Nothing(Policy):
        def choose(self, weights_BK, experts):
            return weights_BK * 0

    with pytest.raises(BadInput, match="no distribution over 3 experts"):
        apply_policy(WEIGHTS, Nothing(), EXPERTS)


def test_bayes_runs_all_of_a_few_experts_and_of_many_those_that_matter():
    few = np.array([[0.9989, 0.001, 0.0001]])
    assert np.array_equal(apply_policy(few, "bayes", ["a", "b", "c"]), few)
    names = [f"e{i}" for i in range(40)]
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.full(40, 0.05), size=50)
    kept = apply_policy(weights, "bayes", names)
    assert np.allclose(kept.sum(axis=1), 1)
    for before, after in zip(weights, kept, strict=True):
        dropped = before[after == 0].sum()
        assert dropped <= 1e-3 + 1e-12
        smallest = before[after > 0].min()
        assert dropped + smallest > 1e-3, "one more could not be dropped"
        assert np.allclose(after[after > 0], before[after > 0] / (1 - dropped))
        # Total variation between the two priors bounds that between the distributions over texts.
        assert 0.5 * np.abs(after - before).sum() <= 1e-3 + 1e-12


def test_what_bayes_drops_changes_the_distribution_of_texts_no_more_than_it_says():
    """All texts of three tokens from an alphabet of three, under 30 experts: the distance is summed, not sampled."""
    generator = np.random.default_rng(3)
    num_experts, length = 30, 3
    names = [f"e{i}" for i in range(num_experts)]
    texts = list(itertools.product(range(3), repeat=length))
    # Each expert has its own distribution of the next token after every beginning; some are nearly certain.
    tables = [{text[:n]: generator.dirichlet(np.full(3, 0.2)) for text in texts for n in range(length)} for _ in names]
    log_probs = [[np.log([t[text[:n]][text[n]] for n in range(length)]) for t in tables] for text in texts]
    for _ in range(20):
        prior = generator.dirichlet(np.full(num_experts, 0.08))
        kept = apply_policy(prior[None], "bayes", names)[0]
        assert (kept == 0).sum() > 0

        def probability(weights, of_text):
            parts = [(weights[e], of_text[e]) for e in range(num_experts) if weights[e] > 0]
            return np.exp(mix_token_log_probs(parts, dynamic=True).sum())

        whole = np.array([probability(prior, of_text) for of_text in log_probs])
        pruned = np.array([probability(kept, of_text) for of_text in log_probs])
        assert whole.sum() == pytest.approx(1) and pruned.sum() == pytest.approx(1)
        assert 0.5 * np.abs(whole - pruned).sum() <= NEGLIGIBLE_PRIOR
        divergence = (pruned * np.log(pruned / whole)).sum()
        assert divergence <= -np.log1p(-NEGLIGIBLE_PRIOR)
