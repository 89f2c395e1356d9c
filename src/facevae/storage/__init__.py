"""One module per on-disk format, each the owner of its layout and version."""
