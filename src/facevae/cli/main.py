"""The app: every command with its module, and the entry point.

The command modules import nothing heavy, so that `facevae --help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from facevae.cli import (
    activations,
    align,
    attributes,
    average,
    completion,
    demo,
    encode,
    evaluate,
    explore,
    export,
    info,
    interpolate,
    merge,
    morph,
    neighbours,
    prepare,
    reconstruct,
    sample,
    train,
    train_upscaler,
    umap,
    upscale,
)
from facevae.cli.boundary import GuardedCommand, guarded
from facevae.provenance import set_command
from facevae.version import __version__

app = typer.Typer(
    name="facevae",
    help="Train, sample, morph and look inside a variational autoencoder of faces.",
    epilog="Start with: facevae demo - or, with CelebA in data/: facevae prepare --celeba-dir data/",
    no_args_is_help=True,
    add_completion=False,  # The options below take the name of a shell as well.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module in (
    prepare,
    align,
    train,
    train_upscaler,
    encode,
    merge,
    export,
    sample,
    reconstruct,
    morph,
    attributes,
    interpolate,
    average,
    neighbours,
    upscale,
    umap,
    explore,
    activations,
    evaluate,
    info,
    demo,
):
    _name = _module.__name__.rpartition(".")[2]
    _command = app.command(_name.replace("_", "-"), cls=GuardedCommand, epilog=f"Example: {_module.EXAMPLE}")
    _command(guarded(getattr(_module, _name)))


def _show_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        typer.echo(f"facevae {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            metavar="[SHELL]",
            callback=completion.install,
            autocompletion=completion.one_of(completion.SHELLS),
            is_eager=True,
            help="Let Tab complete commands, options and attribute names in bash, zsh, fish or PowerShell. Default: this shell.",
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="[SHELL]",
            callback=completion.show,
            autocompletion=completion.one_of(completion.SHELLS),
            is_eager=True,
            help="Print the script that does so, and leave.",
        ),
    ] = None,
) -> None:
    """Train, sample, morph and look inside a variational autoencoder of faces."""


def main() -> None:
    """Run the command line."""
    # Pillow warns of broken metadata in pictures whose pixels it reads well.
    warnings.filterwarnings("ignore", module="PIL")
    if completion.is_asked():
        completion.answer(app)
    sys.argv[1:] = completion.with_shell(sys.argv[1:])
    set_command(sys.argv[1:])
    app(prog_name="facevae")
