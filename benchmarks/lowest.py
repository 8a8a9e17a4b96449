"""Write the lowest version of each package that pyproject.toml allows, as pip's constraints.

    python -m benchmarks.lowest [EXTRA …] > constraints.txt

Its Python decides which requirements count. pip refuses what cannot be installed together: then a
bound in pyproject.toml is lower than another package lets it be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def wanted(project: dict[str, Any], lines: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that count here, and in place of a project's extra what it holds."""
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        if requirement.name == project["name"]:
            for extra in sorted(requirement.extras):
                yield from wanted(project, project["optional-dependencies"][extra])
        else:
            yield requirement


def lowest(project: dict[str, Any], extras: Iterable[str]) -> dict[str, Version]:
    """Return for each package the highest of the lower bounds that are stated for it."""
    own = [f"{project['name']}[{','.join(extras)}]"]
    found: dict[str, Version] = {}
    for requirement in wanted(project, [*project["dependencies"], *own]):
        bound = max(Version(one.version) for one in requirement.specifier if one.operator == ">=")
        found[requirement.name] = max(bound, found.get(requirement.name, bound))
    return found


if __name__ == "__main__":
    told = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    for name, version in sorted(lowest(told["project"], sys.argv[1:] or ["test"]).items()):
        print(f"{name}=={version}")
