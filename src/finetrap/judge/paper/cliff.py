"""The size threshold: below which number of parameters does full fine-tuning harm a model?

The models' changes over all problems of their tasks are judged together, so that some word is wrong
with at most 5% probability. If there is one threshold, harm below it and none above, it then lies
with at least 95% probability between the largest size shown harmed and the smallest shown unharmed:
that is the interval. It narrows with more sizes, and it assumes no shape of a curve, which the few
sizes of a study could not show to fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from finetrap.findings import Cliff, Findings
from finetrap.judge.arms import comparisons
from finetrap.judge.pairwise import declared
from finetrap.judge.paper.claims import FULL, ZERO_SHOT, Statement, cases_of
from finetrap.judge.paper.population import ALL, MINIATURE, size_of, sized_models
from finetrap.levels import Setting
from finetrap.records import Run

_QUESTION = Statement(0, "full fine-tuning harms {who}", FULL, ZERO_SHOT, ALL, "worse")


def cliffs(findings: Findings, runs: Sequence[Run]) -> tuple[Cliff, ...]:
    """Estimate the threshold at each setting that was measured; nothing for a single size."""
    if not findings.claims or len({m.parameters for m in sized_models(runs) if m.parameters}) < 2:
        return ()
    measured = {e.setting for e in findings.effects if e.learning_rate is not None}
    return tuple(size_threshold(findings, runs, s) for s in get_args(Setting) if s in measured)


def size_threshold(findings: Findings, runs: Sequence[Run], setting: Setting) -> Cliff:
    """Estimate the size threshold at one setting from the sizes in these runs."""
    known = {m.name: m.parameters for m in sized_models(runs) if m.parameters is not None}
    cases, _ = cases_of(_QUESTION, comparisons(runs), list(known), setting, declared(findings))
    harmed, unharmed, inconclusive = (
        [case.model for case in cases if case.results[0].judged.verdict in words]
        for words in (("harmed",), ("equivalent", "improved"), ("inconclusive",))
    )
    low = max((known[name] for name in harmed), default=None)
    high = min((known[name] for name in unharmed), default=None)
    doubt = _doubt(len(cases), low, high, setting)
    if doubt or low is None or high is None:
        low = high = None
        middle, reason = None, f"undetermined: {doubt}"
    else:
        middle = math.sqrt(low * high)
        reason = (
            f"between {size_of(low)}, the largest size shown harmed, and {size_of(high)}, the "
            "smallest shown unharmed (95% if there is one threshold)"
        )
    if known and max(known.values()) < MINIATURE:
        reason += "; miniature sizes, an analogue of the paper's threshold"
    return Cliff(
        setting, low, high, middle, tuple(harmed), tuple(unharmed), tuple(inconclusive), reason
    )


def _doubt(cases: int, low: int | None, high: int | None, setting: Setting) -> str:
    """Say why there is no threshold to be named; empty if there is."""
    if not cases:
        lack = "full fine-tuning and zero-shot of a model of known size"
        return f"needs {lack}" + (", and a search" if setting == "tuned" else "")
    if low is None and high is None:
        return "no size is shown harmed or unharmed"
    if low is None:
        return "no size is shown harmed"
    if high is None:
        return "no size is shown unharmed"
    if low >= high:
        return (
            f"not monotone, harmed at {size_of(low)} and unharmed at {size_of(high)}: size alone "
            "does not decide"
        )
    return ""
