"""Images that were left out, and telling of them. Apart from `common`, so that `prepare` need not load PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from facevae.progress import Notice, Report

_NAMED_AT_MOST = 5


class Skipped(NamedTuple):
    """An image that was left out: its name, and why."""

    name: str
    reason: str


def all_skipped(skipped: Sequence[Skipped]) -> str:
    """Return the error for images of which not one was left: the reason, or how many they are with the first one's."""
    first = skipped[0].reason
    return first if len(skipped) == 1 else f"None of the {len(skipped)} images could be used. The first: {first}"


def report_skipped(skipped: Sequence[Skipped], report: Report) -> None:
    """Tell how many images were left out, and name the first few with the reason."""
    if not skipped:
        return
    plural = "s" if len(skipped) > 1 else ""
    report(Notice(f"Skipped {len(skipped)} image{plural} (--strict makes this an error):"))
    for name, reason in skipped[:_NAMED_AT_MOST]:
        report(Notice(f"  {reason}" if name in reason else f"  {name}: {reason}"))
    if len(skipped) > _NAMED_AT_MOST:
        report(Notice(f"  and {len(skipped) - _NAMED_AT_MOST} more."))
