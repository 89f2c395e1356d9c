"""The page of `facevae explore` in a real Chromium, served by the command itself: what it shows and does."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import browser
import facevae
from browser import PATIENCE_S, Visits, near_colour, picture_of, wait_until
from support import drawn_faces, hopper, write_faces, write_latents

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from facevae.storage.weights import FaceModel

chromium, visit = browser.chromium, browser.visit

COUNT = 60
SIDE = 32
BLUE, VERMILION = "#0072b2", "#d55e00"
READ_CANVAS = """([id, side]) => {
    const shown = document.getElementById(id);
    const copy = Object.assign(document.createElement("canvas"), { width: shown.width, height: shown.height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(shown, 0, 0);
    const data = context.getImageData(0, 0, copy.width, copy.height).data;
    const middle = (index, size) => Math.floor(((index + 0.5) / side) * size);
    const pixels = [];
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
        const at = 4 * (middle(y, copy.height) * copy.width + middle(x, copy.width));
        pixels.push(data[at], data[at + 1], data[at + 2]);
    }
    return pixels;
}"""
READ_IMAGE = """async (image) => {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.height, canvas.width, [...data].filter((_, index) => index % 4 < 3)];
}"""
GIVE = """([event, text, names, type]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    for (const name of names) transfer.items.add(new File([bytes], name, { type }));
    const settings = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
    document.body.dispatchEvent(event === "paste" ? new ClipboardEvent(event, settings) : new DragEvent(event, settings));
}"""
DRAG = """async (milliseconds) => {
    const slider = document.querySelector("#sliders input[data-name=Bald]");
    for (let step = 1; step <= 40; step++) {
        slider.value = step / 20;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        await new Promise((done) => setTimeout(done, milliseconds));
    }
}"""
COVERED = """() => [...document.querySelectorAll("main button, main input, main select, main summary")].filter((one) => {
    const { x, y, width, height } = one.getBoundingClientRect();
    const [left, top] = [x + width / 2, y + height / 2];
    const side = one.closest(".sliders-body, #neighbour-list, #chips, .segmented")?.getBoundingClientRect();
    if (!one.checkVisibility() || top > innerHeight || (side && (top > side.bottom || left > side.right))) return false;
    const shown = document.elementFromPoint(left, top);
    return shown && !one.contains(shown) && !shown.contains(one) && !shown.closest("label")?.contains(one);
}).map((one) => one.outerHTML.slice(0, 80))"""
SMALL = """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && one.textContent.trim() !== ""
    && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML.slice(0, 80))"""
Pixels = NDArray[np.uint8]


def quiet_port() -> int:
    """A port that is free and that the system gives to nobody else who asks for any."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port is free")


@contextmanager
def explorer(folder: Path, *arguments: str) -> Iterator[str]:
    """Run `facevae explore` in a folder; the value is the page's address."""
    command = [sys.executable, "-m", "facevae", "explore", "--no-browser", "--weights", "faces-32", *arguments]
    # The package that is tested here, wherever the current folder is.
    environment = os.environ | {"PYTHONPATH": str(Path(facevae.__file__).parents[1])}
    with (folder / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, (folder / "stderr.txt").read_text()
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=PATIENCE_S)
        process.stdout.close()
    assert code == 0, (folder / "stderr.txt").read_text()


