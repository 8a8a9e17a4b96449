"""The decoding engine on trained weights: the same tokens as transformers, whatever the batch."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap import tasks
from finetrap.backends import Completion
from finetrap.backends.hf import open_model
from finetrap.backends.hf.asking import generate as decoding
from finetrap.measure.strategies import Solver, ask
from finetrap.measure.study import models
from finetrap.records import Limits
from finetrap.text import prompts
from tests.builders.reading import reading, steps

CAP = 48
SPEC = models.resolve("mini-0.3m", Path(), {})


class Ids:
    """Ends a row at an end token or the cap; the completion's text lists its ids."""

    cap = CAP

    def __init__(self, ends: frozenset[int]) -> None:
        self.ends = ends
        self.ended = 0

    def check(self, written: list[int], after: int | None = None) -> Completion | None:
        if written[-1] in self.ends or len(written) == self.cap:
            self.ended += 1
            return Completion(" ".join(map(str, written)), len(written), "eos")
        return None


@pytest.fixture(scope="module")
def model():
    return open_model(SPEC, Limits())


@pytest.fixture(scope="module")
def rows(model) -> list[list[int]]:
    """Two hundred varied prompts: questions of two tasks, solutions cut anywhere, bare words."""
    texts = []
    for name in ("school", "market"):
        for number, problem in enumerate(tasks.load(tasks.reference(name)).test[:100]):
            text = prompts.PLAIN.prompt(problem.question)
            cut = number * 7 % len(problem.solution)
            texts.append((text, text + problem.solution[:cut], problem.question[:cut])[number % 3])
    return [model.tokens.prompt(text) for text in texts]


def written(
    model, rows: list[list[int]], batch: int, endings: Ids | None = None
) -> list[list[int]]:
    endings = endings or Ids(model.tokens.ends)
    done = decoding.generate(model._network, rows, endings, filler=model.tokens.filler, batch=batch)
    return [[int(i) for i in one.text.split()] for one in done]


