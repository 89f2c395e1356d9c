"""The picture of faces and their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.figures.canvas import Grid, Picture, draw_grid

Images = NDArray[np.uint8]

_IN_A_ROW = 10


def neighbour_grid(
    queries: Images,
    names: Sequence[str],
    neighbours: NDArray[np.uint8],
    captions: Sequence[Sequence[str]],
    subtitle: str,
    tile_size: int,
) -> Image.Image:
    """Return each query (Q, S, S, 3) with its neighbours (Q, n, S, S, 3) beside it, up to ten a row.

    Under the queries stand their names, under the neighbours the captions (Q, n), which may have several lines.
    """
    rows: list[list[Picture | None]] = []
    texts: list[list[str]] = []
    for query, name, found, told in zip(queries, names, neighbours, captions, strict=True):
        for start in range(0, len(found), _IN_A_ROW):
            rows.append([None if start else query, *found[start : start + _IN_A_ROW]])
            texts.append(["" if start else name, *told[start : start + _IN_A_ROW]])
    return draw_grid(Grid(rows, tile_size, subtitle=subtitle, captions=texts))
