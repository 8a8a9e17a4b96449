"""The report: what it shows is what was judged, and nothing a model wrote changes the page."""

from __future__ import annotations

import csv
import html
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import pytest

from finetrap import report, verdicts
from finetrap.errors import StoreError
from finetrap.findings import Effect, Findings
from finetrap.records import (
    Answer,
    Cell,
    Costs,
    Failure,
    Limits,
    ModelSpec,
    Run,
    StrategySpec,
    Study,
    TaskRef,
    TrainSpec,
)
from finetrap.report import sentences, untrusted, wording
from finetrap.report.figure import spread
from finetrap.report.panels import panels, probe_groups

HOSTILE = (
    "<script>alert(1)</script></style></pre><b onclick=x>bold</b>{{ 7*7 }} \u202eleftwards\u202c "
    "\x1b[31mred\x00 \ud800 " + "a\u0301\u0301\u0301\u0301\u0301\u0301"
)
STRATEGIES = (
    StrategySpec("zero-shot", "prompt"),
    StrategySpec("few-shot-5", "prompt", shots=5),
    StrategySpec("full", "full", learning_rate=3e-4),
    StrategySpec("full", "full", learning_rate=3e-5),
    StrategySpec("lora", "peft", learning_rate=3e-4, peft={"peft_type": "LORA"}),
)
# Share of the problems right before, that become wrong, and that become right, on task and probes.
PLANTED = {
    ("few-shot-5", None): ((0.02, 0.02), (0.00, 0.0)),
    ("full", 3e-4): ((0.45, 0.01), (0.25, 0.0)),
    ("full", 3e-5): ((0.01, 0.01), (0.01, 0.01)),
    ("lora", 3e-4): ((0.01, 0.30), (0.05, 0.0)),
}


def answer(index: int, right: bool, text: str = "") -> Answer:
    completion = text or f"#### {index if right else 0}"
    return Answer(
        id=f"p{index:05d}",
        gold=str(index),
        completion=completion,
        extracted=str(index) if right else "0",
        rule="marker",
        correct=right,
        strict=right,
        tokens=12,
        stop="eos",
        nats=5.0,
        bytes=20,
    )


def prose(seed: object, nats: float, n: int = 20) -> tuple[Answer, ...]:
    draw = Random(f"prose/{seed}")
    return tuple(
        Answer(f"t{i}", "", "", None, "none", None, None, 0, "none", nats + draw.random(), 100)
        for i in range(n)
    )


def answers(purpose: str, n: int, base: float, lost: float, gained: float) -> tuple[Answer, ...]:
    kept = Random(f"base/{n}")
    untouched = [kept.random() < base for _ in range(n)]
    draw = Random(purpose)
    flips = [draw.random() < (lost if right else gained) for right in untouched]
    return tuple(
        answer(i, right != flip)
        for i, (right, flip) in enumerate(zip(untouched, flips, strict=True))
    )


def cell(model: str, task: str, strategy: StrategySpec, seed: int | None) -> Cell:
    trains = strategy.name != "zero-shot"
    return Cell(
        model=ModelSpec(model, f"built-in/{model}", "sha256:0123", parameters=919_552),
        task=TaskRef(task, "1"),
        strategy=strategy,
        train=TrainSpec(),
        limits=Limits(),
        seed=seed if trains else None,
        trained_on=TaskRef(task, "1") if trains else None,
        probes=(TaskRef("sums", "1"), TaskRef("sorting", "1"), TaskRef("prose", "1")),
    )


