"""What Tab completes in a shell: the values of options, attribute names above all.

The shell starts facevae anew for every Tab, so nothing heavy is imported here, and of a file only its header is read. A file that
is missing or damaged completes nothing: an error would end up in the middle of what is being typed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback

from facevae.cli.console import say
from facevae.config import UPSCALER_INPUTS, WEIGHTS_FILE

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")

_ASKED = "_FACEVAE_COMPLETE"
"""The variable by which Typer's scripts ask for completions."""
_OPTIONS = ("--install-completion", "--show-completion")
_THIS_SHELL = "this"
_LONGEST_HEADER = 100_000_000
_PLAIN = re.compile(r"[\w.,/+@%=-]+")
"""File names that mean themselves in every shell: the scripts quote nothing."""
_NAME = re.compile(r"[\w.+-]+")
"""Attribute names likewise, with neither the comma nor the = of several or weighted ones."""


# What the shell asks and the app answers.


def is_asked() -> bool:
    """Return whether a shell asks for completions."""
    return _ASKED in os.environ


def answer(app: typer.Typer) -> None:
    """Print the completions that the shell asks for, and leave; nothing is printed where something goes wrong.

    Raises:
        SystemExit: always.
    """
    get_completion_inspect_parameters()  # It registers what speaks with the shells.
    _join_values()
    os.environ["COLUMNS"] = "1000"  # The scripts take each line for a completion, so that no help may be wrapped.
    try:
        app(args=[], prog_name="facevae")
    except Exception:
        raise SystemExit(1) from None


def _join_values() -> None:
    """Make `--attr = Smi`, as bash divides `--attr=Smi`, the `--attr Smi` that Typer understands."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    place = os.environ.get("COMP_CWORD", "")
    if not place.isdecimal():
        return
    signs = {number for number, word in enumerate(words) if word == "=" and words[number - 1].startswith("--")}
    os.environ["COMP_WORDS"] = "\n".join(word for number, word in enumerate(words) if number not in signs)
    os.environ["COMP_CWORD"] = str(int(place) - sum(number < int(place) for number in signs))


# The options that give a shell its script.


def with_shell(arguments: Sequence[str]) -> list[str]:
    """Return arguments with a value for --show-completion and --install-completion, which may be given without one."""
    given = list(arguments)
    if given[:1] and given[0] in _OPTIONS and (len(given) == 1 or given[1].startswith("-")):
        given.insert(1, _THIS_SHELL)
    return given


def show(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> None:
    """Print the script of a shell and leave, as the option --show-completion."""
    if value is not None and not ctx.resilient_parsing:
        show_callback(ctx, param, _shell(value, param))


def install(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> None:
    """Put the script of a shell where the shell reads it and leave, as the option --install-completion."""
    if value is None or ctx.resilient_parsing:
        return
    shell = _shell(value, param)
    try:
        install_callback(ctx, param, shell)
    except (OSError, ValueError) as error:
        say(
            f"Error: the completion of {shell} cannot be installed ({error}): "
            f"add what facevae --show-completion {shell} prints to what {shell} reads when it starts."
        )
        raise typer.Exit(1) from None


def _shell(value: str, param: typer.CallbackParam) -> str:
    if value in SHELLS:
        return value
    option, known = param.opts[0], ", ".join(SHELLS)
    if value == _THIS_SHELL:
        with suppress(ImportError, RuntimeError, OSError):
            import shellingham

            if (found := shellingham.detect_shell()[0]) in SHELLS:
                return str(found)
        say(f"Error: which shell this is cannot be told: name one of {known}, as in facevae {option} bash.")
    else:
        say(f"Error: there is no completion for the shell {value}: use one of {known}.")
    raise typer.Exit(2)


# What options complete.


def one_of(values: Iterable[object]) -> Callable[[str], list[str]]:
    """Return the completion of an option that takes one of `values`."""
    words = [str(value) for value in values]

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def file_of(*suffixes: str, names: Sequence[str] = ()) -> Callable[[str], list[str]]:
    """Return the completion of an option that takes a file with one of `suffixes`, or one of `names`.

    Where there is no such file, the shell completes whatever files there are, and so leads into folders.
    """

    def complete(incomplete: str) -> list[str]:
        folder, slash, beginning = incomplete.rpartition("/")
        found = []
        with suppress(OSError, ValueError), os.scandir(folder + slash or ".") as entries:
            found = [
                entry.name for entry in entries if entry.name.endswith(suffixes) and entry.name.startswith(beginning)
            ]
        shown = sorted(name for name in found if beginning or not name.startswith("."))
        given = [name for name in names if name.startswith(incomplete)]
        return given + [path for name in shown if _PLAIN.fullmatch(path := f"{folder}{slash}{name}")]

    return complete


def weights_file(incomplete: str) -> list[str]:
    """Complete trained weights: the name of those shipped, or a safetensors file."""
    from facevae.storage.shipped import SHIPPED_NAME

    return file_of(".safetensors", names=[SHIPPED_NAME])(incomplete)


def upscaler_file(incomplete: str) -> list[str]:
    """Complete a trained upscaler: the name of one shipped, or a safetensors file."""
    return file_of(".safetensors", names=UPSCALER_INPUTS)(incomplete)


def any_file(incomplete: str) -> list[str]:
    """Complete what `info` describes: the name of something shipped, or one of facevae's files."""
    from facevae.storage.shipped import SHIPPED_NAME

    return file_of(".safetensors", ".h5", names=[SHIPPED_NAME, *UPSCALER_INPUTS])(incomplete)