@dataclass(frozen=True)
class Place:
    """A running explorer, and what it has on its map."""

    url: str
    folder: Path
    model: FaceModel
    images: Pixels
    names: list[str]
    mean: NDArray[np.float32]
    has: NDArray[np.bool_]
    attributes: tuple[str, ...]

    def decoded(self, latent: NDArray[np.float32]) -> Pixels:
        face: Pixels = self.model.decode(latent[None].astype(np.float32))[0]
        return face

    def moved(self, row: int, keep: tuple[str, ...] = (), **moves: float) -> Pixels:
        """The face of a row, `n` directions further for each attribute."""
        latent = self.mean[row].copy()
        for name, n in moves.items():
            latent += np.float32(n) * self.model.direction(name, keep)
        return self.decoded(latent)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Sixty drawn faces, encoded by the shipped weights, on a map in ten columns and six rows."""
    from facevae.storage.coordinates import write_coordinates
    from facevae.storage.latents import Latents
    from facevae.storage.shipped import shipped_weights
    from facevae.storage.weights import FaceModel

    folder = tmp_path_factory.mktemp("explorer")
    images = drawn_faces(COUNT, SIDE)
    faces = write_faces(folder / "faces.h5", count=COUNT, images=images)
    model = FaceModel.load(shipped_weights())
    rows = np.arange(COUNT)
    points = np.stack([rows % 10, -(rows // 10)], axis=1).astype(np.float32)
    with Latents(write_latents(folder / "latents.h5", model, faces)) as latents:
        mean, names = latents.mean(), list(latents.names)
        settings = {"n_neighbors": 15, "min_dist": 0.1, "seed": 0}
        write_coordinates(folder / "map.h5", points, rows, latents, settings, mean=mean)
        assert latents.attributes is not None
        has, attributes = latents.attributes > 0, tuple(latents.attribute_names)
    with explorer(folder, "--port", "0") as url:
        yield Place(url, folder, model, images, names, mean, has, attributes)


class Explorer:
    """A page that has loaded, and what tests do with it. Pictures are shown as squares: one colour for each pixel of a face."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.wait_for_selector("html[data-state=ready]")
        self.settle()

    def at(self, row: int) -> tuple[float, float]:
        """Where a dot is in the window."""
        frame = self.page.locator("#map").bounding_box()
        assert frame is not None
        spot = self.page.evaluate("row => facevaeMap.scatter.screenOf(row)", row)
        return frame["x"] + spot["x"], frame["y"] + spot["y"]

    def settle(self) -> None:
        """Wait until the map is still and drawn."""
        wait_until(self.page, "!facevaeMap.scatter._moving && !facevaeMap.scatter._moves")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def pick(self, row: int, name: str) -> None:
        self.page.mouse.click(*self.at(row))
        self.named(name)

    def named(self, name: str) -> None:
        """Wait until the picked face has this name."""
        wait_until(self.page, f"document.getElementById('face-name').textContent === {json.dumps(name)}")

    def picture(self, canvas: str) -> Pixels:
        """What a canvas shows, (32, 32, 3)."""
        values = self.page.evaluate(READ_CANVAS, [canvas, SIDE])
        return np.array(values, dtype=np.uint8).reshape(SIDE, SIDE, 3)

    def shows(self, canvas: str, wanted: Pixels) -> None:
        """Wait until a canvas shows a face; arithmetic on other threads may round a level otherwise."""
        deadline = time.monotonic() + PATIENCE_S
        while (off := np.abs(self.picture(canvas).astype(int) - wanted.astype(int)).max()) > 1:
            assert time.monotonic() < deadline, f"#{canvas} is off by {off} levels"
            self.page.wait_for_timeout(30)

    def slider(self, name: str) -> Locator:
        return self.page.locator(f"#sliders input[type=range][data-name={name}]")

    def keep(self, name: str) -> Locator:
        return self.page.locator(f"#sliders input[type=checkbox][data-name={name}]")

    def unfold(self) -> None:
        if not self.page.evaluate("document.getElementById('sliders-more').open"):
            self.page.locator("#sliders-summary").click()

    def move(self, name: str, value: float) -> None:
        self.slider(name).fill(str(value))

    def download(self, button: Locator) -> tuple[str, bytes]:
        """What a button saves: the file's name, and its bytes."""
        with self.page.expect_download() as waiting:
            button.click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def toasts(self) -> str:
        return " ".join(self.page.locator(".toast p").all_text_contents())


@pytest.fixture
def opened(visit: Visits, place: Place) -> Callable[..., Explorer]:
    """Opens the explorer's page with pictures as squares, at a view such as "face=row/3&Smiling=1"."""

    def open_page(view: str = "", display: str = "pixels", **settings: Any) -> Explorer:
        script = f'localStorage.getItem("facevae-display") ?? localStorage.setItem("facevae-display", "{display}");'
        return Explorer(visit(f"{place.url}#{view}", before=script, **settings))

    return open_page


