"""Kill every command that writes, at random moments, and see what is left:  python benchmarks/kills.py --kills 200

Each command of tests/recipes.py runs as a process of its own in a small workspace that holds the complete output of an earlier
run, until SIGKILL, SIGTERM or SIGINT comes: as soon as a temporary file appears, late in its time, or at any moment of it but
the first tenth of a second, in which Python starts. Afterwards every file of before must be as it was or replaced by a whole
one, nothing half may lie under a final name, and nothing said may be a traceback; after SIGINT and SIGTERM no temporary file may
be left. After every third kill the same line runs to its end in what was left, must succeed, and must leave no temporary file
either. Ends with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import recipes
import support
from recipes import Recipe

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
MOMENTS = ("writing", "late", "any")
SHORT = 240.0
"""Seconds after which a process hangs for certain."""
_START = 0.1
_TEMPORARY = "tmp"

Files = dict[str, bytes]


@dataclass
class Tally:
    """What became of the kills of one recipe."""

    seconds: float = 0.0
    by_signal: Counter[str] = field(default_factory=Counter)
    writing: int = 0
    finished: int = 0
    after: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many processes were killed while they ran."""
        return sum(self.by_signal.values())


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its code, its standard error, whether a signal was sent, and a temporary file seen before."""

    code: int
    said: str
    seconds: float
    sent: bool
    seen: bool


def contents(folder: Path) -> Files:
    """Return the bytes of all files of a workspace but those in the folder for temporary files."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [str(path.relative_to(folder)) for path in paths]
    return {
        name: path.read_bytes()
        for name, path in zip(names, paths, strict=True)
        if not name.startswith(f"{_TEMPORARY}/")
    }


def temporary(folder: Path) -> set[str]:
    """Return the temporary files of a workspace: hidden ones beside outputs, and what lies in TMPDIR."""
    hidden = {str(path.relative_to(folder)) for path in folder.rglob("*.part")}
    return hidden | {str(path.relative_to(folder)) for path in (folder / _TEMPORARY).iterdir()}


