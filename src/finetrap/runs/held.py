"""What was read of a run's files: let go when other runs need the room, read again when asked for.

Judging goes through all runs of a folder several times, and ten thousand of them do not fit memory.
A `Shelf` holds what was used last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from finetrap.records import Answer

ROOM = 100_000_000
"""Bytes of files whose content is held at once; in memory it takes two to four times as many."""
LEAVES = 200
"""Values of an entry of evidence that is held whatever its run is needed for."""

Content = TypeVar("Content")
Source = TypeVar("Source")


class Shelf:
    """The content of files, of many runs together: what was not used for longest makes room."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._used = 0
        self._held: OrderedDict[Part[Any], Any] = OrderedDict()

    def put(self, part: Part[Content], content: Content) -> Content:
        """Hold what was read of a part, and let others go until there is room for it."""
        self._held[part] = content
        self._used += part.size
        while self._used > self._room and len(self._held) > 1:
            old, _ = self._held.popitem(last=False)
            self._used -= old.size
        return content

    def content(self, part: Part[Content]) -> Content:
        """Return what a part holds. Raises StoreError where it must be read again and cannot be."""
        if part not in self._held:
            return self.put(part, part.read())
        self._held.move_to_end(part)
        found: Content = self._held[part]
        return found


class Part(Generic[Content]):
    """One file of a run: how its content is read, and its size in bytes."""

    def __init__(self, read: Callable[[], Content], size: int) -> None:
        self.read = read
        self.size = size


class _Held:
    """What is on a shelf or on disk, and what was made of it while it was at hand."""

    notes: dict[Any, Any]
    """By the function that made it; see `noted`."""


class HeldAnswers(_Held, Sequence[Answer]):
    """The answers of one test, as a tuple that is on a shelf or on disk."""

    def __init__(self, part: Part[tuple[Answer, ...]], count: int, shelf: Shelf) -> None:
        self._part = part
        self._count = count
        self._shelf = shelf
        self.notes = {}

    def changed(self, change: Callable[[Sequence[Answer]], tuple[Answer, ...]]) -> Sequence[Answer]:
        """Return them as `change` makes them, one each, whenever they are read."""
        own = self._part
        return HeldAnswers(Part(lambda: change(own.read()), own.size), self._count, self._shelf)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Answer]:
        answers: tuple[Answer, ...] = self._shelf.content(self._part)
        return iter(answers)

    @overload
    def __getitem__(self, place: int) -> Answer: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Answer, ...]: ...

    def __getitem__(self, place: int | slice) -> Answer | tuple[Answer, ...]:
        return self._shelf.content(self._part)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class HeldEvidence(_Held, Mapping[str, Any]):
    """What judging needs of a run: short entries at hand, long ones on a shelf or on disk."""

    def __init__(self, part: Part[dict[str, Any]], content: dict[str, Any], shelf: Shelf) -> None:
        self._part = part
        self._shelf = shelf
        self.notes = {}
        self._names = tuple(content)
        self._short = {name: value for name, value in content.items() if _is_short(value)}

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Any:
        if name in self._short or name not in self._names:
            return self._short[name]
        return self._shelf.content(self._part)[name]


def noted(content: Source, make: Callable[[Source], Content]) -> Content:
    """Return what a function makes of answers or evidence; of what may be let go, only once."""
    if not isinstance(content, _Held):
        return make(content)
    if make not in content.notes:
        content.notes[make] = make(content)
    found: Content = content.notes[make]
    return found


def _is_short(value: Any) -> bool:
    """Whether a value of JSON holds few values and no long text."""
    todo, seen = [value], 0
    while todo:
        one = todo.pop()
        seen += 1 + (len(one) // 100 if isinstance(one, str) else 0)
        if isinstance(one, list | dict):
            if seen + len(one) > LEAVES:
                return False
            todo += one.values() if isinstance(one, dict) else one
    return seen <= LEAVES
