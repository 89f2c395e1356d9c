"""Who may ask the server: pages in the same browser reach the loopback address too, and other machines what is bound elsewhere.

A page of another site can send requests here, but says in `Origin` whose it is; and with a name that it lets point here (DNS
rebinding) it becomes a page of "the same" origin, but that name stands in `Host`. So both are looked at. The port in `Host` is
not: a name of this machine is enough, and behind a tunnel the port is another. Where the server can be reached from elsewhere, it
takes a token as well, which stands in the address that is printed, and then in a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class RefusedError(Exception):
    """The request is not answered; the text says why."""


@dataclass(frozen=True)
class Request:
    """What is looked at of a request.

    Attributes:
        method: GET, POST, ...
        host: the header `Host`.
        origin: the header `Origin`, or None.
        site: the header `Sec-Fetch-Site`, or None.
        token: given in the address or in the cookie, or None.
        entrance: whether it asks for the page itself, to which pages elsewhere may have a link.
    """

    method: str
    host: str
    origin: str | None = None
    site: str | None = None
    token: str | None = None
    entrance: bool = False


@dataclass(frozen=True)
class Guard:
    """Says which requests are answered by a server at `host`; with a `token`, only those that have it."""

    host: str
    token: str | None = None

    @classmethod
    def of(cls, host: str) -> Guard:
        """Return the guard of a server at this address or name, with a new token where that is not the loopback."""
        return cls(host, None if is_loopback(host) else secrets.token_urlsafe(24))

    def check(self, request: Request) -> None:
        """Raise `RefusedError` for what is not to be answered."""
        name = _name_of(request.host)
        if not self._knows(name):
            raise RefusedError(
                f"This is the explorer of facevae, which does not answer to the name {name[:100]}: use the address it printed."
            )
        if request.origin is not None and request.origin.lower() != f"http://{request.host.lower()}":
            raise RefusedError("Another page sent this: the explorer answers to its own page only.")
        # Another page could not read the answer, but have pictures computed without end.
        if not request.entrance and request.site not in (None, "same-origin", "none"):
            raise RefusedError("Another page sent this: the explorer answers to its own page only.")
        if self.token is not None and not _same(request.token, self.token):
            raise RefusedError("The token is missing or wrong: open the whole address that facevae explore printed.")

    def _knows(self, name: str) -> bool:
        if name in _LOOPBACK_NAMES or name == self.host.lower():
            return True
        # Bound to every address, any name may be one of this machine's: there the token keeps strangers out.
        return _is_wildcard(self.host)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server at this address or name."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return the name in a `Host` header, without port and brackets, in small letters; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same(given: str | None, token: str) -> bool:
    return hmac.compare_digest((given or "").encode("utf-8", "surrogateescape"), token.encode())
