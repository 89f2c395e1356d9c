"""A page of pictures, each with a title and a sentence, as one HTML file beside them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple


class GalleryItem(NamedTuple):
    """One picture of the page: where it lies, its title, a sentence, and the command that made it."""

    path: Path
    title: str
    text: str
    command: str


_STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #666; --paper: #fafafa; --card: #fff; --line: #ddd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --faint: #aaa; --paper: #16181b; --card: #202327; --line: #3a3f45; }
}
body { margin: 0 auto; max-width: 74rem; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 0 0 .2rem; }
p { margin: 0 0 .8rem; max-width: 46rem; }
code { font: .86em/1.4 ui-monospace, monospace; color: var(--faint); overflow-wrap: anywhere; }
section { margin: 2rem 0; padding: 1.2rem 1.4rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 4px; }
"""


def gallery_page(title: str, introduction: str, items: Sequence[GalleryItem], folder: Path) -> str:
    """Return the page as HTML; the pictures are referred to relative to `folder`, where the page will lie."""
    sections = "\n".join(_section(item, folder) for item in items)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(introduction)}</p>\n{sections}\n</body>\n</html>\n"
    )


def _section(item: GalleryItem, folder: Path) -> str:
    source = escape(item.path.relative_to(folder).as_posix())
    return (
        f"<section>\n<h2>{escape(item.title)}</h2>\n<p>{escape(item.text)}<br><code>{escape(item.command)}</code></p>\n"
        f'<a href="{source}"><img src="{source}" alt="{escape(item.title)}" loading="lazy"></a>\n</section>'
    )
