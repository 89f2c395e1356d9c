"""Faces as PNG, the way the page wants them: soon rather than small."""

from __future__ import annotations

import io

from PIL import Image

from facevae.model.encoder import Images


def png_bytes(image: Images) -> bytes:
    """Return an image (H, W, 3) uint8 as a PNG: soon rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def side_by_side(images: Images) -> Images:
    """Return images (N, S, S, 3) as one, (S, N S, 3)."""
    count, height, width, _ = images.shape
    row: Images = images.transpose(1, 0, 2, 3).reshape(height, count * width, 3)
    return row
