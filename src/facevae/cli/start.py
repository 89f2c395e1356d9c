"""The entry point: Ctrl-C and SIGTERM end the program with a line and exit code 130, from its first import to its last moment.

Whatever takes time to import is imported within `main`: Ctrl-C may come at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_PATIENCE = 1.0
_interrupted = False
_waiting = False
"""Whether a signal is to be sent again soon, for this one came at a bad moment."""
_sent_again = False
"""Whether the signal that comes next is such a one, and not the user's."""


def main() -> None:
    """Run the command line."""
    _listen()
    _fill_missing_streams()
    try:
        try:
            from facevae.cli.main import main as run

            run()
        finally:
            _end_quietly_from_now_on()
    except KeyboardInterrupt:
        _tell_once()
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:
            _tell_once()
        _leave_the_explorer(end.code)
        raise
    except Exception:
        if not _interrupted:
            raise
        _tell_once()
        sys.exit(130)


def _fill_missing_streams() -> None:
    """Where the shell closed a stream (`>&-`), let its number be no other file's: reading ends, writing fails, errors vanish."""
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _leave_the_explorer(code: object) -> None:
    """End the process where the explorer's threads go on: Python waits for threads, and nobody for what these compute."""
    if "facevae.explorer.server" not in sys.modules:
        return
    from facevae.config import EXPLORE_THREADS

    until = time.monotonic() + _PATIENCE
    for thread in threading.enumerate():
        if thread.name.startswith(EXPLORE_THREADS):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 0)


def was_interrupted() -> bool:
    """Return whether Ctrl-C or SIGTERM came: an import that it breaks off may end in some other error."""
    return _interrupted


def _listen() -> None:
    """Let SIGTERM do what Ctrl-C does, so that temporary files are removed; signals that are ignored stay so."""
    sys.unraisablehook = _keep_interruption
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, but not within an import, unless asked twice: in its C++ it may end the process by SIGABRT."""
    global _interrupted, _sent_again, _waiting
    first, _interrupted, _sent_again = not _interrupted or _sent_again, True, False
    if first and _imports(frame):
        _send_again()
    else:
        _waiting = False
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _tell_once() -> None:
    """Say that the program was interrupted, unless the command said so: before and after it Typer says nothing."""
    from facevae.cli.boundary import interruption_was_told, tell_interruption

    if not interruption_was_told():
        tell_interruption()
    # Python ends by SIGINT, whatever exit code it is given, if Ctrl-C broke off the last `exec` of a text, as in dataclasses.
    exec("")


def _end_quietly_from_now_on() -> None:
    """Let signals end the process at once: there is nothing left to do, and Python would tell of what they disturb."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) == _interrupt:
            signal.signal(number, signal.SIG_DFL)


def _keep_interruption(unraisable: UnraisableHookArgs) -> None:
    """Raise a Ctrl-C again that came where Python cannot raise it, such as in a `__del__`: it would print it, and go on."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _send_again()
    else:
        sys.__unraisablehook__(unraisable)


def _send_again() -> None:
    global _waiting
    _waiting = True
    _thread.start_new_thread(_interrupt_soon, ())


def _interrupt_soon() -> None:
    global _sent_again
    time.sleep(0.01)
    if not _waiting:
        return  # the user did not wait
    _sent_again = True
    main_thread = threading.main_thread().ident
    if sys.platform == "win32" or main_thread is None:
        _thread.interrupt_main()
    else:
        signal.pthread_kill(main_thread, signal.SIGINT)  # which wakes it where it waits
