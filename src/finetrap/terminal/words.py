"""What is said of a running study: a line for each phase and for the end of each cell; in ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetrap.stats.changes import wilson
from finetrap.text.visible import ascii_line

NAME = 80
"""Characters of a cell's name: as many as a run folder's has."""
MESSAGE = 300
"""Characters of what a failure says."""


def with_share(event: Mapping[str, Any]) -> dict[str, Any]:
    """Add the accuracy of the answers so far and its Wilson interval, in percent, where any are."""
    facts = dict(event)
    if "right" not in facts:
        return facts
    right, n = facts["right"], facts["done" if facts["event"] == "rows" else "n"]
    share: list[float] | list[None] = [None] * 3
    if right is not None and n:
        share = [round(100 * x, 2) for x in (right / n, *wilson(right, n))]
    return facts | dict(zip(("accuracy", "low", "high"), share, strict=True))


def name(event: Mapping[str, Any]) -> str:
    """Name a cell."""
    return ascii_line(str(event["slug"]), NAME)


def phase(event: Mapping[str, Any]) -> str:
    """Say what begins."""
    kind = event["phase"]
    if kind == "load":
        return f"opening {ascii_line(event['model'])}"
    if kind == "before":
        return "scoring the training solutions, untouched"
    if kind == "train":
        return f"training on {event['problems']:,} problems"
    if kind == "rewind":
        return f"going back to the untouched weights in {event['steps']} steps"
    if kind == "answer":
        return f"answering {event['problems']:,} problems of {ascii_line(event['task'])}"
    return "measuring noise, or how far it has moved"


def step(event: Mapping[str, Any]) -> str:
    """Say how far training is."""
    pace = event["tokens_per_s"]
    text = f"step {event['step']}/{event['steps']}  loss {event['loss']:.3f}"
    return text if pace is None else f"{text}  {pace:,} tokens/s"


def rows(event: Mapping[str, Any]) -> str:
    """Say how many rows are done, and what share of the answers so far is right."""
    known = "" if event["of"] is None else f"/{event['of']:,}"
    text = f"{event['done']:,}{known} {event['part']}"
    shares = with_share(event)
    return text if shares["accuracy"] is None else f"{text}  {share(shares)} so far"


def share(event: Mapping[str, Any]) -> str:
    """Write an accuracy with its interval."""
    return f"{event['accuracy']:.1f}% [{event['low']:.1f}, {event['high']:.1f}]"


def ending(event: Mapping[str, Any]) -> str:
    """Say how a cell ended."""
    if event["event"] == "bad-input":
        return f"{name(event)}: not run, its input has a fault (below)"
    if event["event"] == "cell-failed":
        return f"{name(event)}: {event['status']}: {ascii_line(str(event['message']), MESSAGE)}"
    shares = with_share(event)
    pieces = f"{event['n']:,} pieces"
    told = pieces if shares["accuracy"] is None else f"{share(shares)} of {event['n']:,}"
    trained = f", trained {event['train_s']:.1f} s" if event["train_s"] else ""
    return f"{name(event)}: {told}{trained}, evaluated {event['eval_s']:.1f} s"


def crew(event: Mapping[str, Any]) -> str:
    """Say how many processes work."""
    return f"{_count(event['workers'], 'worker')} of {_count(event['threads'], 'thread')}"


def duration(seconds: float) -> str:
    """Write a duration: seconds, then minutes, then hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
