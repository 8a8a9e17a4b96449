"""Tables of `[prompt]` become the prompts of a model: laid over each other, checked, spread."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from finetrap import catalog
from finetrap.errors import BadStudy, nearest
from finetrap.references import PromptSpec
from finetrap.text.prompts import OPTIONS, QUESTION

_PLACES = (QUESTION, OPTIONS)
_NAME = re.compile(r"\{\w+\}")


def prompts_of(*layers: Mapping[str, Any]) -> list[PromptSpec]:
    """Return the prompts that tables say together, the last on top: one for each template.

    A preset takes the place of what lies below it. Raises BadStudy with all faults.
    """
    merged: dict[str, Any] = {}
    faults: list[str] = []
    for layer in layers:
        if "preset" in layer:
            name, known = layer["preset"], catalog.presets()
            if name not in known:
                allowed = ", ".join(known)
                faults.append(f"preset: found '{name}'; allowed: {allowed}{nearest(name, known)}")
            merged = {k: v for k, v in known.get(name, {}).items() if k != "about"}
        merged |= {key: value for key, value in layer.items() if key != "preset"}
    templates = merged.pop("template", None)
    templates = templates if isinstance(templates, list) else [templates]
    faults += [fault for template in templates if template for fault in _faults_of(template)]
    if faults:
        raise BadStudy("prompt", faults)
    stops = None if merged.get("stops") is None else tuple(merged["stops"])
    exemplars = tuple((question, answer) for question, answer in merged.get("exemplars", ()))
    settings = {**merged, "stops": stops, "exemplars": exemplars}
    return [PromptSpec(template=template, **settings) for template in templates]


def _faults_of(template: str) -> Iterator[str]:
    if QUESTION not in template:
        yield (
            f"template: found {template!r}; it must hold {QUESTION}, where the question stands, "
            f"and may hold {OPTIONS}, where the choices of a problem stand"
        )
    for name in dict.fromkeys(_NAME.findall(template)):
        if name not in _PLACES and (hint := nearest(name, _PLACES)):
            yield f"template: found {name} in {template!r}{hint}"
