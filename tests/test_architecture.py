"""The shape of the code: imports point down, judging needs no torch, files fit a reader's head."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.builders.commands import HEAVY, loaded_by

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.glob("finetrap/**/*.py"))

GROUND = ("errors", "references", "records", "levels", "findings", "events", "quota")
"""Nouns, errors and events: what everything may import."""
SHARED = (*GROUND, "stats", "runs", "text")
"""What both halves may import."""
PLUG_INS = ("backends", "catalog", "miniature", "tasks")
MEASURING = ("measure", *PLUG_INS)
JUDGING = ("judge", "report")
ALLOWED = {
    "errors": (),
    "quota": (),
    "references": (),
    "records": ("errors", "references"),
    "levels": (),
    "findings": ("levels", "records"),
    "events": ("errors", "records"),
    "text": GROUND,
    "stats": (*GROUND, "text"),
    "runs": (*GROUND, "stats", "text"),
    **dict.fromkeys(PLUG_INS, (*SHARED, *PLUG_INS)),
    "measure": (*SHARED, *PLUG_INS),
    "judge": SHARED,
    "report": (*GROUND, "stats", "text", "judge"),
    "terminal": (*GROUND, "stats", "text"),
    "cli": (*SHARED, *MEASURING, *JUDGING, "terminal", "api"),
    "api": (*SHARED, *MEASURING, *JUDGING, "terminal"),
}
"""What each file or folder below `finetrap` may import, its own folder aside."""
TAKEN_FROM_JUDGE = {
    "tables.write_csv",
    "forgetting.telling",
    "summary.first_measure",
    "summary.second_measure",
    "paper.population.size_of",
}
"""What the report may use of judging: the writer of its tables, which measure of a comparison comes
first, and the wording of a size. All other numbers it takes from Findings."""
NUMERIC = ("numpy", "scipy", "statistics", "fractions", "decimal", "random")


def part(file: Path) -> str:
    """Return the module or package below `finetrap` that a file belongs to."""
    return file.relative_to(SOURCE / "finetrap").with_suffix("").parts[0]


def module(file: Path) -> str:
    """Return the dotted name of a file; a package's is that of its folder."""
    dotted = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


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


