"""Suspects that the training itself convicts or clears: its rows, its curve, its probes."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from finetrap.judge.arms import learning_rate
from finetrap.judge.diagnosis import texts
from finetrap.judge.diagnosis.case import (
    Case,
    Rate,
    Ruling,
    bits_of_all,
    likely_cause,
    not_enough_data,
    ruled_out,
)
from finetrap.judge.diagnosis.outputs import arithmetic
from finetrap.records import written_rate
from finetrap.stats.changes import wilson
from finetrap.stats.likelihood import bits_per_byte

UPDATES = 3e-3
"""Median size of full fine-tuning's updates over that of the weights, from which it is too much:
three times the common rule of 1e-3. On the miniature 8e-4 and less do no harm, 2.5e-3 costs 20
points and 8e-3 half of the right answers. Adapters start at zero: their ratio says nothing."""
SPIKE = 0.25
"""Nats per token by which a loss above its start is a spike; batches scatter by less."""
SPIKE_RATIO = 1.5
"""And how many times its start."""
DUPLICATES = 0.2
"""Share of training rows that repeat another, from which the rest is trained on too often."""
MEMORISED = 0.5
"""Bits per byte of training solutions after training, over those of the test's, from which the
model knows its rows and not the task."""
BITS = 0.05
"""Bits per byte of the test's solutions that count as a rise: the margin of the verdicts."""
LEAKED = 0.01
"""Share of test questions in the training set from which gains cannot be trusted."""
STYLE_RATIO = 3.0
"""Bits per byte of the training solutions over those of the model's own, from which they are
another style; both this and the next must hold."""
STYLE_BITS = 0.5
"""Bits per byte above the model's own."""
READABLE = 1.0
"""Bits per byte above the model's own at which it can still judge whether a solution fits."""
FITTING = 0.7
"""Share of solutions likelier after their own question than after another's, below which labels do
not fit: without any relation it is a half; on the miniature, with right labels, 1.00."""
FEWEST_SWAPPED = 30
"""Solutions from which such a share says something."""

_NO_TRAINING = "no record of the training, only outputs"
_ELSEWHERE = "trained elsewhere, without a record of the training"


def rate_tried(case: Case) -> Ruling:
    """Judge the learning rate by other rates, by the loss and by the size of the updates."""
    if not case.runs:
        return not_enough_data(_NO_TRAINING)
    if case.runs[0].cell.strategy.given:
        return not_enough_data(_ELSEWHERE)
    own = learning_rate(case.runs[0].cell)
    against, neutral = _curve(case)
    against = _diverged(case) + against
    others = [r for r in case.rates if r.learning_rate != own]
    tried = [f"tried: {', '.join(map(_tried, case.rates))}"] if others else []
    said = "; ".join(against + neutral + tried)
    better = _better(case, own)
    if better:
        remedy = f"learning_rate = {written_rate(better.learning_rate)}"
        return likely_cause(said, f"{remedy} instead of {written_rate(own)}")
    if against:
        below = f"learning_rate below {written_rate(own)} by a factor of ten"
        return likely_cause(said, f"{below}, or [search] trials = 5")
    if not others:
        return not_enough_data("; ".join([f"only {written_rate(own)} was tried", *neutral]))
    if all(r.word == "harmed" or r.after <= case.margin for r in others):
        return ruled_out(f"no other rate is unharmed; {said}")
    return not_enough_data(f"no other rate is shown to be better; {said}")


def _tried(r: Rate) -> str:
    where = " of dev" if r.split == "dev" else ""
    return f"{written_rate(r.learning_rate)} {r.after:.1f}%{where} (base model {r.before:.1f}%)"


def _better(case: Case, own: float | None) -> Rate | None:
    """Return the best rate that is shown to lose less than this one, asked the same problems.

    Its whole interval lies above that of this one, which is harmed or at the floor.
    """
    better = []
    for here in case.rates:
        if here.learning_rate == own and (here.word == "harmed" or here.after <= case.margin):
            better += [r for r in case.rates if r.split == here.split and r.low > here.high]
    return max(better, key=lambda r: (r.split == "test", r.after), default=None)


