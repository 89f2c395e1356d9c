"""Times as people write them: 90s, 30m, 1.5h, 1h30m, or plain seconds."""

from __future__ import annotations

import math
import re

from facevae.errors import UsageError

_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PARTS = re.compile(rf"(?:{_NUMBER}\s*h)?\s*(?:{_NUMBER}\s*m)?\s*(?:{_NUMBER}\s*s)?", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)


def parse_duration(duration: str | float) -> float:
    """Return a duration in seconds, given as a number of seconds or as a text such as `90s`, `30m`, `1.5h` or `1h30m`.

    Raises:
        UsageError: it is no duration, or not above 0.
    """
    seconds = _parse(duration.strip().lower()) if isinstance(duration, str) else float(duration)
    if seconds is None:
        raise UsageError(f"A time of {duration} is not understood: use 90s, 30m, 1.5h or 1h30m, or seconds.")
    if not 0.0 < seconds < math.inf:
        raise UsageError(f"A time of {duration} is out of range: use more than 0 seconds.")
    return seconds


def _parse(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _PARTS.fullmatch(text)
    if not text or match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def describe_duration(seconds: float) -> str:
    """Return a duration in words that `parse_duration` reads: 45s, 1m30s, 2h."""
    # Rounded before it is split, so that 119.9999 is 2m, not 1m60s: to three digits below a minute, to seconds above.
    short = float(f"{seconds:.3g}")
    whole, rest = divmod(short if short < 60.0 else round(seconds), 60.0)
    hours, minutes = divmod(round(whole), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:.3g}s" if rest else ""]
    return "".join(parts) or "0s"
