"""HTTP around the session: arguments out of requests, results into answers."""

from __future__ import annotations

import mimetypes
import re
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from tornado.web import HTTPError

from facevae import web
from facevae.errors import UsageError
from facevae.explorer import edits
from facevae.explorer.edits import Edit, parse_edit, parse_json
from facevae.explorer.face_refs import RowFace, parse_face, quoted
from facevae.explorer.facts import face_facts, state_facts
from facevae.explorer.handler import Handler
from facevae.explorer.png import png_bytes, side_by_side
from facevae.explorer.session import METRIC
from facevae.model.workers import one_thread
from facevae.workflows.draws import MAX_TEMPERATURE

JSON_BYTES = 1 << 20
RAW_BYTES = 64 << 20
_ASSET = re.compile(r"[a-z0-9_]+[a-z0-9_-]*\.(css|js|svg|png|ico|html)", re.ASCII)
_CACHED = "private, max-age=86400, immutable"


class Nothing(Handler):
    """What is nowhere."""

    def prepare(self) -> None:
        """Refuse strangers, and say that there is nothing."""
        self.refuse(HTTPError(404))
        super().prepare()


class Page(Handler):
    """The page."""

    def get(self) -> None:
        """Answer with the page, and keep the token for what it asks for."""
        if self.served.guard.token is not None:
            self.set_cookie(self.served.cookie, self.served.guard.token, httponly=True, samesite="Strict")
        self.answer(web.asset("explorer.html"), "text/html; charset=utf-8")


class Asset(Handler):
    """What the page is made of."""

    def get(self, name: str) -> None:
        """Answer with a file of the package's folder."""
        if not _ASSET.fullmatch(name):
            raise HTTPError(404)
        try:
            data = web.asset(name)
        except FileNotFoundError:
            raise HTTPError(404) from None
        kind = (
            "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"
        )
        self.answer(data, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)


class State(Handler):
    """What the page has to know first."""

    def get(self) -> None:
        """Answer with the state."""
        self.answer_json(state_facts(self.session))


class Points(Handler):
    """Where the dots are."""

    def get(self) -> None:
        """Answer with float32 x and y of every dot."""
        state = self.session.map.state
        self.set_header("X-Revision", str(state.revision))
        self.answer(np.ascontiguousarray(state.points, dtype="<f4").tobytes(), "application/octet-stream")


class Attributes(Handler):
    """Who has which attribute."""

    async def get(self) -> None:
        """Answer with a bit for every face and attribute."""
        self.answer(await self.on(self.served.executors.looks, self.session.attribute_bits), "application/octet-stream")


class FaceFacts(Handler):
    """What is known of a face."""

    async def get(self) -> None:
        """Answer with it."""
        face, executors = parse_face(self.argument("face")), self.served.executors
        executor = executors.looks if isinstance(face, RowFace) else executors.searches
        self.answer_json(await self.on(executor, face_facts, self.session, face))


class Find(Handler):
    """Faces by their names."""

    async def get(self) -> None:
        """Answer with those that have a text in their names."""
        limit = edits.whole_number(_whole(self.argument("limit", "20")), "A limit of", 1, 1000)
        rows, more = await self.on(self.served.executors.looks, self.session.find, self.argument("name"), limit)
        faces = [{"face": str(RowFace(row)), "name": self.session.faces.names[row]} for row in rows]
        self.answer_json({"faces": faces, "more": more})


class Thumbnail(Handler):
    """A small picture of a face of the map."""

    async def get(self) -> None:
        """Answer with it as PNG."""
        row = edits.whole_number(_whole(self.argument("row")), "A row of", 0, 2**53)
        data = await self.on(self.served.executors.looks, lambda: png_bytes(self.session.thumbnail(row)))
        if self.argument("v", "") == self.session.id:  # else the faces of another day would be shown for these
            self.set_header("Cache-Control", _CACHED)
        self.answer(data, "image/png")


class Picture(Handler):
    """A face as it was, or as it is reconstructed."""

    async def get(self) -> None:
        """Answer with it as PNG."""
        face, kind = parse_face(self.argument("face")), self.argument("kind", "reconstruction")
        upscale = edits.upscale_factor(_whole(self.argument("upscale", "0")))
        data = await self.on(self.served.executors.looks, lambda: png_bytes(self.session.picture(face, kind, upscale)))
        self.answer(data, "image/png")


class JsonHandler(Handler):
    """What takes JSON."""

    limit = JSON_BYTES


class Decode(JsonHandler):
    """The picture that follows a slider."""

    async def post(self) -> None:
        """Answer with the edited face as PNG."""
        edit, upscale = _edit_and_factor(self.body())
        # Several threads would wait for each other at every operation on cores that are busy.
        threads = one_thread() if self.served.load.running else nullcontext()

        def decode() -> bytes:
            with threads:
                return png_bytes(self.session.decode(edit, upscale))

        self.answer(await self.on(self.served.executors.live, decode), "image/png")


class Place(JsonHandler):
    """Where an edited face belongs."""

    async def post(self) -> None:
        """Answer with the point."""
        edit = parse_edit(parse_json(self.body()))
        point = await self.on(self.served.executors.searches, self.session.place, edit)
        self.answer_json({"point": [float(value) for value in point]})


class Neighbours(JsonHandler):
    """Who is near."""

    async def post(self) -> None:
        """Answer with the nearest faces of the map."""
        request = parse_json(self.body())
        edit, count = parse_edit(request), edits.whole_number(request.get("count", 12), "A count of", 1, 200)
        found = await self.on(self.served.executors.searches, self.session.neighbours, edit, count)
        nearest = [
            {"face": str(RowFace(row)), "row": row, "name": self.session.faces.names[row], "distance": distance}
            for row, distance in found
        ]
        self.answer_json({"neighbours": nearest, "metric": METRIC})


