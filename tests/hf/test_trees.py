"""Trees one after another in one row have the nats of padded rows, and do not feel each other."""

from functools import partial

import pytest
import torch

from finetrap.backends.hf import HFModel, open_model
from finetrap.backends.hf.asking import score
from finetrap.backends.hf.asking.trees import gather
from finetrap.backends.hf.layout import Tree, in_one_row, join, padded
from finetrap.records import Limits
from tests.builders import tiny
from tests.builders.reading import reading

ENDINGS = (" 7", " Tom has 3 + 4 = 7 apples.", " a", " the mill grinds corn")
SHOTS = "Question: Tom has 5 corn.\nAnswer: 5 * 60 = 300.\n\n" * 4
TREES = [
    Tree([5, 6, 7], [[8, 9, 10], [11], [9, 9]], [0, 1, 2]),
    Tree([5, 6, 7, 8, 9, 10, 11], [[12, 13]], [3]),
    Tree([4], [[8], [9]], [4, 5]),
]


@pytest.fixture(params=[tiny.write_llama, tiny.write_qwen2], ids=["llama", "qwen2"])
def model(request, tmp_path) -> HFModel:
    return open_model(tiny.spec(request.param(tmp_path)), Limits())


def pairs(before: str = "") -> list[tuple[str, str]]:
    """Several endings after texts of unlike length, and a text with one ending."""
    several = [(before + text, ending) for text in tiny.TEXTS for ending in ENDINGS]
    return [*several, (before + "12 + 5", " 17")]


def each_alone(model: HFModel, asked: list[tuple[str, str]]) -> list[float]:
    """Nats of texts that share nothing, as padded rows have them."""
    return [model.score([pair], batch=1)[0] for pair in asked]


@pytest.mark.parametrize("before", ["", SHOTS], ids=["alone", "after a prefix"])
def test_trees_in_one_row_have_the_nats_of_padded_rows(model, before):
    together = model.score(pairs(before), batch=8)
    with reading(model._base) as passes:
        assert together == model.score(pairs(before), batch=8)
    assert {read.rows for read in passes} == {1}
    assert together == pytest.approx(each_alone(model, pairs(before)), rel=1e-5)


def test_no_place_of_a_pass_is_padding(model):
    asked = pairs()
    with reading(model._base) as passes:
        model.score(asked, batch=64)
    ids = [(model.tokens.prompt(c), model.tokens.continuation(e)) for c, e in asked]
    contexts = {tuple(context) for context, _ in ids}
    tokens = sum(map(len, contexts)) + sum(len(ending) - 1 for _, ending in ids)
    assert passes[-1][:2] == (1, tokens)


def test_trees_do_not_feel_each_other(model):
    asked = enumerate(join(model.tokens, *pair) for pair in pairs())
    trees = gather(asked, share=True)
    lay = partial(in_one_row, dtype=torch.float32)
    together = score._nats(model._network, trees, lay, None)
    for tree, found in zip(trees, together, strict=True):
        assert score._nats(model._network, [tree], lay, None)[0] == pytest.approx(found, rel=1e-5)


def test_both_layouts_say_the_same_of_every_tree():
    rows, row = padded(TREES, 0, torch.device("cpu")), in_one_row(TREES, torch.float32)
    reads = torch.zeros(row.ids.shape[1], row.ids.shape[1], dtype=torch.bool)
    for queries, keys, mask in row.seen.pieces:
        part = reads[queries, keys]
        part |= torch.ones_like(part).tril() if mask is None else mask[0, 0] == 0
    start = 0
    for number, tree in enumerate(TREES):
        here, there = slice(start, start + tree.length), slice(tree.length)
        for name in ("ids", "keep", "places"):
            one, other = getattr(row, name)[0, here], getattr(rows, name)[number, there]
            assert one.tolist() == other.tolist(), (name, number)
        assert torch.equal(reads[here, here], rows.seen[number, 0, there, there])
        assert reads[here].sum() == reads[here, here].sum()
        start += tree.length
    assert start == row.ids.shape[1]


def test_trees_in_bfloat16_are_as_near_as_padded_rows(tmp_path):
    folder = tiny.write_llama(tmp_path)
    exact = torch.tensor(open_model(tiny.spec(folder), Limits()).score(pairs(), batch=8))
    model = open_model(tiny.spec(folder), Limits(dtype="bf16"))
    together = torch.tensor(model.score(pairs(), batch=8))
    apart = torch.tensor(each_alone(model, pairs()))
    assert (together - exact).norm() <= 2 * (apart - exact).norm() + 1e-3 * exact.norm()
