"""What the verbs share: their options, how they speak, and how a study is read from them."""

from __future__ import annotations

import json
import math
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from finetrap.errors import BadInput
from finetrap.text.paths import place_of
from finetrap.text.visible import visible

if TYPE_CHECKING:
    from finetrap.records import Study

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file (TOML), or a shipped study's name.")
]
RunsFolder = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Folder of the measured runs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one event or result a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Processes; default: one a core while there is work."),
]
EngineName = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="Where cells run: local, ray or slurm.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="The Ray cluster: auto, or host:port."),
]
SlurmSettings = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE", help="Of sbatch: partition=gpu, time=60"),
]


def set_device(name: str | None) -> str | None:
    """Tell this process and its workers the device."""
    if name is not None:
        from finetrap.backends.hf import device

        os.environ[device.CHOICE] = device.checked_device(name)
    return name


Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", callback=set_device, help="auto (default), cpu, cuda, cuda:N, mps or xpu."
    ),
]


def set_per_gpu(count: int | None) -> int | None:
    """Tell this process how many workers share a GPU."""
    if count is not None:
        from finetrap.measure.engines import machine

        os.environ[machine.PER_GPU] = str(count)
    return count


PerGpu = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        callback=set_per_gpu,
        help="Processes that share a GPU; default: as many as fit its memory, at most 4.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override the study: train.epochs=2"),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Also run failed cells once more.")]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Measure cells too that a lock file leaves to a process which has ended.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Run code that comes with the study or its models."),
]
Root = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Folder that relative paths start from."),
]


def finite(value: float | None) -> float | None:
    """Return a number; infinity and NaN pass every comparison with a bound but are none."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number; give a finite one")
    return value


MaxMemory = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0,
        callback=finite,
        help="Gigabytes that a training may hold.",
    ),
]
MinRetention = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        min=0,
        max=100,
        help="Percent of other abilities to be kept.",
    ),
]
OneFile = Annotated[
    bool, typer.Option("--must-ship-one-file", help="Weights alone: no adapter, no examples.")
]


class Voice(NamedTuple):
    """How a verb speaks: to a person, as JSON, or not at all."""

    as_json: bool
    quiet: bool

    @property
    def aloud(self) -> bool:
        """Whether a person listens."""
        return not (self.as_json or self.quiet)

    def say(self, text: str) -> None:
        """Tell a person."""
        if self.aloud:
            print(visible(text), flush=True)

    def result(self, document: object, text: str) -> None:
        """Give a result: as JSON where that is asked for, else in words."""
        if self.as_json:
            print(json.dumps(document), flush=True)
        else:
            self.say(text)


class Source(NamedTuple):
    """The runs that are judged, and what they are judged by."""

    runs: Path
    study: Path | None = None
    """None: every run in the folder."""
    overrides: list[str] | None = None
    margin: float | None = None
    """Points; None: the study's."""

    @property
    def command(self) -> str:
        """What measures these runs again, as it is typed."""
        if self.study is None:
            return shlex.join(["finetrap", "report", "--runs", str(self.runs)])
        settings = [word for value in self.overrides or () for word in ("--set", value)]
        runs = [] if self.runs == Path("runs") else ["--runs", str(self.runs)]
        return shlex.join(["finetrap", "run", str(self.study), *settings, *runs])


def read_study(study: Path, overrides: list[str] | None, **settings: object) -> Study:
    """Read a study file, or the shipped study of that name, with what flags override.

    `settings` are those of flags that have a name of their own. Raises BadInput, BadStudy.
    """
    from finetrap import api

    return api.load(study, {**parse_overrides(overrides), **settings})


def parse_overrides(overrides: list[str] | None) -> dict[str, Any]:
    """Read `KEY=VALUE` flags; a value is TOML, or else a plain string. Raises BadInput."""
    from finetrap.measure.study.toml import parse_value

    parsed: dict[str, Any] = {}
    for entry in overrides or ():
        key, equals, value = entry.partition("=")
        if not key or not equals:
            raise BadInput(f"--set {entry}: expected KEY=VALUE, for example --set train.epochs=2")
        parsed[key.strip()] = parse_value(value.strip())
    return parsed


def data_at(entry: str) -> tuple[str, str]:
    """Read TASK=PATH of `--data`. Raises BadInput."""
    name, equals, path = entry.partition("=")
    if not name or not equals or not path:
        raise BadInput(f"--data {entry}: expected TASK=PATH, for example gsm8k=data/gsm8k")
    return name, str(place_of(path).resolve())
