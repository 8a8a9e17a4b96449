from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtrit

from finetrap.errors import BadData
from finetrap.stats.changes import (
    ALPHA,
    Components,
    Estimate,
    accuracy_components,
    bits_components,
    estimate,
    estimates,
    family_rows,
    holm_shaffer,
    judge_family,
    mcnemar_mid_p,
    wilson,
)
from finetrap.stats.disagreement import churn, flips, noise_floor
from tests.builders.simulated import study

probabilities = st.floats(0, 1, allow_nan=False)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_statsmodels(counts):
    from statsmodels.stats.proportion import proportion_confint

    right, n = counts
    expected = proportion_confint(right, n, method="wilson")
    assert wilson(right, n) == pytest.approx(expected, abs=1e-9)


def test_three_of_1319_is_the_published_interval():
    low, high = wilson(3, 1319)
    assert (round(100 * low, 2), round(100 * high, 2)) == (0.08, 0.67)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(right, n):
    with pytest.raises(BadData, match="count must lie"):
        wilson(right, n)


@given(st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_mid_p_is_the_exact_p_of_statsmodels_less_half_its_own_outcome(lost, gained):
    from scipy.stats import binom
    from statsmodels.stats.contingency_tables import mcnemar

    exact = mcnemar([[5, lost], [gained, 5]], exact=True).pvalue if lost + gained else 1.0
    tied = lost == gained
    expected = exact if tied else exact - binom.pmf(min(lost, gained), lost + gained, 0.5)
    assert mcnemar_mid_p(lost, gained) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 2)
    )
)
def test_one_seed_is_bonett_price(answers):
    before, after = (np.array(a, dtype=float) for a in answers)
    n = len(before)
    lost, gained = ((before > after).sum(), (before < after).sum())
    p12, p21 = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    # With the sample variance (n + 1 below) and t instead of the normal.
    error = math.sqrt((p12 + p21 - (p21 - p12) ** 2) / (n + 1))
    half = stdtrit(n + 1, 0.975) * error
    found = estimate(accuracy_components(before, after[:, None]))
    assert found.delta == pytest.approx((gained - lost) / n)
    assert found.low == pytest.approx(max(-before.mean(), p21 - p12 - half), abs=1e-12)
    assert found.high == pytest.approx(min(1 - before.mean(), p21 - p12 + half), abs=1e-12)


def test_mean_squares_equal_the_analysis_of_variance_of_statsmodels():
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(0)
    before, after = rng.random(20) < 0.5, rng.random((20, 3)) < 0.6
    change = np.vstack([after - before[:, None].astype(float), [[1.0] * 3], [[-1.0] * 3]])
    rows = [(i, s, change[i, s]) for i in range(22) for s in range(3)]
    frame = pd.DataFrame(rows, columns=["problem", "seed", "change"])
    table = anova_lm(ols("change ~ C(problem) + C(seed)", frame).fit())["mean_sq"]
    found = accuracy_components(before, after)
    assert (found.rows, found.seeds) == (22, 3)
    assert found.ms_rows == pytest.approx(table["C(problem)"])
    assert found.ms_seeds == pytest.approx(table["C(seed)"])
    assert found.ms_error == pytest.approx(table["Residual"])


def components(msi: float, mss: float, mse: float, seeds: int = 3, rows: int = 302) -> Components:
    return Components(-0.05, rows - 2, -0.05, rows, seeds, msi, mss, mse, lowest=-1.0, highest=1.0)


def test_own_variance_and_degrees_of_freedom_follow_the_formula():
    found = estimate(components(0.3, 0.9, 0.1))
    assert found.variance == pytest.approx((0.3 + 0.8) / 906)
    assert found.df == pytest.approx((0.3 + 1.7) ** 2 / (1.8**2 / 2 + 0.09 / 301))
    assert found.seed_variance == pytest.approx(0.8 / 302)


def test_degrees_of_freedom_never_fall_below_those_of_the_seeds():
    assert estimate(components(1e-6, 50.0, 0.1, seeds=4)).df >= 3


def test_a_steady_strategy_shares_the_seed_variance_of_its_sisters():
    own, sisters = components(0.3, 0.2, 0.1), [components(0.3, 0.5, 0.1), components(0.3, 0.8, 0.1)]
    found = estimate(own, sisters)
    between = 0.5 - 0.1
    bottom = (0.5 / 906) ** 2 / 6 + (0.3 / 906) ** 2 / 301
    assert found.shared == 3
    assert found.variance == pytest.approx((0.3 + between) / 906)
    assert found.df == pytest.approx(found.variance**2 / bottom)


