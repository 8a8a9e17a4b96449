"""The quick part of `make fuzz`: each target on its seeds and on a few inputs drawn from them."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from benchmarks.fuzz import mutations, seeds, targets
from benchmarks.fuzz.watched import LONGEST, Tally, Watch
from finetrap.errors import BadInput

DRAWN = dict.fromkeys(targets.NAMES, 30) | {"models": 10}
"""How many inputs are drawn of a target's seeds: a model takes long to open."""


@pytest.mark.parametrize("name", targets.NAMES)
def test_most_seeds_give_a_value_and_what_is_drawn_of_them_does_or_is_refused(
    name: str, tmp_path: Path
) -> None:
    target = targets.opened(name, tmp_path)
    known = seeds.seeds_of(name, target)
    watch = Watch(name, target, target.seconds)
    for seed in known:
        watch(seed)
    assert watch.tally.kinds == {}
    assert watch.tally.values >= 0.8 * len(known)
    draw = random.Random(name)
    plain = partial(mutations.damaged_bytes, draw=draw)
    for _ in range(DRAWN[name]):
        watch(mutations.mutated(draw.choice(known), target.shape, target.head, draw, plain))
    assert watch.tally.kinds == {}
    assert watch.tally.values + watch.tally.refused == len(known) + DRAWN[name]


def planted(data: bytes) -> None:
    """Fail in every way that is none of finetrap's own."""
    match data[:1]:
        case b"e":
            raise ValueError(data)
        case b"l":
            raise BadInput("x" * (LONGEST + 1))
        case b"s":
            while True:
                pass
        case b"r":
            raise BadInput("short")


def test_each_kind_of_failure_is_kept_once_with_its_smallest_input(tmp_path: Path) -> None:
    watch = Watch("planted", planted, 0.1, tmp_path)
    kinds = [watch(data) for data in (b"v", b"r", b"error", b"err", b"error", b"long", b"slow")]
    assert kinds == [
        *(None, None),
        *["planted-ValueError-test_guided-planted"] * 3,
        "planted-long-message-test_guided-planted",
        "planted-TooSlow-test_guided-planted",
    ]
    watch.tally.write(tmp_path / "planted.json")
    assert Tally.read(tmp_path / "planted.json", "planted") == watch.tally
    assert watch.tally.row() == ("planted: 7 inputs, 1 gave values, 1 refused, 5 failed in 3 ways")
    assert (tmp_path / f"{kinds[2]}.bin").read_bytes() == b"err"
    assert "ValueError: b'err'" in (tmp_path / f"{kinds[2]}.txt").read_text()
    assert len(list(tmp_path.glob("*.bin"))) == 3
