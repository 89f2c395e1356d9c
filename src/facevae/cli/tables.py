"""Tables on standard output, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_PLAIN_WIDTH = 120


def print_tables(*tables: Table) -> None:
    """Print tables, as wide as the terminal is."""
    import io
    import sys

    from rich.console import Console

    # A file name may hold what the terminal cannot show; Rich would fail over it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # A pipe has no width of its own: hashes must not be folded there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for table in tables:
        console.print(table)


def new_table(title: str, columns: list[tuple[str, str]], *, header: bool = True) -> Table:
    """Return an empty table with (name, "left" or "right") columns."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=header, pad_edge=False)
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    return table
