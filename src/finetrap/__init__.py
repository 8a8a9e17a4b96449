"""finetrap measures what a fine-tuning strategy does to a small language model.

    import finetrap as ft

    study = ft.Study(models=["mini-1m"], tasks=["market"], strategies=["few-shot-5", "lora"])
    runs = ft.run(study)       # what is measured already is kept
    runs.effects()             # a pandas DataFrame: the rows of effects.csv
    runs.report()              # a notebook shows the page

Importing the package starts nothing heavy: each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetrap.api import Report, Runs, Study, load, run
    from finetrap.errors import BadInput, FinetrapError
    from finetrap.measure.watching import FinetrapCallback

__version__ = "0.1.0"
__all__ = [
    "BadInput",
    "FinetrapCallback",
    "FinetrapError",
    "Report",
    "Runs",
    "Study",
    "load",
    "run",
]

_HOMES = {
    **dict.fromkeys(("BadInput", "FinetrapError"), "finetrap.errors"),
    "FinetrapCallback": "finetrap.measure.watching",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from the module that holds it."""
    if name not in __all__:
        raise AttributeError(f"module 'finetrap' has no attribute '{name}'")
    home = _HOMES.get(name, "finetrap.api")
    found = globals()[name] = getattr(import_module(home), name)
    return found


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted({*globals(), *__all__})
