"""A whole study: finetrap, and a script that runs TRL, PEFT and lm-eval for each of its cells.

    PYTHONPATH=src python -m benchmarks.whole_study [--whole] [--models mini-1m] [--seeds 0 1]

The study is the shipped `terse` (`finetrap run terse`): its models, data, prompts, seeds,
learning rates and search. Without --whole it has one model (mini-1m) and two seeds, and as many
problems. finetrap runs it with its command line and default workers. Then every cell that this came
to, trials included, is run by `benchmarks.peer_cell`, each in a process of its own, as many at once
and with as many threads as finetrap's workers had; lm-eval with the fastest of several batch sizes,
tried first.

The peer gives what the same verdicts need: completions, and the likelihood of gold solutions and of
prose; how long its gold solutions take is told apart, and trials do without them. It is spared what
a script could leave out: the data are prepared for it, evidence is not gathered, its search is not
decided (it runs the trials and the rates that finetrap chose), and a cell that goes back takes the
training of its sister. It follows finetrap's learning rates step by step, with the same rows in
every batch and the same first adapters, in fp32 without autocast.

Both tools' answers are then judged by finetrap's own statistics, each against its own untouched
model, and the verdicts are set beside each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import needs, parser
from benchmarks.measured import append, machine
from finetrap import miniature
from finetrap.cli.options import parse_overrides
from finetrap.errors import FinetrapError
from finetrap.findings import Effect
from finetrap.judge import verdicts
from finetrap.measure import strategies
from finetrap.measure.engines.machine import crew
from finetrap.measure.problems import Problems
from finetrap.measure.study import reading as studies
from finetrap.measure.study import search
from finetrap.records import Answer, Cell, Problem, Run, Study, TaskKind
from finetrap.runs.store import Store
from finetrap.text import prompts, scoring

BATCHES = (1, 4, 8, 16, 32, 64, 128)
"""Batch sizes at which lm-eval is tried."""
REDUCED = {"models": ["mini-1m"], "seeds": [0, 1]}


@dataclass(frozen=True)
class Cells:
    """The peer's jobs, and what its answers become."""

    problems: Problems
    folder: Path
    eval_batch: int

    def job(self, cell: Cell) -> dict[str, Any]:
        """Return what the peer's script is told of one cell."""
        train = self.problems.trained(cell).problems
        own = cell.strategy
        count, prompt = 0 if own.trains else own.shots, cell.model.prompt
        shots = strategies.exemplars(prompt, train, count, cell.seed)
        return {
            "model": cell.model.source,
            "trained": str(self.folder / cell.training_key()),
            "eval_batch": self.eval_batch,
            "tests": self._tests(cell, shots),
            "golds": cell.split != "dev",
            "rewind": list(own.rewind),
            "dev": self._tests(replace(cell, split="dev"), ()) if own.rewind else [],
            **(_training(cell, train) if own.trains else {"rows": []}),
        }

    def _tests(self, cell: Cell, shots: Sequence[prompts.Shot]) -> list[dict[str, Any]]:
        asked = self.problems.asked(cell)
        tests = {cell.task.name: (asked.kind, asked.problems)}
        tests |= {name: (probe.kind, probe.problems) for name, probe in asked.probes.items()}
        return [_test(name, *test, shots, cell) for name, test in tests.items()]

    def run(self, cell: Cell, found: Mapping[str, Any]) -> Run:
        """Return the peer's answers as a run that can be judged."""

        def answers(name: str, problems: Sequence[Problem]) -> tuple[Answer, ...]:
            answered, nats = found["found"][name], found["golds"].get(name, repeat(None))
            return tuple(map(_answer, problems, answered, nats))

        asked = self.problems.asked(cell)
        probes = {name: answers(name, probe.problems) for name, probe in asked.probes.items()}
        return Run(cell, "done", answers(cell.task.name, asked.problems), probes)


def _test(
    name: str,
    kind: TaskKind,
    problems: Sequence[Problem],
    shots: Sequence[prompts.Shot],
    cell: Cell,
) -> dict[str, Any]:
    if kind == "prose":
        texts = [p.solution for p in problems]
        sizes = [len(text.encode()) for text in texts]
        prefix = prompts.plain_prefix(shots)
        return {"name": name, "kind": kind, "texts": texts, "bytes": sizes, "prefix": prefix}
    if kind != "math":
        raise FinetrapError(f"'{name}' is {kind}: this benchmark asks math problems and prose")
    return {
        "name": name,
        "kind": kind,
        "texts": [prompts.PLAIN.prompt(p.question, shots) for p in problems],
        "golds": [p.answer for p in problems],
        "targets": [prompts.plain_target(p.solution) for p in problems],
        "stops": list(prompts.PLAIN.stops),
        "new_tokens": cell.limits.max_new_tokens,
    }