def test_a_less_steady_strategy_keeps_its_own_seed_variance():
    own, sisters = components(0.3, 2.0, 0.1), [components(0.3, 0.5, 0.1), components(0.3, 0.8, 0.1)]
    assert estimate(own, sisters) == estimate(own)


def test_an_outlying_strategy_is_left_to_itself():
    wild = components(0.3, 40.0, 0.1)
    steady = [components(0.3, 0.2, 0.1), components(0.3, 0.5, 0.1), components(0.3, 0.8, 0.1)]
    assert estimates([wild, *steady])[1:] == estimates(steady)
    alone = estimate(wild, steady)
    assert (alone.df, alone.shared) == (2, 1)
    assert alone.variance == estimate(wild).variance
    # With one sister left there is nothing to share.
    assert estimates([wild, steady[0]])[1] == estimate(steady[0])


def test_beside_seeds_that_agree_to_the_answer_nothing_is_outlying_but_scatter():
    agreeing, quiet, loud = (components(0.3, seeds, 0.1) for seeds in (0.0, 0.02, 0.4))
    found = estimate(quiet, [agreeing])
    assert not found.outlying
    assert found.df > 50
    beside = estimate(loud, [agreeing])
    assert (beside.outlying, beside.df) == (True, 2)


def test_a_single_seed_borrows_nothing_from_its_sisters():
    alone = Components(-0.05, 300, -0.05, 302, 1, 0.3, None, None, 1.0)
    assert estimate(alone, [components(0.3, 9.0, 0.1)]) == estimate(alone)
    assert estimate(alone).seed_variance is None


def test_at_the_break_even_seed_sd_the_interval_reaches_zero():
    found = Estimate(-0.05, -0.05, 1e-4, 301)
    sd = found.break_even_seed_sd()
    assert 0 < sd < 0.05
    wider = math.sqrt(found.variance + sd**2) * stdtrit(301, 0.975)
    assert wider == pytest.approx(0.05)
    assert Estimate(-0.01, -0.01, 1e-4, 301).break_even_seed_sd() == 0


