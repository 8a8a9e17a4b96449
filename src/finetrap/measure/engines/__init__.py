"""Where remaining cells run. An engine is a function, such as `local.ready`:

    ready(store, *, keep, workers, run_group, stopping)

It lends what brings cells to committed runs, or says by an event why not, for one round after
another. It may be stopped at any moment: whatever is not committed remains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from finetrap.errors import BadInput, nearest
from finetrap.events import Emit
from finetrap.records import Cell

Engine = Callable[..., AbstractContextManager[Callable[[Iterable[Cell], Emit], None]]]
"""Lends what runs remaining cells."""
NAMES = ("local", "ray", "slurm")


def engine_named(
    name: str, address: str | None = None, slurm_settings: Sequence[str] = ()
) -> Engine:
    """Return an engine by its name; `address` is of a Ray cluster, and `slurm_settings` are
    sbatch's, as KEY=VALUE. Raises BadInput."""
    if name not in NAMES:
        allowed = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
        raise BadInput(f"--engine {name}: no such engine; give {allowed}{nearest(name, NAMES)}")
    if address is not None and name != "ray":
        raise BadInput(f"--address {address}: only of --engine ray; leave it out")
    if slurm_settings and name != "slurm":
        raise BadInput(f"--slurm {slurm_settings[0]}: only of --engine slurm; leave it out")
    if name == "ray":
        from finetrap.measure.engines import ray_cluster

        return partial(ray_cluster.on_cluster, address=address)
    if name == "slurm":
        from finetrap.measure.engines import slurm

        return slurm.with_settings(slurm_settings)
    from finetrap.measure.engines import local

    return local.ready
