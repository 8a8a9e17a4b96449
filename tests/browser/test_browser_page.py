"""The whole page in a real browser: on a phone, on a desk, in the dark, printed, and attacked."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from reported import HOSTILE, grid, written

REPORTS = ("demo_report", "wide_report")
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"


@pytest.fixture(params=REPORTS)
def report_file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_is_wider_than_the_screen(look, report_file: Path, width: int) -> None:
    page = look(report_file, width).page
    page.wait_for_selector("#answers[data-ready]")
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


@pytest.mark.parametrize("width", [380, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(look, demo_report: Path, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    page = look(demo_report, width, scheme).page
    page.wait_for_selector("#answers[data-ready]")
    page.evaluate(f"() => {{ {OPEN_ALL} }}")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{v['id']}: {v['help']}: {[n['html'][:150] for n in v['nodes'][:3]]} ({len(v['nodes'])})"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert len(found["passes"]) > 10, "axe looked at the page"


def test_axe_finds_nothing_serious_without_javascript_in_use(look, demo_report: Path) -> None:
    """The static sample of answers, which is hidden where the browser of answers works."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    page = look(demo_report).page
    page.wait_for_selector("#answers[data-ready]")
    page.evaluate(
        f"() => {{ document.querySelector('#answer-samples').hidden = false; {OPEN_ALL} }}"
    )
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document.querySelector('#answers'))")
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []


def words(text: str) -> set[str]:
    """Return the words and numbers of a text, less the ligatures that reading a PDF loses."""
    return {re.sub("f[fil]+|[ﬀ-ﬄ]", "", word) for word in re.findall(r"\w+", text.lower())}


def printed(page) -> set[str]:
    """Return the words of the page as it is printed on A4."""
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    made = pypdf.PdfReader(BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))
    assert len(made.pages) > 3
    return words(" ".join(sheet.extract_text() for sheet in made.pages))


def test_the_printed_page_is_whole(look, report_file: Path) -> None:
    page = look(report_file).page
    page.wait_for_selector("#answers[data-ready]")
    paper = printed(page)
    parts = {
        "a section": page.locator("main :is(h2, h3)").all_text_contents(),
        "the end of a row": page.locator("main :is(td, th):last-child").all_text_contents(),
        "folded away": page.locator("main details :is(p, li, td)").all_text_contents(),
        "the end": page.locator("main section:last-child > p:last-child").all_text_contents(),
    }
    shown = page.locator("#answer-samples").all_text_contents()
    unprinted = words(" ".join(shown)) - words(page.locator("main").inner_text())
    for what, texts in parts.items():
        assert texts
        missing = set().union(*map(words, texts)) - paper - unprinted
        assert missing == set(), f"{what} is not on paper"


def test_nothing_on_paper_is_cut_at_its_edge(look, report_file: Path) -> None:
    page = look(report_file, 718).page  # A4 in CSS pixels, less the margins
    page.wait_for_selector("#answers[data-ready]")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718, past(page, 718)


def test_the_page_is_whole_without_javascript(look, demo_report: Path) -> None:
    without, within = look(demo_report, script=False).page, look(demo_report).page
    for part in ("main h2", "main figure svg", "main table"):
        assert without.locator(part).count() == within.locator(part).count()
    assert without.evaluate("document.documentElement.scrollWidth") == 1400


def test_hostile_names_run_nothing(look, tmp_path: Path) -> None:
    name = '"><script>alert(1)</script></style><img src=x onerror=alert(2)>' + HOSTILE
    name = name.replace("\ud800", "")  # a study file is UTF-8
    path = written(tmp_path, grid((name,), ("a</script>b",), n=40))
    watched = look(path, 380)
    watched.page.wait_for_selector("#answers[data-ready]")
    assert watched.page.locator("img, b[onclick]").count() == 0
    assert watched.page.locator("main h2").count() > 6
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 380


# --- tables that sort and filter --------------------------------------------------------------

COLUMN = """(table, place) => Array.from(table.tBodies).flatMap(body => Array.from(body.rows))
    .filter(row => row.offsetParent !== null).map(row => row.cells[place]?.innerText ?? "")"""


def value(text: str) -> float | str:
    """Read a cell as it is sorted: by its first number if it has one, else as text."""
    found = re.search(r"[-−+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)
    return float(found[0].replace("−", "-").replace(",", "")) if found else text.strip().lower()
