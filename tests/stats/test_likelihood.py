"""Nats become bits per byte in one place, and every byte weighs alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from finetrap.stats.likelihood import all_scored, bits_per_byte, gold_bits
from tests.builders.runs import ZERO, run


def test_a_nat_for_each_byte_is_that_many_bits() -> None:
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)


def test_long_texts_weigh_more_and_texts_without_a_likelihood_not_at_all() -> None:
    one, other, third = run(ZERO, [1, 1, 0]).answers
    one, other = replace(one, nats=1.0, bytes=1), replace(other, nats=3.0, bytes=9)
    third = replace(third, nats=None)
    assert gold_bits([one, other, third]) == pytest.approx(0.4 / math.log(2))
    assert gold_bits([third]) is None
    assert all_scored([one, other])
    assert not all_scored([one, third])
    assert not all_scored([])
