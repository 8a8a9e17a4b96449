"""The verb that judges what others have trained, against the model that they started from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from finetrap.cli.doing import run_to_the_end
from finetrap.cli.judging import report_to
from finetrap.cli.options import AllowCode, AsJson, Quiet, Source, Voice, Workers, data_at
from finetrap.errors import BadInput
from finetrap.text.paths import place_of

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way from the base to the given weights, with --rewind."""


def judge(
    base: Annotated[
        str,
        typer.Option(metavar="MODEL", help="What it was trained from, as in a study's `models`."),
    ],
    tuned: Annotated[
        list[str], typer.Option(metavar="DIR", help="A checkpoint, an adapter or a .gguf file.")
    ],
    task: Annotated[list[str], typer.Option(metavar="TASK", help="What it was trained for.")],
    probes: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="TASK", help="What must not be lost; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=PATH", help="Where a task's data lies, if not on the hub."),
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="TASK", help="What it was trained on, if you have it.")
    ] = None,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="The folders are the seeds of one training.")
    ] = False,
    rewind: Annotated[
        bool, typer.Option("--rewind", help="Also judge weights between the base and each.")
    ] = False,
    problems: Annotated[int, typer.Option(metavar="N", min=1, help="Test problems.")] = 500,
    probe_problems: Annotated[int, typer.Option(metavar="N", min=1, help="Of each probe.")] = 100,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Longest completion.")
    ] = 256,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Where everything goes.")] = Path(
        "finetrap-judge"
    ),
    workers: Workers = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge checkpoints that other tools trained against their base.

    Example: finetrap judge --base mini-1m --tuned ./my-checkpoint --task market --probe prose
    """
    import tomli_w

    limits = {
        "test_problems": problems,
        "probe_problems": probe_problems,
        "max_new_tokens": max_new_tokens,
    }
    strategies = _given_strategies(tuned, seeds=seeds, rewind=rewind)
    table: dict[str, Any] = {
        "name": "judge " + ", ".join(Path(folder).name for folder in tuned),
        "models": [_absolute(base)],
        "tasks": [_task(entry) for entry in task],
        "probes": [_task(entry) for entry in probes or ()],
        "strategies": ["zero-shot", *strategies],
        "limits": limits,
        "strategy": strategies,
        "data": dict(data_at(entry) for entry in data or ()),
        **({"train": {"task": _task(train), "problems": "all"}} if train else {}),
        "task": _whole_files([*task, *(probes or ())], train),
    }
    out.mkdir(parents=True, exist_ok=True)
    file, voice = out / "study.toml", Voice(as_json, quiet)
    file.write_text(tomli_w.dumps(table), encoding="utf-8")
    whole = run_to_the_end(file, out / "runs", workers, voice, allow_code=allow_code)
    report_to(Source(out / "runs", file), out, voice)
    if not whole:
        raise typer.Exit(1)


def _given_strategies(tuned: list[str], *, seeds: bool, rewind: bool) -> dict[str, dict[str, Any]]:
    """Return a strategy for each folder, or one of all; each once more to be rewound."""
    places = [_absolute(folder) for folder in tuned]
    if seeds:
        groups = {Path(tuned[0]).name: places}
    else:
        groups = {Path(folder).name: [place] for folder, place in zip(tuned, places, strict=True)}
        if len(groups) < len(tuned):
            raise BadInput("two of the --tuned folders have one name; name them apart, or --seeds")
    kinds = {name: {"kind": "given", "weights": weights} for name, weights in groups.items()}
    if not rewind:
        return dict(kinds)
    back = {f"{name}+rewind": {**kind, "rewind": list(SHARES)} for name, kind in kinds.items()}
    return {**kinds, **back}


def _absolute(entry: str) -> str:
    """Return where a folder or file lies: the study file lies elsewhere."""
    place = place_of(entry)
    return str(place.resolve()) if place.exists() else entry


def _task(entry: str) -> str:
    """Return a task as a study names it; its file may be named from here."""
    kind, colon, path = entry.partition(":")
    if not colon and place_of(entry).is_file():
        return f"jsonl:{place_of(entry).resolve()}"
    place = place_of(path)
    return f"{kind}:{place.resolve()}" if colon and place.exists() else entry


def _whole_files(tests: list[str], train: str | None) -> dict[str, dict[str, float]]:
    """Return the options by which every row of a file is tested, or is what was trained on.

    A file that is both is split, as in any study.
    """
    files = {_task(entry): 1.0 for entry in tests if _is_file(entry)}
    if train and _is_file(train) and files.pop(_task(train), None) is None:
        files[_task(train)] = 0.0
    return {name: {"test_share": share} for name, share in files.items()}


def _is_file(entry: str) -> bool:
    kind, colon, path = entry.partition(":")
    return place_of(path if colon and kind == "jsonl" else entry).is_file()
