"""Where the events of a training go while it runs: a JSON-lines file, TensorBoard, both or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from facevae.errors import FacevaeError
from facevae.progress import Notice, Report
from facevae.storage.output import describe_os_error


class TrainingLog(Protocol):
    """A place that takes events. `name` is what to call it in messages."""

    name: str

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """Take an event: start, train, valid, checkpoint or end.

        Raises:
            OSError: it cannot be written.
        """

    def close(self) -> None:
        """Finish."""


class TrainingLogs:
    """Hands every event to all logs. One that fails is given up with a notice: losing a log must not lose a training."""

    def __init__(self, logs: Sequence[TrainingLog], report: Report) -> None:
        self._logs, self._report = list(logs), report

    def write(self, event: str, **values: Any) -> None:  # noqa: ANN401
        """Hand on one event."""
        for log in tuple(self._logs):
            try:
                log.write(event, values)
            except OSError as error:
                self._give_up(log, error)

    def close(self) -> None:
        """Close all logs."""
        for log in tuple(self._logs):
            try:
                log.close()
            except OSError as error:
                self._give_up(log, error)
        self._logs.clear()

    def _give_up(self, log: TrainingLog, error: OSError) -> None:
        self._logs.remove(log)
        self._report(
            Notice(f"{log.name} cannot be written ({describe_os_error(error)}): the training goes on without it.")
        )
        with suppress(OSError):
            log.close()


@contextmanager
def open_logs(
    log: Path | None, tensorboard: Path | None, start: Mapping[str, Any], report: Report
) -> Iterator[TrainingLogs]:
    """Open the logs that are asked for and begin them with `start`; an error in the block is their last event.

    Raises:
        DataError: one of them cannot be opened.
    """
    with ExitStack() as stack:
        opened: list[TrainingLog] = []
        if log is not None:
            from facevae.storage.run_log import RunLog

            opened.append(stack.enter_context(closing(RunLog(log))))
        if tensorboard is not None:
            from facevae.storage.tensorboard_log import TensorBoardLog

            opened.append(TensorBoardLog(tensorboard, step=start["step"]))
        stack.pop_all()
        logs = TrainingLogs(opened, report)
    try:
        logs.write("start", **start)
        yield logs
    except BaseException as error:
        # In full only where it was written for users.
        message = str(error) if isinstance(error, FacevaeError) else type(error).__name__
        logs.write("end", reason="interrupted" if isinstance(error, KeyboardInterrupt) else "error", message=message)
        raise
    finally:
        logs.close()
