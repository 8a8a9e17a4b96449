"""One row a fault, and docs/reliability.md from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- torture -->", "<!-- /torture -->"
HEAD = (
    "| what happened | how injected | times tried | lost | wrong | orphans |\n"
    "|---|---|---|---|---|---|"
)


@dataclass
class Count:
    """What became of one fault, tried many times."""

    fault: str
    how: str
    tried: int = 0
    lost: int = 0
    """Runs, checkpoints and answers that were on the disk and are no more, or were made again."""
    wrong: int = 0
    """Files that are not those of the undisturbed study, byte for byte; or a fault not told."""
    orphans: int = 0
    """Processes and files that stay behind."""

    def row(self) -> str:
        """Return the row of the table."""
        numbers = (self.tried, self.lost, self.wrong, self.orphans)
        return f"| {self.fault} | {self.how} | {' | '.join(f'{n:,}' for n in numbers)} |"

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, wrong or left over."""
        return not (self.lost or self.wrong or self.orphans)


def write(page: Path, counts: Sequence[Count], minutes: float) -> None:
    """Put the table between its marks on a page, which stands otherwise as it is."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    total = sum(count.tried for count in counts)
    rows = "\n".join(count.row() for count in counts)
    told = f"{total:,} times in all, in {minutes:.0f} minutes on one core."
    page.write_text(f"{before}{BEGIN}\n{told}\n\n{HEAD}\n{rows}\n{END}{after}", "utf-8")