class Photo(Handler):
    """A picture of the user's own."""

    limit = RAW_BYTES

    async def post(self) -> None:
        """Answer with its faces."""
        name, align = unquote(self.request.headers.get("X-Name", "")), self.argument("align", "1") != "0"
        self.answer_json(await self.on(self.served.executors.photos, self._take, self.body(), name, align))

    def _take(self, data: bytes, name: str, align: bool) -> dict[str, Any]:
        faces, notices = self.session.add_photo(data, name, align=align)
        return {"faces": [face_facts(self.session, face) for face in faces], "notices": notices}


class Random(JsonHandler):
    """A face of the prior."""

    async def post(self) -> None:
        """Answer with what is known of it."""
        request = parse_json(self.body())
        temperature = edits.number(request.get("temperature", 1.0), "A temperature of", 0.0, MAX_TEMPERATURE)
        seed = request.get("seed")
        if seed is not None:
            seed = edits.whole_number(seed, "A seed of", 0, 2**53 - 1)
        face = self.session.add_random(temperature, seed)
        facts = await self.on(self.served.executors.searches, face_facts, self.session, face)
        self.answer_json({**facts, "seed": face.seed})


class RowsHandler(Handler):
    """What takes rows as uint32."""

    limit = RAW_BYTES

    def rows(self) -> NDArray[np.uint32]:
        """Return the rows in the body.

        Raises:
            UsageError: they are none.
        """
        data = self.body()
        if len(data) % 4:
            raise UsageError(f"{len(data)} bytes are no rows: each has four.")
        return np.frombuffer(data, dtype="<u4")


class Mean(RowsHandler):
    """The mean of a selection."""

    async def post(self) -> None:
        """Answer with what is known of it."""
        rows = self.rows()
        self.answer_json(await self.on(self.served.executors.searches, self._take, rows))

    def _take(self, rows: NDArray[np.uint32]) -> dict[str, Any]:
        return face_facts(self.session, self.session.add_mean(rows))


class Names(RowsHandler):
    """The names of a selection."""

    async def post(self) -> None:
        """Answer with a name a line."""
        names = await self.on(self.served.executors.looks, self.session.names_of, self.rows())
        lines = "".join(f"{name}\n" for name in names)
        self.answer(lines.encode("utf-8", "surrogateescape"), "text/plain; charset=utf-8")


class Interpolate(JsonHandler):
    """The faces between two."""

    async def post(self) -> None:
        """Answer with them side by side, as PNG."""
        request = parse_json(self.body())
        first, second = _two_edits(request)
        steps = edits.whole_number(request.get("steps", 24), "A number of steps of", 2, 200)
        upscale = edits.upscale_factor(request.get("upscale"))

        def draw() -> bytes:
            return png_bytes(side_by_side(self.session.between(first, second, steps, upscale)))

        self.answer(await self.on(self.served.executors.draws, draw), "image/png")


class Strip(JsonHandler):
    """The way to an edit."""

    async def post(self) -> None:
        """Answer with it as PNG."""
        edit, upscale = _edit_and_factor(self.body())

        def draw() -> bytes:
            from facevae.explorer.drawings import strip

            return strip(self.session, edit, upscale)

        self.answer(await self.on(self.served.executors.draws, draw), "image/png")


class Animation(JsonHandler):
    """The way from one face to another."""

    async def post(self) -> None:
        """Answer with it as GIF."""
        request = parse_json(self.body())
        first, second = _two_edits(request)
        upscale = edits.upscale_factor(request.get("upscale"))

        def draw() -> bytes:
            from facevae.explorer.drawings import animation

            return animation(self.session, first, second, upscale)

        self.answer(await self.on(self.served.executors.draws, draw), "image/gif")


class Command(JsonHandler):
    """The command line for an edit."""

    async def post(self) -> None:
        """Answer with it."""
        edit, upscale = _edit_and_factor(self.body())

        def write() -> dict[str, Any]:
            from facevae.explorer.morph_command import morph_commands

            return morph_commands(self.session, edit, upscale, self.served.weights)._asdict()

        self.answer_json(await self.on(self.served.executors.looks, write))


def _whole(text: str) -> int:
    try:
        return int(text) if len(text) <= 20 else int("")
    except ValueError:
        raise UsageError(f"{quoted(text)} is no whole number.") from None


def _edit_and_factor(body: bytes) -> tuple[Edit, int]:
    request = parse_json(body)
    return parse_edit(request), edits.upscale_factor(request.get("upscale"))


def _two_edits(request: Any) -> tuple[Edit, Edit]:  # noqa: ANN401
    faces = request.get("faces")
    if not isinstance(faces, list) or len(faces) != 2:
        raise UsageError("A way leads from one face to another: give two faces.")
    return parse_edit(faces[0]), parse_edit(faces[1])


ROUTES: list[tuple[str, type[Handler]]] = [
    ("/", Page),
    ("/assets/(.*)", Asset),
    ("/api/state", State),
    ("/api/map/points", Points),
    ("/api/map/attributes", Attributes),
    ("/api/face", FaceFacts),
    ("/api/find", Find),
    ("/api/thumbnail", Thumbnail),
    ("/api/picture", Picture),
    ("/api/decode", Decode),
    ("/api/place", Place),
    ("/api/neighbours", Neighbours),
    ("/api/photo", Photo),
    ("/api/random", Random),
    ("/api/mean", Mean),
    ("/api/names", Names),
    ("/api/interpolate", Interpolate),
    ("/api/strip", Strip),
    ("/api/animation", Animation),
    ("/api/command", Command),
    ("/.*", Nothing),
]
"""Addresses with what answers there."""
