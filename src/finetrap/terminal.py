"""What the terminal shows while a study runs: accuracies, never a verdict before the last seed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self


class Progress:
    """Takes the engine's events and shows them: a live bar, plain lines, JSON lines or nothing."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.total = self.owed = 0
        self.done = self.failed = 0
        self.faults: list[str] = []
        """Distinct faults of the input, each with the cells it kept from running."""
        self._as_json, self._quiet = as_json, quiet
        self._start = time.monotonic()
        self._live = not (as_json or quiet) and sys.stdout.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def _begin(self, event: Mapping[str, Any]) -> None:
        """Begin a round: what is owed now comes on top of what has ended."""
        first = self.total == 0
        self.total, self.owed = event["cells"], self.done + self.failed + event["owed"]
        if self._as_json or self._quiet:
            return
        if event["owed"] or first:
            searching = f", {event['searching']} searches go on" if event["searching"] else ""
            print(f"{self.total} cells, {event['owed']} owed{searching}", flush=True)
        if self._bar is not None:
            self._bar.update(self._task, total=self.owed)
        elif self._live and event["owed"]:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self.owed)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._as_json:
            facts = {"done": self.done, "failed": self.failed, "seconds": self._seconds()}
            self._print({"event": "study-end", **facts})

    def emit(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        kind = event["event"]
        if kind == "round":
            self._begin(event)
        self.done += kind == "cell-done"
        self.failed += kind == "cell-failed"
        if kind == "bad-input" and event["message"] not in self.faults:
            self.faults.append(str(event["message"]))
        if self._as_json:
            self._print(event)
        elif not self._quiet:
            self._say(event)

    def _say(self, event: Mapping[str, Any]) -> None:
        line = _sentence(event)
        if self._bar is not None:
            if line:
                self._bar.console.print(line, highlight=False, markup=False)
            ended = event["event"] in ("cell-done", "cell-failed", "bad-input")
            self._bar.update(self._task, advance=int(ended), description=_activity(event))
        elif line:
            finished = self.done + self.failed
            left = (self.owed - finished) * self._seconds() / finished if finished else None
            hint = f"  (about {left:.0f} s left)" if left is not None else ""
            print(f"[{finished}/{self.owed}] {line}{hint}", flush=True)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._start, 1)

    def _print(self, event: Mapping[str, Any]) -> None:
        print(json.dumps(dict(event)), flush=True)


def _sentence(event: Mapping[str, Any]) -> str:
    """Describe the end of a cell, empty for every other event."""
    if event["event"] == "cell-done":
        accuracy = event["accuracy"]
        score = (
            f"{accuracy:.1f}% of {event['n']}" if accuracy is not None else f"{event['n']} pieces"
        )
        trained = f"  trained {event['train_s']:.1f} s" if event["train_s"] else ""
        return f"{event['slug']}: {score}{trained}  evaluated {event['eval_s']:.1f} s"
    if event["event"] == "cell-failed":
        return f"{event['slug']}: {event['status']}: {event['message']}"
    if event["event"] == "bad-input":
        return f"{event['slug']}: not run, its input has a fault (below)"
    return ""


def _activity(event: Mapping[str, Any]) -> str:
    if event["event"] == "step":
        return f"step {event['step']}/{event['steps']}  loss {event['loss']:.3f}"
    if event["event"] == "evaluate":
        return f"answering {event['problems']} problems of {event['task']}"
    return str(event.get("slug", ""))
