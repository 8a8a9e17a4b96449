"""A study file becomes a checked Study.

    name = "first"
    models = ["mini-1m"]              # catalog name, hub id, local folder, file (.toml), toy:…
    tasks = ["market"]                # trained on, then tested on
    probes = ["school", "prose"]      # never trained on
    strategies = ["full", "lora"]     # catalog name, strategy file (.toml), or defined below
    seeds = [0, 1, 2]
    [train]                           # the budget of every trained strategy; `task`: train on this
    [limits] [judge] [keep]           # one task and test on every task
    [search]                          # `trials` learning rates for each trained strategy, then its
                                      # best beside the one that all share (train.learning_rate)
    [strategy.full]                   # overrides the catalog; with `kind` it defines a strategy
    learning_rate = [3e-5, 3e-4]      # a list is an axis of the grid
    [strategy.lora.peft]
    r = [4, 16]                       # here too, but for settings that are lists by nature
    [prompt]                          # how every model is asked: system, template (a list is an
                                      # axis), answer_prefix, format, or a preset
    [model."org/name"]                # revision, prompt; with `source` it defines a model
    [data]
    gsm8k = "path"                    # local data of a task
    [task."jsonl:mine.jsonl"]         # options of a task: the columns of user data
    question = "prompt"

Paths start from the study file's folder. All faults are reported at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetrap import catalog, tasks
from finetrap.errors import BadInput, BadStudy, nearest
from finetrap.measure.study import models
from finetrap.measure.study.axes import grid, overlaid, strategy_faults
from finetrap.measure.study.faults import checked, checked_strategy, place, shown
from finetrap.measure.study.file import StudyTable
from finetrap.measure.study.forms import prompts_of
from finetrap.measure.study.toml import overridden, read_toml
from finetrap.records import ModelSpec, Search, StrategySpec, Study, TaskRef, TrainSpec
from finetrap.text.paths import place_of
from finetrap.text.visible import ascii_line, clip, stands_on_a_line

DEV = 200
"""Training problems held out where a study chooses settings and does not say how many."""
SHARED_RATE = 3e-4
"""The one learning rate of all trained strategies beside a search, unless the study gives one."""
LONGEST = 1000
"""Characters that are told of one fault: names stand in it, of whatever length."""


def load_study(path: str | Path, overrides: Mapping[str, object] | None = None) -> Study:
    """Read and check a study file; `overrides` set dotted keys, such as `train.epochs`, before.

    Raises BadInput if the file cannot be read, BadStudy with all of its faults.
    """
    file = Path(path)
    table, source = read_toml(file)
    for key, value in (overrides or {}).items():
        source += f"\n# set on the command line: {key} = {shown(value)}\n"
    table = overridden(table, overrides or {})
    return check(table, at=str(file), base=file.parent.resolve(), source=source)


def check(table: Mapping[str, Any], *, at: str, base: Path, source: str = "") -> Study:
    """Turn the table of a study into a Study; its paths start from `base`. Raises BadStudy."""
    form, faults = checked(table)
    reading = _Reading(form, table, base, faults)
    study = Study(
        name=form.name,
        models=reading.models(),
        tasks=reading.tasks(),
        strategies=reading.strategies(),
        seeds=tuple(form.seeds),
        probes=reading.probes(),
        train=reading.train(),
        train_task=reading.train_task(),
        limits=form.limits.spec(),
        replay_task=reading.replay_task(),
        search=reading.search(),
        judge=form.judge.spec(),
        keep=form.keep.spec(),
        source=source,
    )
    reading.leftovers()
    names = [study.name, *(model.name for model in study.models)]
    names += [strategy.name for strategy in study.strategies]
    names += [task.name for task in (*study.tasks, *study.probes)]
    faults += [
        f"{ascii_line(name)!r}: a name stands on one line, without control characters; rename it"
        for name in dict.fromkeys(names)
        if not stands_on_a_line(name)
    ]
    if faults:
        raise BadStudy(at, [clip(fault, LONGEST) for fault in faults])
    return study


@dataclass
class _Reading:
    """Resolves the names in a study; what cannot be resolved becomes a fault."""

    form: StudyTable
    table: Mapping[str, Any]
    """As written: `form` lacks what was at fault."""
    base: Path
    faults: list[str]
    kinds: Mapping[str, str] = field(default_factory=tasks.names)

    def models(self) -> tuple[ModelSpec, ...]:
        found: list[list[ModelSpec]] = []
        prompt = self._prompt()
        for entry in self.form.models:
            table = self.form.model.get(entry)
            settings = table.model_dump(exclude_unset=True) if table else {}
            with self._at_entry("models", entry):
                found.append(models.variants(entry, self.base, settings, prompt))
        self._refuse_repeated("models", [own[0].name for own in found])
        return tuple(model for own in found for model in own)

    def _prompt(self) -> Mapping[str, Any]:
        """Return the study's `[prompt]`, empty where it is at fault."""
        written = self.form.prompt.model_dump(exclude_unset=True)
        with self._at("prompt"):
            prompts_of(written)
            return written
        return {}

    def tasks(self) -> tuple[TaskRef, ...]:
        for entry in self.form.tasks:
            with self._at_entry("tasks", entry):
                if self._kind(entry) == "prose":
                    raise BadInput(f"'{entry}' is read, not solved; put it under `probes`")
        return self._references("tasks", self.form.tasks)

    def probes(self) -> tuple[TaskRef, ...]:
        return self._references("probes", self.form.probes)

    def train_task(self) -> TaskRef | None:
        return self._train_reference("task")

    def replay_task(self) -> TaskRef | None:
        found = self._train_reference("replay_task")
        replaying = [name for name in self.form.strategies if self._known_replay(name)]
        if replaying and not self.form.train.replay_task:
            self.faults.append(
                f"{place('train')}: '{replaying[0]}' replays and there is nothing to replay; name "
                'a task whose training problems are mixed in, such as replay_task = "world"'
            )
        return found

    def search(self) -> Search | None:
        table = self.form.search
        if table is None:
            return None
        search = table.spec()
        if search.seed in self.form.seeds:
            self.faults.append(
                f"{place('search', 'seed')}: {search.seed} is also one of `seeds`; trials and "
                "final runs need different seeds"
            )
        return search

    def train(self) -> TrainSpec:
        """Return the budget. A search, and a strategy that goes back, choose on held-out problems;
        under a search all trained strategies share one rate beside their own."""
        train = self.form.train.spec()
        chooses = self.form.search or any(map(self._known_rewind, self.form.strategies))
        if chooses and "dev" not in self.form.train.model_fields_set:
            train = replace(train, dev=DEV)
        elif chooses and train.dev == 0:
            self.faults.append(
                f"{place('train', 'dev')}: found 0; a search or a rewind chooses on held-out "
                f"training problems, so give a number from 1, or none for {DEV}"
            )
        if self.form.search and train.learning_rate is None:
            train = replace(train, learning_rate=SHARED_RATE)
        return train

    def _train_reference(self, key: str) -> TaskRef | None:
        entry: str = getattr(self.form.train, key)
        if not entry:
            return None
        with self._at("train", key):
            reference = self._reference(entry)
            if self._kind(entry) != "math":
                raise BadInput(f"'{entry}' has no worked solutions to train on")
            return reference
        return None

    def strategies(self) -> tuple[StrategySpec, ...]:
        found: list[StrategySpec] = []
        for entry in self.form.strategies:
            with self._at_entry("strategies", entry):
                found += self._strategy(entry)
        self._refuse_repeated("strategies", [_strategy_name(e) for e in self.form.strategies])
        return tuple(found)

    def leftovers(self) -> None:
        """Refuse tables about nothing in the study, such as a misspelt `[strategy.ful]`."""
        form = self.form
        trained = filter(None, [form.train.task, form.train.replay_task])
        entries = [*form.tasks, *form.probes, *trained]
        listed = [_strategy_name(entry) for entry in form.strategies]
        defined = [name for name, table in form.strategy.items() if table.kind]
        about = (
            ("strategy", form.strategy, {*catalog.strategies(), *listed, *defined}),
            ("model", form.model, {*catalog.models(), *form.models}),
            ("task", form.task, set(entries)),
            ("data", form.data, {name for name in self.kinds if name != tasks.USER_DATA}),
        )
        for kind, tables, known in about:
            for name in tables:
                if name not in known:
                    hint = nearest(name, sorted(known)) or f"; known: {', '.join(sorted(known))}"
                    self.faults.append(f"{place(kind, name)}: nothing here has that name{hint}")

    @contextmanager
    def _at(self, *location: int | str) -> Iterator[None]:
        """Turn an error into a fault of this place."""
        try:
            yield
        except BadStudy as error:
            self.faults += [f"{place(*location)}: {fault}" for fault in error.faults]
        except BadInput as error:
            self.faults.append(f"{place(*location)}: {error}")

    def _at_entry(self, key: str, entry: str) -> AbstractContextManager[None]:
        return self._at(key, list(self.table[key]).index(entry))

    def _refuse_repeated(self, key: str, names: Sequence[str]) -> None:
        self.faults += [
            f"{key}: '{name}' is named {count} times; name it once"
            for name, count in Counter(names).items()
            if count > 1
        ]

    def _kind(self, entry: str) -> str | None:
        return self.kinds.get(tasks.as_named(entry).partition(":")[0])

    def _references(self, key: str, entries: Sequence[str]) -> tuple[TaskRef, ...]:
        found = []
        for entry in entries:
            with self._at_entry(key, entry):
                found.append(self._reference(entry))
        self._refuse_repeated(key, [reference.name for reference in found])
        return tuple(found)

    def _reference(self, entry: str) -> TaskRef:
        kind, _, path = tasks.as_named(entry).partition(":")
        if kind == tasks.USER_DATA and path:
            source: str | None = self._path(path)
        else:
            source = self._data(entry)
        return tasks.reference(entry, source, self.form.task.get(entry))

    def _data(self, task: str) -> str | None:
        """Return where a task's data lies: as written, else as the models' files suggest."""
        if task in self.form.data:
            return self._path(self.form.data[task])
        suggested = {models.suggested_data(entry).get(task) for entry in self.form.models}
        if len(suggested) > 1:
            raise BadInput(
                f"the models of this study go with different data for '{task}'; choose one: "
                f'[data] {task} = "path"'
            )
        return suggested.pop() if suggested else None

    def _path(self, text: str) -> str:
        """Resolve a path of the study file; a bare word that is no file stays as it is."""
        path = place_of(text, self.base)
        return text if text.isidentifier() and not path.exists() else str(path)

    def _strategy(self, entry: str) -> list[StrategySpec]:
        """Return a strategy once for each point of its grid. Raises BadStudy with its faults."""
        name = _strategy_name(entry)
        table = self.form.strategy.get(name)
        written = table.model_dump(exclude_unset=True) if table else {}
        known = self._known_strategy(entry)
        if not known and "kind" not in written:
            names = [*catalog.strategies(), *self.form.strategy]
            raise BadInput(
                f"no strategy '{entry}' in the catalog; a new one needs `kind` in "
                f"{place('strategy', name)}{nearest(entry, names)}"
            )
        merged = overlaid(known, written)
        budget = self.form.train.spec()
        shared = None if self.form.search else budget.learning_rate
        if merged["kind"] in ("full", "peft") and "learning_rate" not in written and shared:
            merged["learning_rate"] = [shared]
        faults = strategy_faults(name, merged)
        if self.form.search and len(merged.get("learning_rate", ())) > 1:
            faults.append("[search] tries several rates; give the one it starts from")
        if merged["kind"] == "given" and len(self.form.models) != 1:
            faults.append(
                f"given weights belong to one base model; the study names {len(self.form.models)}"
            )
        specs = [] if faults else list(grid(name, merged))
        if merged["kind"] == "given":
            specs = [replace(spec, weights=self._weights(merged["weights"])) for spec in specs]
        refused = [catalog.check_peft(spec.peft) for spec in specs if spec.peft is not None]
        if budget.dtype == "bf16":
            refused += [catalog.check_bf16(spec.peft) for spec in specs if spec.peft is not None]
        faults += dict.fromkeys(fault for reasons in refused for fault in reasons)
        if faults:
            raise BadStudy(name, [f"'{name}': {fault}" for fault in faults])
        return specs

    def _weights(self, entries: Sequence[str]) -> tuple[ModelSpec, ...]:
        """Return what was trained elsewhere; an adapter goes on the study's model."""
        entry = self.form.models[0]
        table = self.form.model.get(entry)
        settings = table.model_dump(exclude_unset=True) if table else {}
        base = models.resolve(entry, self.base, settings)
        found = [models.given(weights, self.base, base) for weights in entries]
        self._refuse_repeated("weights", [weights.revision for weights in found])
        return tuple(found)

    def _known_replay(self, entry: str) -> bool:
        return bool(self._setting(entry, "replay"))

    def _known_rewind(self, entry: str) -> bool:
        return bool(self._setting(entry, "rewind"))

    def _setting(self, entry: str, key: str) -> Any:
        """Return a strategy's setting as far as it can be read; its faults are found elsewhere."""
        table = self.form.strategy.get(_strategy_name(entry))
        written = table.model_dump(exclude_unset=True) if table else {}
        try:
            return {**self._known_strategy(entry), **written}.get(key)
        except BadInput:
            return None

    def _known_strategy(self, entry: str) -> dict[str, Any]:
        """Return what the catalog or a strategy file says, empty for an unknown name."""
        if entry.endswith(".toml"):
            path = place_of(entry, self.base)
            table, _ = read_toml(path)
            file = path.name
        else:
            table, file = catalog.strategies().get(entry, {}), f"{entry}.toml"
        strategy, faults = checked_strategy(table, file)
        if entry.endswith(".toml") and strategy.kind is None:
            faults.append(f'{file}: kind: missing; give "prompt", "full", "peft" or "given"')
        if faults:
            raise BadStudy(entry, faults)
        return strategy.model_dump(exclude_unset=True)


def _strategy_name(entry: str) -> str:
    return Path(entry).stem if entry.endswith(".toml") else entry
