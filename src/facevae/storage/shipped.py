"""The weights that come with the package, in `facevae/weights/`: found, and checked before they are used.

A new file goes in there with its SHA-256 in here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from facevae.errors import DataError
from facevae.storage.output import StrPath, describe_os_error

SHIPPED_NAME = "faces-32"
"""What names the shipped weights in place of a file, as in `--weights faces-32`."""
FOLDER = Path(__file__).parents[1] / "weights"
WEIGHTS = f"{SHIPPED_NAME}.safetensors"
JUDGE = "judge.safetensors"
SHA256 = {
    WEIGHTS: "2b04b92902877dc8aafd6e414b155ff5a4601264cc3561882591eabf87fdbc62",
    JUDGE: "bb457e0da7fcf364178cbed629b70c7c1d2b6a1e59c2da165e32f3dedfed39d8",
}


def shipped_weights() -> Path:
    """Return the file of the VAE weights that come with facevae.

    Raises:
        DataError: it is missing or damaged.
    """
    return _checked(WEIGHTS)


def shipped_judge() -> Path:
    """Return the file of the attribute classifier that comes with facevae.

    Raises:
        DataError: it is missing or damaged.
    """
    return _checked(JUDGE)


def names_shipped(weights: StrPath) -> bool:
    """Return whether this is the shipped weights' name, and not a file of that name."""
    return str(weights) == SHIPPED_NAME and not Path(weights).exists()


def _checked(name: str) -> Path:
    path = FOLDER / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise DataError(f"{path}, which comes with facevae, is missing: reinstall facevae.") from error
    except OSError as error:
        raise DataError(
            f"{path}, which comes with facevae, cannot be read ({describe_os_error(error)}): reinstall facevae."
        ) from error
    if found != SHA256[name]:
        raise DataError(
            f"{path}, which comes with facevae, is damaged (its SHA-256 is not that of this version): reinstall facevae."
        )
    return path
