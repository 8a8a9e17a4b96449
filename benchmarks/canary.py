"""Measures a few pinned cells, and says what an upgrade moved: completions, losses and scores.

    python -m benchmarks.canary            # hold what is measured here against canary.json
    python -m benchmarks.canary --pin      # write it anew

The miniature takes half a minute; SmolLM2-135M-Instruct is measured too where its folder is in
~/.cache/finetrap-models. A difference is explained: which packages or processor are others, which
text differs first and at which token, how far losses and likelihoods moved.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PINNED = Path(__file__).with_name("canary.json")
MODELS = {
    "mini-0.3m": "mini-0.3m",
    "smollm2-135m-instruct": "~/.cache/finetrap-models/smollm2-135m-instruct",
}
SIZES = {"mini-0.3m": (64, 24, 40), "smollm2-135m-instruct": (8, 4, 24)}
"""Training problems, test problems and tokens of an answer."""
BOUND = 2e-4
"""Largest relative change of a loss or a likelihood that rounding alone explains on processors of
other kinds: ten times that of SSE4 or AVX2 beside AVX-512 with AMX (docs/reliability.md)."""
TIE = 1e-2
"""Nats between two tokens below which rounding decides which of them is written."""


class Difference(NamedTuple):
    """A text that is another than the pinned one."""

    cell: str
    task: str
    id: str
    pinned: str
    found: str


class Held(NamedTuple):
    """What was measured, held against what is pinned."""

    texts: tuple[Difference, ...]
    scores: tuple[str, ...]
    """Accuracies that changed, in words."""
    losses: float
    """Largest relative change of a training loss."""
    nats: float
    """Largest relative change of a likelihood."""

    @property
    def exact(self) -> bool:
        """Whether nothing changed at all."""
        return not (self.texts or self.scores or self.losses or self.nats)


def measure(name: str) -> dict[str, Any]:
    """Measure the pinned cells of one model: base, full fine-tuning and LoRA."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from finetrap.events import CellLeft, CellRefused, Event
    from finetrap.measure.engines import rounds
    from finetrap.measure.meter import computed_by
    from finetrap.measure.study import reading
    from finetrap.records import Run
    from finetrap.runs.store import Store

    train, test, tokens = SIZES[name]
    table = {
        "name": "canary",
        "models": [str(_folder(name)) if "/" in MODELS[name] else name],
        "tasks": ["harbor"],
        "strategies": ["zero-shot", "full", "lora"],
        "strategy": {"full": {"learning_rate": 3e-4}, "lora": {"learning_rate": 3e-3}},
        "probes": ["market"] if "/" in MODELS[name] else ["market", "prose"],
        "seeds": [0],
        "train": {"problems": train, "epochs": 1, "batch": 8, "dtype": "fp32"},
        "limits": {"test_problems": test, "probe_problems": 4, "max_new_tokens": tokens},
    }
    study = reading.check(table, at="canary", base=Path())

    def heard(event: Event) -> None:
        if isinstance(event, (CellRefused, CellLeft)):
            raise SystemExit(event.message)

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        rounds.run_study(study, store, workers=1, emit=heard)
        runs = store.runs()

    def pinned(run: Run) -> dict[str, Any]:
        tests = {run.cell.task.name: run.answers, **run.probes}
        answers = {
            task: {a.id: [a.completion, a.correct, a.nats] for a in found}
            for task, found in tests.items()
        }
        return {"loss": list(run.evidence.get("loss", [])), "answers": answers}

    cells = {run.cell.strategy.name: pinned(run) for run in runs}
    return {"made by": computed_by(), "cells": cells}


def hold(found: Mapping[str, Any], pinned: Mapping[str, Any]) -> Held:
    """Hold what was measured of one model against what is pinned."""
    texts: list[Difference] = []
    scores: list[str] = []
    losses = nats = 0.0
    if found["cells"].keys() != pinned["cells"].keys():
        raise SystemExit(f"cells {sorted(found['cells'])}, pinned {sorted(pinned['cells'])}")
    for cell, was in pinned["cells"].items():
        now = found["cells"][cell]
        losses = max(losses, *_changes(now["loss"], was["loss"]))
        for task, answers in was["answers"].items():
            other = now["answers"][task]
            if other.keys() != answers.keys():
                raise SystemExit(f"{cell}, {task}: other problems than those that are pinned")
            nats = max(
                nats, *_changes([other[i][2] for i in answers], [a[2] for a in answers.values()])
            )
            texts += [
                Difference(cell, task, id, answer[0], other[id][0])
                for id, answer in answers.items()
                if other[id][0] != answer[0]
            ]
            right = [sum(bool(a[1]) for a in one.values()) for one in (answers, other)]
            if right[0] != right[1]:
                told = f"{right[1]} of {len(answers)} right, pinned {right[0]}"
                scores.append(f"{cell}, {task}: {told}")
    return Held(tuple(texts), tuple(scores), losses, nats)