def run(model: str, task: str, strategy: StrategySpec, seed: int | None, n: int = 400) -> Run:
    here = cell(model, task, strategy, seed)
    name = f"{model}/{task}/{strategy.name}/{strategy.learning_rate}/{seed}"
    on_task, on_probe = PLANTED.get((strategy.name, strategy.learning_rate), ((0, 0), (0, 0)))
    steps = [3.0 / (1 + 0.02 * i) for i in range(120)] if strategy.trains else None
    return Run(
        cell=here,
        status="done",
        answers=answers(name, n, 0.6, *on_task),
        probes={
            "sums": answers(name + "/sums", 200, 0.9, *on_probe),
            "sorting": answers(name + "/sorting", 200, 0.8, on_probe[0] / 3, on_probe[1]),
            "prose": prose(name if strategy.trains else 0, 70 + 40 * on_probe[0]),
        },
        costs=Costs(
            load_s=0.4,
            train_s=9.5 if strategy.trains else None,
            eval_s=21.0,
            peak_bytes=612_000_000,
            train_tokens=91_000 if strategy.trains else 0,
            trainable={"full": 919_552, "peft": 32_768, "prompt": 0}[strategy.kind],
            ship_bytes={"full": 1_800_000, "peft": 140_000, "prompt": 0}[strategy.kind],
            parameters=919_552,
        ),
        evidence={"loss": steps} if steps else {},
        environment={"python": "3.11.2", "cores": 2, "packages": {"torch": "2.13.0"}},
    )


def diverged(model: str, task: str, seed: int, message: str = "loss nan at step 7") -> Run:
    strategy = StrategySpec("full", "full", learning_rate=3e-2)
    failure = Failure("diverged", message, 7)
    return Run(cell(model, task, strategy, seed), "diverged", failure=failure)


def grid(
    models: Sequence[str] = ("mini-1m",), tasks: Sequence[str] = ("school",), n: int = 400
) -> list[Run]:
    """A study of every strategy with three seeds, and a strategy that diverged on all of them."""
    runs = []
    for model, task in itertools.product(models, tasks):
        runs.append(run(model, task, STRATEGIES[0], None, n))
        for strategy, seed in itertools.product(STRATEGIES[1:], (0, 1, 2)):
            runs.append(run(model, task, strategy, seed, n))
        runs += [diverged(model, task, seed) for seed in (0, 1, 2)]
    return runs


def study() -> Study:
    return Study(
        name="first",
        models=(ModelSpec("mini-1m", "built-in", "sha256:0123"),),
        tasks=(TaskRef("school", "1"),),
        strategies=STRATEGIES,
        source='name = "first"\nmodels = ["mini-1m"]\n',
    )


def judged(runs: Sequence[Run]) -> Findings:
    return verdicts.judge(list(runs))


