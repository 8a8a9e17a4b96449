"""A transformers model behind the seam: asked, trained, saved, and made the base again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from finetrap.backends import (
    NOTHING_KNOWN,
    Completion,
    Known,
    Moved,
    Progress,
    Row,
    Scored,
    Training,
    Written,
)
from finetrap.backends.hf import layout
from finetrap.backends.hf.asking.generate import Endings, Golds, generate, row_bytes
from finetrap.backends.hf.asking.score import divergence, known_windows, score_in_parts, whole_texts
from finetrap.backends.hf.given import taken, told
from finetrap.backends.hf.kernels.onednn import multiplying
from finetrap.backends.hf.layout import Span
from finetrap.backends.hf.load import Opened, load_checkpoint, quiet, tokens_of
from finetrap.backends.hf.memory import multiplying_for
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import passes, step
from finetrap.backends.hf.training.adapters import (
    Adapter,
    adapter_bytes,
    can_be_scaled,
    scale,
    training_parts,
)
from finetrap.backends.hf.training.member import (
    Member,
    Trainee,
    examples,
    schedule_of,
    seeded,
    shown_row,
    trainable,
    training_of,
)
from finetrap.backends.hf.weights import Originals, WayBack, base_copy, cast, sharing_copy
from finetrap.errors import BadInput
from finetrap.records import ModelSpec, Precision, StrategySpec, TrainSpec
from finetrap.runs.scratch import Scratch
from finetrap.runs.unfinished import Checkpoint
from finetrap.text.prompts import Form


class HFModel:
    """The `Model` protocol for transformers and PEFT.

    Training works on a copy of the module tree that shares its tensors with the opened model.
    Before the first training the tensors are kept aside on the CPU, in the narrowest type that
    holds them exactly, and `reset` writes those back: nothing is ever undone by subtracting.
    """

    def __init__(self, spec: ModelSpec, opened: Opened, dtype: torch.dtype) -> None:
        self._spec, self._base, self._dtype = spec, opened.network, dtype
        self._opened = opened
        self._read_with(opened)
        self.parameters: int = sum(p.numel() for p in self._base.parameters())
        self._originals = Originals(self._base)
        self._network = Network(self._base)
        self._adapter: Path | None = None
        self._scratch: Scratch | None = None
        self._changed = self._runs_unmerged = False
        self._way: WayBack | None = None
        self._share = 1.0
        self.tokens_read = 0
        if dtype != torch.float32:
            self._originals.keep()
            cast(self._base, dtype)

    def _read_with(self, opened: Opened, facts: Mapping[str, str] | None = None) -> None:
        """Take the tokenizer and the chat template of an opened model; add facts to its own."""
        self.tokens = tokens_of(opened, self._spec.prompt.format)
        self.form = Form(self._spec.prompt, self.tokens.chat)
        self.made_from: Mapping[str, str] = {**opened.made_from, **(facts or {})}

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
        """Complete each prompt greedily; score its gold in the same pass. Raises ContextTooLong."""
        ids = [self.tokens.prompt(text) for text in prompts]
        for number, row in enumerate(ids):
            length = len(row) + self._network.virtual + max_new_tokens
            what = f"the prompt with {max_new_tokens} new tokens"
            self.tokens.check_fits(length, what, number)
        endings = Endings(self.tokens, stops, max_new_tokens)
        texts = self._encoded(prompts, golds, scored) if golds and scored else []
        read = partial(generate, self._network, ids, endings, filler=self.tokens.filler)
        after = max([max_new_tokens, *map(len, texts)])
        with self._network.within(max(map(len, ids), default=0) + after):
            beside = (
                Golds(texts, scored)
                if scored and texts and self._network.trials.way == "shared"
                else None
            )
            past = known.whole if beside else known.completions
            with multiplying_for(sum(map(len, ids)) + len(ids) * max_new_tokens, self._network):
                completions = read(batch=batch, written=written, golds=beside, known=past)
        if golds and scored and beside is None:
            pairs = list(zip(prompts, golds, strict=True))
            self.score(pairs, batch=batch, scored=scored, known=known)
        beside_read = sum(map(len, texts)) if beside else 0
        self.tokens_read += sum(map(len, ids)) + sum(c.tokens for c in completions) + beside_read
        return completions

    def _encoded(
        self, prompts: Sequence[str], golds: Sequence[str], scored: Scored
    ) -> list[list[int]]:
        """Encode golds to be read after their prompts; tell what is known of those without text."""
        ids = []
        for number, (prompt, text) in enumerate(zip(prompts, golds, strict=True)):
            head, gold, _ = self.tokens.pair(prompt, text)
            length = len(head) + len(gold) - 1 + self._network.virtual
            self.tokens.check_fits(length, "the text to be scored", number)
            ids.append(list(gold))
            if not gold:
                scored(number, 0.0)
        return ids

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        windows: bool = False,
        scored: Scored | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[float]:
        """Return the nats of each continuation given its context.

        One that is too long raises ContextTooLong, or is read in disjoint `windows` that each stand
        after the context. Without one they stand after BOS (else EOS, else the first token of each
        is not scored).
        """
        if windows:
            room = self.tokens.context and self.tokens.context - self._network.virtual
            cut = [list(layout.cut_windows(self.tokens, *pair, room)) for pair in pairs]
            counts = [len(spans) for spans in cut]
            past = known_windows(counts, known.nats)
            whole = scored and whole_texts(counts, scored)
            nats = iter(self._score(list(chain(*cut)), batch, whole, past))
            return [sum(next(nats) for _ in spans) for spans in cut]
        spans = [layout.join(self.tokens, *pair) for pair in pairs]
        for number, span in enumerate(spans):
            length = len(span.ids) - 1 + self._network.virtual
            self.tokens.check_fits(length, "the text to be scored", number)
        return self._score(spans, batch, scored, known.nats)

    def train(
        self,
        rows: Sequence[Row],
        strategy: StrategySpec,
        train: TrainSpec,
        seed: int,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Training:
        """Train the base model as the strategy says; a failed training leaves the base weights.

        Raises Diverged, Unsupported, ContextTooLong, and BadInput for settings that cannot be used.
        """
        self._start(rows, strategy)
        try:
            with seeded(seed):
                trainee = self._prepare(rows, strategy, train, seed)
                self._fit(trainee, train.dtype, progress, checkpoint)
            return self._finish(trainee)
        except BaseException:
            self.reset()
            raise

    def adopt(self, given: ModelSpec) -> Training:
        """Take weights that were trained elsewhere, until `reset`. Raises BadModel, NotFinite.

        They are asked with their own tokenizer and chat template; tensors of the base model's
        shapes take its place, so that there is a way back between the two.
        """
        other = load_checkpoint(given, self._base.device)
        self.reset()
        self._originals.keep()
        if self._dtype != torch.float32:
            self._originals.restore()
        differs = taken(self._base, self._opened.tokenizer, other)
        core = other.network if "tensors" in differs else self._base
        cast(core, self._dtype)
        self._network, self._changed = Network(core), True
        self._adapter = Path(given.source) if given.base else None
        self._read_with(other, told(given, differs))
        faults = list(self.tokens.template_faults)
        return Training(0, 0, 0, {"differs": differs, "template_faults": faults})

    def divergence(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        batch: int,
        moved: Moved | None = None,
        known: Known = NOTHING_KNOWN,
    ) -> list[tuple[float, float]]:
        """Return KL(this‖base) and KL(base‖this) on each continuation, nats per token.

        The base weights are loaded a second time for it.
        """
        if not self._changed:
            return [(0.0, 0.0)] * len(pairs)
        other = Network(base_copy(self._base, self._originals.kept))
        spans = [layout.join(self.tokens, *pair) for pair in pairs]
        filler, past = self.tokens.filler, known.divergences
        with multiplying(self._network.core), multiplying(other.core):
            return divergence(
                self._network, other, spans, filler=filler, batch=batch, moved=moved, known=past
            )

    def take_rows_held(self) -> int | None:
        """Return the fewest rows that the memory held at once, and begin to count anew."""
        found, self._network.fewest_rows = self._network.fewest_rows, None
        return found

    def rewind(self, share: float) -> None:
        """Go to `share` of the way from the base to the trained weights. Raises Unsupported.

        An untrained model is at both ends at once.
        """
        if not self._changed or share == self._share:
            return
        if self._way is None:
            self._way = WayBack(self._network.module, self._originals.kept)
        self._way.go(share)
        self._network.forget()
        self._share = share

    def save(self, folder: Path, *, whole: bool) -> None:
        """Write `adapter/` in PEFT's format, and with `whole` also `model/`, exactly as evaluated.

        A method that cannot be merged has no model of its own: its adapter is all there is. On the
        way back only an adapter that is linear in its own weights still is one.
        """
        if self._adapter is not None and self._ships_adapter():
            shutil.copytree(self._adapter, folder / "adapter", dirs_exist_ok=True)
            if self._share != 1.0:
                scale(folder / "adapter", self._share)
        if whole and not self._runs_unmerged:
            with quiet():
                self._network.core.save_pretrained(str(folder / "model"))
                self.tokens.save(str(folder / "model"))

    @property
    def how_read(self) -> Mapping[str, str]:
        """Return how the model is read, for people."""
        drops = {"drops": ", ".join(self.tokens.drops)} if self.tokens.drops else {}
        return {**self._network.trials.how_read, **drops}

    @property
    def ship_bytes(self) -> int:
        """Return the adapter file's size, or the whole checkpoint's if its weights were trained."""
        if not self._changed or self._share == 0.0:
            return 0
        if self._adapter is not None and self._ships_adapter():
            return adapter_bytes(self._adapter)
        return self.parameters * self._opened.stored_bytes

    def reset(self) -> None:
        """Return to the base weights, exactly."""
        if self._changed:
            self._originals.restore()
            cast(self._base, self._dtype)
            if self.made_from != self._opened.made_from:
                self._read_with(self._opened)
        self._network = Network(self._base)
        self._changed = self._runs_unmerged = False
        self._way, self._share = None, 1.0
        self._adapter = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def lengths(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """Return the tokens of each context and of its continuation, as `score` reads them."""
        return [(len(p.prompt), len(p.target)) for p in (self.tokens.pair(*x) for x in pairs)]

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """Return the text of each token of a training row, with whether it is in the loss."""
        return shown_row(row, self.tokens)

    def training_tokens(
        self, rows: Sequence[Row], strategy: StrategySpec, train: TrainSpec, seed: int
    ) -> int:
        """Return the tokens that `train` would see, without training. Raises ContextTooLong."""
        spans = examples(rows, self.tokens, virtual=0, max_length=train.max_length)
        seen = chain(*schedule_of(strategy, train).batches(len(spans), seed))
        lengths = spans.lengths.tolist()
        return sum(lengths[i] for i in seen)

    def row_bytes(self, tokens: int) -> int:
        """Return about how many bytes a row of so many tokens holds while it is completed."""
        return row_bytes(self._network, tokens)

    def _start(self, rows: Sequence[Row], strategy: StrategySpec) -> None:
        """Make the base weights ready to be trained, in fp32."""
        if not rows:
            raise BadInput(f"strategy '{strategy.name}' trains and there is no training row")
        self.reset()
        self._originals.keep()
        if strategy.kind == "full" and self._base.device.type == "cpu":
            self._originals.lay_down()  # nothing reads them until the weights are restored
        if self._dtype != torch.float32:
            self._originals.restore()
        self._changed = True

    def _prepare(
        self, rows: Sequence[Row], strategy: StrategySpec, train: TrainSpec, seed: int
    ) -> Trainee:
        """Build what a strategy trains, on a copy of the module tree."""
        schedule = schedule_of(strategy, train)
        core = sharing_copy(self._base)
        scratch = Scratch()
        adapter = None
        if strategy.kind != "full":
            adapter = self._adapt(core, strategy, scratch.path)
        network = adapter.network if adapter else Network(core.requires_grad_(True))
        spans = examples(rows, self.tokens, virtual=network.virtual, max_length=train.max_length)
        member = Member(trainable(network), spans, schedule, seed)
        return Trainee(network, adapter, member, scratch)

    def _adapt(self, core: Any, strategy: StrategySpec, folder: Path) -> Adapter:
        """Put the strategy's adapter on a model, ready to be trained."""
        base = set(core.modules())
        local = self._spec.revision.startswith("sha256:")
        revision = None if local else self._spec.revision
        source = self._spec.source
        adapter = Adapter(core, strategy.peft or {}, folder, source=source, revision=revision)
        training_parts(adapter.model, base)
        return adapter

    def _fit(
        self,
        trainee: Trainee,
        precision: Precision | None,
        progress: Progress | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train with passes in one precision. Raises Unsupported for bf16 that PEFT cannot do."""
        kept, filler = self._originals.same, self.tokens.filler
        way = (passes.rounded if precision == "bf16" else passes.exact)(trainee, kept)
        _ = way.network.head  # is tried on a row of its own, before any layer is replaced
        with way.ready():
            step.fit(
                way.network,
                trainee.member,
                filler=filler,
                merging=way.merging,
                together=way.together,
                progress=progress,
                checkpoint=checkpoint,
            )

    def _finish(self, trainee: Trainee) -> Training:
        """Settle what was trained and say what it was. Raises Diverged."""
        self._changed = True
        member, adapter = trainee.member, trainee.adapter
        if member.fault:
            raise member.fault
        self._scratch = trainee.scratch
        self._settle(trainee.network, adapter)
        return training_of(member, self.tokens, adapter)

    def _settle(self, network: Network, adapter: Adapter | None) -> None:
        """Make what was trained ready to be asked: written, merged in fp32, cast once."""
        if adapter:
            network.module.eval()
            self._adapter = adapter.write()
            network = adapter.settle()
            self._runs_unmerged, network.adapted = not adapter.merged, adapter.layers
        network.module.requires_grad_(False).eval()
        network.module.zero_grad()
        cast(self._base if self._runs_unmerged else network.core, self._dtype)
        network.forget()
        self._network = network

    def _ships_adapter(self) -> bool:
        return self._adapter is not None and (self._share == 1.0 or can_be_scaled(self._adapter))

    def _score(
        self,
        spans: Sequence[Span],
        batch: int,
        scored: Scored | None = None,
        known: Mapping[int, float] | None = None,
    ) -> list[float]:
        self.tokens_read += sum(len(span.ids) for span in spans)
        filler = self.tokens.filler
        return score_in_parts(
            self._network, spans, filler=filler, batch=batch, scored=scored, known=known or {}
        )
