"""Code of others: which keys of a study would run it, and that it runs only where allowed."""

from __future__ import annotations

from finetrap.errors import BadInput
from finetrap.measure.study.faults import place
from finetrap.records import Study
from finetrap.text import own_scorer


def asks_for_code(study: Study) -> list[str]:
    """Return a line for each key of a study that runs code of others."""
    found = []
    for model in study.models:
        at, what = place("model", model.name), model.source
        if model.trust_remote_code:
            found.append(f"{at} trust_remote_code: this runs Python code that comes with {what}")
        if model.allow_pickle:
            found.append(f"{at} allow_pickle: the weights of {what} can hold a program")
    used = (*study.tasks, *study.probes, study.train_task, study.replay_task)
    for task in filter(None, used):
        how = str(task.options.get("scoring", ""))
        if how.startswith(own_scorer.PREFIX):
            found.append(f"{place('task', task.name)} scoring: this runs {how} on every answer")
    return list(dict.fromkeys(found))


def check_code(study: Study, *, allowed: bool) -> None:
    """Raise BadInput for a study that would run code of others where that is not allowed."""
    found = [] if allowed else asks_for_code(study)
    if found:
        raise BadInput(
            "\n".join(found) + "\nnothing was run. If you trust it, `finetrap run`, `try` and "
            "`judge` take --allow-code; plan, status, show and report run no code of others"
        )