def _diverged(case: Case) -> list[str]:
    failed = [run.failure for run in case.runs if run.status == "diverged" and run.failure]
    if not failed:
        return []
    return [f"diverged in {len(failed)} of {len(case.runs)} runs: {failed[0].message}"]


def _curve(case: Case) -> tuple[list[str], list[str]]:
    """Return what the curves show against the learning rate, and what for it."""
    against: list[str] = []
    neutral: list[str] = []
    losses = case.curves("loss")
    if losses:
        start, worst = max(((c[0], max(c)) for c in losses), key=lambda c: c[1] - c[0])
        said = f"loss never rose above its start ({start:.3g} nats per token)"
        if worst > start:
            said = f"loss rose from {start:.3g} to {worst:.3g} nats per token"
        spiked = worst - start >= SPIKE and worst >= SPIKE_RATIO * start
        (against if spiked else neutral).append(said)
    updates = case.curves("update_ratio")
    if updates and case.runs[0].cell.strategy.kind == "full":
        size = max(map(median, updates))
        said = f"median update {size:.2g} of the weights"
        (against if size >= UPDATES else neutral).append(said)
    moved = [row[1] for rows in case.evidence("divergence") for row in rows if row[1] is not None]
    if moved:
        neutral.append(f"moved {sum(moved) / len(moved):.3g} nats per token from the base model")
    return against, neutral


def template(case: Case) -> Ruling:
    """Judge whether training and testing wrote their prompts alike."""
    if case.runs and case.runs[0].cell.strategy.given:
        return _template_elsewhere(case)
    trained, tested = case.first("train_template"), case.first("test_template")
    if not trained or not tested:
        return not_enough_data("templates unknown" if case.runs else _NO_TRAINING)
    if trained["sha256"] == tested["sha256"]:
        return ruled_out(f"trained and tested with {_shown(tested['text'])}")
    return likely_cause(
        f"trained with {_shown(trained['text'])}, tested with {_shown(tested['text'])}",
        "write training rows with the template that the model is asked in (prompt = ...)",
    )


def _template_elsewhere(case: Case) -> Ruling:
    """Judge by what was trained on, if it is known: in the right prompt it became likelier."""
    differs = case.first("differs") or {}
    named = "; ".join(f"{name}: {said}" for name, said in differs.items())
    tuned = case.first("tuned_loss") or []
    after, before = (_bits_of_rows(rows) for rows in (tuned, _base_loss(case)[: len(tuned)]))
    if after is None or before is None:
        return not_enough_data("; ".join(filter(None, [_ELSEWHERE, named])))
    said = (
        f"its training solutions take it {after:.3f} bits per byte in the prompt that it is asked "
        f"in, the base model {before:.3f}"
    )
    said = "; ".join(filter(None, [said, named]))
    if after < before:
        return ruled_out(said)
    return likely_cause(said, "ask it as it was trained: [prompt] system and template, or format")


def chat_template(case: Case) -> Ruling:
    """Judge whether an answer follows the prompt as the chat template writes it."""
    faults = case.first("template_faults")
    if faults is None:
        return not_enough_data("templates unknown" if case.runs else _NO_TRAINING)
    if not faults:
        return ruled_out("prompts end where an answer begins")
    return likely_cause("; ".join(faults), 'mend the template, or prompt = "plain"')


def _shown(text: str) -> str:
    return f"`{ascii(text)[1:-1][:100]}`"


def masking(case: Case) -> Ruling:
    """Judge whether the loss was on the whole solution, on its end and on nothing else."""
    shares, rows = case.evidence("eos_share"), case.first("rows") or []
    if not shares and not rows:
        return not_enough_data("no rendered rows" if case.runs else _NO_TRAINING)
    share = min(shares, default=1.0)
    faults = [fault for row in rows for fault in _mask_faults([bool(m) for _, m in row])][:1]
    if share < 1:
        faults.insert(0, f"the end token is in the loss of {100 * share:.0f}% of the rows")
    if faults:
        return likely_cause(
            "; ".join(faults),
            "put the loss on the solution and the end token after it (a pad token that equals the "
            "end token is often masked with it)",
        )
    counts = ", ".join(f"{sum(m for _, m in row)} of {len(row)}" for row in rows) or "not shown"
    return ruled_out(f"end token in the loss of all rows; tokens in the loss: {counts}")


