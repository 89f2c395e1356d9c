"""The server: sockets, threads, and the time from the first request to the last."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields

import torch
from threadpoolctl import threadpool_limits
from tornado.httpserver import HTTPServer
from tornado.web import Application

from facevae.config import EXPLORE_PORT, EXPLORE_THREADS
from facevae.errors import DataError
from facevae.explorer.edits import Edit
from facevae.explorer.face_refs import RowFace
from facevae.explorer.guard import Guard
from facevae.explorer.handler import Executors, Served
from facevae.explorer.handlers import RAW_BYTES, ROUTES
from facevae.explorer.session import Session
from facevae.progress import Notice, Report

_TRIED_PORTS = 100
_BACKLOG = 128
_NICENESS = 5
_CLOSING_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005
_LOGGERS = ("tornado.access", "tornado.application", "tornado.general", "asyncio")
_STOPPED_BY = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int | None, report: Report) -> socket.socket:
    """Return a socket that listens at a port, 0 for any; by default at the first free one from `EXPLORE_PORT` on.

    Raises:
        DataError: the port is taken, or the address is not this machine's.
    """
    if port is not None:
        return _bind(host, port)
    for tried in range(EXPLORE_PORT, EXPLORE_PORT + _TRIED_PORTS):
        try:
            listening = _bind(host, tried)
        except _TakenError:
            continue
        if tried != EXPLORE_PORT:
            report(Notice(f"The port {EXPLORE_PORT} is taken: the explorer listens at {tried}."))
        return listening
    raise DataError(f"No port from {EXPLORE_PORT} to {tried} is free: name another with --port.")


class _TakenError(DataError):
    """Another program listens at the port."""


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(place[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except (socket.gaierror, UnicodeError):
        raise DataError(f"There is no address {host}: use --host 127.0.0.1, or an address of this machine.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _TakenError(f"The port {port} is taken: name another with --port, or leave it out.") from None
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise DataError(f"The explorer cannot listen at {host}, port {port}: {words}.") from None
    listening.setblocking(False)
    return listening


def address(host: str, listening: socket.socket, token: str | None) -> str:
    """Return the address of the page."""
    port = listening.getsockname()[1]
    name = host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    elif ":" in host:
        name = f"[{host}]"
    return f"http://{name}:{port}/" + (f"?token={token}" if token is not None else "")


class Server:
    """Answers at a socket with a session, until it is stopped."""

    def __init__(
        self, session: Session, listening: socket.socket, guard: Guard, weights: str | None, report: Report
    ) -> None:
        self._session, self._listening, self._report = session, listening, report
        self._executors = Executors(*(_executor(field.name) for field in fields(Executors)))
        cookie = f"facevae-{listening.getsockname()[1]}"
        self._served = Served(session, self._executors, guard, cookie, weights, report)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._answered = False

    def run(self, ready: Callable[[], None]) -> None:
        """Call `ready`, and answer requests in this thread until `stop`; in the main thread also until Ctrl-C or SIGTERM."""
        try:
            with _quiet(self._report), _switching_soon(), threadpool_limits(1, user_api="blas"):
                asyncio.run(self._run(ready))
        except KeyboardInterrupt:
            if not self._answered:
                raise  # else it is how Windows tells of the end

    def stop(self) -> None:
        """End `run`, from any thread."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(stopping.set)

    async def _run(self, ready: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        application = Application(
            [(route, handler, {"served": self._served}) for route, handler in ROUTES], log_function=_nothing
        )
        # What is too large is read and refused by the handlers; this is where reading ends.
        server = HTTPServer(
            application, max_body_size=16 * RAW_BYTES, max_header_size=65_536, idle_connection_timeout=3600
        )
        server.add_socket(self._listening)
        try:
            with _signals(self._loop, self._stopping):
                self._loop.run_in_executor(self._executors.live, self._warm_up)
                ready()
                self._answered = True
                await self._stopping.wait()
        finally:
            server.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(server.close_all_connections(), _CLOSING_SECONDS)
            for executor in (getattr(self._executors, field.name) for field in fields(Executors)):
                executor.shutdown(wait=False, cancel_futures=True)

    def _warm_up(self) -> None:
        """Decode once, with and without VDSR: the first time takes a tenth of a second longer."""
        with suppress(Exception):
            for upscale in (0, *self._session.factors[1:2]):
                self._session.decode(Edit(RowFace(0)), upscale)


def _nothing(_handler: object) -> None:
    """Log no request."""


def _executor(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, f"{EXPLORE_THREADS}-{name}", None if name == "live" else _step_back)


def _step_back() -> None:
    """Let the picture that follows a slider have the cores first."""
    torch.set_num_threads(1)
    if sys.platform == "linux":  # where a thread has a niceness of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


@contextmanager
def _switching_soon() -> Iterator[None]:
    """Have threads that run Python make room for others soon: each of a picture's dozens of operations asks for it anew."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set the event, unless they are ignored."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPED_BY:
            handler = signal.getsignal(number)
            if handler is None or handler == signal.SIG_IGN:
                continue  # None: it is not Python's
            with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows has no such handlers
                loop.add_signal_handler(number, stopping.set)
                before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


class _Lines(logging.Handler):
    """Tells of what was logged as an error, a line each."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.ERROR)
        self._told = report

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one."""
        error = record.exc_info[1] if record.exc_info else None
        text = " ".join(record.getMessage().split())[:300]
        self._told(Notice(f"{text}: {type(error).__name__}: {error}" if error is not None else text))


@contextmanager
def _quiet(report: Report) -> Iterator[None]:
    """Keep what tornado and asyncio log, such as every request, off the terminal; errors are a line."""
    lines = _Lines(report)
    before = {}
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        before[name] = logger.propagate
        logger.propagate = False
        logger.addHandler(lines)
    try:
        yield
    finally:
        for name, propagate in before.items():
            logger = logging.getLogger(name)
            logger.removeHandler(lines)
            logger.propagate = propagate
