"""Any data set of the hub: `hf:ORG/NAME`, `hf:ORG/NAME:CONFIG`, `hf:ORG/NAME@REVISION`.

Its rows are read as those of a person's own file (jsonl.py), whose options of columns and scoring
hold here too. `split` names the split to read, `train` unless it is said, and `test` the split of
the test problems; without that one problem in five is held out. Fetched once, then read from the
cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from finetrap.errors import BadInput
from finetrap.records import TaskKind, TaskRef
from finetrap.tasks import Task, jsonl
from finetrap.tasks._scored import checked_scoring
from finetrap.tasks._sources import Hub
from finetrap.text import own_scorer

NAMES: dict[str, TaskKind] = {"hf": "math"}
OPTIONS = tuple(dict.fromkeys((*jsonl.OPTIONS, "split", "test")))
_NAMED = re.compile(
    r"(?P<set>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?"
)
MAIN = "main"


def revision(name: str, source: str | None, options: Mapping[str, Any]) -> str:
    """Return the commit that is named, or that the named branch (`main`) is at now."""
    texts = (*jsonl.COLUMNS, "test", "scoring", "duplicates")
    for option in (key for key in texts if key in options):
        if not isinstance(options[option], str):
            raise BadInput(f"{name}: option {option} is {options[option]!r}; it must be a string")
    jsonl.check_sides(name, {key: value for key, value in options.items() if key != "split"})
    how = checked_scoring(name, options) or ""
    if how.startswith(own_scorer.PREFIX):
        raise BadInput(f"{name}: a scorer in Python lies beside a file; download the data set")
    return _hub(name, source).pinned().revision


def load(ref: TaskRef) -> Task:
    """Fetch the splits, or read them from the cache, and make problems of their rows."""
    hub = replace(_hub(ref.name, ref.source), revision=ref.revision)
    options = dict(ref.options)
    split, test = options.pop("split", "train"), options.pop("test", None)
    parts = [hub.rows(ref.name, one) for one in (split, test) if one]
    columns = {key: value for key, value in options.items() if key != "test_share" or not test}
    told = {**columns, **({"test": test} if test else {})}
    return jsonl.of_rows(ref, parts, told, checked_scoring(ref.name, options))


def _hub(name: str, source: str | None) -> Hub:
    found = _NAMED.fullmatch(source or "")
    if found is None:
        raise BadInput(
            f"'{name}:{source or ''}' names no data set of the hub; write hf:ORG/NAME, "
            "hf:ORG/NAME:CONFIG or hf:ORG/NAME@REVISION"
        )
    return Hub(found["set"], found["config"], found["revision"] or MAIN)
