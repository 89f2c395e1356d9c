"""Attribute names as people write them, against those that a file holds."""

from __future__ import annotations

from facevae.errors import DataError, UsageError, did_you_mean


def normalised_name(name: str) -> str:
    """Return an attribute name without regard to case, and to spaces or hyphens against underscores."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def find_attribute(name: str, known: tuple[str, ...], where: str) -> int:
    """Return the index of an attribute among `known`; `where` names the file in errors.

    Raises:
        UsageError: there is no such attribute, with the nearest as a suggestion.
        DataError: the file has no attributes at all.
    """
    if not known:
        raise DataError(
            f"{where} holds no attributes: it was made from single images, or from faces without an attribute table. "
            "Prepare faces with one (list_attr_celeba.txt) and begin from there."
        )
    wanted = normalised_name(name)
    for index, candidate in enumerate(known):
        if normalised_name(candidate) == wanted:
            return index
    if "," in name:
        raise UsageError(f"There is no attribute {name} in {where}: for several, repeat the option, a name each.")
    suggestion = did_you_mean(name, known)
    hint = suggestion or f" It has {', '.join(known[:4])} and others: facevae info {where} lists them."
    raise UsageError(f"There is no attribute {name} in {where}.{hint}")
