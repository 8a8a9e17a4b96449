"""The whole page in a real browser: on a phone, on a desk, in the dark, printed, and attacked."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest

from tests.builders.cases import standing_for_all
from tests.builders.reported import HOSTILE, grid, written

REPORTS = ("demo_report", "wide_report")
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"


@pytest.fixture(params=REPORTS)
def report_file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.parametrize("width", [380, 768, 1024, 1400])
def test_nothing_is_wider_than_the_screen(look, report_file: Path, width: int) -> None:
    page = look(report_file, width).page
    page.wait_for_selector("#answers[data-ready]", state="attached")
    for state in ("as it opens", "with everything opened"):
        reach = page.evaluate("document.documentElement.scrollWidth")
        assert reach <= width, f"{state}: {past(page, width)}"
        page.evaluate(f"() => {{ {OPEN_ALL} }}")


def past(page, width: int) -> list[str]:
    """Name the elements that reach beyond the screen, for whoever has to mend it."""
    return page.evaluate(
        """width => Array.from(document.querySelectorAll("body *"))
            .filter(e => e.getBoundingClientRect().right > width)
            .filter(e => !["auto", "hidden"].includes(
                getComputedStyle(e.parentElement.closest(".wide") ?? e).overflowX))
            .map(e => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`).slice(0, 10)""",
        width,
    )


@pytest.mark.parametrize("width", standing_for_all([380, 1400], 380))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_or_moderate(
    look, demo_report: Path, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    page = look(demo_report, width, scheme).page
    page.wait_for_selector("#answers[data-ready]", state="attached")
    page.evaluate(f"() => {{ {OPEN_ALL} }}")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{v['id']}: {v['help']}: {[n['html'][:150] for n in v['nodes'][:3]]} ({len(v['nodes'])})"
        for v in found["violations"]
        if v["impact"] in ("moderate", "serious", "critical")
    ]
    assert serious == []
    assert len(found["passes"]) > 10, "axe looked at the page"


def words(text: str) -> list[str]:
    """Return the words and numbers of a text, less the ligatures that reading a PDF loses."""
    return [re.sub("ffi|ffl|ff|fi|fl|[ﬀ-ﬄ]", "", word) for word in re.findall(r"\w+", text.lower())]


PRINTED = """() => {
    const seen = [], off = ".unprinted, .note-link, script, style, svg, [hidden]";
    const parts = "#answer, details.printed table, #rates > table, .case";
    for (const part of document.querySelectorAll(parts)) {
        const walker = document.createTreeWalker(part, 4);
        while (walker.nextNode())
            if (!walker.currentNode.parentElement.closest(off)) seen.push(walker.currentNode.data);
    }
    return seen;
}"""
"""What is wanted on paper: the answer, the main figure, the tables and the causes."""


def test_paper_holds_the_answer_the_figure_and_the_tables(look, report_file: Path) -> None:
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    page = look(report_file).page
    page.wait_for_selector("#answers[data-ready]", state="attached")
    page.evaluate("document.querySelectorAll('.case details, .see').forEach(e => e.remove())")
    texts = page.evaluate(PRINTED)
    made = pypdf.PdfReader(BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))
    if "wide" not in str(report_file):
        assert len(made.pages) < 8
    paper = words(" ".join(sheet.extract_text() for sheet in made.pages))
    whole, joined = set(paper), "".join(paper)
    wanted = {word for text in texts for word in words(text)}
    # A long word is broken into lines.
    missing = {w for w in wanted if w not in whole and not (len(w) > 8 and w in joined)}
    assert len(wanted) > 100
    assert missing == set()


def test_what_is_read_before_anything_is_opened_is_short(look, demo_report: Path) -> None:
    page = look(demo_report).page
    page.wait_for_selector("#answers[data-ready]", state="attached")
    assert len(page.inner_text("body").split()) < 3000
    opened = "#methods details, #answer-details"
    page.evaluate(f"() => {{ {OPEN_ALL} }}")
    page.evaluate(f"document.querySelectorAll('{opened}').forEach(d => d.open = false)")
    assert len(page.inner_text("body").split()) < 6000


# --- values under the pointer and by keyboard -------------------------------------------------


def test_pointing_at_a_change_tells_its_sample_and_p(look, demo_report: Path) -> None:
    page = look(demo_report).page
    cell = page.locator(".picture td[data-tip]").first
    cell.hover()
    told = page.inner_text("#tip")
    assert re.search(r"400 problems × 3 seeds; p \S+, corrected \S+", told)
    page.mouse.move(5, 5)
    assert not page.locator("#tip").is_visible()


def test_pointing_at_a_mark_of_a_chart_tells_its_numbers(look, demo_report: Path) -> None:
    page = look(demo_report).page
    mark = page.locator("#forgetting .point path.mark.s2").last
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    assert "kept on other tasks" in page.inner_text("#tip")


def test_a_table_is_one_tab_stop_and_arrows_go_through_it(look, demo_report: Path) -> None:
    page = look(demo_report).page
    assert page.locator(".picture:visible td[tabindex='0']").count() == 1
    page.locator(".picture:visible td[tabindex='0']").focus()
    first = page.inner_text("#tip")
    page.keyboard.press("ArrowRight")
    beside = page.inner_text("#tip")
    assert beside != first
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#tip") not in (first, beside)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#tip") == first
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_every_tab_stop_does_something(look, demo_report: Path) -> None:
    page = look(demo_report).page
    page.wait_for_selector("#answers[data-ready]", state="attached")
    stops = page.evaluate("""() => Array.from(document.querySelectorAll("[tabindex='0']"))
        .map(stop => stop.dataset.tip === undefined ? stop.outerHTML.slice(0, 80) : "")""")
    assert set(stops) == {""}


def test_the_reader_chooses_the_axis_that_gain_is_set_against(look, demo_report: Path) -> None:
    page = look(demo_report).page
    seen = "#cost figure:visible h3"
    assert all("training time" in title for title in page.locator(seen).all_inner_texts())
    page.select_option(".axis-choice select", label="size to ship")
    titles = page.locator(seen).all_inner_texts()
    assert titles
    assert all("size to ship" in title for title in titles)


def test_a_link_to_something_folded_opens_it(look, demo_report: Path) -> None:
    page = look(demo_report).page
    assert not page.locator("#study-2 .picture").is_visible()
    page.click(".map a[href='#study-2']")
    page.wait_for_selector("#study-2 .picture", state="visible")


def test_nothing_on_paper_is_cut_at_its_edge(look, report_file: Path) -> None:
    page = look(report_file, 718).page  # A4 in CSS pixels, less the margins
    page.wait_for_selector("#answers[data-ready]", state="attached")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718, past(page, 718)


def test_the_page_is_whole_without_javascript(look, demo_report: Path) -> None:
    without, within = look(demo_report, script=False).page, look(demo_report).page
    for part in ("main h2", "main figure svg", "main table:not(.metrics)"):
        assert without.locator(part).count() == within.locator(part).count()
    assert without.evaluate("document.documentElement.scrollWidth") == 1400


def test_hostile_names_run_nothing(look, tmp_path: Path) -> None:
    name = '"><script>alert(1)</script></style><img src=x onerror=alert(2)>' + HOSTILE
    name = name.replace("\ud800", "")  # a study file is UTF-8
    path = written(tmp_path, grid((name,), ("a</script>b",), n=40))
    watched = look(path, 380)
    watched.page.wait_for_selector("#answers[data-ready]", state="attached")
    assert watched.page.locator("img, b[onclick]").count() == 0
    assert watched.page.locator("main h2").count() > 5
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 380


# --- tables that sort and filter --------------------------------------------------------------

ITEMS = """table => (table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows])
    .filter(item => item.getClientRects().length)"""
"""What moves as one: rows, or groups of rows below a heading."""


SORTED = (
    """table => [...table.tHead.rows[0].cells].map(header => {
    const button = header.querySelector("button");
    if (!button) return [header.textContent.trim(), [], []];
    const read = () => items(table)
        .map(item => (item.tagName === "TBODY" ? item.rows[0] : item).cells[header.cellIndex])
        .map(cell => cell?.dataset.value ?? cell?.textContent.trim() ?? "");
    const orders = [0, 1].map(() => { button.click(); return read(); });
    return [header.textContent.trim(), ...orders];
})"""
).replace("items", f"({ITEMS})")
"""Each column's name, and its cells after a click on its button and after a second one: of each
group the first cell, as data where it has some."""


def numbers(cells: list[str]) -> list[float]:
    """Read the cells that begin with a number, and check that all others come last."""
    found = [
        re.match(r"<?\s*([+-]?\d+(\.\d+)?(e[+-]?\d+)?)", c.replace("−", "-").replace(",", ""))
        for c in cells
    ]
    measured = [float(match[1]) for match in found if match]
    assert all(found[: len(measured)]), f"what was not measured is not last: {cells}"
    return measured


def test_every_table_sorts_by_every_column_in_both_directions(look, report_file: Path) -> None:
    page = look(report_file).page
    by_number = 0
    tables = page.locator("table[data-sortable]").all()
    assert len(tables) >= 3
    for table in tables:
        rows = sorted(table.locator("tbody tr").all_text_contents())
        page.evaluate(f"() => {{ {OPEN_ALL} }}")
        for name, rising, falling in table.evaluate(SORTED):
            assert rising or not name, f"no button sorts by {name}"
            assert numbers(rising) == sorted(numbers(rising)), name
            assert numbers(falling) == sorted(numbers(rising), reverse=True), name
            by_number += len(set(numbers(rising))) > 2
            texts = rising[len(numbers(rising)) :]
            if len(set(texts)) == len(texts):
                assert falling[len(numbers(falling)) :] == texts[::-1], name
        assert sorted(table.locator("tbody tr").all_text_contents()) == rows, "no row was lost"
    assert by_number >= 5


def test_tables_sort_by_keyboard_and_say_so(look, demo_report: Path) -> None:
    page = look(demo_report).page
    page.evaluate(f"() => {{ {OPEN_ALL} }}")
    button = page.locator("table[data-sortable] th button:visible").first
    button.focus()
    page.keyboard.press("Enter")
    header = button.locator("xpath=..")
    assert header.get_attribute("aria-sort") == "ascending"
    button.click()
    assert header.get_attribute("aria-sort") == "descending"


def test_a_filter_leaves_the_rows_that_hold_its_words(look, report_file: Path) -> None:
    page = look(report_file).page
    page.evaluate(f"() => {{ {OPEN_ALL} }}")
    fields = page.locator("input[data-filter]").all()
    assert fields
    for field in fields:
        table = page.locator(f"table[id='{field.get_attribute('data-filter')}']")
        texts = f"table => ({ITEMS})(table).map(item => item.textContent.toLowerCase())"
        before = table.evaluate(texts)
        word = "lora"
        wanted = [text for text in before if word in text]
        assert 0 < len(wanted) < len(before)
        field.fill(word.upper())
        assert table.evaluate(texts) == wanted
        field.fill("no such thing")
        assert table.evaluate(texts) == []
        field.fill("")
        assert table.evaluate(texts) == before
