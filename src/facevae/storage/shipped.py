"""The weights and upscalers that come with the package, in `facevae/weights/`: found, and checked before they are used.

A new file goes in there with its SHA-256 in here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from facevae.config import RECONSTRUCTIONS_UPSCALER_FILE, UPSCALER_FILE, UpscalerInputs
from facevae.errors import DataError
from facevae.storage.output import StrPath, describe_os_error

SHIPPED_NAME = "faces-32"
"""What names the shipped weights in place of a file, as in `--weights faces-32`."""
FOLDER = Path(__file__).parents[1] / "weights"
WEIGHTS = f"{SHIPPED_NAME}.safetensors"
JUDGE = "judge.safetensors"
FRAME_NETWORK = "frame.safetensors"
UPSCALERS: dict[UpscalerInputs, str] = {
    "photographs": UPSCALER_FILE.name,
    "reconstructions": RECONSTRUCTIONS_UPSCALER_FILE.name,
}
"""The upscalers by what they learned to enlarge, which is also what names them, as in `--upscaler photographs`."""
SHA256 = {
    WEIGHTS: "6af3ed6e549e3ad2333250c6758362004b6aff92de5fdd9268c4eab95ee18251",
    JUDGE: "bb457e0da7fcf364178cbed629b70c7c1d2b6a1e59c2da165e32f3dedfed39d8",
    FRAME_NETWORK: "577ee999fde96037bf86494facc3405c97e547eb045778f9922c5fe3f75cf4cf",
    UPSCALERS["photographs"]: "05cb6c8ed36a4ee64c9b606a3f6a1a6f01dcf58d2e600b803b8b5727399c2fb3",
    UPSCALERS["reconstructions"]: "2157a232543028e4786944cacfd9cf488c13d88ce954640317894a82c81be407",
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


def shipped_frame_network() -> Path:
    """Return the file of the network that brings faces nearer to CelebA's frame.

    Raises:
        DataError: it is missing or damaged.
    """
    return _checked(FRAME_NETWORK)


def shipped_upscaler(inputs: UpscalerInputs) -> Path:
    """Return the file of the upscaler that comes with facevae for photographs, or for the VAE's reconstructions.

    Raises:
        DataError: it is missing or damaged.
    """
    return _checked(UPSCALERS[inputs])


def named_upscaler(upscaler: StrPath) -> UpscalerInputs | None:
    """Return which of the shipped upscalers this names; None for any other name, and where there is a file of that name."""
    if Path(upscaler).is_file():
        return None
    return next((inputs for inputs in UPSCALERS if str(upscaler) == inputs), None)


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
