"""Files that change behind finetrap's back, and disks that take no more."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.torture.scene import Kept, Scene, killed_after
from benchmarks.torture.table import Count
from finetrap.runs.store import SPARED, Store

Damage = Callable[[Path, random.Random], None]
"""Changes one file."""


def of_committed_runs(scene: Scene, times: int, draw: random.Random) -> list[Count]:
    """Damage one committed run; it must be named, set aside, and come out the same once more."""
    whole = scene.folder / "whole"
    counts = []
    for what, damage in DAMAGES.items():
        count = Count(f"committed run: {what}", "one file of one run, drawn at random")
        for _ in range(times):
            place = scene.place()
            shutil.copytree(whole, place)
            victim = draw.choice(sorted(place.glob("[!.]*--*")))
            damage(_one_of(victim, draw), draw)
            count.tried += 1
            store = Store(place)
            _, damaged = store.sound_runs()
            count.wrong += list(damaged) != [victim]
            for folder in damaged:
                store.set_aside(folder)
            scene.attempt(place)
            scene.ended(place, count)
            shutil.rmtree(place)
        counts.append(count)
    return counts


def of_exchanged_runs(scene: Scene, times: int, draw: random.Random) -> Count:
    """Give two runs each other's names."""
    count = Count("two committed runs exchange their names", "rename(2) of two drawn at random")
    for _ in range(times):
        place = scene.place()
        shutil.copytree(scene.folder / "whole", place)
        one, other = draw.sample(sorted(place.glob("[!.]*--*")), 2)
        aside = place / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        count.tried += 1
        store = Store(place)
        _, damaged = store.sound_runs()
        count.wrong += set(damaged) != {one, other}
        for folder in damaged:
            store.set_aside(folder)
        scene.attempt(place)
        scene.ended(place, count)
        shutil.rmtree(place)
    return count


def of_unfinished_cells(
    scene: Scene, times: int, draw: random.Random, what: str = "of planted answers"
) -> Count:
    """Kill a study, damage a checkpoint or a journal of answers, and go on."""
    count = Count(
        f"checkpoint or journal {what} damaged after a kill",
        "cut, flipped, emptied or filled with noise",
    )
    while count.tried < times:
        place = scene.place()
        scene.attempt(place, killed_after(draw.uniform(0, scene.seconds)))
        left = sorted(place.glob(".cells/*/*"))
        if left:
            kept = Kept(place)
            kept.answers = {}  # what was damaged is made again
            draw.choice(BYTES)(draw.choice(left), draw)
            count.tried += 1
            scene.attempt(place)
            scene.held(place, count, kept)
            scene.ended(place, count)
        shutil.rmtree(place, ignore_errors=True)
    return count


def of_drafts(scene: Scene, times: int, draw: random.Random) -> Count:
    """Leave what killed processes leave, and more of it than any would."""
    count = Count("rubbish in the runs folder", "drafts, locks and cells of noise, links, folders")
    for _ in range(times):
        place = scene.place()
        old, young = (place / ".cells" / (digit * 64) for digit in "0f")
        for folder in (place / ".tmp-0123456789ab-x", old, young):
            folder.mkdir(parents=True)
            (folder / "answers").write_bytes(draw.randbytes(draw.randint(0, 200)))
        forgotten = time.time() - 2 * SPARED
        for path in (old / "answers", old):
            os.utime(path, (forgotten, forgotten))
        (place / ".studies").mkdir()
        (place / ".studies" / ".0123456789ab").write_text("{")
        (place / ".locks").mkdir()
        (place / ".locks" / ("a" * 64)).write_bytes(draw.randbytes(9))
        (place / "notes").mkdir()
        (place / "mine.txt").write_text("kept")
        (place / f"x--{'e' * 64}").symlink_to(place / "nowhere")
        count.tried += 1
        scene.attempt(place)
        count.lost += (place / "mine.txt").read_text() != "kept"
        # A cell that no study asks for now may be another study's, so it stays while it is young.
        count.lost += not (young / "answers").is_file()
        shutil.rmtree(young, ignore_errors=True)
        (place / f"x--{'e' * 64}").unlink()
        scene.ended(place, count)
        shutil.rmtree(place)
    return count


def of_full_disks(scene: Scene, times: int, draw: random.Random) -> Count:
    """Let no file grow beyond a size; the study ends, and goes on once there is room."""
    count = Count("no room for a file", "RLIMIT_FSIZE of 1 byte to 6 kB (EFBIG in write)")
    for _ in range(times):
        place, most = scene.place(), draw.randint(1, 6000)

        def limited(most: int = most) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        count.tried += 1
        scene.attempt(place, prepare=limited, faults=True)
        count.orphans += sum(1 for _ in place.glob(".tmp-*"))
        kept = Kept(place)
        kept.answers = {}
        scene.attempt(place)
        scene.held(place, count, kept)
        scene.ended(place, count)
        shutil.rmtree(place)
    return count


def _one_of(folder: Path, draw: random.Random) -> Path:
    """Return a file that holds numbers; weights stand in no manifest."""
    return draw.choice(sorted(folder.glob("*.json*")))


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def _empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def _noise(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(max(1, path.stat().st_size)))


def _zeros(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def _other_shape(path: Path, draw: random.Random) -> None:
    shapes: Sequence[object] = ([], {}, 3, None, "x", {"format": 2}, [[1]], {"files": []})
    path.write_text(json.dumps(draw.choice(shapes)) + "\n")


def _deep(path: Path, draw: random.Random) -> None:
    path.write_text("[" * 100_000)


def _number(path: Path, draw: random.Random) -> None:
    path.write_text('{"format": ' + "9" * 10_000 + "}")


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


BYTES: tuple[Damage, ...] = (_flip, _cut, _empty, _noise, _zeros)
DAMAGES: dict[str, Damage] = {
    "a byte flipped": _flip,
    "cut short": _cut,
    "emptied": _empty,
    "noise of the same size": _noise,
    "zeros of the same size": _zeros,
    "a file removed": _remove,
    "JSON of another shape": _other_shape,
    "JSON 100,000 levels deep": _deep,
    "a number of 10,000 digits": _number,
    "a folder where a file was": _folder,
}
