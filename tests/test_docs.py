"""The documentation against the program: every command and option is in it, its links lead somewhere, its examples run."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers import put_upscaler

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = DOCS / "commands"
PAGES = [*sorted(DOCS.glob("**/*.md")), ROOT / "README.md"]
TEXTS = [*PAGES, *sorted(DOCS.glob("**/*.svg")), *sorted(DOCS.glob("**/*.py"))]

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="an installed package has no docs/")

FACES_DRAWN = 60
NOT_RUN = ("facevae.umap(",)
"""Importing umap-learn alone takes longer than all the other examples together."""


def commands() -> dict[str, Any]:
    """Return the registered commands: name -> Typer's command object, with its `params`."""
    import typer

    from facevae.cli.main import app

    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def options(command: Any) -> Iterator[str]:
    """Yield the long flags of a command, `--help` aside."""
    for parameter in command.params:
        for flag in (*parameter.opts, *parameter.secondary_opts):
            if flag.startswith("--") and flag != "--help":
                yield flag


def docs_script(name: str) -> ModuleType:
    """Import a script of `docs/`, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def explanations() -> dict[str, str]:
    """Return what people wrote of each command: name -> its page without the generated block."""
    explanation = docs_script("generate_commands").explanation
    return {name: explanation((COMMANDS / f"{name}.md").read_text(encoding="utf-8")) for name in commands()}


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Return the Python examples of a page, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def prose(page: Path) -> str:
    """Return a page without its examples."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_every_command_has_a_page_and_the_pages_are_listed_in_the_order_of_the_help() -> None:
    assert {page.stem for page in COMMANDS.glob("*.md")} == {"README", *commands()}
    for name, text in explanations().items():
        assert text.startswith(f"# {name}\n\n")
    table = (COMMANDS / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert re.findall(r"^\| \[([\w-]+)\]\((.+?)\) \|", table, flags=re.MULTILINE) == [
        (name, f"{name}.md") for name in commands()
    ]


def test_every_option_is_in_the_table_of_its_command() -> None:
    rows = {
        name: "\n".join(line.partition(" | ")[0] for line in text.splitlines() if line.startswith("| `"))
        for name, text in explanations().items()
    }
    missing = [
        f"{name} {flag}"
        for name, command in commands().items()
        for flag in options(command)
        if not re.search(rf"{flag}\b(?!-)", rows[name])
    ]
    assert missing == []


def test_no_option_is_documented_that_does_not_exist() -> None:
    texts = explanations()
    unknown = [
        f"{name} {flag}"
        for name, command in commands().items()
        for row in re.findall(r"^\| (`--[^|]*) \|", texts[name], flags=re.MULTILINE)
        for flag in re.findall(r"--[\w-]+", row)
        if flag not in options(command)
    ]
    assert unknown == []


def test_the_generated_part_of_every_page_is_what_the_app_says() -> None:
    stale = [path.name for path in docs_script("generate_commands").stale_pages()]
    assert stale == [], "run: python docs/generate_commands.py"


def test_a_page_that_drifted_is_named_and_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = docs_script("generate_commands")
    shutil.copytree(COMMANDS, tmp_path / "commands")
    monkeypatch.setattr(script, "FOLDER", tmp_path / "commands")
    written = (COMMANDS / "morph.md").read_text(encoding="utf-8")
    page = tmp_path / "commands" / "morph.md"

    def outcome(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["generate_commands.py", *arguments])
        return script.main(), capsys.readouterr().out

    assert outcome("--check") == (0, "")
    for drifted in (
        written.replace("| `--attr2` |", "| `--attr3` |"),
        written.partition("<!-- generated")[0],
        written + "A line after the block.\n",
    ):
        assert drifted != written
        page.write_text(drifted, encoding="utf-8")
        line = "docs/commands/morph.md is stale: run: python docs/generate_commands.py\n"
        assert outcome("--check") == (1, line)
        assert page.read_text(encoding="utf-8") == drifted
        assert outcome() == (0, f"{page}\n")
        assert outcome("--check") == (0, "")
    # What a person wrote stays, wherever it was.
    assert page.read_text(encoding="utf-8") == written.replace(
        "\n<!-- generated", "\nA line after the block.\n\n<!-- generated"
    )


def test_the_generated_part_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    assert docs_script("generate_commands").stale_pages() == {}


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands() if f"facevae {name}" not in readme] == []


