"""`python -m facevae`."""

from facevae.cli.start import main

main()
