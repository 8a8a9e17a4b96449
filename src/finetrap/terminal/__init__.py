"""What the terminal shows while a study runs: a live display, plain lines, JSON lines or nothing.

It shows accuracies as they come in and never a verdict: to look again and again until one turns up
would break the error rate that a verdict has.
"""

from __future__ import annotations

from finetrap.terminal.progress import Progress

__all__ = ["Progress"]
