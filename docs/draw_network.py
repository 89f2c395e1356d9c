"""Draw docs/images/network.svg from the network's own layer table:  python docs/draw_network.py

The drawing is plain text made from fixed numbers, so that equal networks give equal files.
"""

from __future__ import annotations

from pathlib import Path

from facevae.workflows.info import NetworkInfo, network_info

TARGET = Path(__file__).parent / "images" / "network.svg"

# Blue, orange and purple of Okabe & Ito's palette, which people with any colour vision tell apart; the labels say it too.
_IMAGE = ("#f4f4f4", "#dcdcdc", "#c4c4c4", "#444444")
_ENCODER = ("#a9d5f0", "#7fbfe6", "#56a8d8", "#00456e")
_DECODER = ("#ffdf9e", "#f7c75f", "#e6a817", "#6b4700")
_LATENT = ("#ecd0e0", "", "", "#7a2f5c")

_FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
_PIXEL = 2.6
"""Side of the front of a box for each pixel of its feature map."""
_CHANNEL = 0.17
"""Depth of a box for each channel, drawn to the upper right."""
_GAP = 98.0
_MARGIN = 40.0
_WIDTH, _HEIGHT = 1100, 590
_ROWS = (175.0, 443.0)


class Pen:
    """Collects the elements of the drawing."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def text(
        self, x: float, y: float, words: str, *, size: int = 14, bold: bool = False, anchor: str = "middle"
    ) -> None:
        """Write `words` with their base line at `y`."""
        weight = ' font-weight="bold"' if bold else ""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>{words}</text>'
        )

    def polygon(self, points: list[tuple[float, float]], fill: str, line: str) -> None:
        """Draw a filled outline."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(f'<polygon points="{path}" fill="{fill}" stroke="{line}" stroke-linejoin="round"/>')

    def arrow(self, points: list[tuple[float, float]], *, dashed: bool = False) -> None:
        """Draw a line through `points` that ends in a head."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.elements.append(
            f'<polyline points="{path}" fill="none" stroke="#333333" stroke-width="1.5" marker-end="url(#head)"{dash}/>'
        )

    def feature_map(
        self, x: float, y: float, shape: tuple[int, ...], colours: tuple[str, str, str, str], name: str = ""
    ) -> float:
        """Draw a box for (channels, height, width) with its left edge at `x`, centred on `y`; return its right edge."""
        channels, _, pixels = shape
        side, depth = pixels * _PIXEL, channels * _CHANNEL
        rise = depth * 0.6
        left, right, top, bottom = x, x + side, y - side / 2 + rise / 2, y + side / 2 + rise / 2
        front, over, flank, line = colours
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], front, line)
        self.polygon([(left, top), (left + depth, top - rise), (right + depth, top - rise), (right, top)], over, line)
        self.polygon(
            [(right, top), (right + depth, top - rise), (right + depth, bottom - rise), (right, bottom)], flank, line
        )
        middle = (left + right + depth) / 2
        self.text(middle, y + 74, _times(shape), bold=True)
        if name:
            self.text(middle, y + 92, name)
        return right + depth

    def vector(self, x: float, y: float, name: str, length: int, width: float) -> float:
        """Draw a box for a vector of latent units, centred on `y`; return its right edge."""
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y - 22:.1f}" width="{width:.1f}" height="44" rx="6" '
            f'fill="{_LATENT[0]}" stroke="{_LATENT[3]}"/>'
        )
        self.text(x + width / 2, y - 4, name)
        self.text(x + width / 2, y + 14, str(length), bold=True)
        return x + width

    def operation(self, x: float, y: float, above: list[str], below: list[str]) -> float:
        """Draw an arrow to the right from `x`, with words above and below it; return where it ends."""
        self.arrow([(x + 5, y), (x + _GAP - 7, y)])
        for row, words in enumerate(reversed(above)):
            self.text(x + _GAP / 2, y - 8 - 16 * row, words, size=13)
        for row, words in enumerate(below):
            self.text(x + _GAP / 2, y + 19 + 16 * row, words, size=13)
        return x + _GAP


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in shape)


def network_svg(network: NetworkInfo | None = None) -> str:
    """Return the drawing of the reference network as SVG."""
    network = network or network_info()
    shapes = {name: shape for name, _, shape, _ in network.layers}
    pen = Pen()
    title = f"The VAE of facevae: {network.parameters:,} trainable parameters"
    pen.text(_MARGIN, 38, title, size=18, bold=True, anchor="start")
    image = (3, network.config.image_size, network.config.image_size)
    encoder_end = _draw_encoder(pen, shapes, image)
    decoder_start = _draw_decoder(pen, shapes, image)
    turn = (_ROWS[0] + _ROWS[1]) / 2 - 14
    pen.arrow(
        [(encoder_end, _ROWS[0] + 24), (encoder_end, turn), (decoder_start, turn), (decoder_start, _ROWS[1] - 26)],
        dashed=True,
    )
    pen.text(
        _MARGIN,
        _HEIGHT - 16,
        "A box is a feature map, channels × height × width: the side of its front is the resolution, its depth the channels.",
        size=13,
        anchor="start",
    )
    return _document(title, pen.elements)


def _draw_encoder(pen: Pen, shapes: dict[str, tuple[int, ...]], image: tuple[int, ...]) -> float:
    """Draw the upper row and return the middle of z."""
    y = _ROWS[0]
    pen.text(_MARGIN, y - 92, "Encoder q(z | x)", size=15, bold=True, anchor="start")
    x = pen.feature_map(_MARGIN, y, image, _IMAGE, "face x, in [0, 1]")
    for name, shape in shapes.items():
        if name.startswith("encoder.blocks.") and name.endswith(".convolution"):
            x = pen.operation(x, y, ["conv 3 × 3", "stride 2"], ["batch norm", "leaky ReLU"])
            x = pen.feature_map(x, y, shape, _ENCODER)
    x = pen.operation(x, y, ["flatten"], ["two linear"])
    (latent_dim,) = shapes["encoder.mean"]
    upper, lower = y - 32, y + 32
    right = pen.vector(x, upper, "mean", latent_dim, 100)
    pen.vector(x, lower, "log-variance", latent_dim, 100)
    z = right + 56
    pen.arrow([(right + 5, upper), (z - 6, y - 8)])
    pen.arrow([(right + 5, lower), (z - 6, y + 8)])
    end = pen.vector(z, y, "z", latent_dim, 56)
    pen.text(end - 40, y + 94, "z = mean + exp(½ log-variance) · ε,  ε ~ N(0, I)", size=13, anchor="end")
    return z + 28


def _draw_decoder(pen: Pen, shapes: dict[str, tuple[int, ...]], image: tuple[int, ...]) -> float:
    """Draw the lower row and return the middle of z."""
    y = _ROWS[1]
    pen.text(_MARGIN + 44, y - 92, "Decoder p(x | z)", size=15, bold=True, anchor="start")
    (features,) = shapes["decoder.input.linear"]
    maps = [
        shape for name, shape in shapes.items() if name.startswith("decoder.blocks.") and name.endswith(".convolution")
    ]
    inner = (maps[0][0], maps[0][1] // 2, maps[0][2] // 2)
    x = pen.vector(_MARGIN, y, "z", shapes["encoder.mean"][0], 56)
    x = pen.operation(x, y, [f"linear, {features}"], ["batch norm", "leaky ReLU"])
    x = pen.feature_map(x, y, inner, _DECODER)
    for shape in maps:
        x = pen.operation(x, y, ["transposed", "conv 3 × 3", "stride 2"], ["batch norm", "leaky ReLU"])
        x = pen.feature_map(x, y, shape, _DECODER)
    x = pen.operation(x, y, ["transposed", "conv 3 × 3", "stride 1"], ["sigmoid"])
    pen.feature_map(x, y, image, _IMAGE, "reconstruction x′")
    return _MARGIN + 28


def _document(title: str, elements: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" font-family="{_FONT}" fill="#1a1a1a">',
        f"<title>{title}</title>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L10,5 L0,10 z" fill="#333333"/></marker></defs>',
        # A background of its own: on a dark page dark lines would vanish.
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#ffffff"/>',
    )
    return "\n".join([*head, *elements, "</svg>", ""])


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(network_svg(), encoding="utf-8", newline="\n")
