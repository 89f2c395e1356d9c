"""Completion: processes that are asked as the scripts of bash, zsh and fish ask, and real shells where there are any."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer

from facevae import config
from facevae.cli.completion import answer, with_shell
from facevae.cli.main import app
from facevae.storage.shipped import FOLDER, WEIGHTS
from helpers import put_latents, put_weights, run, succeed
from support import ATTRIBUTE_NAMES
from test_cli_help import HEAVY

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
PROGRAM = [sys.executable, "-m", "facevae"]


def shipped_names() -> list[str]:
    """The attributes of the shipped weights, in their order."""
    data = (FOLDER / WEIGHTS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    names: list[str] = json.loads(header["__metadata__"]["attribute_names"])
    return names


def ask(environment: dict[str, str], program: list[str] = PROGRAM) -> subprocess.CompletedProcess[str]:
    """Run facevae as a shell's script does; whatever is asked, nothing may be written to standard error."""
    done = subprocess.run(program, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.stderr == ""
    return done


def bash_environment(*words: str, place: int | None = None) -> dict[str, str]:
    """What bash's script says for the last of these words, or the one at `place`."""
    return {
        "_FACEVAE_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(("facevae", *words)),
        "COMP_CWORD": str(len(words) if place is None else place),
    }


def bash(*words: str, place: int | None = None) -> list[str]:
    """What bash is given; without a process of its own, which takes a quarter of a second."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, bash_environment(*words, place=place)),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        answer(app)
    assert (left.value.code, err.getvalue()) == (0, "")
    return out.getvalue().split()


def bash_process(*words: str) -> list[str]:
    """What bash is given, by a process."""
    done = ask(bash_environment(*words))
    assert done.returncode == 0
    return done.stdout.split()


def put_header(path: Path, names: object) -> None:
    """Write a safetensors file of which only the header is right."""
    header = json.dumps({"__metadata__": {"attribute_names": json.dumps(names)}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


# ------------------------------------------------------------------------------------------ attribute names


def test_without_files_attributes_are_those_of_the_shipped_weights(workspace: Path) -> None:
    assert len(shipped_names()) == 40
    for words in (
        ["morph", "face.jpg", "--attr"],
        ["morph", "face.jpg", "-a"],
        ["morph", "face.jpg", "--attr2"],
        ["morph", "face.jpg", "--keep"],
        ["average", "--attr"],
        ["umap", "--attr"],
        ["morph", "face.jpg", "--weights", "faces-32", "--attr"],
    ):
        assert bash(*words, "") == shipped_names()


def test_attributes_are_those_of_the_weights_and_latents_here(workspace: Path) -> None:
    put_weights(workspace)
    assert set(ATTRIBUTE_NAMES) != set(shipped_names())
    assert bash("morph", "face.jpg", "--attr", "") == list(ATTRIBUTE_NAMES)
    put_header(workspace / "vae.safetensors", ["Round", "Square"])
    put_header(workspace / "other.safetensors", ["Long", "Short"])
    assert bash("morph", "face.jpg", "--attr", "") == ["Round", "Square"]
    assert bash("umap", "--attr", "") == ["Round", "Square"]
    assert bash("morph", "face.jpg", "-w", "other.safetensors", "--attr", "") == ["Long", "Short"]
    assert bash("morph", "face.jpg", "--weights=other.safetensors", "--keep", "") == ["Long", "Short"]
    assert bash("morph", "face.jpg", "-w", "faces-32", "--attr", "") == shipped_names()


def test_attributes_are_those_of_the_latents(workspace: Path) -> None:
    put_latents(workspace).rename("mine.h5")
    put_header(workspace / "vae.safetensors", ["Round"])
    assert bash("umap", "--attr", "") == ["Round"]
    assert bash("umap", "mine.h5", "--attr", "") == list(ATTRIBUTE_NAMES)
    assert bash("average", "--latents", "mine.h5", "--attr", "") == list(ATTRIBUTE_NAMES)
    assert bash("morph", "face.jpg", "--latents", "mine.h5", "--attr", "") == list(ATTRIBUTE_NAMES)
    Path("mine.h5").rename("latents.h5")
    assert bash("umap", "--attr", "") == list(ATTRIBUTE_NAMES)
    assert bash("average", "--attr", "") == list(ATTRIBUTE_NAMES)
    # The directions of morph are those of the weights, unless it is told otherwise.
    assert bash("morph", "face.jpg", "--attr", "") == ["Round"]


def test_names_are_completed_as_they_are_begun(workspace: Path) -> None:
    assert bash("morph", "--attr", "Smi") == ["Smiling"]
    assert bash("morph", "--attr", "smi") == ["smiling"]
    assert bash("morph", "--attr", "blond-") == ["blond-Hair"]
    assert bash("morph", "--attr", "Wearing_Neck") == ["Wearing_Necklace", "Wearing_Necktie"]
    assert bash("morph", "--attr", "zzz") == []
    assert bash("morph", "--attr", "Smiling=") == []
    assert bash("morph", "--attr", "Smiling=2") == []


def test_of_several_names_the_last_is_completed(workspace: Path) -> None:
    assert bash("morph", "--keep", "Male,Yo") == ["Male,Young"]
    assert bash("morph", "-k", "male,young,eye") == ["male,young,eyeglasses"]
    others = [f"male,Young,{name}" for name in shipped_names() if name not in ("Male", "Young")]
    assert bash("morph", "-k", "male,Young,") == others


def test_an_equals_sign_is_a_word_of_its_own_in_bash(workspace: Path) -> None:
    assert bash("morph", "--attr", "=", "Smi") == ["Smiling"]
    assert bash("morph", "--attr", "=") == shipped_names()
    assert bash("morph", "--weights", "=", "faces-32", "--attr", "Smi", "face.jpg", place=6) == ["Smiling"]
    assert bash("morph", "--attr", "Smiling", "=", "2", "--keep", "You") == ["Young"]


def test_names_that_a_shell_would_read_otherwise_are_left_out(workspace: Path) -> None:
    put_header(
        workspace / "vae.safetensors", ["Blond Hair", "a;b", "$x", "`ls`", "a,b", "c=d", "Größe", "Wide\nHat", ""]
    )
    assert bash("morph", "--attr", "") == ["Blond_Hair", "Größe"]


# ------------------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10",
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x04\0\0\0\0\0\0\0{\xff}x",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        (22).to_bytes(8, "little") + b'{"__metadata__": [1]}  ',
        b"\x89HDF\r\n\x1a\n\0",
        b"\x89HDF\r\n\x1a\n\0" + b"\xff" * 200,
    ],
)
def test_a_damaged_file_is_as_good_as_none(workspace: Path, content: bytes) -> None:
    Path("vae.safetensors").write_bytes(content)
    Path("latents.h5").write_bytes(content)
    assert bash("morph", "--attr", "Smi") == ["Smiling"]
    assert bash("umap", "--attr", "Smi") == ["Smiling"]


@pytest.mark.parametrize("names", ["Smiling", {"Smiling": 1}, 7, None])
def test_names_that_are_no_list_are_as_good_as_none(workspace: Path, names: object) -> None:
    put_header(workspace / "vae.safetensors", names)
    assert bash("morph", "--attr", "Smi") == ["Smiling"]


def test_latents_that_are_cut_short_are_as_good_as_none(workspace: Path) -> None:
    whole = put_latents(workspace).read_bytes()
    assert bash("umap", "--attr", "Yo") == []
    for length in (100, 700):
        Path("latents.h5").write_bytes(whole[:length])
        assert bash("umap", "--attr", "Yo") == ["Young"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_folders_and_pipes_are_not_read(workspace: Path) -> None:
    Path("folder.safetensors").mkdir()
    os.mkfifo("latents.h5")
    os.mkfifo("vae.safetensors")
    for words in (["umap"], ["morph", "-w", "folder.safetensors"]):
        done = subprocess.run(
            PROGRAM,
            env={**os.environ, **bash_environment(*words, "--attr", "Smi")},
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert (done.stdout, done.stderr) == (b"Smiling\n", b"")


@pytest.mark.parametrize("place", ["", "99"])
def test_a_question_that_makes_no_sense_is_no_error(workspace: Path, place: str) -> None:
    done = ask({**bash_environment("morph", "--attr", "Smi"), "COMP_CWORD": place})
    assert "Traceback" not in done.stdout


def test_what_comes_before_does_nothing(workspace: Path) -> None:
    assert bash("--version", "mor") == ["morph"]
    assert bash("--show-completion", "bash", "mor") == ["morph"]
    assert bash("--install-completion", "bash", "mor") == ["morph"]
    assert bash("--help", "mor") == ["morph"]
    assert bash("nonsense", "--attr", "Smi") == []


# ------------------------------------------------------------------------------------------ fixed choices and files

CHOICES = {
    "--device": config.DEVICES,
    "--precision": config.PRECISIONS,
    "--recipe": tuple(config.RECIPES),
    "--schedule": config.SCHEDULE_NAMES,
    "--optimizer": config.OPTIMIZER_NAMES,
    "--direction": config.DIRECTIONS,
    "--metric": config.METRICS,
    "--prior": config.PRIOR_NAMES,
    "--inputs": config.UPSCALER_INPUTS,
    "--face": ("all",),
    "--upscale": ("2", "3", "4"),
    "--factor": ("2", "3", "4"),
    "train --split": config.SPLIT_NAMES,
    "evaluate --split": config.EVALUATED_SPLITS,
    "morph --format": config.PICTURE_FORMATS,
    "interpolate --format": config.PICTURE_FORMATS,
    "export --format": config.EXPORT_FORMATS,
}
ATTRIBUTES = {"--attr", "--attr2", "--keep"}
WITHOUT = {"morph --name", "neighbours --name"}
"""Names that are as many as there are faces."""


def completed(name: str, parameter: Any) -> list[str]:
    """What an option of a command completes at once, in this process."""
    with COMMANDS[name].make_context(name, [], resilient_parsing=True) as context:
        return [item.value for item in parameter.shell_complete(context, "")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_takes_a_name_completes_it(name: str, workspace: Path) -> None:
    for parameter in COMMANDS[name].params:
        option = parameter.opts[0]
        wanted = CHOICES.get(f"{name} {option}", CHOICES.get(option))
        if wanted is not None:
            assert completed(name, parameter) == list(wanted), option
        elif option in ATTRIBUTES:
            assert completed(name, parameter) == shipped_names(), option
        else:
            assert parameter.metavar != "NAME" or f"{name} {option}" in WITHOUT, option


def test_a_process_completes_as_well(workspace: Path) -> None:
    assert bash_process("train", "--recipe", "") == bash("train", "--recipe", "") == ["detail", "note"]
    assert bash_process("mor") == bash("mor") == ["morph"]
    put_latents(workspace)
    Path("vae.safetensors").write_bytes(b"damaged")
    assert bash_process("umap", "--attr", "") == list(ATTRIBUTE_NAMES)
    assert bash_process("morph", "face.jpg", "--keep", "Male,Yo") == ["Male,Young"]


def test_commands_options_and_choices_are_completed(workspace: Path) -> None:
    assert bash("") == list(COMMANDS)
    assert bash("sample", "--device", "c") == ["cpu", "cuda"]
    assert bash("morph", "--att") == ["--attr", "--attr2"]
    assert bash("--show-completion", "z") == ["zsh"]


def test_files_of_the_right_kind_are_offered(workspace: Path) -> None:
    Path("models/deep").mkdir(parents=True)
    for name in (
        "vae.safetensors",
        "my own.safetensors",
        ".hidden.safetensors",
        "latents.h5",
        "models/deep/a.safetensors",
    ):
        Path(name).touch()
    assert bash("sample", "--weights", "") == ["faces-32", "vae.safetensors"]
    assert bash("sample", "-w", "v") == ["vae.safetensors"]
    assert bash("sample", "-w", "models/deep/") == ["models/deep/a.safetensors"]
    assert bash("sample", "-w", "./v") == ["./vae.safetensors"]
    assert bash("sample", "-w", "nowhere/") == []
    # Nothing of ours: the shell goes on with its own files, which leads into the folder.
    assert bash("sample", "-w", "mo") == []
    assert bash("upscale", "--upscaler", "p") == ["photographs"]
    assert bash("umap", "") == ["latents.h5"]
    assert bash("info", "") == ["faces-32", "photographs", "reconstructions", "latents.h5", "vae.safetensors"]
    assert bash("morph", "") == []


# ------------------------------------------------------------------------------------------ cost


def test_completion_imports_nothing_heavy_and_takes_little_time(workspace: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows does not count a child's time")
    put_weights(workspace)
    put_latents(workspace)
    program = f"""
import sys
from facevae.cli.main import main
try:
    main()
finally:
    print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    for words in ("umap --attr ", "morph --", ""):
        environment = {"_FACEVAE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"facevae {words}"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = ask(environment, [sys.executable, "-c", program])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout.endswith("\nloaded:\n")
        assert len(done.stdout) > 50
        # A quarter of a second here; torch alone takes several.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


# ------------------------------------------------------------------------------------------ other shells


def zsh(line: str) -> str:
    done = ask({"_FACEVAE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line})
    assert done.returncode == 0
    return done.stdout.rstrip("\n")


def test_zsh_is_answered(workspace: Path) -> None:
    assert zsh("facevae morph face.jpg --attr Smi") == """_arguments '*: :(("Smiling"))'"""
    assert zsh("facevae train --recipe ") == """_arguments '*: :(("detail"\n"note"))'"""
    assert zsh("facevae morph fa") == "_files"
    # However narrow the terminal, a completion and its help are one line.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "20")
        assert len(zsh("facevae ").splitlines()) == len(COMMANDS)


def fish(line: str, action: str) -> tuple[int, list[str]]:
    done = ask(
        {
            "_FACEVAE_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": action,
        }
    )
    return done.returncode, done.stdout.splitlines()


def test_fish_is_answered(workspace: Path) -> None:
    assert fish("facevae morph face.jpg --keep Male,Yo", "get-args") == (0, ["Male,Young"])
    assert fish("facevae morph face.jpg --keep Male,Yo", "is-args")[0] == 0
    assert fish("facevae morph fa", "is-args")[0] == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell: str) -> None:
    done = subprocess.run([*PROGRAM, "--show-completion", shell], capture_output=True, text=True, check=True)
    assert f"_FACEVAE_COMPLETE=complete_{shell}" in done.stdout
    assert done.stderr == ""
    assert run("--show-completion", shell).stdout.decode() == done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/facevae.sh"),
        ("zsh", ".zfunc/_facevae"),
        ("fish", ".config/fish/completions/facevae.fish"),
    ],
)
def test_the_script_of_each_shell_is_installed(
    shell: str, file: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    monkeypatch.setattr(Path, "home", lambda: workspace)
    text = succeed("--install-completion", shell).stdout.decode()
    assert text.startswith(f"{shell} completion installed in {workspace / file}\n")
    assert (workspace / file).read_text().strip() == succeed("--show-completion", shell).stdout.decode().strip()


def test_where_nothing_can_be_installed_a_sentence_says_what_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("home").write_text("a file")
    monkeypatch.setattr(Path, "home", lambda: workspace / "home")
    outcome = run("--install-completion", "fish")
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert outcome.stderr.startswith("Error: the completion of fish cannot be installed (")
    assert outcome.stderr.endswith(
        "): add what facevae --show-completion fish prints to what fish reads when it starts.\n"
    )


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_a_shell_that_is_not_known(option: str) -> None:
    known = "bash, zsh, fish, powershell, pwsh"
    outcome = run(option, "tcsh")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr == f"Error: there is no completion for the shell tcsh: use one of {known}.\n"


def test_without_a_name_the_shell_is_the_one_that_runs_facevae(monkeypatch: pytest.MonkeyPatch) -> None:
    import shellingham

    assert with_shell(["--show-completion", "zsh"]) == ["--show-completion", "zsh"]
    assert with_shell(["morph", "--show-completion"]) == ["morph", "--show-completion"]
    arguments = with_shell(["--show-completion"])
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("zsh", "/bin/zsh"))
    assert succeed(*arguments) == succeed("--show-completion", "zsh")
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("nu", "/bin/nu"))
    outcome = run(*arguments)
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert outcome.stderr == (
        "Error: which shell this is cannot be told: name one of bash, zsh, fish, powershell, pwsh, as in facevae "
        "--show-completion bash.\n"
    )


