"""The answers themselves, packed for the page's browser: every question with what each arm said.

    panels, runs → question sets (a model's solvers of one training task, asked one thing)
                 → blocks (one run's answers to one set), the most telling first, as many as fit
                 → columns over one table of texts → JSON → gzip → base64

The page undoes all of it by itself (answers.js). Nothing here is marked up: the packed text is
letters, digits, `+`, `/` and `=`, whatever a model wrote.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal, NamedTuple

from finetrap.records import Answer, Run
from finetrap.report.arranged.panels import Panel
from finetrap.stats.likelihood import bits_per_byte
from finetrap.text.rows import halves_escaped
from finetrap.text.visible import clip

MOST_BYTES = 4_000_000
"""Size of the packed answers: with everything else the page of a demo stays under 6 MB."""
LARGEST_SHARE = 3
"""No block takes more than one in this many of those bytes; of a larger one a sample is packed."""
MOST_TEXT = 4000
"""Characters of one text that are packed; what is left out is counted in its place."""
_LARGEST_JSON = 60_000_000
"""Characters of JSON that a browser is asked to unpack: some texts shrink a thousandfold."""

_RIGHT = {True: "1", False: "0", None: "-"}

Kind = Literal["math", "choice", "prose"]


class Packed(NamedTuple):
    """The answers as the page holds them."""

    data: str
    """base64 of gzip of JSON; empty if there is nothing to show."""
    shown: int
    """Answers in it."""
    total: int
    """Answers of the study, trials of a search not counted."""


@dataclass(frozen=True)
class Block:
    """One run's answers to one set of questions."""

    label: str
    seed: int | None
    answers: Sequence[Answer]
    rank: tuple[int, int]
    """What is packed first: the base model and each arm's first seed, tasks before probes."""


