"""How the library tells its caller what it is doing: it never prints, it calls `report` with one of these events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`done` of `total` pieces of `stage` are finished (`total` is None when unknown).

    `values` holds the figures worth showing beside the bar, such as the running loss, by name.
    """

    stage: str
    done: int
    total: int | None
    unit: str = "images"
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """Something the user should know that does not stop the work, in one sentence."""

    text: str


Event = Progress | Notice
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """The default `report`: say nothing."""
