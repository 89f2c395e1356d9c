"""Where pictures made of pictures go: into a folder, or the only one to a file or a stream."""

from __future__ import annotations

from pathlib import Path

from facevae.errors import UsageError
from facevae.figures.picture import check_image_name
from facevae.storage.output import Output, output_name


def single_target(count: int, output: Output) -> Output | None:
    """Return where the only picture goes, or None where `output` is a folder: one that exists, or a name without a suffix.

    Raises:
        UsageError: there are more pictures than one, or the name has the suffix of no picture.
    """
    if isinstance(output, Path) and (output.is_dir() or not output.suffix):
        return None
    if count > 1:
        where = str(output) if isinstance(output, Path) else "standard output"
        raise UsageError(f"{count} pictures cannot all go to {where}: name a folder with -o.")
    check_image_name(output_name(output))
    return output
