"""Writes docs/reference.md from the code: the keys of a study, the verbs, the names.

`make reference` runs it; a test compares what it would write with what is there.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from finetrap import catalog, cli, miniature, records, references, tasks
from finetrap.measure.study import file as studyfile
from finetrap.measure.study.file import Table

PAGE = Path(__file__).with_name("reference.md")


class Section(NamedTuple):
    """A table of a study file, and the record that holds its defaults and meanings."""

    title: str
    text: str
    table: type[Table]
    record: type | None


SECTIONS = (
    Section("The study", "The keys at the top of the file.", studyfile.StudyTable, records.Study),
    Section(
        "[train]", "The budget of every trained strategy.", studyfile.TrainTable, records.TrainSpec
    ),
    Section("[limits]", "What bounds an evaluation.", studyfile.LimitsTable, records.Limits),
    Section(
        "[search]",
        "A fair search for learning rates; without this table none is made.",
        studyfile.SearchTable,
        records.Search,
    ),
    Section("[judge]", "How verdicts are drawn.", studyfile.JudgeTable, records.Judge),
    Section("[keep]", "Which weights stay in the runs folder.", studyfile.KeepTable, None),
    Section(
        "[strategy.NAME]",
        "Overrides a strategy of the catalog, or with `kind` defines one; a strategy file has the "
        "same keys. A list is an axis of the grid: one strategy for each value.",
        studyfile.StrategyTable,
        records.StrategySpec,
    ),
    Section(
        "[prompt]",
        "How every model is asked: the same in training, in tests and in exemplars. `[model.NAME]` "
        "may hold a table `prompt` with these keys for one model.",
        studyfile.PromptTable,
        references.PromptSpec,
    ),
    Section(
        "[model.NAME]",
        "Overrides a model, or with `source` defines one; a model file has the same keys.",
        studyfile.ModelTable,
        references.ModelSpec,
    ),
)
RENAMED = {"task": "train_task", "replay_task": "replay_task"}
"""Keys of `[train]` that the record holds at its top."""


def page() -> str:
    """Return the whole reference as Markdown."""
    parts = [
        "# Reference",
        "*Written by `make reference` from the code; change it there.*",
        "## Keys of a study",
        "A study is a TOML file. All errors are reported together. In Python the same keys are "
        "the keywords of `finetrap.Study`. `--set train.epochs=2` sets a key for one call.",
        *(part for section in SECTIONS for part in _keys(section)),
        "## Verbs",
        *(line for line in (cli.__doc__ or "").splitlines() if line.startswith("Exit codes")),
        *(part for name, verb in _verbs() for part in _verb(name, verb)),
        "## Names",
        *_names(),
    ]
    return "\n\n".join(parts) + "\n"


def _keys(section: Section) -> Iterator[str]:
    yield f"### {_code(section.title) if section.title.startswith('[') else section.title}"
    yield section.text
    rows = [["key", "allowed", "default", "meaning"]]
    for name, field in section.table.model_fields.items():
        allowed = (field.description or "").replace("|", "\\|")
        rows.append([_code(name), allowed, _default(section, name), _meaning(section, name)])
    yield _table(rows)


def _default(section: Section, name: str) -> str:
    """Return what holds where nothing is written."""
    if section.table is studyfile.StudyTable and name in studyfile.REQUIRED:
        return "*needed*"
    if section.record is not None and name in section.record.__annotations__:
        return "" if name == "keep" else _toml(getattr(section.record, name, None), name)
    return _toml(section.table.model_fields[name].default, name)


def _toml(value: object, name: str) -> str:
    if value is None and name in ("problems", "test_problems", "probe_problems"):
        return _code('"all"')
    if isinstance(value, (bool, int, float, str)) and value != "":
        return _code(json.dumps(value))
    return _code(json.dumps(list(value))) if isinstance(value, (list, tuple)) and value else ""


def _meaning(section: Section, name: str) -> str:
    """Return what the form says of a key, or else the record."""
    meanings, form = _meanings(), (section.table.__name__, name)
    home = (section.record or section.table).__name__, name
    if section.table is studyfile.TrainTable and name in RENAMED:
        home = "Study", RENAMED[name]
    found = meanings.get(form) or meanings.get(home)
    if not found:
        raise SystemExit(f"{'.'.join(form)} has no docstring: say in it what the key means")
    return found.replace("|", "\\|")


def _meanings() -> dict[tuple[str, str], str]:
    """Return the docstring below every field of the records and of the forms."""
    found = {}
    for module in (records, references, studyfile):
        for kind in ast.parse(Path(module.__file__ or "").read_text("utf-8")).body:
            if not isinstance(kind, ast.ClassDef):
                continue
            for field, text in zip(kind.body, kind.body[1:], strict=False):
                told = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and told:
                    name = ast.unparse(field.target)
                    found[kind.name, name] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return found


def _verbs() -> list[tuple[str, Any]]:
    group: Any = typer.main.get_command(cli.app)
    return list(group.commands.items())


def _verb(name: str, verb: Any) -> Iterator[str]:
    about, _, example = (verb.help or "").partition("Example:")
    yield f"### `finetrap {name}`"
    yield about.strip()
    if example:
        yield f"```sh\n{example.strip()}\n```"
    rows = [["argument or option", "default", "meaning"]]
    for parameter in verb.params:
        rows.append([_usage(parameter), _parameter_default(parameter), parameter.help or ""])
    yield _table(rows)


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _code(parameter.metavar or parameter.name.upper())
    names = ", ".join(parameter.opts)
    if parameter.is_flag:
        return _code(names)
    kind = parameter.type_descriptor.annotation
    value = parameter.metavar or {Path: "PATH", int: "N", float: "NUMBER"}.get(kind, "TEXT")
    return _code(f"{names} {value}") + (" …" if parameter.multiple else "")


def _parameter_default(parameter: Any) -> str:
    if parameter.required:
        return "*needed*"
    silent = parameter.default in (None, False) or parameter.multiple
    return "" if silent else _code(str(parameter.default))


def _names() -> Iterator[str]:
    yield "What a study can name; `finetrap list` prints it."
    for title, entries in (
        ("Models", {name: table["about"] for name, table in catalog.models().items()}),
        ("Strategies", {name: table["about"] for name, table in catalog.strategies().items()}),
        ("Prompts", {name: table["about"] for name, table in catalog.presets().items()}),
        ("Tasks", {name: f"kind: {kind}" for name, kind in tasks.names().items()}),
        ("Shipped studies", {name: _first_comment(name) for name in miniature.studies()}),
    ):
        yield f"### {title}"
        yield _table([["name", ""], *([_code(name), about] for name, about in entries.items())])


def _first_comment(name: str) -> str:
    lines = miniature.study(name).read_text("utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines[: lines.index(f'name = "{name}"')]]
    return " ".join(comments)


def _code(text: str) -> str:
    return f"`{text}`"


def _table(rows: list[list[str]]) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
