"""The live display: a line for the study, and one for each cell that is being measured.

A thread of rich draws it four times a second; an event only leaves a few strings behind, so that
nothing that is measured waits for the display.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finetrap.terminal import words
from finetrap.terminal.state import State

STOPPING = "stopping after the current step; Ctrl-C again stops at once"


class Display:
    """Draws a state until it is closed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._live = Live(
            console=Console(file=sys.stdout, highlight=False),
            get_renderable=self._drawn,
            refresh_per_second=4,
            transient=True,
        )
        self._live.start()

    def say(self, line: str) -> None:
        """Print a line above the display; it stays."""
        self._live.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Take the display away."""
        self._live.stop()

    def _drawn(self) -> RenderableType:
        """Return what stands there now."""
        state = self._state
        running = list(state.cells.values())
        subjects = {cell.subject for cell in running}
        cells = Table.grid(padding=(0, 2))
        for column in ("subject", "strategy", "seed", "phase", "detail"):
            cells.add_column(column, no_wrap=True, overflow="ellipsis")
        for cell in running:
            own = [cell.strategy, cell.seed, cell.phase, cell.detail or cell.pace()]
            cells.add_row("", *map(Text, own if len(subjects) == 1 else [cell.subject, *own]))
        if not running and state.finished < state.remaining:
            cells.add_row("", Text("waiting for a worker to start", "dim"))
        heading = [Text(f"  {subject}") for subject in subjects if subject]
        return Group(self._study(), *(heading if len(subjects) == 1 else ()), cells)

    def _study(self) -> Table:
        state = self._state
        line = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(1, state.remaining), completed=state.finished, width=24)
        parts = [f"{state.finished}/{state.remaining} cells"]
        if state.failed:
            parts.append(f"{state.failed} failed")
        if state.searching:
            parts.append(words.searches_running(state.searching))
        parts.append(words.duration(time.monotonic() - state.start))
        if (left := state.left()) is not None:
            parts.append(f"about {words.duration(left)} left")
        line.add_row(bar, Text("  ".join(parts)))
        if state.stopping:
            line.add_row("", Text(STOPPING, "bold yellow"))
        return line
