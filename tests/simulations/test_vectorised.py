"""The estimates that the large simulations use are those of the judge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrap.stats.changes import accuracy_components, estimates
from tests.simulations.vectorised import draw, intervals, squares


@given(st.integers(0, 2**32), st.integers(4, 40), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_many_studies_at_once_are_estimated_as_one_by_one(seed, n, k, strategies):
    rng = np.random.default_rng(seed)
    before = rng.random((6, n)) < rng.random()
    # Strategies whose seeds scatter differently: some share, some are outlying.
    ability = np.clip(
        0.5 + rng.exponential(0.15) * rng.standard_normal((6, strategies, 1, k)), 0, 1
    )
    after = rng.random((6, strategies, n, k)) < ability
    found = intervals(squares(before, after))
    for i in range(6):
        family = estimates([accuracy_components(before[i], table) for table in after[i]])
        for name in ("centre", "variance", "low", "high", "p"):
            expected = [getattr(e, name) for e in family]
            assert getattr(found, name)[i] == pytest.approx(expected, abs=1e-9)
        assert found.df[i] == pytest.approx([e.df for e in family], rel=1e-9)


def test_drawn_studies_have_the_planted_accuracies():
    drawn = list(
        draw(np.random.default_rng(0), 300, n=900, seeds=3, base=0.3, changes=(0.0, -0.1), sd=0.02)
    )
    before = np.concatenate([d.before for d in drawn])
    after = np.concatenate([d.after for d in drawn])
    ability = np.concatenate([d.ability for d in drawn])
    assert len(before) == 300
    assert before.mean() == pytest.approx(0.3, abs=0.005)
    assert after.mean(axis=(0, 2, 3)) == pytest.approx([0.3, 0.2], abs=0.006)
    assert ability.std(axis=(0, 2)) == pytest.approx([0.02, 0.02], rel=0.1)
