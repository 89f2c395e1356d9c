"""`python -m facevae`."""

from facevae.cli.main import main

main()
