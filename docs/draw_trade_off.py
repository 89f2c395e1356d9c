"""Draws docs/images/trade-off.png from docs/trade-off.csv:  python docs/draw_trade_off.py"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facevae.figures.plots import BLUE, GREY, VERMILION

HERE = Path(__file__).parent
_SIZE = (11, 3.9)

Rows = list[dict[str, float]]
Corner = Literal["upper right", "lower right", "lower left"]


def read_table(path: Path) -> Rows:
    """Return the rows of the table, by weight."""
    with path.open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: row["reconstruction_weight"])


def draw(rows: Rows) -> Figure:
    """Return the plot: error, units and probe, and distances, each over the weight."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    errors, probes, distances = figure.subplots(1, 3)
    _line(errors, rows, "mse", BLUE, "the VAE")
    _line(errors, rows, "pca_mse", GREY, "PCA, as many components", dashed=True)
    errors.set_yscale("log")
    errors.set_yticks([0.002, 0.005, 0.01, 0.02], ["0.002", "0.005", "0.01", "0.02"])
    errors.set_ylim(0.0018, 0.026)
    errors.set_title("Mean squared error, and active units", fontsize=11)
    for row in rows:
        place = (row["reconstruction_weight"], row["mse"])
        errors.annotate(
            f"{row['active_units']:.0f}", place, (0, 7), textcoords="offset points", ha="center", fontsize=9
        )
    _line(probes, [{**row, "probe": 100 * row["probe"]} for row in rows], "probe", BLUE, "posterior means")
    probes.axhline(100 * rows[0]["pca_probe"], color=GREY, linestyle="--", linewidth=1.2, label="PCA, 200 components")
    probes.set_title("Linear probe, % right, mean over 40", fontsize=11)
    _line(distances, rows, "normal_distance", VERMILION, "samples from N(0, I)")
    _line(distances, rows, "fitted_distance", BLUE, "samples from the fitted prior")
    _line(distances, rows, "reconstruction_distance", GREY, "reconstructions", dashed=True)
    distances.set_yscale("log")
    distances.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    distances.set_ylim(1.3, 75)
    distances.set_title("Fréchet distance to real faces", fontsize=11)
    _dress(errors, rows, "upper right")
    _dress(probes, rows, "lower right")
    _dress(distances, rows, "lower left")
    return figure


def _line(axes: Axes, rows: Rows, name: str, colour: str, label: str, *, dashed: bool = False) -> None:
    shown = [row for row in rows if name in row]
    axes.plot(
        [row["reconstruction_weight"] for row in shown],
        [row[name] for row in shown],
        color=colour,
        linestyle="--" if dashed else "-",
        marker="o",
        markersize=4.5,
        linewidth=1.4,
        label=label,
    )


def _dress(axes: Axes, rows: Rows, legend: Corner) -> None:
    axes.set_xscale("log")
    ticks = [row["reconstruction_weight"] for row in rows]
    axes.set_xticks(ticks, [f"{tick / 1000:g}k" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("weight of the reconstruction")
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc=legend)


def main() -> None:
    """Draw the table."""
    draw(read_table(HERE / "trade-off.csv")).savefig(HERE / "images" / "trade-off.png", dpi=110)


if __name__ == "__main__":
    main()