class Trials:
    """The workspace, copied for every trial."""

    def __init__(self, base: Path, seed: int) -> None:
        self._base, self._chance = base, random.Random(seed)
        self.workspace = base / "workspace"
        (self.workspace / _TEMPORARY).mkdir(parents=True)
        recipes.put_workspace(self.workspace, support.hopper(), 60)
        self._count = 0

    def run(
        self, recipe: Recipe, folder: Path, moment: float | None = None, number: signal.Signals | None = None
    ) -> Ended:
        """Run a line; send a signal after `moment` seconds, or with `number` alone once a temporary file appears."""
        environment = {
            **os.environ,
            "TMPDIR": str(folder / _TEMPORARY),
            "NUMBA_DISABLE_JIT": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "facevae", *recipe.words()]
        with (
            (folder / recipe.out if recipe.redirected else Path(os.devnull)).open("wb") as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            started = time.monotonic()
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)
            sent, seen = _send(process, folder, recipe, moment, number, started)
            try:
                process.wait(SHORT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return Ended(process.returncode, f"It still ran after {SHORT:.0f} s.", SHORT, sent, seen)
            stderr.seek(0)
            said = stderr.read().decode(errors="replace")
        return Ended(process.returncode, said, time.monotonic() - started, sent, seen)

    def reference(self, recipe: Recipe, tally: Tally) -> Path:
        """Let a recipe run to its end; return a folder with the files that it made."""
        folder = self._copy()
        if "--resume" in recipe.line:
            first = next(each for each in recipes.RECIPES if each.command == recipe.command and each.keeps)
            self._check_end(recipe, self.run(first, folder), tally)
        before = contents(folder)
        ended = self.run(recipe, folder)
        tally.seconds = ended.seconds
        self._check_end(recipe, ended, tally)
        whole = self._base / "whole" / recipe.name.replace("/", "-")
        for name, data in contents(folder).items():
            if before.get(name) != data:
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).write_bytes(data)
        self._earlier = before if "--resume" in recipe.line else {}
        shutil.rmtree(folder)
        return whole

    def kill(self, recipe: Recipe, whole: Path, turn: int, tally: Tally) -> None:
        """Kill a run of a recipe, and look at what is left; at every third turn, let the next run come to its end."""
        folder = self._copy()
        if self._earlier:
            for name, data in self._earlier.items():
                (folder / name).write_bytes(data)
        else:
            recipes.put_earlier(recipe, folder, whole)
        before = contents(folder)
        number, kind = SIGNALS[turn % 3], MOMENTS[(turn // 3 + turn) % 3]
        low, high = {"writing": (0.0, 0.0), "late": (0.5, 1.05), "any": (0.0, 1.0)}[kind]
        moment = max(_START, self._chance.uniform(low, high) * tally.seconds) if kind != "writing" else None
        ended = self.run(recipe, folder, moment, number)
        if not ended.sent:
            tally.finished += 1
            self._check_end(recipe, ended, tally)
        else:
            tally.by_signal[number.name] += 1
            tally.writing += ended.seen or bool(temporary(folder))
        at = "when a temporary file appeared" if moment is None else f"after {moment:.2f} s"
        what = f"{recipe.name}, {number.name} {at}"
        faults = [*_words(ended, number), *_left(recipe, folder, before, contents(whole), ended, number)]
        if turn % 3 == turn // 3 % 3:
            tally.after += 1
            faults += self._next(recipe, folder, contents(whole))
        tally.faults += [f"{what}: {fault}" for fault in faults]
        if not faults:
            shutil.rmtree(folder)

    def _next(self, recipe: Recipe, folder: Path, whole: Files) -> list[str]:
        """Run the line again in what a killed run left, and return what is wrong."""
        ended = self.run(recipe, folder)
        done_already = "--resume" in recipe.line and "epochs already: ask for more" in ended.said
        faults = (
            [f"the next run ended with {ended.code}: {ended.said[-500:]}"] if ended.code and not done_already else []
        )
        faults += [f"the next run left {name}" for name in sorted(temporary(folder))]
        after = contents(folder)
        for name, data in whole.items():
            if name not in after or not _is_whole(recipe, folder / name, after[name], data):
                faults.append(f"after the next run {name} is not whole")
        return faults

    def _check_end(self, recipe: Recipe, ended: Ended, tally: Tally) -> None:
        if ended.code or ended.said.count("Traceback"):
            tally.faults.append(f"{recipe.name}, which nobody stopped, ended with {ended.code}: {ended.said[-500:]}")

    def _copy(self) -> Path:
        self._count += 1
        return Path(shutil.copytree(self.workspace, self._base / f"trial-{self._count}"))


def _send(
    process: subprocess.Popen[bytes],
    folder: Path,
    recipe: Recipe,
    moment: float | None,
    number: signal.Signals | None,
    started: float,
) -> tuple[bool, bool]:
    """Send the signal when its time has come; return whether the process still ran, and whether a temporary file was there."""
    if number is None:
        return False, False
    watched = [folder, folder / recipe.out if recipe.folder else folder, folder / _TEMPORARY]
    deadline = started + (moment if moment is not None else SHORT)
    while process.poll() is None:
        seen = moment is None and _appeared(watched)
        if seen or time.monotonic() >= deadline:
            process.send_signal(number)
            return True, seen
        time.sleep(0.0003 if moment is None else min(0.01, max(0.0, deadline - time.monotonic())))
    return False, False


def _appeared(folders: Sequence[Path]) -> bool:
    for folder in folders:
        try:
            if any(name.endswith(".part") or name.startswith("facevae-") for name in os.listdir(folder)):  # noqa: PTH208
                return True
        except FileNotFoundError:
            pass
    return False


def _words(ended: Ended, number: signal.Signals) -> list[str]:
    """Return what is wrong with a killed process's code and words."""
    faults = []
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        faults.append(f"a traceback: {ended.said[-1500:]}")
    if not ended.sent:
        return faults
    allowed = {-number, 0} if number == signal.SIGKILL else {130, -number, 0}
    if ended.code not in allowed:
        faults.append(f"it ended with {ended.code}: {ended.said[-500:]}")
    if ended.code == 130 and not ended.said.endswith("Interrupted.\n"):
        faults.append(f"it ended with 130 and said: {ended.said[-500:]}")
    return faults


def _left(recipe: Recipe, folder: Path, before: Files, whole: Files, ended: Ended, number: signal.Signals) -> list[str]:
    """Return what is wrong with the files that a killed process left."""
    after, faults = contents(folder), []
    for name, data in before.items():
        if after.get(name) == data:
            continue
        if recipe.keeps and data not in after.values():
            faults.append(f"the earlier {name} is lost")
        if name in after and (name not in whole or not _is_whole(recipe, folder / name, after[name], whole[name])):
            faults.append(f"{name} is neither the earlier one nor whole")
        if name not in after and data not in after.values():
            faults.append(f"{name} is gone")
    temporaries = temporary(folder)
    for name in sorted(set(after) - set(before) - temporaries):
        if ".previous" in name or name.endswith(".unfinished") or (recipe.redirected and not after[name]):
            continue
        if name not in whole:
            faults.append(f"{name} is new, and a whole run does not write it")
        elif not _is_whole(recipe, folder / name, after[name], whole[name]) and not _is_refused(recipe, folder / name):
            faults.append(f"{name} is not whole")
    if number != signal.SIGKILL or not ended.sent:
        faults += [f"{name} is left" for name in sorted(temporaries)]
    return faults


def _is_whole(recipe: Recipe, path: Path, data: bytes, whole: bytes) -> bool:
    """Tell whether a file is that of a whole run, or, where no two runs write the same, can be read to its end."""
    if data == whole:
        return True
    if recipe.exact:
        return False
    try:
        return _can_be_read(path)
    except (OSError, ValueError, SyntaxError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False


def _can_be_read(path: Path) -> bool:
    from safetensors import safe_open

    from facevae.errors import FacevaeError
    from facevae.workflows.info import info

    if path.suffix in (".png", ".jpg", ".gif", ".webp"):
        with Image.open(path) as picture:
            picture.load()
        return True
    if path.suffix == ".csv":
        with path.open() as file:
            return len({len(row) for row in csv.reader(file)}) == 1
    if path.suffix == ".safetensors":
        with safe_open(str(path), framework="np") as tensors:
            return all(tensors.get_tensor(name).size >= 0 for name in tensors.keys())  # noqa: SIM118 - no mapping
    if path.suffix == ".h5":
        try:
            return bool(info(path))
        except FacevaeError:
            return False
    return path.read_bytes().endswith(b"\n")


def _is_refused(recipe: Recipe, path: Path) -> bool:
    """Tell whether half a file that the shell made is known as such by whatever reads it."""
    from facevae.errors import DataError
    from facevae.storage.latents import Latents

    if not recipe.redirected:
        return False
    try:
        Latents(path).close()
    except DataError:
        return True
    return False


def main() -> None:
    """Kill, look, and print a table."""
    from typer.main import get_command

    from facevae.cli.main import app

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="over all commands (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--command", action="append", help="only this command; may be repeated")
    parser.add_argument("--demo", type=int, default=2, help="kills of the demo, which is slow (default 2)")
    arguments = parser.parse_args()
    lacking = recipes.missing(get_command(app).commands)  # type: ignore[attr-defined]
    if lacking:
        sys.exit(lacking)
    chosen = [recipe for recipe in recipes.RECIPES if not arguments.command or recipe.command in arguments.command]
    if not chosen:
        sys.exit(f"No command that writes is called {', '.join(arguments.command)}.")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes background jobs deaf to it, and they these
    tallies = {recipe.name: Tally() for recipe in chosen}
    with tempfile.TemporaryDirectory(prefix="facevae-kills-", ignore_cleanup_errors=True) as name:
        _run(Trials(Path(name), arguments.seed), chosen, tallies, arguments)
    _print(tallies)
    sys.exit(any(tally.faults for tally in tallies.values()))


def _run(trials: Trials, chosen: list[Recipe], tallies: dict[str, Tally], arguments: argparse.Namespace) -> None:
    """Kill each recipe's process as often as its share says."""
    quick = [recipe for recipe in chosen if recipe.command != "demo"]
    share = -(-arguments.kills // max(1, len(quick)))
    for recipe in chosen:
        tally = tallies[recipe.name]
        whole = trials.reference(recipe, tally)
        wanted = share if recipe in quick else arguments.demo
        turn = 0
        while tally.kills < wanted and turn < 3 * wanted and not (tally.faults and not whole.exists()):
            trials.kill(recipe, whole, turn, tally)
            turn += 1
        print(_row(recipe.name, tally), flush=True)
        for fault in tally.faults:
            print(f"    {fault}", flush=True)


def _row(name: str, tally: Tally) -> str:
    counts = " ".join(f"{tally.by_signal[number.name]:>7}" for number in SIGNALS)
    return f"{name:<20} {tally.seconds:6.1f} s {counts} {tally.writing:>8} {tally.after:>9} {len(tally.faults):>7}"


def _print(tallies: dict[str, Tally]) -> None:
    head = " ".join(f"{number.name:>7}" for number in SIGNALS)
    print(f"\n{'command':<20} {'takes':>8} {head} {'writing':>8} {'next runs':>9} {'faults':>7}")
    total = Tally()
    for name, tally in tallies.items():
        print(_row(name, tally))
        total.by_signal += tally.by_signal
        total.writing, total.after = total.writing + tally.writing, total.after + tally.after
        total.seconds += tally.seconds
        total.faults += tally.faults
    print(_row(f"all: {total.kills} kills", total))


if __name__ == "__main__":
    main()