def _mask_faults(mask: list[bool]) -> list[str]:
    if not any(mask):
        return ["no token of a row is in the loss"]
    start = mask.index(True)
    if start <= 1 and len(mask) > 2:  # nothing foretells the first token of a row
        return ["the prompt is in the loss"]
    if not all(mask[start:]):
        return [f"{mask[start:].count(False)} tokens of a solution are not in the loss"]
    return []


def data(case: Case) -> Ruling:
    """Judge whether there was enough to learn the task from, and not the rows."""
    count = case.first("train_problems")
    if not count:
        return not_enough_data("training rows unknown" if case.runs else _NO_TRAINING)
    exact, near = case.first("exact_duplicates") or 0, case.first("near_duplicates") or 0
    said = f"{count:,} problems, {exact} repeated and {near} nearly"
    if exact + near >= DUPLICATES * count:
        return likely_cause(said, "drop repeated rows; fewer epochs if none are left to add")
    if template(case).verdict == "likely cause":
        return not_enough_data(f"{said}; the rows have another template than the test")
    trained, tested = _trained_bits(case), bits_of_all(case.after)
    before = bits_of_all(case.before)
    if trained is None or tested is None or before is None:
        return ruled_out(said)
    said += (
        f"; after training {trained:.3f} bits per byte on them, on test solutions {tested:.3f} "
        f"(base model {before:.3f})"
    )
    if tested - before >= BITS and trained <= MEMORISED * tested:
        return likely_cause(
            f"{said}: learnt by heart", "more training problems or fewer train.epochs"
        )
    return ruled_out(said)


def _trained_bits(case: Case) -> float | None:
    """Return bits per byte of the training solutions after training; None unless the loss fell.

    The first loss is that of the base model, whose bits per byte of the same rows are known.
    """
    base, losses = _training_bits(case), case.curves("loss")
    if base is None or not losses:
        return None
    last = [sum(c[-3:]) / len(c[-3:]) / c[0] for c in losses if c[0] > 0]
    share = sum(last) / len(last) if last else 1.0
    return base * share if share < 1 else None


def _base_loss(case: Case) -> list[dict[str, float]]:
    """Return the base model's nats of the training solutions, under the key of any version."""
    return case.first("base_loss") or case.first("untouched_loss") or []


def _training_bits(case: Case) -> float | None:
    return _bits_of_rows(_base_loss(case))


def _bits_of_rows(rows: list[dict[str, float]] | None) -> float | None:
    known = [row for row in rows or [] if row["nats"] is not None]  # null: it was infinite
    size = sum(row["bytes"] for row in known)
    return bits_per_byte(sum(row["nats"] for row in known), size) if size else None


def leakage(case: Case) -> Ruling:
    """Judge whether test questions were trained on."""
    found = case.first("overlap")
    if not found or not found.get("test"):
        return not_enough_data("training questions unknown" if case.runs else _NO_TRAINING)
    said = (
        f"{found['exact']} of {found['test']:,} test questions are training questions, "
        f"{found['near']} more nearly"
    )
    if found["exact"] + found["near"] > LEAKED * found["test"]:
        return likely_cause(
            f"{said}: no reason for a worse result, but no gain here can be trusted",
            "drop them from the training set (finetrap overlap names them)",
        )
    return ruled_out(said)


def style(case: Case) -> Ruling:
    """Judge whether the solutions are written as the model itself would write."""
    trained = _training_bits(case)
    own = _bits_of_rows(case.base.evidence.get("own_style")) if case.base else None
    if trained is None or own is None:
        return not_enough_data(
            "likelihoods of the base model unknown" if case.runs else _NO_TRAINING
        )
    said = (
        f"training solutions take the base model {trained:.3f} bits per byte, its own answers "
        f"{own:.3f}"
    )
    reason = _unreadable(case) or (
        "labels do not fit their questions" if labels(case).verdict == "likely cause" else ""
    )
    if reason:
        return not_enough_data(f"{said}; {reason}, so this says nothing of style")
    if trained >= STYLE_RATIO * own and trained - own >= STYLE_BITS:
        return likely_cause(
            said,
            "train on right solutions of the model's own (rejection sampling), or rewrite the data "
            "in its style; else a lower learning_rate or lora",
        )
    return ruled_out(said)


