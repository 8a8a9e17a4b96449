"""Why is it worse: each possible cause of a result, examined on what lies on disk.

A suspect is a likely cause, ruled out or not enough data, always with its evidence in numbers; a
likely cause comes with the setting to change. Causes are not exclusive: a wrecked model also
repeats itself.
Every suspect is one function of a case (`case.py`): `outputs.py` needs the answers only,
`training.py` what was recorded of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetrap.errors import BadInput
from finetrap.findings import Diagnosis, Effect, Findings, Suspect
from finetrap.judge.arms import learning_rate, rate_settings, strategy_labels
from finetrap.judge.diagnosis import outputs, training
from finetrap.judge.diagnosis.case import Case, Ruling, build_case, effects_of, trained_arms
from finetrap.judge.diagnosis.foreign import read_case
from finetrap.levels import Setting
from finetrap.records import Run, written_rate
from finetrap.text.visible import one_line

SUSPECTS: dict[str, Callable[[Case], Ruling]] = {
    "noise": outputs.noise,
    "learning rate": training.rate_tried,
    "format instead of ability": outputs.format_,
    "truncation and missing EOS": outputs.truncation,
    "template mismatch": training.template,
    "chat template": training.chat_template,
    "target masking": training.masking,
    "too little or duplicated data": training.data,
    "train-test overlap": training.leakage,
    "style distance": training.style,
    "labels": training.labels,
    "forgetting": training.forgetting,
    "arithmetic slips": outputs.arithmetic,
    "number tokenisation": training.number_tokens,
}
"""In the order in which they are shown."""


def diagnose_worse(findings: Findings, runs: Sequence[Run]) -> tuple[Diagnosis, ...]:
    """Examine every trained strategy that is harmed on its test, at the floor, or diverged."""
    found = []
    labels, settings = strategy_labels(runs), rate_settings(runs)
    for arm in trained_arms(runs):
        cell = arm[0].cell
        effects = effects_of(cell, labels[cell.key], findings)
        for setting in settings[cell.key]:
            own = [e for e in effects if e.setting == setting]
            if _worse(own) or all(run.status == "diverged" for run in arm):
                found.append(_diagnosis(arm, runs, own, setting, labels[cell.key]))
    return tuple(found)


def diagnose_run(run: Run, runs: Sequence[Run], findings: Findings) -> Diagnosis:
    """Examine one run, worse or not, with the effects of its strategy. Raises BadInput."""
    if not run.cell.strategy.trains:
        raise BadInput(f"run {run.cell.slug} trained nothing; diagnose a run of a trained strategy")
    if run.cell.split == "dev":
        raise BadInput(
            f"run {run.cell.slug} is a trial of a search; diagnose a final run of its strategy"
        )
    setting = rate_settings(runs).get(run.cell.key, ("fixed",))[0]
    label = strategy_labels(runs).get(run.cell.key, run.cell.strategy.name)
    effects = [e for e in effects_of(run.cell, label, findings) if e.setting == setting]
    return _diagnosis([run], runs, effects, setting, label)


def diagnose_files(
    before: Path, after: Path, filter: str | None = None, metric: str | None = None
) -> Diagnosis:
    """Examine any tool's outputs before and after a training, by one filter and metric of its logs.

    Raises BadData.
    """
    case = read_case(before, after, filter, metric)
    return Diagnosis(
        model=Path(before).name,
        task="",
        strategy=Path(after).name,
        learning_rate=None,
        setting="fixed",
        suspects=examine(case),
        about=case.about,
    )


def examine(case: Case) -> tuple[Suspect, ...]:
    """Give every suspect its verdict."""
    return tuple(Suspect(name, *rule(case)) for name, rule in SUSPECTS.items())


def suspects_document(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return each suspect with its verdict, evidence and remedy."""
    return [asdict(suspect) for suspect in diagnosis.suspects]


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Tell a diagnosis to a person at a terminal, likely causes first; ASCII only."""
    own = diagnosis.learning_rate
    place = f" at {written_rate(own)}" if own is not None else ""
    if diagnosis.task:
        head = f"{diagnosis.model} on {diagnosis.task}, {diagnosis.strategy}{place}"
    else:
        head = f"{diagnosis.model} -> {diagnosis.strategy}, {diagnosis.about}"
    lines = [one_line(head, 400)]
    for verdict in ("likely cause", "ruled out", "not enough data"):
        for suspect in diagnosis.suspects:
            if suspect.verdict == verdict:
                lines.append(f"  {verdict:<15}  {suspect.suspect}: {suspect.evidence}")
                if suspect.remedy:
                    lines.append(f"{'':19}remedy: {suspect.remedy}")
    return "\n".join(lines).encode("ascii", "replace").decode()


def _worse(effects: Sequence[Effect]) -> bool:
    """Whether a test shows harm, or cannot show any."""
    tests = [e for e in effects if e.kind != "probe"]
    accuracy = [e for e in tests if e.measure == "accuracy"]
    return any(e.verdict == "harmed" or e.floor for e in accuracy or tests)


def _diagnosis(
    arm: Sequence[Run],
    runs: Sequence[Run],
    effects: Sequence[Effect],
    setting: Setting,
    label: str,
) -> Diagnosis:
    cell = arm[0].cell
    return Diagnosis(
        model=cell.model.shown,
        task=cell.task.name,
        strategy=label,
        learning_rate=learning_rate(cell),
        setting=setting,
        suspects=examine(build_case(arm, runs, effects)),
    )