def test_every_public_name_of_the_library_is_documented() -> None:
    import facevae

    text = (DOCS / "python.md").read_text(encoding="utf-8")
    assert [name for name in facevae.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_path_of_the_machine_it_was_written_on(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w.])/(?:work|tmp|home|root|opt|Users)/[^\s\"'`)]*", text)
    assert found == []


@pytest.fixture
def data(workspace: Path) -> Path:
    """The workspace that `python.md` speaks of: drawn faces in `data/`, and one of them as `face.jpg`."""
    from facevae.drawing import write_drawn_faces

    write_drawn_faces(workspace / "data", FACES_DRAWN, seed=1)
    shutil.copy(workspace / "data" / "img_align_celeba" / "000001.jpg", workspace / "face.jpg")
    return workspace


def test_the_examples_of_the_python_page_run_in_order(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = python_blocks(DOCS / "python.md")
    assert len(blocks) > 10
    names: dict[str, Any] = {"__name__": "example"}
    for line, block in blocks:
        if not any(call in block for call in NOT_RUN):
            # The blank lines make a traceback name the line of the page.
            exec(compile("\n" * (line - 1) + block, str(DOCS / "python.md"), "exec"), names)
    printed = capsys.readouterr().out
    assert f"{FACES_DRAWN} {{'train': 51, 'valid': 6, 'test': 3}}" in printed
    assert "There is no attribute Smilling in vae.safetensors. Did you mean Smiling?" in printed
    assert names["smiling"].shape == (8, 32, 32, 3)


def test_the_examples_of_the_files_page_run(data: Path) -> None:
    """With files of the same layout; those that read UMAP coordinates are left out."""
    import torch

    import facevae

    facevae.prepare(Path("data"))
    facevae.train(channels=4, latent_dim=8, epochs=1, batch_size=30, device="cpu")
    facevae.encode()
    facevae.export()
    facevae.export(output="latents.npz")
    upscaler, residuals = put_upscaler(Path("upscaler.safetensors")), []
    luma = torch.rand(2, 1, 9, 7)
    for line, block in python_blocks(DOCS / "files.md"):
        if "map.h5" not in block:
            names: dict[str, Any] = {}
            exec(compile("\n" * (line - 1) + block, str(DOCS / "files.md"), "exec"), names)
            if "residual" in names:
                residuals.append(names["residual"](luma))
    # One example is the whole upscaler, without facevae.
    assert [torch.allclose(residual, upscaler.network(luma), atol=1e-6) for residual in residuals] == [True]
    # The last example computes the fingerprint of the faces and the hash of the weights without facevae.
    with facevae.Faces("faces.h5") as faces:
        assert names["fingerprint"] == faces.fingerprint
    assert names["digest"].hexdigest() == facevae.FaceModel.load("vae.safetensors").hash()


def test_the_drawing_of_the_network_is_that_of_the_code() -> None:
    drawn = docs_script("draw_network").network_svg()
    assert (DOCS / "images" / "network.svg").read_text(encoding="utf-8") == drawn, "run: python docs/draw_network.py"


def test_the_table_of_the_network_is_that_of_the_code() -> None:
    from facevae.workflows.info import network_info

    text = (DOCS / "network.md").read_text(encoding="utf-8")
    network = network_info()
    row = {name: line for line in text.splitlines() for name in re.findall(r"^\| `([\w.]+)`", line)}
    for name, _, shape, parameters in network.layers:
        stage = name if name in row else name.rpartition(".")[0]
        assert " x ".join(str(side) for side in shape) in row[stage], name
        assert not parameters or f"{parameters:,}" in row[stage], name
    for prefix in ("encoder.", "decoder."):
        total = sum(parameters for name, _, _, parameters in network.layers if name.startswith(prefix))
        assert f"{total:,}" in text
    assert f"| all | | | {network.parameters:,} |" in text