def _unreadable(case: Case) -> str:
    """Say why the base model's likelihoods of training rows cannot be used; empty if they
    can."""
    if template(case).verdict == "likely cause":
        return "the rows have another template than the model is asked in"
    if not case.knows:
        return "the base model hardly solves the task"
    return ""


def labels(case: Case) -> Ruling:
    """Judge whether solutions belong to their questions, as far as the base model can tell.

    It can where it solves the task and finds right solutions of the test likely: then a solution is
    likelier after its own question than after another's, unless it was given the wrong one.
    """
    own = [row["nats"] for row in _base_loss(case)]
    scored = zip(own, case.first("swapped_nats") or [], strict=False)
    both = [pair for pair in scored if None not in pair]
    n = len(both)
    if n < FEWEST_SWAPPED:
        return not_enough_data(
            f"{n} solutions scored after another question" if case.runs else _NO_TRAINING
        )
    right = sum(a < b for a, b in both)
    low, high = wilson(right, n)
    said = (
        f"{right} of {n} solutions are likelier after their own question than after another's "
        f"[{100 * low:.0f}%, {100 * high:.0f}%]"
    )
    reason = _unreadable(case) or _cannot_judge(case)
    if reason:
        return not_enough_data(f"{said}; {reason}")
    if high < FITTING:
        return likely_cause(
            f"{said}, though the base model knows the task",
            "check that each row holds its own question's solution: a column was shuffled or joined"
            " wrongly",
        )
    return ruled_out(said)


def _cannot_judge(case: Case) -> str:
    tested = bits_of_all(case.before)
    own = _bits_of_rows(case.base.evidence.get("own_style")) if case.base else None
    if tested is None or own is None:
        return "its likelihoods of right solutions are unknown"
    if tested - own > READABLE:
        return f"it finds right solutions unlikely too ({tested:.2f} bits per byte)"
    return ""


def forgetting(case: Case) -> Ruling:
    """Judge what was lost elsewhere."""
    if not case.probes:
        return not_enough_data("no probes were asked")
    by_verdict: dict[str, list[str]] = defaultdict(list)
    for e in case.probes:
        digits, unit = (3, " bits per byte") if e.measure == "bits_per_byte" else (1, "%")
        word = f"{e.verdict} ({e.remark})" if e.small else e.verdict
        by_verdict[word].append(f"{e.task} {e.before:.{digits}f} to {e.after:.{digits}f}{unit}")
    shown = "; ".join(f"{word}: {', '.join(told)}" for word, told in by_verdict.items())
    if "harmed" in by_verdict:
        return likely_cause(
            shown,
            "replay = 0.06, rewind (full+rewind, lora+rewind), or a lower learning_rate",
        )
    if set(by_verdict) == {"inconclusive"}:
        return not_enough_data(shown)
    return ruled_out(shown)


def number_tokens(case: Case) -> Ruling:
    """Judge whether numbers of one length are always cut alike, so that digits can be aligned."""
    rows = case.first("rows")
    if not rows:
        return not_enough_data("no rendered rows" if case.runs else _NO_TRAINING)
    cuts: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for row in rows:
        for length, ways in texts.chunks([text for text, _ in row]).items():
            cuts[length] |= ways
    long = {length: ways for length, ways in sorted(cuts.items()) if length > 1}
    if not long:
        return not_enough_data("no number of two digits in the rendered rows")
    said = "; ".join(
        f"{length} digits as {' or '.join('+'.join(map(str, way)) for way in sorted(ways))}"
        for length, ways in long.items()
    )
    if all(len(ways) == 1 for ways in long.values()):
        return ruled_out(said)
    if arithmetic(case).verdict != "likely cause":
        return ruled_out(f"{said}: uneven, but calculations are not what went wrong")
    return likely_cause(
        said, "a model whose tokenizer cuts digits evenly, or spaces between digits"
    )
