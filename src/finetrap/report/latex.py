"""The main table as LaTeX (booktabs), to be put into a paper as it is."""

from __future__ import annotations

from collections.abc import Iterator

from finetrap.report import wording
from finetrap.report.arranged.main_table import MainTable
from finetrap.report.arranged.panels import PanelArm
from finetrap.text.visible import ascii_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "|": r"\textbar{}",
    **{char: "\\" + char for char in "&%$#_{}"},
}
_VERDICTS = {
    "harmed": r"$^{\downarrow}$",
    "improved": r"$^{\uparrow}$",
    "equivalent": r"$^{=}$",
    "inconclusive": "",
}


def table(main: MainTable, name: str, seeds: str) -> str:
    """Write the table; `seeds` says what it rests on. Needs nothing but booktabs."""
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escape(task)}}}" for task in main.tasks)
    rules = "".join(rf"\cmidrule(lr){{{3 + 2 * i}-{4 + 2 * i}}}" for i in range(len(main.tasks)))
    under = " & ".join([r"right & change [95\%]"] * len(main.tasks))
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(name)}: {_latex_caption(main, seeds)}}}",
            rf"\begin{{tabular}}{{ll{'rr' * len(main.tasks)}}}",
            r"\toprule",
            rf" & & {heads} \\",
            rules,
            rf"model & strategy & {under} \\",
            *_latex_rows(main),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_caption(main: MainTable, seeds: str) -> str:
    bold = "no strategy is shown better than every other one, so none is bold"
    if main.any_best:
        bold = r"bold: shown better than every other strategy there, adjusted $p \le .05$"
    return (
        r"percent right, mean over seeds, and change against the base model in points; "
        rf"{escape(seeds)}; $^{{\downarrow}}$ harmed, $^{{\uparrow}}$ improved, "
        rf"$^{{=}}$ equivalent; {bold}."
    )


def _latex_rows(main: MainTable) -> Iterator[str]:
    for row in main.rows:
        if row.first:
            yield r"\midrule"
        model = escape(row.model) if row.first else ""
        label = " ".join(part for part in (row.label, _added_rate(row.label, row.rates)) if part)
        entries = " & ".join(map(_latex_entry, row.arms))
        yield rf"{model} & {escape(label)} & {entries} \\"


def _added_rate(label: str, rates: str) -> str:
    """Return the rates, unless the label ends in one."""
    return rates if rates and not label.endswith(rates) else ""


def _latex_entry(arm: PanelArm | None) -> str:
    if arm is None:
        return "--- & "
    line, effect = arm.summary, arm.effect
    if line.level is None:
        return f"{escape(arm.ended or 'not run')} & "
    value = wording.number(line.level, line.measure)
    value = rf"\textbf{{{value}}}" if line.best else value
    if effect is None:
        return f"{value} & "
    change = wording.change(effect).replace("\u2212", "$-$").replace("\u00a0", "~")
    return f"{value} & {change}{_VERDICTS[effect.verdict]}"


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, in ASCII: what is not is written by its code."""
    spelt = text.replace("\u00b3", "3").replace("\u2212", "-").replace("\u00b1", "+/-")
    plain = ascii_line(spelt.replace("\u00a0", " "), 120)
    return "".join(_SPECIAL.get(char, char) for char in plain)
