"""A model whose answers are kept as they come: a cell that was stopped asks only what is missing.

What is asked names a call: the same texts, asked of the same weights in the same way, are the same
call. So what asks knows nothing of it, and finds in one process what it would have found in two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from finetrap.backends import (
    NOTHING_KNOWN,
    Completion,
    Interpolating,
    Known,
    Model,
    Moved,
    Progress,
    Row,
    Scored,
    Training,
    Written,
)
from finetrap.records import ModelSpec, StrategySpec, TrainSpec, content_hash
from finetrap.runs.unfinished import Checkpoint, Journal

T = TypeVar("T")
Resuming = Callable[[int, int], None]
"""Called with how many rows of a call are known, and how many there are."""


class Remembered:
    """Implements `finetrap.backends.Model` with another one and a journal."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.parameters, self.form = model.parameters, model.form
        self._journal = Journal()
        self._resuming: Resuming = lambda done, of: None
        self._weights = "base"
        """Names the weights that are asked."""
        self._calls: Counter[str] = Counter()
        self._earlier_s = 0.0

    def begin(self, journal: Journal, resuming: Resuming) -> None:
        """Keep in a cell's journal what is found from now on, and look there first."""
        self._journal, self._resuming = journal, resuming
        self._calls.clear()
        self._earlier_s = 0.0

    def earlier_s(self) -> float:
        """Return the seconds that processes before this one spent on calls since the last time."""
        found, self._earlier_s = self._earlier_s, 0.0
        return found

    @property
    def tokens_read(self) -> int:
        """As the model counts them."""
        return self.model.tokens_read

    @property
    def ship_bytes(self) -> int:
        """As the model counts them."""
        return self.model.ship_bytes

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stops: Sequence[str],
        batch: int,
        written: Written | None = None,
        golds: Sequence[str] = (),
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[Completion]:
        """Complete the prompts that are not known yet, and score their golds."""
        asked = [list(prompts), list(golds) if scored else [], max_new_tokens, list(stops), batch]
        with self._call("generate", asked, len(prompts)) as call:
            return self.model.generate(
                prompts,
                max_new_tokens=max_new_tokens,
                stops=stops,
                batch=batch,
                written=call.written(written),
                golds=golds,
                scored=call.scored(scored) if scored else None,
                known=call.known,
            )

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        windows: bool = False,
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[float]:
        """Score the continuations that are not known yet."""
        with self._call("score", [list(pairs), batch, windows], len(pairs)) as call:
            return self.model.score(
                pairs, batch=batch, windows=windows, scored=call.scored(scored), known=call.known
            )

    def train(
        self,
        rows: Sequence[Row],
        strategy: StrategySpec,
        train: TrainSpec,
        seed: int,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Training:
        """Train the model; from now on other weights are asked."""
        self._weights = "trained"
        return self.model.train(rows, strategy, train, seed, progress, checkpoint)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the model can do, it does itself: what it is made of, how it is read.

        So this is an instance of the optional protocols that the model is one of.
        """
        if name == "model":  # asked for before it is set, as by copy
            raise AttributeError(name)
        found = getattr(self.model, name)
        if name != "adopt":
            return found

        def adopt(given: ModelSpec) -> Training:
            self._weights = "trained"
            training: Training = found(given)
            self.form = self.model.form  # a checkpoint may bring a chat template of its own
            return training

        return adopt

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write the model."""
        self.model.save(folder, whole=whole)

    def reset(self) -> None:
        """Return to the base weights."""
        self._weights = "base"
        self.model.reset()
        self.form = self.model.form

    def _call(self, kind: str, asked: Sequence[Any], rows: int) -> _Call:
        name = content_hash([kind, self._weights, asked])[:16]
        self._calls[name] += 1
        name = f"{name}-{self._calls[name]}"
        call = _Call(self._journal, name)
        self._earlier_s += call.earlier_s
        if call.done:
            self._resuming(call.done, rows)
        return call


class RememberedBothEnds(Remembered):
    """The same of a model that has its base weights beside the trained ones."""

    model: Interpolating

    def rewind(self, share: float) -> None:
        """Set the weights, which are others to be asked from now on."""
        if self._weights != "base":
            self._weights = "trained" if share == 1.0 else f"trained*{share}"
        self.model.rewind(share)

    def divergence(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        moved: Moved | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[tuple[float, float]]:
        """Return the divergences, of which some may be known."""
        with self._call("divergence", [list(pairs), batch], len(pairs)) as call:
            return self.model.divergence(
                pairs, batch=batch, moved=call.moved(moved), known=call.known
            )


def remembered(model: Model) -> Remembered:
    """Return the model with a memory."""
    return (RememberedBothEnds if isinstance(model, Interpolating) else Remembered)(model)


class _Call:
    """What is known of one call, and what keeps the rest of it."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal, self._name = journal, name
        self._start = perf_counter()
        self.earlier_s = 0.0
        self.known = Known({}, {}, {})
        kinds: dict[str, Any] = {
            "text": (self.known.completions, lambda *found: Completion(*found)),
            "nats": (self.known.nats, lambda nats: nats),
            "moved": (self.known.divergences, lambda *found: found),
        }
        for kind, number, *found, self.earlier_s in journal.rows(name):
            kept, read = kinds[kind]
            kept[number] = read(*found)

    @property
    def done(self) -> int:
        """How many rows are done."""
        known = self.known
        return len(known.completions) or len(known.nats) or len(known.divergences)

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *fault: object) -> None:
        self._journal.flush()

    def written(self, told: Written | None) -> Written:
        """Return what keeps completions and tells them, those that are known at once."""
        return self._keeping("text", self.known.completions, told, astuple)

    def scored(self, told: Scored | None) -> Scored:
        """Likewise for nats."""
        return self._keeping("nats", self.known.nats, told, lambda nats: (nats,))

    def moved(self, told: Moved | None) -> Moved:
        """Likewise for divergences."""
        return self._keeping("moved", self.known.divergences, told, lambda pair: pair)

    def _keeping(
        self,
        kind: str,
        known: Mapping[int, T],
        told: Callable[[int, T], None] | None,
        written: Callable[[T], Sequence[Any]],
    ) -> Callable[[int, T], None]:
        if told:
            for number, found in known.items():
                told(number, found)

        def keep(number: int, found: T) -> None:
            if number in known:
                return
            seconds = round(self.earlier_s + perf_counter() - self._start, 3)
            self._journal.add(self._name, [kind, number, *written(found), seconds])
            if told:
                told(number, found)

        return keep