def attribute(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an attribute's name, as it is begun: `smi` becomes `smiling`. A weight, as in `Smiling=2`, is left alone."""
    return _beginning_with(incomplete, attribute_names(ctx))


def attribute_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several attributes with commas between them, by one that is not among them yet."""
    from facevae.storage.attributes import normalised_name

    before, comma, last = incomplete.rpartition(",")
    taken = {normalised_name(name) for name in before.split(",")}
    names = [name for name in attribute_names(ctx) if normalised_name(name) not in taken]
    return [before + comma + name for name in _beginning_with(last, names)]


def _beginning_with(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that begin so, to facevae's eye, each with the beginning as it was typed: shells compare letters."""
    from facevae.storage.attributes import normalised_name

    # An underscore is as good as the space in a name, which a shell would take for the end of the word.
    plain = [word for name in names if _NAME.fullmatch(word := name.replace(" ", "_"))]
    completed = {word: incomplete + word[len(incomplete) :] for word in plain}
    return [whole for word, whole in completed.items() if normalised_name(whole) == normalised_name(word)]


def attribute_names(ctx: typer.Context) -> tuple[str, ...]:
    """Return the attributes of the latents or weights that the command would take, else of the weights shipped."""
    from facevae.storage.hdf5_header import root_strings
    from facevae.storage.shipped import FOLDER, SHIPPED_NAME, WEIGHTS

    # An argument is no parameter yet while the option after it lacks its value.
    for latents in (*ctx.args[:1], ctx.params.get("latents")):
        if latents and (names := root_strings(Path(latents), "attribute_names")):
            return names
    weights = Path(ctx.params.get("weights") or WEIGHTS_FILE)
    names_shipped = str(weights) == SHIPPED_NAME and not weights.exists()
    return (() if names_shipped else _names_in_weights(weights)) or _names_in_weights(FOLDER / WEIGHTS)


def _names_in_weights(path: Path) -> tuple[str, ...]:
    """Return the attribute names that the header of a safetensors file has; none where it has none or is damaged."""
    if not path.is_file():  # A pipe would be waited for.
        return ()
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _LONGEST_HEADER else {}
        names = json.loads(header["__metadata__"]["attribute_names"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