# ------------------------------------------------------------------------------------------ real shells


@pytest.fixture
def path_with_facevae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program `facevae` of this very code on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "facevae"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m facevae "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def in_shell(shell: str, *arguments: str) -> list[str]:
    done = subprocess.run([shell, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.usefixtures("path_with_facevae")
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (("mor",), ["morph"]),
        (("morph", "face.jpg", "--attr", "Smi"), ["Smiling"]),
        (("morph", "face.jpg", "--attr", "=", "Smi"), ["Smiling"]),
        (("morph", "face.jpg", "--keep", "Male,Yo"), ["Male,Young"]),
        (("train", "--recipe", ""), ["detail", "note"]),
        (("morph", "fa"), []),
    ],
)
def test_bash_completes(words: tuple[str, ...], replies: list[str], workspace: Path) -> None:
    script = """
eval "$(facevae --show-completion bash)"
set -- facevae "$@"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_facevae_completion facevae "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
for reply in "${COMPREPLY[@]}"; do echo "$reply"; done
complete -p facevae
"""
    *found, registered = in_shell("bash", "--norc", "-c", script, "bash", *words)
    assert found == replies
    assert registered == "complete -o default -F _facevae_completion facevae"


@pytest.mark.usefixtures("path_with_facevae")
@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh here")
def test_zsh_completes(workspace: Path) -> None:
    script = """
compdef() { :; }
_arguments() { print -r -- "$@"; }
_files() { print files; }
eval "$(facevae --show-completion zsh)"
words=(facevae morph --attr Smi) CURRENT=4; _facevae_completion
words=(facevae morph fa) CURRENT=3; _facevae_completion
"""
    assert in_shell("zsh", "-f", "-c", script) == ['*: :(("Smiling"))', "files"]


@pytest.mark.usefixtures("path_with_facevae")
@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish here")
def test_fish_completes(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    Path("face.jpg").touch()
    script = """
facevae --show-completion fish | source
complete -C "facevae morph face.jpg --attr Smi"
complete -C "facevae morph fa"
"""
    assert in_shell("fish", "--no-config", "-c", script) == ["Smiling", "face.jpg"]