def written(tmp_path: Path, runs: Sequence[Run], findings: Findings | None = None) -> Path:
    page = report.write(
        tmp_path / "report",
        judged(runs) if findings is None else findings,
        runs,
        study=study(),
        command="finetrap run studies/first.toml",
    )
    assert page == tmp_path / "report" / "report.html"
    return page


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Two models; full fine-tuning's answers are hostile, and a failure's message."""
    found = grid(("mini-0.3m", "mini-1m"), n=200)
    for index, done in enumerate(found):
        if done.cell.strategy.name == "full" and done.status == "done":
            bad = tuple(replace(a, completion=HOSTILE, extracted=HOSTILE) for a in done.answers)
            found[index] = replace(done, answers=bad)
    found.append(diverged("mini-1m", "school", 3, message=HOSTILE + "\nTraceback"))
    return found


@pytest.fixture(scope="module")
def findings(runs: list[Run]) -> Findings:
    return judged(runs)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, runs: list[Run], findings: Findings) -> Path:
    return written(tmp_path_factory.mktemp("page"), runs, findings)


class Reader(HTMLParser):
    """Reads a page, checking that every element is closed where it was opened."""

    void = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.numbers: dict[int, dict[str, str]] = {}
        self._row: int | None = None
        self._column: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in self.void:
            self.open.append(tag)
        if "data-effect" in given:
            self._row = int(given["data-effect"] or "")
        self._column = given.get("data-column")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        self._column = None

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))
        if self._column and self._row is not None:
            self.numbers.setdefault(self._row, {})[self._column] = data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_every_element_is_closed(page: Path) -> None:
    reader = read(page)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"] for t, a in reader.tags if t == "a"]
    assert all(link and link.startswith("#") and link[1:] in ids for link in links)
    sections = ("answer", "picture", "probes", "trade-offs", "tables", "seeds", "failures")
    assert set(sections) < set(ids)


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    reader = read(page)
    for tag, attrs in reader.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attrs.get(name) or "#").startswith("#")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|https?:", text)


def test_hostile_answers_are_inert_and_visible(page: Path, findings: Findings) -> None:
    text = page.read_text(encoding="utf-8")
    for char in "\u202e\u202c\x1b\x00":
        assert char not in text
    assert "⟨U+202E⟩" in text
    assert "⟨U+D800⟩" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7*7 }}" in text, "a completion is not a template"
    assert text.count("</style>") == 1
    assert "a\u0301\u0301\u0301⟨U+0301⟩" in text, "no tower of combining marks"


def test_hostile_names_do_not_change_the_page(tmp_path: Path) -> None:
    name = '$x$ <em>|`*--> #d55e00 id="q" \u202e'
    reader = read(written(tmp_path, grid((name,), ("a/../../b\n# heading",), n=40)))
    assert "em" not in [tag for tag, _ in reader.tags]
    drawn = [text for parents, text in reader.texts if parents[-1:] == ("text",)]
    assert any('$x$ <em>|`*--> #d55e00 id="q" ⟨U+202E⟩ on a/../../b # heading' in t for t in drawn)
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "\n# heading" not in markdown
    assert "<em>" not in markdown


def test_a_long_answer_is_clipped_with_a_count(tmp_path: Path) -> None:
    found = grid(n=60)
    wrong = "x" * 100_000
    for index, done in enumerate(found):
        found[index] = replace(
            done,
            answers=tuple(replace(a, completion=wrong, id="p" * 500 + a.id) for a in done.answers),
        )
    page = written(tmp_path, found)
    assert page.stat().st_size < 600_000
    assert "99,400 characters not shown" in page.read_text(encoding="utf-8")


def test_every_number_of_an_effect_is_that_of_effects_csv(page: Path) -> None:
    with (page.parent / "effects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = read(page).numbers
    first = {i for i, r in enumerate(rows) if r["measure"] == "accuracy" or r["task"] == "prose"}
    assert set(shown) == first, "every comparison is on the page"
    for line, numbers in shown.items():
        row = rows[line]
        measure = row["measure"]
        assert numbers["before"] == wording.plain(float(row["before"]), measure)
        assert numbers["after"] == wording.plain(float(row["after"]), measure)
        assert numbers["delta"] == wording.signed(float(row["delta"]), measure)
        assert numbers["p_adjusted"] == wording.probability(float(row["p_adjusted"]))
        if row["kind"] != "probe":
            assert numbers["n"] == row["n"]
            assert numbers["seeds"] == row["seeds"]
            assert numbers["lost"] == wording.plain(float(row["lost"]))


def test_both_tables_read_back_whole(page: Path, findings: Findings, runs: list[Run]) -> None:
    for name, columns, count in (
        ("effects.csv", verdicts.EFFECT_COLUMNS, len(findings.effects)),
        ("cells.csv", verdicts.CELL_COLUMNS, len(runs)),
    ):
        with (page.parent / name).open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            assert tuple(table.fieldnames or ()) == tuple(columns)
            assert len(list(table)) == count


def test_figures_are_small_and_described(page: Path) -> None:
    figures = sorted((page.parent / "figures").glob("*.svg"))
    assert {f.name.partition("-")[0] for f in figures} == {
        "forest",
        "probes",
        "frontier",
        "curves",
        "costs",
    }
    for figure in figures:
        text = figure.read_text(encoding="utf-8")
        assert len(text.encode()) < 60_000
        assert "<title>" in text
        assert "<desc>" in text
        assert "<metadata" not in text


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    page = written(tmp_path, [], Findings((), ()))
    (page.parent / "figures" / "forest-9.svg").write_text("<svg/>")
    written(tmp_path, [], Findings((), ()))
    assert not list((page.parent / "figures").glob("*.svg"))


def test_the_page_is_the_same_when_written_again(tmp_path: Path) -> None:
    found = grid(n=40)
    first = written(tmp_path / "a", found).read_bytes()
    assert written(tmp_path / "b", found).read_bytes() == first


@pytest.mark.parametrize("count", [0, 1])
def test_a_study_that_has_hardly_begun_says_so(tmp_path: Path, count: int) -> None:
    few = grid()[:count]
    begun = replace(judged(few), missing=("mini-1m-school-full-0.0003-s0 is owed",))
    page = written(tmp_path, few, begun)
    read(page)
    text = page.read_text(encoding="utf-8")
    assert "mini-1m-school-full-0.0003-s0 is owed" in text
    assert ("Nothing has been measured" in text) == (count == 0)
    assert ("only the untouched model has been measured" in text) == (count == 1)


def test_a_strategy_that_only_diverged_is_on_the_page_with_its_step(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "full fine-tuning at 3e-2 diverged (3 of 3 runs)" in text
    assert "loss nan at step 7" in text


def test_a_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another folder with --out"):
        report.write(tmp_path / "file" / "out", Findings((), ()), [], study=None, command="")


def test_the_answer_names_the_worst_harm_first(findings: Findings, runs: list[Run]) -> None:
    arranged = panels(findings, study(), runs)
    assert [p.title for p in arranged] == ["mini-1m on school", "mini-0.3m on school"], (
        "study's order"
    )
    answer = sentences.answer(arranged[0])
    assert answer.clauses[0].verdict == "harmed"
    assert answer.clauses[0].text.startswith(
        "Full fine-tuning at 3e-4 harmed mini-1m on school by "
    )
    assert answer.clauses[-1] == ("failed", "full fine-tuning at 3e-2 diverged (4 of 4 runs)")
    assert "3 seeds, margin ±2" in answer.rests_on


def effect(**fields: object) -> Effect:
    known: dict[str, object] = {
        "model": "m",
        "task": "prose",
        "kind": "probe",
        "strategy": "lora",
        "learning_rate": 3e-4,
        "setting": "fixed",
        "against": "zero-shot",
        "seeds": 3,
        "n": 50,
        "before": 1.0,
        "after": 1.2,
        "delta": 0.2,
        "low": 0.1,
        "high": 0.3,
        "lost": None,
        "gained": None,
        "p": 0.001,
        "p_adjusted": 0.002,
        "margin": 0.05,
        "verdict": "harmed",
        "needed_n": None,
        "needed_seeds": None,
        "trained_on": "t",
        "measure": "bits_per_byte",
    }
    return Effect(**{**known, **fields})  # type: ignore[arg-type]


def test_a_rise_in_bits_per_byte_is_harm_and_has_its_unit(tmp_path: Path) -> None:
    rise = effect(kind="task", task="t")
    page = written(tmp_path, [], Findings((rise,), ()))
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "LoRA at 3e-4 harmed m on t by 0.200 bits per byte [+0.100,\u00a0+0.300]" in text
    assert "Left is better: a rise is harm." in text
    assert wording.harm(rise) == pytest.approx(4)


def test_the_terminal_shows_each_comparison_with_its_worst_probe() -> None:
    task = {"task": "t", "kind": "task", "measure": "accuracy", "margin": 2.0}
    helped = effect(
        **task, before=4.0, after=41.0, delta=37.0, low=33.0, high=41.0, verdict="improved"
    )
    mild = effect(task="sums", measure="accuracy", margin=2.0, delta=-3.0, low=-4.0, high=-2.0)
    other = effect(task="prose", learning_rate=1e-3, delta=9.0)
    shown = Findings((helped, mild, effect(), other), ())
    (row,) = report.verdict_rows(shown)
    assert row.change == "+37.0 [+33.0, +41.0]"
    assert row.worst_probe == "prose +0.200 harmed", (
        "four margins of harm are worse than one and a half"
    )
    assert report.verdict_text(shown).isascii()


def test_hostile_names_reach_the_terminal_as_plain_ascii() -> None:
    from rich.console import Console

    bad = effect(kind="task", model="[red]x[/red]\x1b[2J", strategy="[/]", trained_on="")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*report.verdict_tables(Findings((bad,), ())))
    text = console.export_text()
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_namesakes_with_other_settings_keep_rows_of_their_own(tmp_path: Path) -> None:
    found = grid(n=40)
    for rank in (4, 8):
        lora = StrategySpec(
            "lora", "peft", learning_rate=1e-3, peft={"peft_type": "LORA", "r": rank}
        )
        found.append(run("mini-1m", "school", lora, 0, 40))
    text = written(tmp_path, found).read_text(encoding="utf-8")
    assert "LoRA [" in text
    assert "r=4" in text
    assert "r=8" in text


def test_probes_stand_under_the_task_that_was_trained_on(findings: Findings) -> None:
    groups = probe_groups(findings)
    assert {(g.model, g.trained_on) for g in groups} == {
        ("mini-0.3m", "school"),
        ("mini-1m", "school"),
    }
    assert all(g.probes == ("sums", "sorting", "prose") for g in groups)


@pytest.mark.parametrize(
    ("wanted", "gap", "low", "high"),
    [
        ([50.0] * 5, 10, 0, 100),
        ([0, 1, 99, 100], 10, 0, 100),
        ([5, 5, 5], 80, 0, 100),
        ([], 1, 0, 1),
    ],
)
def test_labels_never_overlap_and_stay_inside(
    wanted: list[float], gap: float, low: float, high: float
) -> None:
    placed = sorted(spread(wanted, gap, low, high))
    room = min(gap, (high - low) / max(1, len(wanted) - 1))
    assert all(low - 1e-9 <= p <= high + 1e-9 for p in placed)
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(placed))


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread([70.0, 10.0, 40.0], 15, 0, 100) == [70.0, 10.0, 40.0]


@pytest.mark.parametrize(
    ("written_as", "number"),
    [("3e-4", 3e-4), ("5.5e-5", 5.5e-5), ("1e-3", 0.001), ("0.1", 0.1), ("0", 0.0), ("", None)],
)
def test_learning_rates_read_as_people_type_them(written_as: str, number: float | None) -> None:
    assert wording.rate(number) == written_as


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (wording.signed(-0.04), "0.0"),
        (wording.signed(0.04), "0.0"),
        (wording.signed(-42.06), "−42.1"),
        (wording.signed(3.0), "+3.0"),
        (wording.plain(None), "–"),
        (wording.seconds(9.46), "9.46\u00a0s"),
        (wording.seconds(300), "5\u00a0min"),
        (wording.seconds(86_400), "24\u00a0h\u00a00\u00a0min"),
        (wording.size(999), "999\u00a0B"),
        (wording.size(999_900), "1\u00a0MB"),
        (wording.count(919_552), "919,552"),
        (wording.count(494_000_000), "494\u00a0M"),
        (wording.probability(0.00004), "<0.001"),
        (wording.plural(1, "seed"), "1 seed"),
    ],
)
def test_numbers_have_units_and_no_minus_zero(said: str, shown: str) -> None:
    assert said == shown


def test_clipping_keeps_the_end_where_the_answer_stands() -> None:
    text = "a" * 1000 + "#### 42"
    assert untrusted.clip(text).endswith("#### 42")
    assert untrusted.clip("short") == "short"


def test_the_report_needs_no_torch_and_starts_light(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from finetrap import report\n"
        "from finetrap.findings import Findings\n"
        "assert not {'matplotlib', 'jinja2', 'rich', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
        f"report.write(Path({str(tmp_path)!r}), Findings((), ()), [], study=None, command='')\n"
        "assert not {'torch', 'transformers', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_demo_is_drawn_within_seconds(tmp_path: Path) -> None:
    found = grid(n=1000)
    result = judged(found)
    start = time.process_time()
    written(tmp_path, found, result)
    assert time.process_time() - start < 4
