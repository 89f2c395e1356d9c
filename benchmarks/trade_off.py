"""What the weight of the reconstruction buys and costs:  python benchmarks/trade_off.py faces.h5 docs/trade-off.csv

Trains the default recipe with one weight after another, evaluates each on the valid split, and adds a row to the table, so that
a run that was broken off goes on with the weights that are missing.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import facevae
from facevae.progress import Event, Notice
from facevae.workflows.evaluate import Evaluation

WEIGHTS = (2_000, 10_000, 30_000, 100_000, 400_000)
EPOCHS = 3

COLUMNS = (
    "reconstruction_weight",
    "epochs",
    "mse",
    "mse_error",
    "pca_mse",
    "kl",
    "active_units",
    "negative_elbo",
    "probe",
    "probe_error",
    "pca_probe",
    "normal_distance",
    "normal_distance_error",
    "fitted_distance",
    "fitted_distance_error",
    "reconstruction_distance",
    "floor_distance",
)


def row_of(weight: float, epochs: int, found: Evaluation) -> list[float | None]:
    """Return the figures in the order of `COLUMNS`."""
    probe, pca_probe, samples, pca = found.probe, found.pca_probe, found.samples, found.pca
    at_active = pca.at_active_units if pca is not None else None
    fitted = samples.fitted if samples is not None else None
    return [
        weight,
        epochs,
        *found.reconstruction.mse,
        at_active.value if at_active is not None else None,
        found.latents.kl.value,
        found.latents.active_units,
        found.latents.negative_elbo.value,
        *(probe.mean_accuracy if probe is not None else (None, None)),
        pca_probe.mean_accuracy.value if pca_probe is not None else None,
        *(samples.normal if samples is not None else (None, None)),
        *(fitted if fitted is not None else (None, None)),
        samples.reconstructions.value if samples is not None else None,
        samples.floor.value if samples is not None and samples.floor is not None else None,
    ]


def tell(event: Event) -> None:
    """Print notices."""
    if isinstance(event, Notice):
        print(event.text, flush=True)


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path, help="prepared faces with attributes")
    parser.add_argument("table", type=Path, help="the CSV to write, or to add to")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each training (default {EPOCHS})")
    arguments = parser.parse_args()
    if not arguments.table.exists():
        arguments.table.write_text(",".join(COLUMNS) + "\n")
    with arguments.table.open() as file:
        done = {float(row["reconstruction_weight"]) for row in csv.DictReader(file)}
    for weight in WEIGHTS:
        if weight in done:
            continue
        print(f"reconstruction weight {weight:,}", flush=True)
        with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as folder:
            weights = Path(folder) / "vae.safetensors"
            facevae.train(arguments.faces, weights, epochs=arguments.epochs, reconstruction_weight=weight, report=tell)
            found = facevae.evaluate(weights, faces=arguments.faces, edits=False, report=tell)
        with arguments.table.open("a", newline="") as file:
            csv.writer(file).writerow(
                "" if value is None else f"{value:.6g}" for value in row_of(weight, arguments.epochs, found)
            )


if __name__ == "__main__":
    main()