def folders() -> dict[str, set[str]]:
    """Return which folders of files each folder imports from, at every depth of the tree."""
    homes = {module(file): file for file in FILES}
    arrows: dict[str, set[str]] = {}
    for here, file in homes.items():
        for dotted in imports(file):
            there = dotted if dotted in homes else dotted.rpartition(".")[0]
            if there not in homes or there == here:
                continue
            one, other = here.split("."), there.split(".")
            shared = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            if shared < min(len(one), len(other)):
                arrows.setdefault(".".join(one[: shared + 1]), set()).add(
                    ".".join(other[: shared + 1])
                )
    return arrows


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return one circle of arrows, empty where there is none."""
    done: set[str] = set()

    def follow(place: str, way: list[str]) -> list[str]:
        if place in way:
            return [*way[way.index(place) :], place]
        if place in done:
            return []
        for other in sorted(arrows.get(place, ())):
            if found := follow(other, [*way, place]):
                return found
        done.add(place)
        return []

    return next((found for place in sorted(arrows) if (found := follow(place, []))), [])


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_point_down_and_the_two_halves_never_meet(file: Path) -> None:
    here = part(file)
    if here in ("__init__", "__main__"):
        return
    assert here in ALLOWED, "say in this test where a new file or folder belongs"
    assert own_imports(file) <= set(ALLOWED[here])


def test_no_file_or_folder_imports_in_a_circle() -> None:
    assert circle(folders()) == []


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("file", sorted(SOURCE.glob("finetrap/backends/hf/kernels/*.py")), ids=name)
def test_a_kernel_knows_nothing_of_the_network_around_it(file: Path) -> None:
    kernels, outside = "finetrap.backends.hf.kernels", "finetrap.backends.hf"
    assert [
        dotted
        for dotted in imports(file)
        if dotted.startswith(outside) and not dotted.startswith(kernels)
    ] == []


@pytest.mark.parametrize("file", FILES, ids=name)
def test_torchs_private_operators_stand_behind_one_guard(file: Path) -> None:
    chains = {ast.unparse(node) for node in tree(file) if isinstance(node, ast.Attribute)}
    private = {chain for chain in chains if re.match(r"torch\.(ops|_[^_])", chain)}
    assert not private or module(file) == "finetrap.backends.hf.kernels.private"


def test_a_kind_of_device_is_named_in_one_place() -> None:
    """Help texts and messages name them for people; code asks finetrap.backends.hf.device."""
    benchmarks = sorted((SOURCE.parent / "benchmarks").glob("**/*.py"))
    found = {}
    for file in (*FILES, *benchmarks):
        nodes = tree(file)
        asks = [n for n in nodes if isinstance(n, ast.Attribute) and n.attr in ("cuda", "xpu")]
        names = [n for n in nodes if isinstance(n, ast.Constant) and n.value in ("cuda", "mps")]
        if asks or names:
            found[str(file.relative_to(SOURCE.parent))] = [n.lineno for n in (*asks, *names)]
    assert set(found) <= {"src/finetrap/backends/hf/device.py"}, found


@pytest.mark.parametrize("file", [f for f in FILES if part(f) in JUDGING], ids=name)
def test_judging_never_needs_torch(file: Path) -> None:
    assert not {dotted.split(".")[0] for dotted in imports(file)} & set(HEAVY)


@pytest.mark.parametrize("file", [f for f in FILES if part(f) == "report"], ids=name)
def test_the_report_arranges_and_draws_and_computes_nothing(file: Path) -> None:
    """Arithmetic stays where pixels are: in charts, in units (wording) and in what fits the page.

    A sample of answers to show is drawn at random, from a seed of its own.
    """
    here = file.relative_to(SOURCE / "finetrap" / "report")
    draws = here.parts[0] in ("charts", "browser") or here.name == "wording.py"
    found = set(imports(file))
    judging = {n.removeprefix("finetrap.judge.") for n in found if n.startswith("finetrap.judge")}
    assert judging <= TAKEN_FROM_JUDGE
    # Of statistics one: the likelihood of a single answer, for the browser of answers.
    assert {n for n in found if n.startswith("finetrap.stats")} <= {
        "finetrap.stats.likelihood.bits_per_byte"
    }
    numeric = {n for n in found if n.split(".")[0] in (*NUMERIC, *(() if draws else ("math",)))}
    assert numeric <= {"random.Random"}
    if not draws and here.name != "__init__.py":  # there a slash joins paths
        steps = [n for n in tree(file) if isinstance(n, (ast.BinOp, ast.AugAssign))]
        assert [n.lineno for n in steps if isinstance(n.op, (ast.Div, ast.FloorDiv, ast.Pow))] == []


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_stays_short_enough_to_read(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 420


@pytest.mark.parametrize("file", FILES, ids=name)
def test_input_is_never_checked_by_assert(file: Path) -> None:
    assert [node.lineno for node in tree(file) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize(
    "file", [f for f in FILES if module(f) != "finetrap.measure.runner"], ids=name
)
def test_only_the_runner_swallows_everything(file: Path) -> None:
    for node in tree(file):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            last = node.body[-1]
            raises_again = isinstance(last, ast.Raise) and last.exc is None
            assert raises_again or caught not in ("everything", "Exception", "BaseException")


REGISTRIES = ("backends", "tasks")
"""Folders in which each file defines the same names, because that is what an entry must have."""
EVERY_BACKEND_DEFINES = ("open_model", "named", "spec")
"""What `backends/` asks of each file or folder in it: one interface, not several meanings."""
DEFINED_TWICE = {
    "Study": "the function of the public interface returns the record of that name",
    "load": "the function of the public interface reads a study; a task's own reads its problems",
    "run": "a verb of the command line and the function of the public interface do the same",
    "grade": "the verb grades a file by the function that grades one completion",
}
"""Names that may stand for two things, each with its reason; five at most."""


def defined_twice() -> dict[str, list[str]]:
    """Return the classes and functions of modules that more than one place defines."""
    places: dict[str, set[str]] = {}
    for file in FILES:
        own = file.parent if file.parent.name in REGISTRIES else file
        for node in ast.iter_child_nodes(tree(file)[0]):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("__"):
                places.setdefault(node.name, set()).add(name(own))
    return {known: sorted(where) for known, where in places.items() if len(where) > 1}


def test_a_class_or_function_has_a_name_of_its_own() -> None:
    assert len(DEFINED_TWICE) <= 5
    known = (*DEFINED_TWICE, *EVERY_BACKEND_DEFINES)
    assert {k: v for k, v in defined_twice().items() if k not in known} == {}


def test_importing_the_package_starts_nothing_heavy() -> None:
    assert loaded_by("finetrap") == set()


def test_judging_starts_with_numpy_and_little_else() -> None:
    light = ["records", "errors", "runs.store", "text.scoring", "stats.changes"]
    assert loaded_by(*(f"finetrap.{module}" for module in light)) == set()


def test_reading_a_study_and_starting_the_engine_needs_no_torch() -> None:
    assert not loaded_by(
        "finetrap.measure.study.reading", "finetrap.measure.engines.local", "finetrap.cli"
    ) & set(HEAVY)


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def test_no_test_file_imports_another_and_no_fixture_acts_unasked() -> None:
    for file in TESTS:
        assert not [dotted for dotted in imports(file) if ".test_" in f".{dotted}"], file
        for node in tree(file):
            assert not (isinstance(node, ast.keyword) and node.arg == "autouse"), file
