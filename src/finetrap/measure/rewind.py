"""Rewind: weights interpolated towards the base model, as far as held-out problems say.

θ₀ + λ(θ_tuned − θ₀) for each λ of the strategy (Wortsman et al. 2022, WiSE-FT, section 3), without
any training. λ is chosen on problems that neither training nor test has, of the task and of the
probes; only then is the strategy tested, at that λ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetrap.backends import interpolating
from finetrap.events import Told
from finetrap.measure.strategies import Questions, Solver, ask
from finetrap.records import Answer, Limits
from finetrap.stats.likelihood import bits_per_byte
from finetrap.stats.retention import percent_right
from finetrap.text.scoring import GRADING

Step = Mapping[str, Any]
"""One λ as evidence.json keeps it: `share`, `n`, `accuracy` (percent), `bits` (per byte), and both
for each of its `probes`."""


def settle(
    solver: Solver,
    shares: Sequence[float],
    dev: Questions,
    limits: Limits,
    base: Step | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """Measure every λ on held-out problems, leave the model at the best, and return the path.

    `base` is the step at λ = 0 where it is known: it is the same for every training. `told`
    hears of every answer. Raises Unsupported for an adapter that has no merged weights to
    interpolate.
    """
    path: list[Step] = []
    model = interpolating(solver.model)
    for share in shares:
        if share == 0.0 and base is not None:
            path.append(base)
            continue
        model.rewind(share)
        path.append(_step(solver, share, dev, limits, told))
    chosen = best_share(path)
    model.rewind(chosen)
    return {"chosen": chosen, "path": path, "grading": GRADING}


def best_share(path: Sequence[Step]) -> float:
    """Return the λ with the best probes among those as good on the task as the best λ.

    As good is a dev accuracy within one standard error of the best (Breiman et al. 1984, section
    3.4.3). The probes are compared by mean accuracy, then by mean bits per byte, then the dev
    solutions by bits per byte; of equals the one nearest to the base model is taken.
    """
    top = max(path, key=lambda step: step["accuracy"])
    share = top["accuracy"] / 100
    error = 100 * math.sqrt(share * (1 - share) / top["n"])
    as_good = [step for step in path if step["accuracy"] >= top["accuracy"] - error]
    best = min(as_good, key=lambda step: (*_loss_elsewhere(step), step["bits"], step["share"]))
    return float(best["share"])


def _loss_elsewhere(step: Step) -> tuple[float, float]:
    probes = step["probes"].values()
    right = [p["accuracy"] for p in probes if p["accuracy"] is not None]
    bits = [p["bits"] for p in probes if p["accuracy"] is None]
    return -_mean_of(right), _mean_of(bits)


def _step(
    solver: Solver,
    share: float,
    dev: Questions,
    limits: Limits,
    told: Told | None,
) -> dict[str, Any]:
    answers = ask(solver, dev.kind, dev.problems, limits, told)
    probes = {
        name: _level_reached(ask(solver, probe.kind, probe.problems, limits, told))
        for name, probe in dev.probes.items()
    }
    return {"share": share, "n": len(answers), **_level_reached(answers), "probes": probes}


def _level_reached(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Return percent right (None for prose) and bits per byte (infinite for a wrecked model)."""
    nats = [math.inf if answer.nats is None else answer.nats for answer in answers]
    size = sum(answer.bytes or 0 for answer in answers)
    return {
        "accuracy": percent_right(answers),
        "bits": bits_per_byte(sum(nats), size) if size else math.inf,
    }


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