def image_of(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


# ---------------------------------------------------------------------------------------------------- the map


def test_the_page_says_what_is_on_the_map_and_what_to_do(opened: Callable[..., Explorer]) -> None:
    page = opened().page
    assert page.locator("#summary").text_content() == "60 faces of latents.h5 · faces-32"
    assert page.locator("#face-name").text_content() == "No face picked yet"
    assert page.locator("#fitting").text_content() == "UMAP"
    assert not page.locator("#map-message").is_visible()
    assert page.locator("#sliders-first .name").count() == 6
    assert page.locator("#sliders-summary").text_content() == "34 more"
    assert page.locator("#sliders input[type=range]:enabled").count() == 0
    assert page.locator("#save").is_disabled()
    # On a laptop nothing of the page itself scrolls.
    assert page.evaluate("document.documentElement.scrollHeight <= 720 && document.documentElement.scrollWidth <= 1280")


def test_hovering_shows_the_face_with_its_name_and_attributes(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    explorer.page.mouse.move(*explorer.at(23))
    card = explorer.page.locator("#card")
    card.wait_for(state="visible")
    wait_until(explorer.page, f"document.querySelector('#card .name').textContent === '{place.names[23]}'")
    height, width, values = card.locator("img").evaluate(READ_IMAGE)
    np.testing.assert_array_equal(np.array(values).reshape(height, width, 3), place.images[23])
    wanted = {name.replace("_", " ") for name, has in zip(place.attributes, place.has[23], strict=True) if has}
    assert set(card.locator(".tags li").all_text_contents()) == wanted
    inside, frame = card.bounding_box(), explorer.page.locator("#map-box").bounding_box()
    assert inside is not None
    assert frame is not None
    assert inside["x"] + inside["width"] <= frame["x"] + frame["width"]
    explorer.page.mouse.move(5, 5)
    card.wait_for(state="hidden")


def test_clicking_a_dot_picks_its_face(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    explorer.pick(31, place.names[31])
    explorer.shows("original", place.images[31])
    explorer.shows("reconstruction", place.decoded(place.mean[31]))
    explorer.shows("morph", place.decoded(place.mean[31]))
    assert explorer.page.locator("#face-about").text_content() == "train · " + "".join(
        explorer.page.locator("#face-about .tags li").all_text_contents()
    )
    wait_until(explorer.page, "location.hash === '#face=row/31&color=Attractive'")


def test_another_attribute_colours_the_map(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    page = explorer.page

    def dots(row: int) -> tuple[bool, bool]:
        """Whether there is blue and vermilion at a dot."""
        x, y = explorer.at(row)
        picture = image_of(page.screenshot(clip={"x": x - 6, "y": y - 6, "width": 12, "height": 12}))
        return bool(near_colour(picture, BLUE).any()), bool(near_colour(picture, VERMILION).any())

    # Far from the class means, which lie over the middle of the map.
    corners = [0, 9, 50, 59, 1, 8]
    for attribute in ("Male", "Smiling"):
        page.locator("#colour").select_option(attribute)
        explorer.settle()
        has = place.has[:, place.attributes.index(attribute)]
        assert [dots(row) for row in corners] == [(not has[row], bool(has[row])) for row in corners]
        legend = page.locator("#legend li").all_text_contents()
        assert legend == [f"{attribute} {has.sum()}", f"without {COUNT - has.sum()}"]
    page.locator("#colour").select_option(label="one colour")
    explorer.settle()
    assert [dots(row) for row in corners] == [(True, False)] * len(corners)
    assert page.locator("#legend li").all_text_contents() == ["60 faces"]


def test_the_lasso_selects_faces_and_gives_their_mean_and_names(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    page = explorer.page
    chosen = [row for row in range(COUNT) if row % 10 in (1, 2, 3) and row // 10 in (1, 2)]
    (left, top), (right, bottom) = explorer.at(11), explorer.at(23)
    page.locator("#tool input[value=lasso]").check()
    page.mouse.move(left - 15, top - 15)
    page.mouse.down()
    for x, y in ((right + 15, top - 15), (right + 15, bottom + 15), (left - 15, bottom + 15)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    panel = page.locator("#lasso")
    assert panel.locator("h2").text_content() == "6 faces selected"
    share = {name: place.has[chosen, index].mean() for index, name in enumerate(place.attributes)}
    for bar in panel.locator(".bars li").all():
        name, figure = (bar.locator("span").nth(index).text_content() for index in (0, 1))
        assert figure == f"{int(100 * share[str(name).replace(' ', '_')] + 0.5)}%"
    page.get_by_role("button", name="Mean face").click()
    explorer.named("mean of 6 faces")
    explorer.shows("morph", place.decoded(place.mean[chosen].mean(axis=0)))
    assert page.locator("#original-none").text_content() == "None: this face is a mean."
    name, data = explorer.download(page.get_by_role("button", name="Save names"))
    assert (name, data.decode().split()) == ("faces_6.txt", [place.names[row] for row in chosen])
    page.locator(".scatter-overlay").press("Escape")
    assert not panel.is_visible()


def test_a_face_is_found_by_its_name(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    field = explorer.page.locator("#find")
    without = picture_of(explorer.page)
    field.fill("00005")
    options = explorer.page.locator("#find-results [role=option]")
    options.first.wait_for()
    # The list scrolls, and where it ends there is the map.
    shown, frame = explorer.page.locator("#find-results").bounding_box(), explorer.page.locator("#map").bounding_box()
    assert shown is not None
    assert frame is not None
    below = slice(int(shown["y"] + shown["height"]) + 30, int(frame["y"] + frame["height"])), slice(0, 340)
    np.testing.assert_array_equal(picture_of(explorer.page)[below], without[below])
    assert options.all_text_contents() == [*place.names[49:59], place.names[4]]
    field.press("ArrowDown")
    field.press("Enter")
    explorer.named(place.names[50])
    assert field.get_attribute("aria-expanded") == "false"
    field.fill("nobody")
    explorer.page.get_by_text("No face has “nobody” in its name.").wait_for()


# ---------------------------------------------------------------------------------------------------- the morph


def test_the_morph_follows_a_slider_and_comes_back(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/7")
    page, slider = explorer.page, explorer.slider("Wearing_Hat")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for part in np.linspace(0.5, 0.85, 20):
        page.mouse.move(box["x"] + part * box["width"], y)
    page.mouse.up()
    value = float(slider.input_value())
    assert 1.8 < value < 2.6
    explorer.shows("morph", place.moved(7, Wearing_Hat=value))
    explorer.shows("reconstruction", place.decoded(place.mean[7]))
    assert page.locator("li[data-name=Wearing_Hat] output").text_content() == f"+{value:g}"
    latencies = page.evaluate("facevaeStats.latencies")
    assert len(latencies) > 3
    assert 0 < min(latencies) < 1000
    slider.dblclick()
    explorer.shows("morph", place.decoded(place.mean[7]))
    assert slider.input_value() == "0"
    explorer.move("Wearing_Hat", -1.25)
    explorer.shows("morph", place.moved(7, Wearing_Hat=-1.25))
    slider.press("0")
    explorer.shows("morph", place.decoded(place.mean[7]))


def test_while_a_picture_is_on_its_way_only_the_latest_state_is_asked_for(
    opened: Callable[..., Explorer], place: Place
) -> None:
    explorer = opened("face=row/7")
    explorer.shows("morph", place.decoded(place.mean[7]))
    asked: list[float] = []

    def late(route: Any) -> None:
        asked.append(route.request.post_data_json["moves"].get("Bald", 0.0))
        explorer.page.wait_for_timeout(40)
        route.continue_()

    explorer.page.route("**/api/decode", late)
    explorer.page.evaluate(DRAG, 4)
    explorer.shows("morph", place.moved(7, Bald=2.0))
    assert len(asked) < 20
    assert asked == sorted(asked)
    assert asked[-1] == 2.0


def test_a_smile_is_a_smile_to_the_judge(opened: Callable[..., Explorer], place: Place) -> None:
    from facevae.storage.judge_file import AttributeJudge
    from facevae.storage.shipped import shipped_judge

    explorer = opened()
    explorer.unfold()
    plain, smiling = [], []
    for seed in range(1, 9):
        explorer.page.evaluate("seed => { location.hash = `face=random/${seed}/1.0` }", seed)
        explorer.named(f"random {seed}")
        plain.append(place.decoded(place.model.draw(1, seed=seed)[0]))
        explorer.shows("morph", plain[-1])
        explorer.move("Smiling", 2)
        wait_until(explorer.page, "JSON.parse(facevaeStats.shown)[0].moves.Smiling === 2")
        smiling.append(explorer.picture("morph"))
    judge = AttributeJudge.load(shipped_judge())
    of = judge.attribute_names.index("Smiling")
    gain = judge.look(np.stack(smiling)).logits[:, of] - judge.look(np.stack(plain)).logits[:, of]
    assert (gain > 1).sum() >= 6, gain


def test_what_is_kept_holds_still(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/4")
    explorer.unfold()
    explorer.keep("Male").check()
    assert explorer.slider("Male").is_disabled()
    explorer.move("Wearing_Lipstick", 2)
    assert explorer.keep("Wearing_Lipstick").is_disabled()
    wanted = place.moved(4, keep=("Male",), Wearing_Lipstick=2)
    assert np.abs(wanted.astype(int) - place.moved(4, Wearing_Lipstick=2)).max() > 20
    explorer.shows("morph", wanted)
    chips = explorer.page.locator("#chips button")
    assert [text.strip() for text in chips.all_text_contents()] == ["Wearing Lipstick +2 ×", "keep Male ×"]
    chips.last.click()
    explorer.shows("morph", place.moved(4, Wearing_Lipstick=2))
    assert explorer.slider("Male").is_enabled()
    explorer.page.locator("#reset").click()
    explorer.shows("morph", place.decoded(place.mean[4]))
    assert chips.count() == 0
    assert explorer.page.locator("#reset").is_disabled()


def test_the_search_finds_sliders_under_the_fold(opened: Callable[..., Explorer]) -> None:
    page = opened("face=row/4").page
    shown = page.locator("#sliders li:visible .name")
    page.locator("#slider-search").fill("hair")
    assert {str(name) for name in shown.all_text_contents()} == {
        f"{kind} Hair" for kind in ("Gray", "Blond", "Black", "Brown", "Straight", "Wavy")
    } | {"Receding Hairline"}
    page.locator("#slider-search").fill("wing")
    assert page.locator("#sliders-none").text_content() == "No attribute has “wing” in its name."
    page.locator("#slider-search").fill("")
    assert shown.count() == 6
    assert not page.evaluate("document.getElementById('sliders-more').open")


def test_random_faces_depend_on_the_seed_and_the_temperature(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    explorer.page.locator("#random").click()
    wait_until(explorer.page, "document.getElementById('face-name').textContent.startsWith('random ')")
    seed = int(str(explorer.page.locator("#face-name").text_content()).split()[1])
    explorer.shows("morph", place.decoded(place.model.draw(1, seed=seed)[0]))
    explorer.page.locator("#temperature").press("ArrowRight")
    assert explorer.page.locator("#temperature-shown").text_content() == "1.05"
    explorer.shows("morph", place.decoded(place.model.draw(1, seed=seed, temperature=1.05)[0]))
    assert explorer.page.locator("#face-name").text_content() == f"random {seed}"
    explorer.page.locator("#random").click()
    wait_until(explorer.page, f"document.getElementById('face-name').textContent !== 'random {seed}'")


def test_vdsr_enlarges_three_times(opened: Callable[..., Explorer], place: Place) -> None:
    from facevae.workflows.upscalers import load_upscaler

    explorer = opened("face=row/3&Bald=1", display="vdsr")
    explorer.page.locator("#save").click()
    name, data = explorer.download(explorer.page.locator("#save-picture"))
    assert name == "000004_Bald1.png"
    enlarged = image_of(data)
    assert enlarged.shape == (96, 96, 3)
    upscaler = load_upscaler(None, "reconstructions", "cpu", lambda _: None)
    wanted = upscaler.upscale(place.moved(3, Bald=1)[None], 3)[0]
    assert np.abs(enlarged.astype(int) - wanted).max() <= 2


def test_where_vdsr_is_slow_it_follows_when_the_slider_rests(opened: Callable[..., Explorer]) -> None:
    explorer = opened("face=row/3", display="vdsr")
    page = explorer.page
    asked: list[int] = []

    def slow(route: Any) -> None:
        asked.append(route.request.post_data_json["upscale"])
        page.wait_for_timeout(60)
        route.continue_()

    page.route("**/api/decode", slow)
    page.evaluate(DRAG, 20)
    wait_until(page, "JSON.parse(facevaeStats.shown)[0].moves.Bald === 2 && JSON.parse(facevaeStats.shown)[1] === 3")
    assert 0 in asked
    assert asked[-1] == 3


# ---------------------------------------------------------------------------------------------------- photos


def give(page: Page, data: bytes, *names: str, event: str = "drop") -> None:
    """Hand a file to the page, or several with the same bytes: "dragenter", "drop" or "paste"."""
    page.evaluate(GIVE, [event, base64.b64encode(data).decode(), names, "image/jpeg"])


def jpeg(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_dropped_photo_is_placed_on_the_map(opened: Callable[..., Explorer]) -> None:
    explorer = opened()
    page = explorer.page
    photo = jpeg(hopper())
    give(page, photo, "hopper.jpg", event="dragenter")
    assert page.get_by_text("Drop the photo to put its face on the map").is_visible()
    before = picture_of(page, "#map")
    give(page, photo, "hopper.jpg", "another.jpg")
    explorer.named("hopper.jpg")
    assert explorer.toasts() == "One photo at a time: hopper.jpg was taken."
    assert not page.locator("#drop").is_visible()
    explorer.settle()
    wait_until(page, "document.querySelector('.reconstruction .frame').dataset.empty === 'false'")
    # The original is a face of the photograph, and so is what the network makes of it.
    original, morph = explorer.picture("original").astype(float), explorer.picture("morph").astype(float)
    assert original.std() > 30
    assert np.abs(original - morph).mean() < 0.5 * np.abs(original - morph.mean(axis=(0, 1))).mean()
    spot = page.evaluate("facevaeMap.scatter.screenOfPoint(...facevaeMap.store.face.point)")
    around = (slice(int(spot["y"]) - 5, int(spot["y"]) + 6), slice(int(spot["x"]) - 5, int(spot["x"]) + 6))
    after = picture_of(page, "#map")
    assert near_colour(after[around], "#1a1d21").mean() > 0.4
    assert near_colour(before[around], "#1a1d21").mean() < 0.1


def test_of_several_faces_in_a_photo_one_is_chosen(opened: Callable[..., Explorer]) -> None:
    explorer = opened()
    page = explorer.page
    if (why := page.evaluate("fetch('api/state').then((answer) => answer.json())")["why_no_align"]) is not None:
        pytest.skip(why)
    smaller = np.zeros((600, 384, 3), dtype=np.uint8)
    smaller[:450] = hopper()[::4, ::4].repeat(3, axis=0).repeat(3, axis=1)
    give(page, jpeg(np.concatenate([smaller, hopper()], axis=1)), "party.jpg", event="paste")
    explorer.named("party.jpg#1")
    choices = page.locator("#photo-faces button")
    assert choices.count() == 2
    assert [choice.get_attribute("aria-pressed") for choice in choices.all()] == ["true", "false"]
    choices.last.click()
    explorer.named("party.jpg#2")
    assert [choice.get_attribute("aria-pressed") for choice in choices.all()] == ["false", "true"]
    page.locator("#random").click()
    page.locator("#photo-faces").wait_for(state="hidden")


def test_what_is_no_picture_is_refused_in_a_sentence(opened: Callable[..., Explorer], visit: Visits) -> None:
    explorer = opened()
    give(explorer.page, b"GIF89a, or so it says", "notes.gif")
    toast = explorer.page.locator(".toast[role=alert]")
    toast.wait_for()
    assert "notes.gif" in explorer.toasts()
    assert toast.get_by_role("button").count() == 1  # to dismiss it: there is no whole picture to take either
    toast.get_by_label("Dismiss").click()
    assert toast.count() == 0
    assert explorer.page.locator("#face-name").text_content() == "No face picked yet"
    visit.forgive("status of 422")


# ---------------------------------------------------------------------------------------------------- neighbours, A and B, saving


def test_the_nearest_faces_are_the_nearest(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/20")
    page = explorer.page
    buttons = page.locator("#neighbour-list button")
    buttons.nth(11).wait_for()

    def nearest(latent: NDArray[np.float32], but: int = -1) -> list[str]:
        cosine = place.mean @ latent / np.linalg.norm(place.mean, axis=1) / np.linalg.norm(latent)
        return [place.names[row].removesuffix(".jpg") for row in np.argsort(-cosine) if row != but][:12]

    assert buttons.all_text_contents() == nearest(place.mean[20], but=20)
    assert page.locator("#neighbours-title").text_content() == "Nearest faces"
    explorer.move("Wearing_Hat", 3)
    wait_until(page, "document.getElementById('neighbours-title').textContent === 'Nearest faces to the morph'")
    moved = place.mean[20] + 3 * place.model.direction("Wearing_Hat")
    assert buttons.all_text_contents() == nearest(moved)
    chosen = str(buttons.nth(4).text_content())
    buttons.nth(4).click()
    explorer.named(f"{chosen}.jpg")


def test_from_a_to_b(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/2&Bald=1")
    page = explorer.page
    page.locator("#hold").click()
    page.get_by_text("A is 000003 edited. Now pick another face, or move a slider: that is B.").wait_for()
    page.locator("#reset").click()
    explorer.pick(44, place.names[44])
    page.get_by_text("000003 edited → 000045").wait_for()
    frame = "Number(document.getElementById('between-canvas').dataset.frame)"
    wait_until(page, f"{frame} > 2")
    page.locator("#between-play").click()
    assert page.locator("#between-play").text_content() == "Play"
    still = page.evaluate(frame)
    page.wait_for_timeout(250)
    assert page.evaluate(frame) == still
    first = place.mean[2] + place.model.direction("Bald")
    for place_of, latent in ((0, first), (12, first + 12 / 23 * (place.mean[44] - first)), (23, place.mean[44])):
        page.locator("#between-scrub").fill(str(place_of))
        explorer.shows("between-canvas", place.decoded(latent))
    name, data = explorer.download(page.locator("#between-save"))
    assert (name, data[:4]) == ("000003_to_000045.gif", b"GIF8")
    with Image.open(io.BytesIO(data)) as animation:
        assert getattr(animation, "n_frames", 1) > 10
    page.get_by_label("Let go of A").click()
    assert not page.locator("#between").is_visible()


def test_with_reduced_motion_nothing_plays_by_itself(opened: Callable[..., Explorer]) -> None:
    explorer = opened("face=row/2", reduced_motion="reduce")
    explorer.page.locator("#hold").click()
    explorer.move("Bald", 2)
    wait_until(explorer.page, "document.getElementById('between-canvas').dataset.frame === '0'")
    assert explorer.page.locator("#between-play").text_content() == "Play"
    explorer.page.wait_for_timeout(500)
    assert explorer.page.locator("#between-canvas").get_attribute("data-frame") == "0"


def test_saved_are_the_picture_the_strip_and_the_command(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/11&Bald=1.5&Male=-0.5&keep=Young")
    page = explorer.page
    page.locator("#save").click()
    name, data = explorer.download(page.locator("#save-picture"))
    assert name == "000012_Bald1.5_Male-0.5.png"
    wanted = place.moved(11, keep=("Young",), Bald=1.5, Male=-0.5)
    assert np.abs(image_of(data).astype(int) - wanted).max() <= 1
    wait_until(page, "!document.getElementById('save-strip').disabled")
    name, data = explorer.download(page.locator("#save-strip"))
    assert name == "000012_Bald1.5_Male-0.5_strip.png"
    assert image_of(data).shape[1] > 6 * SIDE
    for which, steps in (("picture", "1"), ("strip", "0,0.25,0.5,0.75,1")):
        command = str(page.locator(f"#command-{which}").text_content())
        assert command.startswith("facevae morph --name 000012.jpg ")
        for part in ("--attr Bald=1.5", "--attr Male=-0.5", "--keep Young", f"--steps {steps}"):
            assert part in command
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=command-picture]").click()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#command-picture").text_content()
    page.keyboard.press("Escape")
    assert not page.locator("#save-dialog").is_visible()


def test_what_fails_while_a_dialog_is_open_can_be_read_and_dismissed(
    opened: Callable[..., Explorer], visit: Visits
) -> None:
    explorer = opened("face=row/11")
    page = explorer.page
    explorer.shows("morph", explorer.picture("reconstruction"))
    refused = {"status": 500, "content_type": "application/json", "body": '{"error": "The decoder is tired."}'}
    page.route("**/api/decode", lambda route: route.fulfill(**refused))
    page.locator("#save").click()
    page.locator("#save-dialog .toast").get_by_label("Dismiss").click()
    page.keyboard.press("Escape")
    page.locator("body > #toasts").wait_for(state="attached")
    visit.forgive("status of 500")


# ---------------------------------------------------------------------------------------------------- the page itself


def test_a_face_is_picked_and_moved_with_the_keyboard_alone(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened()
    page = explorer.page

    def focus(condition: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({json.dumps(condition)})"):
                return
        pytest.fail(f"Tab never came to {condition}")

    focus(".scatter-overlay")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        explorer.settle()
    row = int(str(page.locator("#card").get_attribute("data-row")))
    page.keyboard.press("Enter")
    explorer.named(place.names[row])
    focus("#sliders-first input[type=range]")
    attribute = str(page.evaluate("document.activeElement.dataset.name"))
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    value = float(page.evaluate("document.activeElement.value"))
    assert value > 0.5
    assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == f"+{value:g}"
    explorer.shows("morph", place.decoded(place.mean[row] + value * place.model.direction(attribute)))
    page.keyboard.press("Delete")
    explorer.shows("morph", place.decoded(place.mean[row]))
    # The list of neighbours is another one after a pick, and the keyboard is still in it.
    page.locator("#neighbour-list button").nth(3).focus()
    before = page.locator("#neighbour-list").inner_html()
    page.keyboard.press("Enter")
    wait_until(page, f"document.getElementById('neighbour-list').innerHTML !== {json.dumps(before)}")
    assert page.evaluate("document.activeElement.closest('#neighbour-list') !== null")


def test_a_reload_keeps_the_view(opened: Callable[..., Explorer], place: Place) -> None:
    explorer = opened("face=row/5&color=Male")
    explorer.move("Bald", 1.5)
    wait_until(explorer.page, "location.hash === '#face=row/5&Bald=1.5&color=Male'")
    explorer.page.reload()
    explorer = Explorer(explorer.page)
    explorer.named(place.names[5])
    explorer.shows("morph", place.moved(5, Bald=1.5))
    assert explorer.page.locator("#colour").input_value() == "Male"


def test_light_and_dark(opened: Callable[..., Explorer]) -> None:
    explorer = opened("face=row/5", dark=True)
    page = explorer.page
    assert picture_of(page).mean() < 70
    page.locator("#theme input[value=light]").check()
    explorer.settle()
    assert picture_of(page).mean() > 180
    page.locator("#theme input[value=dark]").check()
    page.emulate_media(color_scheme="light")
    page.reload()
    Explorer(page)
    assert picture_of(page).mean() < 70
    assert page.locator("#theme input:checked").input_value() == "dark"


def test_it_fits_the_window(opened: Callable[..., Explorer]) -> None:
    explorer = opened("face=row/5&Smiling=1&Bald=1")
    page = explorer.page
    page.locator("#hold").click()
    page.locator("#reset").click()
    page.get_by_text("000006 edited → 000006").wait_for()
    for width, height in ((1920, 1080), (1280, 720), (1024, 700), (900, 640), (640, 360), (400, 800), (320, 640)):
        page.set_viewport_size({"width": width, "height": height})
        explorer.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= 900:
            assert page.evaluate("document.documentElement.scrollHeight") <= height
        assert page.evaluate(SMALL) == []
        assert page.evaluate(COVERED) == [], (width, height)
    # What stays at the top of a low window leaves half of it, and what has the focus is not below it.
    page.set_viewport_size({"width": 640, "height": 360})
    page.locator("#slider-5").focus()
    pictures, slider = page.locator("#pictures").bounding_box(), page.locator("#slider-5").bounding_box()
    assert pictures is not None
    assert slider is not None
    assert pictures["height"] < 200
    assert pictures["y"] + pictures["height"] <= slider["y"]


def test_forced_colours_leave_what_only_colours_say(opened: Callable[..., Explorer]) -> None:
    page = opened("face=row/5&Bald=2", forced_colors="active").page
    for selector in ("[data-name=Bald] .range", "#temperature", "#legend .swatch.with", "#tool label:first-of-type"):
        picture = picture_of(page, selector).reshape(-1, 3)
        _, counts = np.unique(picture, axis=0, return_counts=True)
        assert counts.max() < 0.95 * len(picture), selector


def test_everything_has_a_name_for_screen_readers(opened: Callable[..., Explorer]) -> None:
    page = opened("face=row/5&Smiling=1").page
    page.locator("#hold").click()
    page.locator("#sliders-summary").click()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not([type=file]), select, canvas")].filter((one) => {
            const label = one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent.trim();
            return one.checkVisibility() && !label && !one.closest(".scatter");
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_a_map_that_cannot_be_loaded_says_so_and_is_tried_again(visit: Visits, place: Place) -> None:
    page = visit("about:blank")
    refused = {"status": 500, "content_type": "application/json", "body": '{"error": "map.h5 is damaged."}'}
    page.route("**/api/map/points*", lambda route: route.fulfill(**refused), times=1)
    page.goto(place.url)
    page.wait_for_selector("html[data-state=failed]")
    assert page.locator("#map-message p").text_content() == "The map could not be loaded. map.h5 is damaged."
    page.get_by_role("button", name="Retry").click()
    Explorer(page)
    assert not page.locator("#map-message").is_visible()
    visit.forgive("status of 500", "a request to")


def test_the_map_follows_its_fit(opened: Callable[..., Explorer], visit: Visits, place: Place) -> None:
    """The server's side of it has tests of its own: here its answers are made up."""
    page = visit("about:blank")
    progress = {"stage": "umap: layout", "done": 120, "total": 200}
    fit = {"status": "fitting", "method": "PCA", "revision": 1, "progress": progress, "message": None}

    def state(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "map": fit})

    page.route("**/api/state", state)
    page.goto(place.url)
    explorer = Explorer(page)
    assert page.locator("#fitting-text").text_content() == "PCA for now, UMAP is being fitted: layout 120 of 200"
    assert page.evaluate("document.getElementById('fitting-progress').position") == 0.6
    explorer.pick(9, place.names[9])
    spot = explorer.at(9)
    mirrored = np.stack([-(np.arange(COUNT) % 10), -(np.arange(COUNT) // 10)], axis=1).astype("<f4").tobytes()
    page.route(
        "**/api/map/points*", lambda route: route.fulfill(body=mirrored, content_type="application/octet-stream")
    )
    fit.update(status="ready", method="UMAP", revision=2, progress=None)
    wait_until(page, "document.getElementById('fitting-text').textContent === 'UMAP'")
    explorer.settle()
    wait_until(page, "facevaeMap.scatter._mixing === null")
    frame = page.locator("#map").bounding_box()
    assert frame is not None
    assert explorer.at(9)[0] == pytest.approx(2 * frame["x"] + frame["width"] - spot[0], abs=2)
    visit.forgive("a request to")


def test_a_server_that_ends_is_said_and_waited_for(visit: Visits, place: Place) -> None:
    port = str(quiet_port())
    with explorer(place.folder, "--port", port) as url:
        page = visit(url)
        running = Explorer(page)
        running.pick(13, place.names[13])
    running.move("Bald", 1)
    banner = page.locator("#lost")
    banner.wait_for(state="visible")
    assert banner.text_content() == "The explorer is not running any more: start facevae explore again."
    with explorer(place.folder, "--port", port):
        banner.wait_for(state="hidden")
        page.locator("#display input[value=pixels]").check()
        running.shows("morph", place.moved(13, Bald=1))
        running.move("Bald", 2)
        running.shows("morph", place.moved(13, Bald=2))
        page.close()
    visit.forgive("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
