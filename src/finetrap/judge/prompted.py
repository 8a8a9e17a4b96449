"""A model that was asked by several prompts is as many models: their names, and what it comes to.

The base model's accuracy under each prompt is what the wording of a question alone changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace

from finetrap.judge.arms import Gathered
from finetrap.levels import PromptLevel, PromptSpread
from finetrap.records import Run, content_hash
from finetrap.references import PromptSpec
from finetrap.stats.retention import percent_right, right_interval
from finetrap.text.visible import one_line

SHOWN = 30
"""Characters of a setting in a name."""


def told_apart(runs: Sequence[Run]) -> Gathered:
    """Return the runs with a label on each model that was asked by several prompts."""
    if isinstance(runs, Gathered):
        return runs
    asked: dict[str, dict[PromptSpec, None]] = defaultdict(dict)
    for run in runs:
        asked[run.cell.model.name][run.cell.model.prompt] = None
    labels = {name: _labels(list(prompts)) for name, prompts in asked.items() if len(prompts) > 1}

    def named(run: Run) -> Run:
        model = run.cell.model
        label = f"{model.name} [{labels[model.name][model.prompt]}]"
        return replace(run, cell=replace(run.cell, model=replace(model, label=label)))

    return Gathered(named(run) if run.cell.model.name in labels else run for run in runs)


def _labels(prompts: Sequence[PromptSpec]) -> dict[PromptSpec, str]:
    """Name each of several prompts by the settings on which they differ."""
    tables = {prompt: asdict(prompt) for prompt in prompts}
    differ = [k for k in asdict(PromptSpec()) if len({repr(t[k]) for t in tables.values()}) > 1]
    found = {
        prompt: ", ".join(f"{key}={_setting_text(table[key])}" for key in differ if table[key])
        for prompt, table in tables.items()
    }
    names = list(found.values())
    return {
        prompt: (label or "default prompt") + f" #{_digest(prompt)}" * (names.count(label) > 1)
        for prompt, label in found.items()
    }


def _setting_text(value: object) -> str:
    text = value if isinstance(value, str) else f"{len(value)}" if isinstance(value, tuple) else ""
    return one_line(text, SHOWN)


def _digest(prompt: PromptSpec) -> str:
    return content_hash(prompt.identity())[:4]


def spreads(runs: Sequence[Run]) -> tuple[PromptSpread, ...]:
    """Return how right the base model is under each of several prompts, by model and task.

    Prompts are beside each other where they asked the same problems within the same limits.
    """
    found: dict[tuple[str, str], dict[str, dict[PromptSpec, Run]]] = defaultdict(dict)
    for run in runs:
        cell = run.cell
        if cell.strategy.is_base and cell.split == "test" and run.status == "done":
            limits = cell.identity()["limits"]
            same = content_hash([cell.model.revision, cell.task.identity(), limits])
            place = found[cell.model.name, cell.task.name].setdefault(same, {})
            place[cell.model.prompt] = run
    return tuple(
        PromptSpread(model, task, tuple(sorted(map(_level, asked.values()))))
        for (model, task), groups in found.items()
        for asked in groups.values()
        if len(asked) > 1
    )


def _level(run: Run) -> PromptLevel:
    name = run.cell.model.shown.removeprefix(run.cell.model.name).strip(" []")
    low, high = right_interval(run.answers)
    return PromptLevel(percent_right(run.answers) or 0.0, low, high, len(run.answers), name)