def _changes(found: Sequence[float | None], pinned: Sequence[float | None]) -> Iterator[float]:
    """Yield the relative change of each number of nats, absolute below 1, where digits are few;
    infinite for one that is on one side alone."""
    yield float("inf") if len(found) != len(pinned) else 0.0
    for now, was in zip(found, pinned, strict=False):
        if now is None or was is None:
            yield 0.0 if now is was else float("inf")
        else:
            yield abs(now - was) / max(abs(was), 1.0)


def first_token(model: str, one: str, other: str) -> tuple[list[int], int, int]:
    """Return where two completions part: the tokens before, and the two that follow."""
    known = tokenizer(model)
    ids = [[*known.encode(t, add_special_tokens=False), known.eos_token_id] for t in (one, other)]
    same = next(n for n, pair in enumerate(zip(*ids, strict=False)) if pair[0] != pair[1])
    return ids[0][:same], ids[0][same], ids[1][same]


def tokenizer(model: str) -> Any:
    """Return the tokenizer of a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_folder(model))


def margin(model: str, text: Difference) -> float:
    """Return by how many nats the base model prefers one of the two tokens at which texts part."""
    import torch
    from transformers import AutoModelForCausalLM

    from finetrap import tasks
    from finetrap.text import prompts

    task = tasks.load(tasks.reference(text.task))
    question = next(p.question for p in task.test if p.id == text.id)
    same, *ends = first_token(model, text.pinned, text.found)
    ids = [*tokenizer(model).encode(prompts.PLAIN.prompt(question)), *same]
    network = AutoModelForCausalLM.from_pretrained(_folder(model), dtype=torch.float32)
    with torch.no_grad():
        scores = network(torch.tensor([ids])).logits[0, -1]
    return abs(float(scores[ends[0]] - scores[ends[1]]))


def _folder(model: str) -> Path:
    from finetrap.miniature import FOLDER

    place = MODELS[model]
    return Path(place).expanduser() if "/" in place else FOLDER / "checkpoints" / model


def explained(name: str, held: Held, found: Mapping[str, Any], pinned: Mapping[str, Any]) -> str:
    """Say what changed, and what it was made by."""
    if held.exact:
        return f"{name}: the same, to the last digit"
    lines = [f"{name}: not as pinned"]
    for key, was in pinned["made by"].items():
        now = found["made by"].get(key)
        if isinstance(was, dict):
            others = (p for p in {**was, **now} if was.get(p) != now.get(p))
            lines += [f"  {p}: {now.get(p)}, pinned with {was.get(p)}" for p in others]
        elif was != now:
            lines.append(f"  {key}: {now}, pinned with {was}")
    if len(lines) == 1:
        lines.append("  packages, processor and threads are those of the pin: finetrap itself has")
        lines.append("  changed, or which instructions of the processor may be used")
    lines.append(
        f"  losses moved by at most {held.losses:.1e} of their size, likelihoods by {held.nats:.1e}"
        f" (rounding alone: up to {BOUND:.0e})"
    )
    lines += [f"  {score}" for score in held.scores]
    if held.texts:
        first = held.texts[0]
        before, *ends = first_token(name, first.pinned, first.found)
        shown, (was, now) = tokenizer(name).decode, ends
        lines.append(
            f"  {len(held.texts)} texts differ, first that of {first.cell}, {first.task}, problem "
            f"{first.id}, at token {len(before) + 1}: {shown([now])!r}, pinned {shown([was])!r}, "
            f"after {shown(before)[-60:]!r}"
        )
    return "\n".join(lines)


def main() -> None:
    """Hold every model that is here against its pin, or pin it; exit with 1 if one moved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pin", action="store_true", help="write canary.json anew")
    parser.add_argument("--model", choices=MODELS, help="this one alone")
    wanted = parser.parse_args()
    pins: dict[str, Any] = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    moved = False
    for name, place in MODELS.items():
        if wanted.model not in (None, name):
            continue
        if "/" in place and not Path(place).expanduser().is_dir():
            print(f"{name}: not here ({place})")
            continue
        found = measure(name)
        if wanted.pin:
            pins[name] = found
            continue
        if name not in pins:
            raise SystemExit(f"{name} is not pinned; pin it with --pin --model {name}")
        held = hold(found, pins[name])
        moved = moved or not held.exact
        print(explained(name, held, found, pins[name]), flush=True)
    if wanted.pin:
        PINNED.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n")
    sys.exit(moved)


if __name__ == "__main__":
    main()
