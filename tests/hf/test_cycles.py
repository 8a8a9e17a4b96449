"""Rows that only repeat themselves end early, and lose nothing of their end."""

import random

import pytest

from finetrap.backends.hf import open_model
from finetrap.backends.hf.asking import generate
from finetrap.backends.hf.asking.generate import LOOPED, PERIOD, REPEATED, in_cycle
from finetrap.records import Limits
from tests.builders import tiny


def ends_at(row: list[int], cap: int) -> int | None:
    """Return after how many tokens a row that would be written to the cap ends as a cycle."""
    return next((n for n in range(1, cap) if in_cycle(row[:n], cap)), None)


@pytest.mark.parametrize("period", [1, 2, 7, 12, 13, 40, PERIOD])
def test_a_cycle_ends_once_it_is_long_enough_and_where_the_cap_would_have_cut_it(period):
    drawn = random.Random(period)
    for cap in (400, 401, 512):
        opening = [drawn.randrange(100, 200) for _ in range(drawn.randrange(20))]
        cycle = list(range(period))
        row = (opening + cycle * cap)[:cap]
        at = ends_at(row, cap)
        needed = len(opening) + max(LOOPED, REPEATED * period)
        assert at is not None
        assert needed <= at < needed + period
        assert row[at - LOOPED : at] == row[cap - LOOPED :]


@pytest.mark.parametrize(
    "row",
    [
        list(range(300)),
        [5] * (LOOPED - 1) + list(range(300)),
        list(range(PERIOD)) * (REPEATED - 1) + list(range(300)),
        list(range(PERIOD + 1)) * 8,
        [token for n in range(60) for token in (1, 2, 3, n)],
    ],
    ids=["none", "short", "too few", "longer than is looked for", "counts"],
)
def test_what_is_no_cycle_goes_on(row):
    assert ends_at(row, 300) is None


def test_a_model_that_loops_says_so_and_wrote_nothing_else_until_then(tmp_path, monkeypatch):
    model = open_model(tiny.spec(tiny.write_llama(tmp_path / "llama")), Limits())
    prompts = [*tiny.TEXTS, "a", "corn, corn and corn"]
    asked = {"max_new_tokens": 180, "stops": (), "batch": 4}
    found = model.generate(prompts, **asked)
    monkeypatch.setattr(generate, "in_cycle", lambda *_: False)
    whole = model.generate(prompts, **asked)
    looped = [(a, b) for a, b in zip(found, whole, strict=True) if a.stop == "loop"]
    assert looped
    for short, long in looped:
        assert long.stop == "cap"
        assert short.tokens < long.tokens
        assert long.text.startswith(short.text)
    kept = [(a, b) for a, b in zip(found, whole, strict=True) if a.stop != "loop"]
    assert all(a == b for a, b in kept)