@dataclass
class QuestionSet:
    """What the solvers of one model that were trained on one task were asked of one task."""

    model: str
    trained_on: str
    asked: str
    probe: bool
    problems: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Question and choices by problem id, as far as the base model's run recorded them."""
    blocks: list[Block] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What an answer of this set is: a text, a choice, or nothing but its likelihood."""
        first = next(a for block in self.blocks for a in block.answers)
        if first.correct is None:
            return "prose"
        return "choice" if first.rule == "likelihood" else "math"


def pack(sets: Sequence[QuestionSet], sizes: Sequence[SetSize], most: int = MOST_BYTES) -> Packed:
    """Pack the answers of every arm. At most about `most` bytes."""
    total = sum(len(block.answers) for s in sets for block in s.blocks)
    room = most
    while room:
        kept = _fitting(sets, sizes, room)
        shown = sum(len(block.answers) for s in kept for block in s.blocks)
        data = _squeezed(kept) if shown else ""
        if len(data) <= most:
            return Packed(data, shown, total)
        room = room * 3 // 4
    return Packed("", 0, total)


def _squeezed(sets: Sequence[QuestionSet]) -> str:
    """Return the sets as base64 of gzip of JSON."""
    texts: dict[str, int] = {}
    text = json.dumps(
        {"sets": [_set_columns(s, texts) for s in sets], "texts": list(texts)},
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    # Without the time the same answers make the same page.
    packed = gzip.compress(halves_escaped(text).encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()


def question_sets(panels: Sequence[Panel], runs: Mapping[str, Run]) -> list[QuestionSet]:
    """Arrange the answers of finished runs: what was trained for first, then its probes."""
    sets: dict[tuple[str, str, str, bool], QuestionSet] = {}
    for panel in panels:
        model, task, trained_on = panel.key
        for arm in panel.with_base:
            label = arm.label
            done = [runs[c.key] for c in arm.cells if c.key in runs]
            for place, run in enumerate(run for run in done if run.status == "done"):
                for name, answers in ((task, run.answers), *run.probes.items()):
                    probe = answers is not run.answers
                    key = (model, trained_on, name, probe)
                    found = sets.setdefault(key, QuestionSet(*key))
                    known = run.evidence.get("problems", {}).get(name)
                    found.problems = {**(known or {}), **found.problems}
                    seen = any((b.label, b.seed) == (label, run.cell.seed) for b in found.blocks)
                    # A solver that was tested on several tasks was asked its probes each time.
                    if answers and not seen:
                        rank = (place, int(probe))
                        found.blocks.append(Block(label, run.cell.seed, answers, rank))
    asked = [s for s in sets.values() if s.blocks]
    return sorted(asked, key=lambda s: s.probe)


class SetSize(NamedTuple):
    """What the answers of a set take, before any is left out: those of each arm's first seed, as
    the others answered the same problems."""

    ids: list[str]
    largest: int
    """Bytes of the block that takes most in the page."""

    @classmethod
    def of(cls, full: QuestionSet) -> SetSize:
        """Measure a set."""
        first = [block.answers for block in full.blocks if block.rank[0] == 0]
        ids = {answer.id for answers in first for answer in answers}
        return cls(sorted(ids), max((_packed_size(answers)[0] for answers in first), default=0))


def _fitting(sets: Sequence[QuestionSet], sizes: Sequence[SetSize], most: int) -> list[QuestionSet]:
    """Return the sets with the blocks that fit, thinned where one alone would take too much.

    The first that does not fit ends it: what comes after tells less.
    """
    kept = [QuestionSet(s.model, s.trained_on, s.asked, s.probe) for s in sets]
    queue = []
    for place, (full, whole) in enumerate(zip(sets, sizes, strict=True)):
        ids = _sampled(full, whole, most // LARGEST_SHARE)
        kept[place].problems = {i: p for i, p in full.problems.items() if i in ids}
        queue += [(block, place, ids) for block in full.blocks]
    room, json_room = most, _LARGEST_JSON
    for block, place, ids in sorted(queue, key=lambda entry: entry[0].rank):
        answers = block.answers
        if len(ids) < len(sizes[place].ids):
            answers = tuple(answer for answer in answers if answer.id in ids)
        size, length = _packed_size(answers)
        room, json_room = room - size, json_room - length
        if room < 0 or json_room < 0:
            break
        kept[place].blocks.append(replace(block, answers=answers))
    for full, part in zip(sets, kept, strict=True):
        names = [(block.label, block.seed) for block in full.blocks]
        part.blocks.sort(key=lambda block: names.index((block.label, block.seed)))
    return [s for s in kept if s.blocks]


def _sampled(full: QuestionSet, whole: SetSize, most: int) -> set[str]:
    """Return the ids of the problems to pack: all, or a seeded sample that is the same for all."""
    if whole.largest <= most:
        return set(whole.ids)
    draw = Random(f"report/answers/{full.model}/{full.trained_on}/{full.asked}")
    return set(draw.sample(whole.ids, max(1, len(whole.ids) * most // whole.largest)))


def _packed_size(answers: Sequence[Answer]) -> tuple[int, int]:
    """Return bytes that answers take in the page, on the safe side, and characters of JSON."""
    text = "\n".join(f"{clip(a.completion, MOST_TEXT)}{a.id}{a.nats}" for a in answers)
    packed = len(zlib.compress(text.encode(errors="surrogatepass"), 1))
    return packed * 4 // 3, len(text)


def _set_columns(full: QuestionSet, texts: dict[str, int]) -> dict[str, Any]:
    """Return a set as columns of equal length, one entry a problem; `texts` takes what is new.

    A text stands as its place in `texts`, -1 where there is none.
    """
    first = {a.id: a for block in reversed(full.blocks) for a in reversed(block.answers)}
    ids = sorted(first)

    def place(text: str | None) -> int:
        return -1 if text is None else texts.setdefault(clip(text, MOST_TEXT), len(texts))

    asked = [full.problems.get(i, {}) for i in ids]
    return {
        "model": full.model,
        "trained_on": full.trained_on,
        "asked": full.asked,
        "probe": full.probe,
        "kind": full.kind,
        "ids": [clip(i, 200) for i in ids],
        "families": [place(first[i].family or None) for i in ids],
        "questions": [place(problem.get("question")) for problem in asked],
        "choices": [[place(c) for c in problem.get("choices", ())] for problem in asked]
        if full.kind == "choice"
        else [],
        "golds": [place(first[i].gold) for i in ids],
        "arms": [_of_arm(block, ids, place) for block in full.blocks],
    }


def _of_arm(block: Block, ids: Sequence[str], place: Callable[[str | None], int]) -> dict[str, Any]:
    """Return one run's columns; `right` is 1 or 0, `-` for prose, a space where none was asked.

    `scores` are of answers that are partly right.
    """
    own = {a.id: a for a in block.answers}
    answers = [own.get(i) for i in ids]
    return {
        "label": block.label,
        "seed": block.seed,
        "texts": [-1 if a is None else place(a.completion) for a in answers],
        "values": [-1 if a is None else place(a.extracted) for a in answers],
        "rules": [-1 if a is None else place(a.rule) for a in answers],
        "right": "".join(" " if a is None else _RIGHT[a.correct] for a in answers),
        "scores": {i: a.score for i, a in enumerate(answers) if a is not None and a.score},
        "stops": "".join("n" if a is None else a.stop[0] for a in answers),
        "tokens": [a.tokens if a is not None else 0 for a in answers],
        "bits": [None if a is None else _answer_bits(a) for a in answers],
    }


def _answer_bits(answer: Answer) -> float | None:
    """Return how unlikely the gold solution was; None where no finite number was measured."""
    if answer.nats is None or not answer.bytes or not math.isfinite(answer.nats):
        return None
    return round(bits_per_byte(answer.nats, answer.bytes), 3)
