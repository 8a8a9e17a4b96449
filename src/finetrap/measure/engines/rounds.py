"""A whole study, in rounds: run what can be named, and ask what its searches want next."""

from __future__ import annotations

from collections.abc import Sequence

from finetrap.events import CellLeft, Emit, Event, RoundBegins
from finetrap.measure.engines import Engine, local
from finetrap.measure.engines.remaining import Remaining
from finetrap.measure.engines.silence import Silence
from finetrap.measure.engines.workers import Stopping
from finetrap.measure.fitting import check_fits
from finetrap.measure.own_golds import check_golds
from finetrap.measure.permission import check_code
from finetrap.measure.study import search
from finetrap.records import Cell, Study
from finetrap.runs.store import Store


def run_study(
    study: Study,
    store: Store,
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    emit: Emit,
    stopping: Stopping | None = None,
    allow_code: bool = False,
    engine: Engine = local.ready,
) -> tuple[Cell, ...]:
    """Run what remains of a study and return all of its cells.

    Each round begins with an event: how many cells there are by now, how many remain, and how
    many searches go on. Cells that still remain (a fault of the input, or another process has them)
    are left after a round that brought nothing. Raises BadInput, before anything is run, for code
    of others unless `allow_code`, for an adapter that does not go on a model and for a right answer
    that its own scorer calls wrong; FinetrapError, StoreError, and KeyboardInterrupt once
    `stopping` says so.
    """
    check_code(study, allowed=allow_code)
    if retry_failed:
        store = store.retrying(search.named_cells(study, store)[0])
    remain = store.remaining(search.named_cells(study, store)[0])
    check_fits(remain)
    check_golds(remain)
    last: set[str] | None = None
    left: set[str] = set()

    def tell(event: Event) -> None:
        if isinstance(event, CellLeft):
            left.add(event.key)
        emit(event)

    with engine(store, keep=study.keep, workers=workers, stopping=stopping) as run_remaining:
        while True:
            cells, searching = search.named_cells(study, store)
            store.remember(study, cells)
            remaining = [cell for cell in store.remaining(cells) if cell.key not in left]
            begin(cells, remaining, searching, emit)
            keys = {cell.key for cell in remaining}
            if not remaining or keys == last:
                store.sweep()  # a process killed right after its last commit left that cell's files
                return cells
            last = keys
            left_over = Remaining(remaining, workers, tell)
            with Silence(left_over.emit, left_over.expected, store.holder) as heard:
                run_remaining(remaining, heard.emit)


def begin(cells: Sequence[Cell], remaining: Sequence[Cell], searching: int, emit: Emit) -> None:
    """Tell that a round begins."""
    emit(RoundBegins(len(cells), len(remaining), searching))