def _training(cell: Cell, train: Sequence[Problem]) -> dict[str, Any]:
    """Return rows in the order of the steps, and the learning rate of each step."""
    from finetrap.backends.hf.training.member import schedule_of

    schedule = schedule_of(cell.strategy, cell.train)
    batches = schedule.batches(len(train), cell.seed or 0)
    rows = [(prompts.PLAIN.prompt(p.question), prompts.plain_target(p.solution)) for p in train]
    return {
        "rows": [rows[i] for batch in batches for i in batch],
        "rates": [schedule.rate(step, len(batches)) for step in range(1, len(batches) + 1)],
        "batch": schedule.batch,
        "clip": schedule.clip,
        "weight_decay": schedule.weight_decay,
        "max_length": cell.train.max_length,
        "peft": cell.strategy.peft,
        "seed": cell.seed,
    }


def _answer(problem: Problem, found: Any, nats: float | None) -> Answer:
    """Grade a completion, or take the nats of a piece of prose, as finetrap does its own."""
    text = found if isinstance(found, str) else ""
    grade = scoring.grade(text, problem.answer) if isinstance(found, str) else None
    return Answer(
        id=problem.id,
        gold=problem.answer,
        completion=text,
        extracted=grade.extracted if grade else None,
        rule=grade.rule if grade else "none",
        correct=grade.correct if grade else None,
        strict=grade.strict if grade else None,
        tokens=0,
        stop="none",
        nats=nats if grade else float(found),
        bytes=len(problem.solution.encode()),
        family=problem.family,
    )


