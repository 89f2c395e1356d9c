"""The entry point: signals at moments of which the command itself knows nothing, in processes that import next to nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facevae.temporary import HOST, temporary_folder
from helpers import files

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def started(body: str, number: signal.Signals) -> tuple[int, str]:
    """Run the entry point with another `main` of the commands; return the exit code and what was said."""
    script = (
        "import os, signal, sys, time\n"
        "import facevae.cli.main as commands\n"
        "from facevae.cli.boundary import guarded\n"
        "from facevae.cli.start import main\n"
        f"def send(): os.kill(os.getpid(), {int(number)})\n"
        "def work(): send(); time.sleep(60)\n"
        "def importing():\n"
        "    try: work()\n"
        "    except KeyboardInterrupt: raise ImportError('initialization failed') from None\n"
        f"def run():\n{body}\n"
        "commands.main = run\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "body",
    [
        "    work()",
        "    app = commands.typer.Typer()\n    app.command()(guarded(work))\n    app([])",
        "    app = commands.typer.Typer()\n    app.command()(work)\n    app([])",
        "    try: work()\n    except KeyboardInterrupt: raise ImportError('initialization failed') from None",
        "    app = commands.typer.Typer()\n    app.command()(guarded(importing))\n    app([])",
        "    exec('work()')",
        "    class Thing:\n        def __del__(self): send(); time.sleep(1)\n    Thing()\n    time.sleep(60)",
    ],
    ids=["alone", "command", "Typer", "import", "import in a command", "exec", "where nothing can be raised"],
)
def test_an_interruption_is_told_once(body: str, number: signal.Signals) -> None:
    code, said = started(body, number)
    assert said == "Interrupted.\n"
    assert code == 130


@pytest.mark.parametrize("times", [1, 2])
def test_an_import_ends_before_it_is_interrupted_unless_asked_twice(times: int, workspace: Path) -> None:
    Path("slow.py").write_text(
        "import os, signal, time\n"
        f"for _ in range({times}): os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(0.1)\n"
        "open('imported', 'w').close()\n"
    )
    assert started("    import slow\n    time.sleep(60)", signal.SIGINT) == (130, "Interrupted.\n")
    assert Path("imported").exists() == (times == 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_after_the_work_a_signal_ends_the_process_silently(number: signal.Signals) -> None:
    body = "    import atexit\n    atexit.register(lambda: (send(), time.sleep(60)))\n    sys.exit(0)"
    assert started(body, number) == (-number, "")


def test_other_mistakes_are_told_where_nothing_can_be_raised() -> None:
    code, said = started("    class Thing:\n        def __del__(self): 1 / 0\n    Thing()", signal.SIGINT)
    assert code == 0
    assert said.startswith("Exception ignored in: ")
    assert said.endswith("ZeroDivisionError: division by zero\n")


def test_an_ignored_signal_stays_ignored() -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "import facevae.cli.main as commands\n"
        "from facevae.cli.start import main\n"
        "commands.main = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "main()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


# ------------------------------------------------------------------------------------------ temporary folders


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_temporary_folder_is_gone_afterwards(above: Path, error: type[BaseException] | None) -> None:
    def work() -> None:
        with temporary_folder() as folder:
            assert folder.parent == above
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "output").write_bytes(b"half")
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    assert files(str(above)) == []


def test_an_interruption_while_it_is_made(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Path.mkdir

    def make(self: Path, mode: int) -> None:
        really(self, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", make)
    with pytest.raises(KeyboardInterrupt), temporary_folder():
        pass
    assert files(str(above)) == []


def test_what_killed_runs_left_is_removed(above: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    end = "0" * 16
    stays = [
        f"facevae-{HOST}-{os.getppid()}-{end}",
        f"facevae-another{HOST}-{dead.pid}-{end}",
        f"facevae-{HOST}-{dead.pid}-mine",
        "facevae-benchmark-1",
    ]
    for name in (*stays, f"facevae-{HOST}-{dead.pid}-{end}"):
        (above / name).mkdir()
        (above / name / "output").write_bytes(b"half")
    with temporary_folder():
        pass
    assert files(str(above)) == sorted(stays)


def test_streams_that_the_shell_closed(workspace: Path) -> None:
    facevae = f"{shlex.quote(sys.executable)} -m facevae"
    done = subprocess.run(["sh", "-c", f"{facevae} info faces-32 >&-"], capture_output=True, text=True)
    said = "Error: standard output is closed: leave it open, or send it into a file.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    done = subprocess.run(["sh", "-c", f"{facevae} info nothing.h5 2>&-"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = subprocess.run(["sh", "-c", f"{facevae} info --json faces-32 2>&- <&-"], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (0, "VAE weights")
