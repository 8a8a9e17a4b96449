"""The verb that lists what a study can name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from finetrap.cli.options import AsJson, Quiet, Voice

WIDTH = 80


def list_names(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List models, strategies, prompts, tasks and studies.

    Example: finetrap list
    """
    from finetrap import catalog, miniature

    groups = {
        **_models(),
        **_strategies(),
        "prompts": {name: table["about"] for name, table in catalog.presets().items()},
        **_tasks(),
        "studies, shipped": {name: miniature.about(name) for name in miniature.studies()},
    }
    Voice(as_json, quiet).result(groups, "\n".join(_lines(groups)))


def _models() -> dict[str, dict[str, str]]:
    from finetrap import catalog

    shipped, others = {}, {}
    for name, table in catalog.models().items():
        source = str(table["source"])
        if source.startswith("package:"):
            shipped[name] = table["about"]
        else:
            others[name] = f"{table['about']}; {_size(table)}{source}"
    return {"models, from the Hugging Face hub": others, "models, shipped": shipped}


def _size(table: Mapping[str, Any]) -> str:
    parameters = table.get("parameters")
    return f"{parameters / 1e6:,.0f}M parameters; " if parameters else ""


def _strategies() -> dict[str, dict[str, str]]:
    from finetrap import catalog

    titles = {
        "prompt": "strategies that change no weights",
        "full": "strategies that train every weight",
        "peft": "strategies that train an adapter",
    }
    found: dict[str, dict[str, str]] = {title: {} for title in titles.values()}
    for name, table in catalog.strategies().items():
        found[titles[table["kind"]]][name] = table["about"]
    return found


def _tasks() -> dict[str, dict[str, str]]:
    from finetrap import tasks
    from finetrap.tasks import miniature

    all_ = tasks.sentences()
    shipped = {name: all_.pop(name) for name in miniature.NAMES}
    return {"tasks": all_, "tasks of the miniature world": shipped}


def _lines(groups: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for title, entries in groups.items():
        yield title
        for name, about in entries.items():
            yield from textwrap.wrap(
                about,
                WIDTH,
                initial_indent=f"  {name:22} ",
                subsequent_indent=" " * 25,
                break_on_hyphens=False,
            )