def run_finetrap(file: Path, overrides: Sequence[str], runs: Path) -> float:
    """Run the study by the command line; return its seconds."""
    command = [sys.executable, "-m", "finetrap.cli", "run", str(file), "--runs", str(runs)]
    command += ["--quiet", *(word for text in overrides for word in ("--set", text))]
    started = time.perf_counter()
    done = subprocess.run(command, env=_environment(None), capture_output=True, text=True)
    if done.returncode:
        raise FinetrapError(f"finetrap ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


def run_peer(job: Mapping[str, Any], place: Path, threads: int) -> dict[str, Any]:
    """Run the peer's script on one cell; return its answers, with `process` seconds beside."""
    told, answers = place.with_suffix(".job.json"), place.with_suffix(".answers.json")
    told.write_text(json.dumps(job), encoding="utf-8")
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.peer_cell", str(told), str(answers)]
    done = subprocess.run(
        [*command, str(time.time())], env=_environment(threads), capture_output=True, text=True
    )
    if done.returncode:
        raise FinetrapError(f"the peer's script failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(answers.read_text(encoding="utf-8"))
    found["seconds"]["process"] = time.perf_counter() - started
    return found


def _environment(threads: int | None) -> dict[str, str]:
    found = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return found if threads is None else {**found, "OMP_NUM_THREADS": str(threads)}


def best_batch(
    cell: Cell, problems: Problems, folder: Path, threads: int, batches: Sequence[int]
) -> tuple[int, dict[int, float]]:
    """Try lm-eval's batch sizes on the untouched model; return the fastest, and all seconds."""
    found = {}
    for batch in batches:
        done = run_peer(Cells(problems, folder, batch).job(cell), folder / f"try-{batch}", threads)
        found[batch] = done["seconds"]["work"]
        print(f"lm-eval, batch {batch}: {found[batch]:.1f} s", file=sys.stderr, flush=True)
    return min(found, key=lambda batch: found[batch]), found


def compare(
    file: Path,
    overrides: Sequence[str],
    folder: Path,
    batches: Sequence[int],
    out: Path | None,
) -> None:
    """Run both, judge both, and report."""
    study, store = (
        studies.load_study(file, parse_overrides(list(overrides))),
        Store(folder / "runs"),
    )
    ours = run_finetrap(file, overrides, store.root)
    cells = _peer_order(search.named_cells(study, store)[0])
    team, problems = crew(study.models[0]), Problems()
    batch, tried = best_batch(cells[0], problems, folder, team.threads, batches)
    script = Cells(problems, folder, batch)
    jobs = [script.job(cell) for cell in cells]
    begun = time.perf_counter()
    found = _in_waves(cells, jobs, folder, team.workers, team.threads)
    theirs = time.perf_counter() - begun
    startup = sum(f["seconds"]["startup"] for f in found) / team.workers
    runs = {run.cell.key: run for run in store.runs({cell.key for cell in cells})}
    golds = sum(f["seconds"]["golds"] for f in found) / team.workers
    peers = [script.run(cell, f) for cell, f in zip(cells, found, strict=True)]
    rows = _verdicts(study, list(runs.values()), peers)
    print(_cell_table(cells, runs, found) + _verdict_table(rows))
    record = {
        "benchmark": "whole study",
        "cells": len(cells),
        "models": [model.name for model in study.models],
        "seeds": list(study.seeds),
        "ours_seconds": ours,
        "peer_seconds": theirs,
        "peer_startup_seconds": startup,
        "peer_golds_seconds": golds,
        "ratio": theirs / ours,
        "ratio_without_peers_startup": (theirs - startup) / ours,
        "peer_batches": tried,
        "workers": team.workers,
        "threads": team.threads,
        "same_verdicts": [sum(row["same"] for row in rows), len(rows)],
        "verdicts": rows,
        "machine": machine(),
    }
    append(record, out)
    print(
        f"{len(cells)} cells: finetrap {ours:.0f} s, the script {theirs:.0f} s: "
        f"{record['ratio']:.1f} times as long; without the start-up of its processes "
        f"(finetrap's counted) {record['ratio_without_peers_startup']:.1f} times; "
        f"its gold solutions took {golds:.0f} s. "
        f"{team.workers} processes of {team.threads} threads at once; lm-eval's batch {batch}. "
        f"Same verdict in {sum(row['same'] for row in rows)} of {len(rows)}.",
        flush=True,
    )


def _peer_order(cells: Sequence[Cell]) -> list[Cell]:
    """Put cells that go back on a sister's training after it, the untouched model first."""
    return sorted(cells, key=lambda cell: (bool(cell.strategy.rewind), cell.strategy.trains))


def _in_waves(
    cells: Sequence[Cell],
    jobs: Sequence[Mapping[str, Any]],
    folder: Path,
    workers: int,
    threads: int,
) -> list[dict[str, Any]]:
    """Run all jobs, so many at once; those that go back once their sisters are trained."""
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool:
        for back in (False, True):
            wave = [
                (job, folder / cell.key[:16], threads)
                for cell, job in zip(cells, jobs, strict=True)
                if bool(cell.strategy.rewind) == back
            ]
            found += pool.map(lambda given: run_peer(*given), wave)
    return found


def _verdicts(study: Study, ours: Sequence[Run], theirs: Sequence[Run]) -> list[dict[str, Any]]:
    """Judge both sides alike; return a row for every verdict that both have."""
    one, other = (
        {_named(effect): effect for effect in verdicts.verdicts_on(runs, study.judge).effects}
        for runs in (ours, theirs)
    )
    return [
        {
            "test": f"{key[0]}, {key[1]}",
            "strategy": key[2] if key[3] is None else f"{key[2]} at {key[3]:g}",
            "measure": key[5],
            "against": key[6],
            "finetrap": [one[key].verdict, one[key].delta, one[key].low, one[key].high],
            "peer": [other[key].verdict, other[key].delta, other[key].low, other[key].high],
            "same": one[key].verdict == other[key].verdict,
        }
        for key in one
        if key in other
    ]


def _named(effect: Effect) -> tuple[Any, ...]:
    e = effect
    return (e.model, e.task, e.strategy, e.learning_rate, e.setting, e.measure, e.against)


def _cell_table(
    cells: Sequence[Cell], runs: Mapping[str, Run], found: Sequence[Mapping[str, Any]]
) -> str:
    """Return the median seconds of each kind of cell on both sides."""
    kinds: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for cell, peer in zip(cells, found, strict=True):
        costs = runs[cell.key].costs
        own = sum(part or 0.0 for part in (costs.load_s, costs.train_s, costs.eval_s))
        kind = cell.strategy.name + (", trial" if cell.split == "dev" else "")
        seconds = peer["seconds"]
        kinds[cell.model.name, kind].append((own, seconds["work"], seconds["startup"]))
    lines = [
        "\n### whole study\n",
        "| model | cell | cells | finetrap s | script s | its start-up s |",
        "|---|---|---|---|---|---|",
    ]
    for (model, kind), rows in kinds.items():
        middle = " | ".join(f"{median(column):.1f}" for column in zip(*rows, strict=True))
        lines.append(f"| {model} | {kind} | {len(rows)} | {middle} |")
    return "\n".join(lines) + "\n"


def _verdict_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "\n| test | strategy | measure | against | finetrap | script | same |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sides = (row["finetrap"], row["peer"])
        told = " | ".join(
            f"{word} {d:+.3g} [{low:.3g}, {high:.3g}]" for word, d, low, high in sides
        )
        lines.append(
            f"| {row['test']} | {row['strategy']} | {row['measure']} | {row['against']} | {told} "
            f"| {'yes' if row['same'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--whole", action="store_true", help="all of its models and seeds")
    asked.add_argument("--models", nargs="+", default=REDUCED["models"])
    asked.add_argument("--seeds", nargs="+", type=int, default=REDUCED["seeds"])
    asked.add_argument("--set", action="append", default=[], help="as for `finetrap run`")
    asked.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="of lm-eval")
    options = asked.parse_args()
    needs("lm_eval", "trl", "peft")
    overrides = list(options.set)
    if not options.whole:
        overrides += [f"models={json.dumps(options.models)}", f"seeds={options.seeds}"]
    with tempfile.TemporaryDirectory() as folder:
        compare(miniature.study("terse"), overrides, Path(folder), options.batches, options.out)


if __name__ == "__main__":
    main()
