"""What all answers of the server have in common: who may ask, how much, and what is said where something goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tornado.web import HTTPError, RequestHandler, stream_request_body

from facevae.errors import DataError, FacevaeError, UsageError
from facevae.explorer.face_refs import UnknownFaceError
from facevae.explorer.guard import Guard, RefusedError, Request
from facevae.explorer.session import Session
from facevae.progress import Notice, Report

_HEADERS = {
    "Server": "facevae",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_SHORT_BODY = 1 << 20

Value = TypeVar("Value")


@dataclass(frozen=True)
class Executors:
    """Threads, apart so that what is slow keeps nobody waiting.

    Attributes:
        live: for the picture that follows a slider.
        looks: for what the pointer passes over.
        searches: for what looks through all latents.
        draws: for strips and animations.
        photos: for pictures that come.
    """

    live: Executor
    looks: Executor
    searches: Executor
    draws: Executor
    photos: Executor


@dataclass
class Load:
    """How much is computed at this moment: `running` requests. Only the thread of the event loop counts."""

    running: int = 0


@dataclass(frozen=True)
class Served:
    """What the handlers answer with.

    Attributes:
        session: answers.
        executors: compute.
        guard: says who may ask.
        cookie: the name of the token's cookie.
        weights: what the explorer was told to use, for command lines.
        report: is told of what went wrong.
        load: how much is computed.
    """

    session: Session
    executors: Executors
    guard: Guard
    cookie: str
    weights: str | None
    report: Report
    load: Load = field(default_factory=Load)


class TooLargeError(UsageError):
    """A request is larger than is taken."""


@stream_request_body
class Handler(RequestHandler):
    """What all answers have in common."""

    limit = 0
    """Bytes of a body that are taken."""

    def initialize(self, served: Served) -> None:
        """Take what to answer with."""
        self.served, self.session = served, served.session
        self._body: list[bytes] = []
        self._received = 0

    def set_default_headers(self) -> None:
        """Keep the page to this server, and answers out of caches."""
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse strangers."""
        headers, cookie = self.request.headers, self.get_cookie(self.served.cookie)
        given = self.get_query_argument("token", None) or cookie
        host, method = self.request.host or "", self.request.method or ""
        try:
            entrance = method == "GET" and self.request.path == "/"
            site = headers.get("Sec-Fetch-Site")
            self.served.guard.check(Request(method, host, headers.get("Origin"), site, given, entrance))
        except RefusedError as error:
            self.refuse(error)

    def refuse(self, error: Exception) -> None:
        """Let the answer be an error: once a short body was read, or else the connection would break before it is."""
        length = self.request.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _SHORT_BODY or "Transfer-Encoding" in self.request.headers:
            raise error
        self.limit = 0

        def answer(*_arguments: str) -> None:
            raise error

        setattr(self, (self.request.method or "").lower(), answer)

    def data_received(self, chunk: bytes) -> None:
        """Keep what comes, up to the limit; what is above is read and dropped, so that the sender hears why."""
        self._received += len(chunk)
        if self._received <= self.limit:
            self._body.append(chunk)

    def body(self) -> bytes:
        """Return the body.

        Raises:
            TooLargeError: it is above the limit.
        """
        if self._received > self.limit:
            raise TooLargeError(
                f"The request has {self._received:,} bytes, and {self.limit:,} are the most that is taken."
            )
        return b"".join(self._body)

    def argument(self, name: str, default: str | None = None) -> str:
        """Return an argument of the address.

        Raises:
            UsageError: it is missing.
        """
        value = self.get_query_argument(name, default)
        if value is None:
            raise UsageError(f"The address lacks {name}=...")
        return value

    async def on(self, executor: Executor, function: Callable[..., Value], *arguments: Any) -> Value:  # noqa: ANN401
        """Return `function` of the arguments, computed by an executor."""
        load = self.served.load
        load.running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
        finally:
            load.running -= 1

    def answer(self, data: bytes, kind: str) -> None:
        """Answer with bytes of a media type."""
        self.set_header("Content-Type", kind)
        self.finish(data)

    def answer_json(self, value: dict[str, Any]) -> None:
        """Answer with JSON."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        self.answer(text.encode("utf-8", "replace"), "application/json; charset=utf-8")

    def write_error(self, status_code: int, **details: Any) -> None:  # noqa: ANN401
        """Answer with the sentence of what went wrong."""
        error = details.get("exc_info", (None, None, None))[1]
        status, sentence = _status(error, status_code)
        self.set_status(status)
        self.answer_json({"error": sentence})

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:  # noqa: ANN401, ARG002
        """Tell of what nobody foresaw, in a line; of what a client did nothing is told."""
        if not isinstance(error, FacevaeError | RefusedError | HTTPError):
            text = f"{self.request.method} {self.request.path[:100]} failed: {kind.__name__}: {error}"
            self.served.report(Notice(" ".join(text.split())[:500]))


def _status(error: BaseException | None, status: int) -> tuple[int, str]:
    if isinstance(error, RefusedError):
        return 403, str(error)
    if isinstance(error, UnknownFaceError):
        return 404, str(error)
    if isinstance(error, TooLargeError):
        return 413, str(error)
    if isinstance(error, UsageError):
        return 400, str(error)
    if isinstance(error, DataError):
        return 422, str(error)
    if isinstance(error, FacevaeError):
        return 500, str(error)
    sentences = {404: "There is nothing at this address.", 405: "This address does not take such a request."}
    if status in sentences:
        return status, sentences[status]
    if 400 <= status < 500:
        return status, "The request cannot be read."
    return 500, f"Something went wrong in the explorer ({type(error).__name__}): its terminal says more."
