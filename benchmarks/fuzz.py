"""Rubbish for every reader, for minutes:  python benchmarks/fuzz.py --minutes 10 --seed 1

Spoils valid files of each format in turn (tests/fuzzing.py says how) and reads them as the commands do, in child processes, so
that a crash, a hang or a memory that grows is found, too. A reader may return, or refuse with a sentence that names the file.
Prints a line for each reader; then the faults, each with the command that repeats it, and the file that did it is kept. Ends with
code 1 where there is any.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the networks are too small to share out
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

HANGS_AFTER = 30.0
"""Seconds for one file."""
STARTS_WITHIN = 180.0
"""Seconds for importing everything and making the valid files."""
MOST_RESTARTS = 200


@dataclass
class Tally:
    """What became of the inputs of one target: counts, and the faults as (number of the input, text)."""

    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    faults: list[tuple[int, str]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.accepted + self.refused + len(self.faults)


def main() -> None:
    """Fuzz and print."""
    arguments = parsed()
    if arguments.child:
        child(arguments)
        return
    from fuzzing_targets import all_targets

    known = list(all_targets())
    targets = arguments.target or known
    for name in targets:
        if name not in known:
            sys.exit(f"There is no target {name}: use one of {', '.join(known)}.")
    seconds = 60 * arguments.minutes / len(targets)
    print(
        f"{'reader':22}{'inputs':>9}{'accepted':>10}{'refused':>9}{'faults':>8}{'seconds':>9}{'slowest':>9}", flush=True
    )
    tallies = {}
    for name in targets:
        tallies[name] = tally = fuzz(name, seconds, arguments)
        print(row(name, tally), flush=True)
    whole = Tally(
        *(sum(getattr(tally, part) for tally in tallies.values()) for part in ("accepted", "refused", "seconds"))
    )
    whole.slowest = max(tally.slowest for tally in tallies.values())
    whole.faults = [fault for tally in tallies.values() for fault in tally.faults]
    print(row("all", whole))
    print_faults(tallies, arguments)
    sys.exit(1 if whole.faults else 0)


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="in all, shared out over the readers (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="another one spoils other places (default 0)")
    parser.add_argument("--target", action="append", metavar="NAME", help="only this reader; may be given again")
    parser.add_argument("--only", type=int, metavar="N", help="only input number N, to repeat a fault")
    parser.add_argument(
        "--faults", type=Path, default=Path("fuzz-faults"), metavar="DIR", help="where the files go that did it"
    )
    parser.add_argument("--child", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def row(name: str, tally: Tally) -> str:
    """Return a line of the table."""
    return (
        f"{name:22}{tally.inputs:9,}{tally.accepted:10,}{tally.refused:9,}{len(tally.faults):8,}"
        f"{tally.seconds:9.0f}{tally.slowest:9.2f}"
    )


def print_faults(tallies: dict[str, Tally], arguments: argparse.Namespace) -> None:
    """Print each kind of fault once, with the first input that has it."""
    for name, tally in tallies.items():
        kinds: dict[str, list[tuple[int, str]]] = {}
        for fault in tally.faults:
            kinds.setdefault(re.sub(r"\d+", "N", fault[1])[:200], []).append(fault)
        for faults in kinds.values():
            number, text = faults[0]
            print(f"\n{name}: {len(faults)} x {text.strip()}")
            print(f"  python benchmarks/fuzz.py --target '{name}' --seed {arguments.seed} --only {number}")


# ------------------------------------------------------------------------------------------------------- the parent


def fuzz(name: str, seconds: float, arguments: argparse.Namespace) -> Tally:
    """Give a reader rubbish for so many seconds, in as many child processes as it takes."""
    tally = Tally()
    first = arguments.only or 0
    for _ in range(MOST_RESTARTS):
        with tempfile.TemporaryDirectory(prefix="facevae-fuzz-") as folder:
            ended = watch(name, first, max(0.0, seconds - tally.seconds), Path(folder), tally, arguments)
        if ended is None or arguments.only is not None:
            break
        first = ended + 1
    return tally


def watch(
    name: str, first: int, seconds: float, folder: Path, tally: Tally, arguments: argparse.Namespace
) -> int | None:
    """Run one child; return the number of the input that it died of, or None where it came to the end."""
    command = [sys.executable, __file__, "--child", name, "--seed", str(arguments.seed), "--first", str(first)]
    command += ["--minutes", str(seconds / 60), "--folder", str(folder)]
    if arguments.only is not None:
        command += ["--only", str(arguments.only)]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        state = followed(process, folder)
    for line in lines(folder / "log"):
        take(name, line, folder, tally, arguments)
    if process.returncode == 0:
        return None
    why = (
        f"signal {signal.Signals(-process.returncode).name}" if process.returncode < 0 else f"code {process.returncode}"
    )
    why = f"no end after {HANGS_AFTER:.0f} seconds" if state == "hangs" else f"the process ended with {why}"
    text = (folder / "stderr").read_text(errors="replace")
    number = next((line["begin"] for line in reversed(list(lines(folder / "log"))) if "begin" in line), None)
    if number is None:
        sys.exit(f"{name} could not be begun: {text[-2000:]}")
    stack = "\n".join(line for line in text.splitlines() if line.startswith("  File"))
    tally.faults.append((number, f"{why}\n{stack[:1500]}"))
    keep(name, number, folder, arguments)
    return int(number)


def followed(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for a child; end it where it hangs."""
    size, changed = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now = (folder / "log").stat().st_size if (folder / "log").exists() else 0
        if now != size:
            size, changed = now, time.monotonic()
        elif time.monotonic() - changed > (HANGS_AFTER if size > 0 else STARTS_WITHIN):
            process.send_signal(signal.SIGABRT)  # faulthandler tells where it was
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            return "hangs"
    return "ended"


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a child wrote, but the line that it died in."""
    if path.exists():
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                yield json.loads(line)


def take(name: str, line: dict[str, Any], folder: Path, tally: Tally, arguments: argparse.Namespace) -> None:
    """Count in what a child wrote of one input."""
    if "took" not in line:
        return
    tally.seconds += line["took"]
    tally.slowest = max(tally.slowest, line["took"])
    if "fault" in line:
        tally.faults.append((line["number"], line["fault"]))
        with suppress(OSError):
            shutil.copy(folder / f"fault-{line['number']}", kept_path(name, line["number"], arguments))
    else:
        tally.accepted += line["accepted"]
        tally.refused += not line["accepted"]


def keep(name: str, number: int, folder: Path, arguments: argparse.Namespace) -> None:
    """Keep the file that a child died of."""
    with suppress(OSError):
        shutil.copy(folder / "spoiled", kept_path(name, number, arguments))


def kept_path(name: str, number: int, arguments: argparse.Namespace) -> Path:
    """Return where the file of a fault is kept."""
    arguments.faults.mkdir(parents=True, exist_ok=True)
    path: Path = arguments.faults / f"{name.replace(' ', '-')}-{arguments.seed}-{number}"
    return path


# -------------------------------------------------------------------------------------------------------- the child


def child(arguments: argparse.Namespace) -> None:
    """Spoil and read files of one target, and write a line before and after each."""
    from facevae.errors import FacevaeError
    from fuzzing import FaultError, attempt
    from fuzzing_targets import all_targets

    faulthandler.enable()
    target, folder = all_targets()[arguments.child], arguments.folder
    for name in ("seeds", "work"):
        (folder / name).mkdir()
    seeds = target.seeds(folder / "seeds")
    path = folder / "work" / target.file
    for seed in seeds:  # what is imported on first use is not the fault of the first input
        path.write_bytes(seed)
        with suppress(FacevaeError):
            target.read(path)
    numbers = [arguments.only] if arguments.only is not None else range(arguments.first, sys.maxsize)
    messages: Counter[str] = Counter()
    end = time.monotonic() + 60 * arguments.minutes
    with (folder / "log").open("a", buffering=1) as log:
        for number in numbers:
            data = target.spoiled(seeds, Random(f"{arguments.seed} {target.name} {number}"))
            (folder / "spoiled").write_bytes(data)
            path.write_bytes(data)
            print(json.dumps({"begin": number}), file=log)
            started = time.monotonic()
            found: dict[str, Any]
            try:
                refused = attempt(target, path)
                found = {"accepted": refused is None}
                messages[re.sub(r"\d+", "N", refused or "").replace(str(path.parent), "")] += 1
            except FaultError as fault:
                found = {"fault": str(fault)[-3000:]}
                (folder / f"fault-{number}").write_bytes(data)
            print(json.dumps({"number": number, "took": time.monotonic() - started, **found}), file=log)
            if time.monotonic() > end:
                break
    if arguments.only is not None:
        print(json.dumps(messages), file=sys.stderr)


if __name__ == "__main__":
    main()
