"""A Python process of its own for what may hang or end: one question a line, with a time limit."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from typing import Any

STARTING = 120.0
"""Seconds in which a process must be ready: it may import what is large."""


class SideEnded(Exception):
    """The process gave no answer; its message says whether it took too long."""


class NeverStarted(SideEnded):
    """The process was never ready to be asked, which says nothing of any question."""


class SideProcess:
    """Runs a program that prints a line when it is ready and then one for each line it reads."""

    def __init__(self, program: str, arguments: tuple[str, ...], seconds: float) -> None:
        self._command = [sys.executable, "-c", program, *arguments]
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: object) -> Any:
        """Return the JSON answer to a JSON question. Raises SideEnded."""
        process = self._process
        if process is None or process.poll() is not None:
            pipe = subprocess.PIPE
            process = self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8"
            )
            try:
                self._line(process, STARTING)
            except SideEnded as fault:
                raise NeverStarted(str(fault)) from fault
        try:
            if process.stdin is not None:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
        except BrokenPipeError as error:
            raise SideEnded("ended by itself; see what it printed") from error
        return json.loads(self._line(process, self._seconds))

    def _line(self, process: subprocess.Popen[str], seconds: float) -> str:
        ready = process.stdout and select.select([process.stdout], [], [], seconds)[0]
        line = process.stdout.readline() if process.stdout and ready else ""
        if not line:
            process.kill()
            process.wait()
            raise SideEnded(
                "ended by itself; see what it printed"
                if ready
                else f"took longer than {seconds:g} seconds"
            )
        return line