def test_tokens_equal_greedy_generate_of_transformers_but_for_ties(model, rows):
    reference = AutoModelForCausalLM.from_pretrained(SPEC.source, dtype=torch.float32)
    same = total = 0
    for row, ours in zip(rows, written(model, rows, batch=64), strict=True):
        ids = torch.tensor([row])
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=CAP,
            do_sample=False,
            eos_token_id=sorted(model.tokens.ends),
            pad_token_id=0,
        )
        theirs = out[0, len(row) :].tolist()
        agree = next(
            (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
            len(theirs),
        )
        same, total = same + agree, total + len(theirs)
        if agree < len(theirs):  # allowed at a tie alone, and told
            read = torch.tensor([row + theirs[:agree]])
            best = reference(read).logits[0, -1].topk(2).values
            print(f"tie: {row[-5:]} after {agree} tokens, logits {best.tolist()}")
            assert best[0] - best[1] < 1e-4
    assert total > 2000
    assert same >= 0.999 * total


def test_tokens_are_the_same_whatever_the_batch(model, rows):
    few = rows[:60]
    expected = written(model, few, batch=60)
    for batch in (1, 7, 16):
        assert written(model, few, batch=batch) == expected


def test_rows_of_unlike_length_are_read_apart_and_written_together(model, rows):
    few = rows[:60]
    expected = written(model, few, batch=1)
    with reading(model._base) as passes:
        assert written(model, few, batch=60) == expected
    read = [one.tokens for one in passes if not one.is_step]
    assert len(read) > 2
    assert sum(map(len, few)) > 0.87 * sum(read)
    assert steps(passes)[0] > 50


def test_golds_are_scored_on_the_way_and_change_no_token(model):
    problems = tasks.load(tasks.reference("school")).test[:50]
    asked = [prompts.PLAIN.prompt(p.question) for p in problems]
    golds = [*(p.solution for p in problems[:-1]), ""]
    settings = {"max_new_tokens": CAP, "stops": prompts.PLAIN.stops}
    plain = model.generate(asked, **settings, batch=16)
    nats = model.score(list(zip(asked, golds, strict=True)), batch=16)
    for batch in (1, 16, 50):
        told: dict[int, float] = {}

        def scored(number: int, value: float, told: dict[int, float] = told) -> None:
            assert number not in told
            told[number] = value

        with reading(model._base) as passes:
            done = model.generate(asked, **settings, batch=batch, golds=golds, scored=scored)
        assert done == plain
        assert [told[number] for number in range(len(asked))] == pytest.approx(nats, abs=1e-4)
        tokens = sum(sum(pair) for pair in model.lengths(list(zip(asked, golds, strict=True))))
        read = sum(one.tokens for one in passes if not one.is_step)
        assert read < 1.1 * tokens, "a prompt is read once for both"


def test_golds_on_the_way_keep_no_more_logits_at_once_than_allowed(model, rows):
    few = rows[:20]
    gold = few[0][:8]
    told: dict[int, float] = {}
    assert model.how_read["completions"] == "shared"  # tried now, not while passes are counted

    def read(most: int) -> int:
        golds = decoding.Golds([gold] * len(few), told.__setitem__)
        with reading(model._base) as passes:
            decoding.generate(
                model._network, few, Ids(model.tokens.ends), filler=model.tokens.filler, batch=20,
                golds=golds, logits=most,
            )  # fmt: skip
        return sum(not one.is_step for one in passes)

    usual = read(decoding.LOGITS)
    nats = dict(told)
    assert read(16 * model._network.vocabulary) >= 10 > usual
    assert told == pytest.approx(nats, abs=1e-4)


def test_the_next_prompt_takes_a_finished_rows_slot(model, rows):
    with reading(model._base) as passes:
        found = written(model, rows, batch=16)
    widths = [(one.rows, one.before + 1) for one in passes if one.is_step]
    assert len(found) == len(rows)
    assert all(found)
    needed = sum(len(row) - 1 for row in found)
    full = [slots for slots, _ in widths if slots == 16]
    assert sum(full) > 0.9 * needed - 16 * CAP
    assert sum(slots for slots, _ in widths) < 1.1 * needed
    longest = max(len(row) for row in rows) + CAP
    assert max(width for _, width in widths) < 2 * longest, "unread columns are forgotten"


def test_a_batch_that_exhausts_the_memory_is_halved_and_loses_nothing(model, rows):
    few = rows[:40]
    expected = written(model, few, batch=40)
    endings = Ids(model.tokens.ends)
    with reading(model._base, lambda one: one.is_step and one.rows > 10 and full()) as passes:

        def full() -> bool:
            return len(steps(passes)) > 20

        assert written(model, few, batch=40, endings=endings) == expected
    assert endings.ended == len(few), "no finished row is written again"
    assert min(steps(passes)) <= 10 < max(steps(passes))


def test_no_answer_in_fp32_changes_where_memory_cuts_the_batch(model):
    problems = tasks.load(tasks.reference("school")).test[:30]
    solver = Solver(model)
    model.take_rows_held()
    whole = ask(solver, "math", problems, Limits(max_new_tokens=CAP, batch=30))
    assert model.take_rows_held() is None
    with reading(model._base, lambda one: one.is_step and one.rows > 7):
        cut = ask(solver, "math", problems, Limits(max_new_tokens=CAP, batch=30))
    assert cut == whole
    assert model.take_rows_held() == 7
    assert model.take_rows_held() is None, "it is told once"


def test_a_batch_in_bf16_is_the_one_of_the_key_or_none(rows, monkeypatch):
    half = open_model(SPEC, Limits(dtype="bf16"))
    _ = half._network.trials.way  # is tried on a few tokens
    with (
        reading(half._base, lambda one: one.is_step and len(steps(passes)) > 3) as passes,
        pytest.raises(MemoryError, match=r"40 rows .* write batch = 20 in \[limits\]"),
    ):
        written(half, rows[:40], batch=40)
    assert steps(passes) == [40] * 4
    monkeypatch.setattr(decoding, "free_bytes", lambda device: 2**20)
    with (
        reading(half._base) as passes,
        pytest.raises(MemoryError, match="write batch = 1 in"),
    ):
        written(half, rows[:40], batch=40)
    assert not steps(passes), "it is refused before it starts"


def test_memory_that_not_even_one_row_fits_in_is_a_failure(model, rows):
    none = reading(model._base, lambda one: one.is_step)
    with none, pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        written(model, rows[:4], batch=4)