@given(st.lists(probabilities, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_holm_equals_statsmodels_where_both_hypotheses_fall_together(p):
    from statsmodels.stats.multitest import multipletests

    difference, _ = holm_shaffer(p, p)
    assert difference == pytest.approx(list(multipletests(p, method="holm")[1]))


@given(st.lists(st.tuples(probabilities, probabilities), min_size=1, max_size=6))
def test_adjusted_p_says_what_the_step_down_procedure_rejects(pairs):
    m = len(pairs)
    hypotheses = sorted((p, kind, i) for i, pair in enumerate(pairs) for kind, p in enumerate(pair))
    rejected = set()
    for p, kind, i in hypotheses:
        both = sum({(0, j), (1, j)} <= rejected for j in range(m))
        if p * (m - both) > ALPHA:
            break
        rejected.add((kind, i))
    adjusted = holm_shaffer([d for d, _ in pairs], [e for _, e in pairs])
    assert {(k, i) for k in (0, 1) for i in range(m) if adjusted[k][i] <= ALPHA} == rejected


@st.composite
def families_of_estimates(draw):
    finite = st.floats(-0.2, 0.2)
    count = draw(st.integers(1, 5))
    return [
        Estimate(c, c, draw(st.floats(1e-7, 1e-2)), draw(st.floats(2, 1000)))
        for c in [draw(finite) for _ in range(count)]
    ]


@given(families_of_estimates(), st.floats(0.005, 0.1), st.booleans())
@settings(max_examples=200)
def test_p_interval_and_verdict_never_disagree(family, margin, rise_is_harm):
    for found, judged in zip(
        family, judge_family(family, margin, rise_is_harm=rise_is_harm), strict=True
    ):
        assert judged.p_adjusted >= found.p
        shown = judged.verdict in ("harmed", "improved") or judged.small
        assert shown == (judged.p_adjusted <= ALPHA)
        if judged.verdict in ("harmed", "improved"):
            rises = found.low > 0
            assert rises or found.high < 0
            assert (judged.verdict == "harmed") == (rises == rise_is_harm)
        if judged.verdict == "equivalent":
            assert -margin < found.low
            assert found.high < margin
        if found.low <= 0 <= found.high:
            assert found.p >= ALPHA * (1 - 1e-9)


def test_a_clear_loss_within_the_margin_is_equivalent_and_small():
    found = Estimate(-0.01, -0.01, 1e-6, 1000)
    assert judge_family([found], 0.02)[0][:2] == ("equivalent", True)
    assert judge_family([found], 0.005)[0][:2] == ("harmed", False)


def test_no_change_at_all_is_equivalent():
    nats = np.array([10.0, 20.0, 30.0])
    found = estimate(bits_components(nats, np.column_stack([nats] * 3), [10, 20, 30]))
    assert (found.low, found.high, found.p) == (0, 0, 1)
    assert judge_family([found], 0.05, rise_is_harm=True)[0].verdict == "equivalent"


def test_more_bits_per_byte_are_harm():
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 200, 80)
    before = sizes * rng.uniform(0.5, 1.5, 80)
    after = before[:, None] + sizes[:, None] * rng.normal(0.2, 0.05, (80, 3))
    found = estimate(bits_components(before, after, sizes))
    assert found.delta == pytest.approx(
        (after.sum() / 3 - before.sum()) / sizes.sum() / math.log(2)
    )
    assert judge_family([found], 0.05, rise_is_harm=True)[0].verdict == "harmed"
    assert judge_family([found], 0.05)[0].verdict == "improved"


def test_one_text_has_no_interval():
    with pytest.raises(BadData, match="at least two texts"):
        bits_components([3.0], [[3.0, 2.0]], [10])


def test_flips_and_noise_floor_are_counted_per_seed():
    before = np.array([1, 1, 0, 0])
    after = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    lost, gained = flips(before, after)
    assert (list(lost), list(gained)) == ([1, 2], [1, 0])
    assert noise_floor(after) == pytest.approx(2 / 4)
    assert noise_floor(after[:, :1]) is None


def test_problems_are_the_rows_unless_there_are_many_families():
    assert family_rows([""] * 50) is None
    assert family_rows(["market"] * 50) is None
    assert family_rows([f"t{i % 5}" for i in range(50)]) is None
    assert family_rows([f"t{i}" for i in range(50)]) is None
    # Fifteen names, but nearly everything is one of them.
    assert family_rows(["big"] * 86 + [f"t{i}" for i in range(14)]) is None
    rows = family_rows([f"t{i % 12}" for i in range(60)])
    assert rows is not None
    assert len(set(rows)) == 12


def test_families_of_one_problem_change_nothing():
    rng = np.random.default_rng(2)
    before, after = rng.random(40) < 0.5, rng.random((40, 3)) < 0.5
    assert accuracy_components(before, after, np.arange(40)) == accuracy_components(before, after)


def test_at_the_floor_nothing_is_equivalent_and_what_is_rejected_stays():
    same = Estimate(0.0, 0.0, 1e-6, 1000)
    worse = Estimate(-0.03, -0.03, 1e-6, 1000)
    assert [j.verdict for j in judge_family([same, worse], 0.02)] == ["equivalent", "harmed"]
    floored = judge_family([same, worse], 0.02, floors=[True, True])
    assert [j.verdict for j in floored] == ["inconclusive", "harmed"]
    first = judge_family([same, worse], 0.02, floors=[True, False])
    assert [j.p_adjusted for j in first] == [j.p_adjusted for j in floored]


def test_a_change_below_the_noise_is_neither_harm_nor_gain():
    worse = Estimate(-0.03, -0.03, 1e-6, 1000)
    assert judge_family([worse], 0.02, noise=0.029)[0].verdict == "harmed"
    assert judge_family([worse], 0.02, noise=0.03)[0].verdict == "inconclusive"
    assert judge_family([worse], 0.04, noise=0.03)[0].verdict == "equivalent"


def test_churn_is_what_flips_beyond_the_noise_floor():
    before = np.array([1, 1, 0, 0])
    after = np.array([[0, 0], [1, 0], [0, 0], [0, 1]])
    # Flips per problem 1, ½, 0, ½; seeds disagree on the second and the last.
    excess = np.array([1, -0.5, 0, -0.5])
    assert churn(before, after) == pytest.approx((0, excess.std(ddof=1) / 2))
    assert churn(before, after[:, :1]) is None


def test_churn_beyond_the_noise_floor_is_covered():
    rng = np.random.default_rng(9)
    tables = [study(rng, n=600, seeds=3, base=0.6, changes=(0.0,)) for _ in range(400)]
    found = [churn(before, after) for before, (after,) in tables]
    # The truth as the mean of many: it has a twentieth of one study's error.
    truth = np.mean([excess for excess, _ in found])
    held = np.mean([abs(excess - truth) <= 1.96 * error for excess, error in found])
    assert 0.92 <= held <= 0.98


def test_scores_between_0_and_1_are_compared_by_the_paired_t_interval():
    rng = np.random.default_rng(6)
    before, after = rng.random(40), rng.random(40)
    change = np.append(after - before, [1.0, -1.0])  # the two pseudo-problems
    told = stats.ttest_1samp(change, 0)
    low, high = told.confidence_interval(0.95)
    found = estimate(accuracy_components(before, after[:, None]))
    assert (found.low, found.high, found.p) == pytest.approx((low, high, told.pvalue))
