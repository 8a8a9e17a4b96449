"""The shape of the code: imports point down, judging needs no torch, files fit a reader's head."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.glob("finetrap/**/*.py"))

JUDGING = (
    ("errors", "records", "findings", "numerals"),
    ("runfolder", "rows", "population"),
    ("store", "scoring", "overlap"),
    ("compare",),
    ("trials", "retention"),
    ("arms", "power", "predictions"),
    ("tables", "effects", "outcomes"),
    ("verdicts",),
    ("pairwise", "prior", "detectable"),
    ("candidates", "noninferior", "nextrun"),
    ("choice",),
    ("claims", "diagnose", "advise"),
    ("cliff",),
    ("judgement",),
    ("report",),
)
"""From the bottom up: a module imports only from rows below its own, or from its own package."""
DOING = (
    ("catalog", "meter", "miniature", "packs", "prompts", "backends", "tasks"),
    ("studyfile", "strategies"),
    ("axes",),
    ("checkpoints", "evidence", "rewind", "telling"),
    ("study", "runner"),
    ("search",),
    ("engines",),
    ("tryout", "planning"),
    ("terminal",),
    ("cli", "notebook"),
)
SHARED = (
    "errors",
    "records",
    "runfolder",
    "store",
    "scoring",
    "numerals",
    "rows",
    "overlap",
    "trials",
)
"""What both halves may import."""
FACES = ("terminal", "cli", "notebook")
"""What people see: words and intervals of the judging half, events and verbs of the other."""
HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate")
SLOW = (*HEAVY, "scipy.stats", "pandas", "matplotlib", "pydantic", "typer", "rich")


def rank(layers: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    return {name: level for level, names in enumerate(layers) for name in names}


def part(file: Path) -> str:
    """Return the module or package below `finetrap` that a file belongs to."""
    return file.relative_to(SOURCE / "finetrap").with_suffix("").parts[0]


@cache
def tree(file: Path) -> tuple[ast.AST, ...]:
    """Return every node of a file."""
    return tuple(ast.walk(ast.parse(file.read_text("utf-8"))))


def imports(file: Path) -> Iterator[str]:
    """Yield the dotted name of everything a file imports, inside functions too."""
    for node in tree(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(file: Path) -> set[str]:
    """Return the parts of finetrap that a file imports, its own left out."""
    dotted = (name.split(".") for name in imports(file))
    found = {names[1] for names in dotted if names[0] == "finetrap" and len(names) > 1}
    return found - {part(file), "__version__"}


def name(file: Path) -> str:
    return str(file.relative_to(SOURCE / "finetrap"))


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_point_down_and_judging_never_imports_doing(file: Path) -> None:
    judging, doing = rank(JUDGING), rank(DOING)
    here = part(file)
    if here in ("__init__", "__main__"):
        return
    assert here in judging or here in doing, "say in this test where a new module belongs"
    for other in own_imports(file):
        if here in judging:
            assert other in judging, f"{here} judges and imports {other}"
            assert judging[other] < judging[here], f"{here} imports {other} from above"
        elif here not in FACES and other not in SHARED:
            assert other in doing, f"{here} measures and imports {other}"
            assert doing[other] <= doing[here], f"{here} imports {other} from above"


@pytest.mark.parametrize("file", [f for f in FILES if part(f) in rank(JUDGING)], ids=name)
def test_judging_never_needs_torch(file: Path) -> None:
    assert not {dotted.split(".")[0] for dotted in imports(file)} & set(HEAVY)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_stays_short_enough_to_read(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 420


@pytest.mark.parametrize("file", FILES, ids=name)
def test_input_is_never_checked_by_assert(file: Path) -> None:
    assert [node.lineno for node in tree(file) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("file", [f for f in FILES if part(f) != "runner"], ids=name)
def test_only_the_runner_swallows_everything(file: Path) -> None:
    for node in tree(file):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            last = node.body[-1]
            raises_again = isinstance(last, ast.Raise) and last.exc is None
            assert raises_again or caught not in ("everything", "Exception", "BaseException")


def loaded_by(*modules: str) -> set[str]:
    """Return which slow modules are loaded in a fresh interpreter that imports these."""
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split()) & set(SLOW)


def test_importing_the_package_starts_nothing_heavy() -> None:
    assert loaded_by("finetrap") == set()


def test_judging_starts_with_numpy_and_little_else() -> None:
    light = ["records", "errors", "store", "scoring", "compare"]
    assert loaded_by(*(f"finetrap.{module}" for module in light)) == set()


def test_reading_a_study_and_starting_the_engine_needs_no_torch() -> None:
    assert not loaded_by("finetrap.study", "finetrap.engines.local", "finetrap.cli") & set(HEAVY)
