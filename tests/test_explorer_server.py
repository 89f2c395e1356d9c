"""The explorer over HTTP: every address, who may ask, and what is said to requests that cannot be answered."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exploring import Client, put_explored, serving, session_here
from facevae import web
from facevae.errors import DataError
from facevae.explorer import handlers
from facevae.explorer.edits import Edit
from facevae.explorer.face_refs import RowFace
from facevae.explorer.facts import face_facts, state_facts
from facevae.explorer.guard import Guard, RefusedError, Request, is_loopback
from facevae.explorer.server import address, bind
from facevae.explorer.session import Session
from facevae.progress import silent
from helpers import FakeFaces, pixels, put_photographs, put_pictures
from support import Recorder

AGAIN = "the newest 50 are kept; give the picture again."
OUT = "out of range: use a"
KNOWN = " It has Attractive, Bald, Male, Smiling and others: facevae info vae.safetensors lists them."
EDIT = {"face": "row/6", "moves": {"Smiling": 1.5}, "keep": ["Male"]}
GETS = [
    *("/", "/assets/theme.css", "/api/state", "/api/map/points", "/api/map/attributes", "/api/face?face=row/1"),
    *("/api/find?name=1", "/api/thumbnail?row=1", "/api/picture?face=row/1"),
]
POSTS = [
    *("/api/decode", "/api/place", "/api/neighbours", "/api/photo", "/api/random", "/api/mean", "/api/names"),
    *("/api/interpolate", "/api/strip", "/api/animation", "/api/command"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("explored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        put_explored(folder)
        yield folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    with session_here() as opened:
        yield opened


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def client(session: Session, said: Recorder) -> Iterator[Client]:
    with serving(session, report=said) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_went_wrong(said: Recorder, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    said.events.clear()
    yield
    assert said.notices == []
    assert capfd.readouterr() == ("", "")


def png(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
    return pixels(data)


def test_the_page_and_its_assets(client: Client) -> None:
    page = client.get("/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.body == web.asset("explorer.html")
    kinds = {"theme.css": "text/css; charset=utf-8", "scatter.js": "text/javascript; charset=utf-8"}
    for name, kind in kinds.items():
        found = client.get(f"/assets/{name}")
        assert (found.status, found.headers["Content-Type"]) == (200, kind)
        assert found.body == web.asset(name)


@pytest.mark.parametrize("path", ["/", "/api/state", "/assets/theme.css", "/api/thumbnail?row=1", "/nowhere"])
def test_what_every_answer_forbids(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "facevae"


@pytest.mark.parametrize(
    "name",
    [
        *("../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "__init__.py", "..", ".", "", "/etc/passwd"),
        *("theme.css/", "sub/theme.css", "theme.css%00", "none.css", "%2fetc%2fpasswd", "..\\__init__.py", "THEME.css"),
    ],
)
def test_assets_are_those_of_the_package(client: Client, name: str) -> None:
    found = client.get(f"/assets/{name}")
    assert (found.status, found.error) == (404, "There is nothing at this address.")


def test_the_state(client: Client, session: Session) -> None:
    found = client.get("/api/state")
    assert found.headers["Content-Type"] == "application/json; charset=utf-8"
    assert found.json == state_facts(session)


def test_the_map(client: Client, session: Session) -> None:
    found = client.get("/api/map/points?revision=1")
    points = np.frombuffer(found.body, "<f4").reshape(-1, 2)
    assert np.array_equal(points, session.map.state.points)
    assert found.headers["X-Revision"] == "1"
    assert client.get("/api/map/attributes").body == session.attribute_bits()


def test_faces(client: Client, session: Session) -> None:
    assert client.get("/api/face?face=row/6").json == face_facts(session, RowFace(6))
    found = client.get("/api/find?name=00001&limit=2").json
    assert found == {
        "faces": [{"face": "row/9", "name": "000010.jpg"}, {"face": "row/10", "name": "000011.jpg"}],
        "more": True,
    }
    drawn = client.post("/api/random", {"temperature": 0.5, "seed": 7}).json
    assert (drawn["face"], drawn["name"], drawn["seed"], drawn["attributes"]) == ("random/7/0.5", "random 7", 7, None)
    assert client.post("/api/random", {}).json["face"].endswith("/1")
    rows = np.array([1, 2, 5], dtype="<u4").tobytes()
    mean = client.post("/api/mean", rows).json
    assert mean["name"] == "mean of 3 faces"
    assert client.get(f"/api/face?face={mean['face']}").json == mean
    names = client.post("/api/names", rows)
    assert names.body == b"000002.jpg\n000003.jpg\n000006.jpg\n"
    assert names.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_pictures(client: Client, session: Session) -> None:
    thumbnail = client.get("/api/thumbnail?row=6")
    assert np.array_equal(png(thumbnail.body), session.thumbnail(6))
    cached = client.get(f"/api/thumbnail?row=6&v={session.id}")
    assert cached.headers["Cache-Control"] == "private, max-age=86400, immutable"
    assert cached.body == thumbnail.body
    for kind in ("original", "reconstruction"):
        for upscale in (0, 2):
            found = client.get(f"/api/picture?face=row/6&kind={kind}&upscale={upscale}")
            assert np.array_equal(png(found.body), session.picture(RowFace(6), kind, upscale))
    for upscale in (0, 3):
        found = client.post("/api/decode", {**EDIT, "upscale": upscale})
        edit = Edit(RowFace(6), (("Smiling", 1.5),), ("Male",))
        assert found.headers["Content-Type"] == "image/png"
        assert np.array_equal(png(found.body), session.decode(edit, upscale))


def test_drawings(client: Client, session: Session) -> None:
    from facevae.explorer.drawings import animation, strip

    edit, other = Edit(RowFace(6), (("Smiling", 1.5),), ("Male",)), Edit(RowFace(2))
    assert client.post("/api/strip", {**EDIT, "upscale": 2}).body == strip(session, edit, 2)
    faces = [{"face": "row/2"}, EDIT]
    found = client.post("/api/animation", {"faces": faces})
    assert (found.body, found.headers["Content-Type"]) == (animation(session, other, edit), "image/gif")
    row = png(client.post("/api/interpolate", {"faces": faces, "steps": 4, "upscale": 2}).body)
    between = session.between(other, edit, 4, 2)
    assert row.shape == (64, 256, 3)
    for number, face in enumerate(between):
        assert np.array_equal(row[:, 64 * number : 64 * number + 64], face)


def test_places_and_neighbours(client: Client, session: Session) -> None:
    edit = Edit(RowFace(6), (("Smiling", 1.5),), ("Male",))
    assert client.post("/api/place", EDIT).json == {"point": session.place(edit).tolist()}
    found = client.post("/api/neighbours", {**EDIT, "count": 3}).json
    assert found["metric"] == "cosine"
    assert [(face["row"], face["distance"]) for face in found["neighbours"]] == session.neighbours(edit, 3)
    row = found["neighbours"][0]["row"]
    assert found["neighbours"][0] == {
        **{"face": f"row/{row}", "row": row, "name": session.faces.names[row]},
        "distance": found["neighbours"][0]["distance"],
    }
    assert len(client.post("/api/neighbours", {"face": "row/1"}).json["neighbours"]) == 12


def test_commands(client: Client) -> None:
    found = client.post("/api/command", {**EDIT, "upscale": 3}).json
    assert found == {
        "picture": "facevae morph --name 000007.jpg --attr Smiling=1.5 --keep Male --upscale 3 --steps 1 -o 000007-morph.png",
        "strip": "facevae morph --name 000007.jpg --attr Smiling=1.5 --keep Male --upscale 3 --steps 0,0.25,0.5,0.75,1 "
        "-o 000007-strip.png",
        "note": None,
    }


def test_photographs(client: Client, session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = put_pictures(folder / "mine", 1, size=44)[0].read_bytes()
    found = client.post("/api/photo?align=0", picture, **{"X-Name": "Z%C3%BCrich.png"}).json
    (face,) = found["faces"]
    assert (face["name"], face["original"], found["notices"]) == ("Zürich.png", True, [])
    assert client.get(f"/api/picture?face={face['face']}&kind=original").status == 200
    FakeFaces(monkeypatch)
    monkeypatch.setattr(session._reader._loaders[True].finding, "_networks", object(), raising=False)
    monkeypatch.setattr(
        "facevae.workflows.face_finding.locate_faces", lambda _, image: [FakeFaces.face(1), FakeFaces.face(2)]
    )
    photograph = put_photographs(folder / "photos", 2)[0].read_bytes()
    found = client.post("/api/photo", photograph, **{"X-Name": "two.png"}).json
    assert [face["name"] for face in found["faces"]] == ["two.png#1", "two.png#2"]
    refused = client.post("/api/photo?align=0", b"no picture", **{"X-Name": "bad.png"})
    assert refused.status == 422
    assert refused.error.startswith("bad.png ")
    assert client.post("/api/photo?align=0", b"").status == 422


# Who may ask.


@pytest.mark.parametrize("path", [*GETS, *POSTS, "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "192.168.0.7", "", "[::2]", "[", "localhost@evil.example"]
)
def test_strangers_hosts_are_refused(client: Client, path: str, host: str) -> None:
    method, body = ("POST", b"{}") if path in POSTS else ("GET", None)
    try:
        found = client.ask(method, path, body, {"Host": host})
    except ConnectionResetError:  # tornado itself refused it, and closed before the body was read
        assert method == "POST"
        return
    assert found.status in (400, 403)
    if found.status == 403:
        assert found.error.startswith("This is the explorer of facevae, which does not answer to the name ")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:{port}", "LOCALHOST:{port}", "127.0.0.1", "[::1]:{port}", "127.0.0.1:9000"]
)
def test_names_of_this_machine_are_answered(client: Client, host: str) -> None:
    assert client.get("/api/state", Host=host.format(port=client.port)).status == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "garbage", "http://["]
)
def test_strangers_pages_are_refused(client: Client, path: str, origin: str) -> None:
    found = client.post(path, EDIT, Origin=origin)
    assert (found.status, found.error) == (403, "Another page sent this: the explorer answers to its own page only.")


def test_the_own_page_is_answered(client: Client) -> None:
    origin = f"http://127.0.0.1:{client.port}"
    assert client.post("/api/place", EDIT, **{"Origin": origin, "Sec-Fetch-Site": "same-origin"}).status == 200
    assert client.get("/", **{"Sec-Fetch-Site": "none"}).status == 200


def test_another_page_has_a_link_and_no_more(client: Client) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/", **elsewhere).status == 200
    assert client.post("/api/place", EDIT, **elsewhere).status == 403
    for path in ("/api/state", "/api/thumbnail?row=0", "/assets/explorer.js"):
        assert client.get(path, **elsewhere).status == 403


def test_elsewhere_a_token_is_needed(session: Session) -> None:
    guard = Guard.of("0.0.0.0")
    assert guard.token is not None
    assert len(guard.token) >= 32
    assert Guard.of("0.0.0.0").token != guard.token
    refusal = "The token is missing or wrong: open the whole address that facevae explore printed."
    with serving(session, guard=guard) as client:
        cookie = f"facevae-{client.port}"
        for path in [*GETS, *POSTS, "/nowhere"]:
            method, body = ("POST", b"{}") if path in POSTS else ("GET", None)
            for headers in ({}, {"Cookie": f"{cookie}=wrong"}, {"Cookie": f"{cookie}="}, {"Cookie": "\xff\xfe"}):
                found = client.ask(method, path, body, headers)
                assert (found.status, found.error) == (403, refusal)
        for token in ("", "wrong", guard.token[:-1], guard.token + "x", "%FF", "%00"):
            assert client.get(f"/?token={token}").status in (400, 403)
        page = client.get(f"/?token={guard.token}")
        assert page.status == 200
        given = page.headers["Set-Cookie"]
        assert given.startswith(f"{cookie}={guard.token};")
        assert {part.strip() for part in given.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict"}
        for host in ("anything.example", "192.168.0.7:80", f"127.0.0.1:{client.port}"):
            assert client.get("/api/state", Host=host, Cookie=f"{cookie}={guard.token}").status == 200
        assert (
            client.post("/api/place", EDIT, Cookie=f"{cookie}={guard.token}", Origin="http://evil.example").status
            == 403
        )


def test_on_the_loopback_there_is_no_token(client: Client) -> None:
    assert "Set-Cookie" not in client.get("/").headers
    for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1", "LocalHost"):
        assert is_loopback(host)
        assert Guard.of(host).token is None
    for host in ("0.0.0.0", "::", "", "192.168.0.7", "my-machine", "127.0.0.1.example"):
        assert not is_loopback(host)
        assert Guard.of(host).token is not None


@given(st.text(max_size=30), st.none() | st.text(max_size=30), st.none() | st.text(max_size=10))
def test_any_header_is_answered_or_refused(host: str, origin: str | None, token: str | None) -> None:
    for guard in (Guard("127.0.0.1"), Guard("0.0.0.0", "secret"), Guard("machine.example", "secret")):
        try:
            guard.check(Request("GET", host, origin, None, token))
        except RefusedError:
            continue
        assert guard.token in (None, token)


# What cannot be answered.


@pytest.mark.parametrize("path", POSTS)
def test_posts_are_posted_and_gets_are_got(client: Client, path: str) -> None:
    found = client.get(path)
    assert (found.status, found.error) == (405, "This address does not take such a request.")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "BREW"])
def test_other_methods(client: Client, method: str) -> None:
    assert client.ask(method, "/api/state", b"").status == 405


@pytest.mark.parametrize("path", [path for path in POSTS if path not in ("/api/photo", "/api/mean", "/api/names")])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"nan", b'{"face": NaN}', b"[" * 50_000])
def test_what_is_no_json_is_refused(client: Client, path: str, body: bytes) -> None:
    found = client.post(path, body)
    assert found.status == 400
    assert found.error in ("The request is not JSON in UTF-8.", "The request is not a JSON object.")


@pytest.mark.parametrize(
    ("path", "value", "status", "sentence"),
    [
        ("/api/decode", {}, 400, "There is no face None: a face is row/N, random/SEED/TEMPERATURE, photo/N or mean/N."),
        ("/api/decode", {"face": "row/60"}, 404, "There is no row 60 on the map: it has 60 faces, from row 0."),
        ("/api/decode", {"face": "photo/999"}, 404, f"There is no photo 999, or not any more: {AGAIN}"),
        (
            "/api/decode",
            {"face": "row/1", "upscale": 5},
            400,
            "Pictures cannot be upscaled 5 times: use one of 2, 3, 4.",
        ),
        (
            "/api/decode",
            {"face": "row/1", "moves": {"Smiling": 101}},
            400,
            f"A move of 'Smiling' by 101 is {OUT} number from -100 to 100.",
        ),
        (
            "/api/decode",
            {"face": "row/1", "moves": {"\ud800": 1}},
            400,
            f"There is no attribute ? in vae.safetensors.{KNOWN}",
        ),
        (
            "/api/neighbours",
            {"face": "row/1", "count": 201},
            400,
            f"A count of 201 is {OUT} whole number from 1 to 200.",
        ),
        ("/api/random", {"temperature": 101}, 400, "A temperature of 101 is out of range: use a number from 0 to 100."),
        ("/api/random", {"seed": -1}, 400, f"A seed of -1 is {OUT} whole number from 0 to 9007199254740991."),
        (
            "/api/interpolate",
            {"faces": [{"face": "row/1"}]},
            400,
            "A way leads from one face to another: give two faces.",
        ),
        (
            "/api/interpolate",
            {"faces": [{"face": "row/1"}, {"face": "row/2"}], "steps": 1},
            400,
            f"A number of steps of 1 is {OUT} whole number from 2 to 200.",
        ),
        ("/api/animation", {"faces": "row/1"}, 400, "A way leads from one face to another: give two faces."),
        ("/api/strip", {"face": "row/1"}, 400, "Nothing is moved yet: move a slider first."),
        ("/api/mean", b"", 400, "A mean is of at least one face: select some."),
        ("/api/mean", b"123", 400, "3 bytes are no rows: each has four."),
        ("/api/mean", b"\xff\xff\xff\xff", 404, "There is no row 4294967295 on the map: it has 60 faces, from row 0."),
        ("/api/names", b"\xff\xff\xff\xff", 404, "There is no row 4294967295 on the map: it has 60 faces, from row 0."),
    ],
)
def test_requests_that_are_wrong(client: Client, path: str, value: Any, status: int, sentence: str) -> None:
    found = client.post(path, value)
    assert (found.status, found.error) == (status, sentence)


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/face", 400, "The address lacks face=..."),
        ("/api/face?face=row/60", 404, "There is no row 60 on the map: it has 60 faces, from row 0."),
        (
            "/api/face?face=%00",
            400,
            "There is no face '': a face is row/N, random/SEED/TEMPERATURE, photo/N or mean/N.",
        ),
        ("/api/face?face=%FF", 400, "The request cannot be read."),
        ("/api/find", 400, "The address lacks name=..."),
        ("/api/find?name=a&limit=0", 400, "A limit of 0 is out of range: use a whole number from 1 to 1000."),
        ("/api/thumbnail?row=1.5", 400, "'1.5' is no whole number."),
        ("/api/thumbnail?row=-1", 400, "A row of -1 is out of range: use a whole number from 0 to 9007199254740992."),
        ("/api/thumbnail?row=60", 404, "There is no row 60 on the map: it has 60 faces, from row 0."),
        ("/api/thumbnail?row=" + "9" * 5000, 400, f"'{'9' * 60}...' is no whole number."),
        ("/api/picture?face=row/1&kind=mirror", 400, "There is no picture mirror: use original or reconstruction."),
        (
            "/api/picture?face=random/1/1&kind=original",
            404,
            "There is no original of random 1: it was not photographed.",
        ),
        ("/nowhere", 404, "There is nothing at this address."),
        ("/api", 404, "There is nothing at this address."),
        ("//evil.example/", 404, "There is nothing at this address."),
    ],
)
def test_addresses_that_are_wrong(client: Client, path: str, status: int, sentence: str) -> None:
    found = client.get(path)
    assert (found.status, found.error) == (status, sentence)


def test_large_requests_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    found = client.post("/api/decode", b" " * (handlers.JSON_BYTES + 1))
    assert (found.status, found.error) == (
        413,
        "The request has 1,048,577 bytes, and 1,048,576 are the most that is taken.",
    )
    assert client.post("/api/decode", b" " * (handlers.JSON_BYTES - 100) + json.dumps(EDIT).encode()).status == 200
    monkeypatch.setattr(handlers.Photo, "limit", 1000)
    assert client.post("/api/photo?align=0", b"x" * 1001).status == 413
    monkeypatch.setattr(handlers.RowsHandler, "limit", 8)
    assert client.post("/api/mean", b"\0" * 12).status == 413


def test_a_body_of_unknown_length_is_limited_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers.JsonHandler, "limit", 1000)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    try:
        connection.request(
            "POST", "/api/decode", iter([b" " * 600] * 2), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        assert connection.getresponse().status == 413
    finally:
        connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"POST /api/decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n",
    ],
)
def test_what_is_no_http_is_dropped(client: Client, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as stream:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        answer = stream.recv(4096)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert client.get("/api/state").status == 200


def test_a_client_that_goes_away_is_nothing(client: Client) -> None:
    body = json.dumps({"faces": [EDIT, EDIT], "upscale": 2}).encode()
    head = f"POST /api/animation HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as stream:
        stream.sendall(head + body)
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as stream:
        stream.sendall(head + body[:5])
    time.sleep(0.1)
    assert client.get("/api/state").status == 200


def test_what_nobody_foresaw_is_a_line(
    client: Client, session: Session, said: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(edit: Edit) -> None:
        raise ValueError("several\nlines")

    monkeypatch.setattr(session, "place", fail)
    found = client.post("/api/place", EDIT)
    assert (found.status, found.error) == (
        500,
        "Something went wrong in the explorer (ValueError): its terminal says more.",
    )
    assert said.notices == ["POST /api/place failed: ValueError: several lines"]
    said.events.clear()


def test_live_pictures_wait_for_nobody(client: Client, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def waiting(result: object) -> Callable[..., object]:
        def wait(*given: object, **options: object) -> object:
            assert go_on.wait(30)
            return result

        return wait

    image = np.zeros((1, 32, 32, 3), np.uint8)
    for name, result in {"neighbours": [], "thumbnail": image[0], "add_photo": ([], []), "between": image}.items():
        monkeypatch.setattr(session, name, waiting(result))
    asked = [
        threading.Thread(target=client.post, args=("/api/neighbours", EDIT)),
        threading.Thread(target=client.get, args=("/api/thumbnail?row=1",)),
        threading.Thread(target=client.post, args=("/api/photo", b"")),
        threading.Thread(target=client.post, args=("/api/interpolate", {"faces": [EDIT, EDIT]})),
    ]
    for thread in asked:
        thread.start()
    try:
        time.sleep(0.05)
        assert client.post("/api/decode", EDIT).status == 200
    finally:
        monkeypatch.undo()
        go_on.set()
        for thread in asked:
            thread.join(30)


def test_the_server_stops_while_it_computes(folder: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(edit: Edit) -> None:
        began.set()
        go_on.wait(30)

    monkeypatch.setattr(session, "place", wait)
    with serving(session) as client:

        def ask() -> None:
            with pytest.raises((http.client.HTTPException, OSError)):
                client.post("/api/place", EDIT)

        thread = threading.Thread(target=ask)
        thread.start()
        assert began.wait(10)
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()


# Where it listens.


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind("127.0.0.1", 0, silent) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DataError) as error:
            bind("127.0.0.1", port, silent)
        assert str(error.value) == f"The port {port} is taken: name another with --port, or leave it out."
        monkeypatch.setattr("facevae.explorer.server.EXPLORE_PORT", port)
        told = Recorder()
        with bind("127.0.0.1", None, told) as listening:
            other = listening.getsockname()[1]
        assert port < other < port + 100
        assert told.notices == [f"The port {port} is taken: the explorer listens at {other}."]
        monkeypatch.setattr("facevae.explorer.server._TRIED_PORTS", 1)
        with pytest.raises(DataError, match=rf"^No port from {port} to {port} is free: name another with --port\.$"):
            bind("127.0.0.1", None, told)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("192.0.2.1", "The explorer cannot listen at 192.0.2.1, port 0: cannot assign requested address."),
        (
            "no.such.invalid",
            "There is no address no.such.invalid: use --host 127.0.0.1, or an address of this machine.",
        ),
        ("a" * 99, f"There is no address {'a' * 99}: use --host 127.0.0.1, or an address of this machine."),
    ],
)
def test_addresses_of_other_machines(host: str, sentence: str) -> None:
    with pytest.raises(DataError) as error:
        bind(host, 0, silent)
    assert str(error.value) == sentence


def test_the_address_that_is_printed() -> None:
    with bind("127.0.0.1", 0, silent) as listening:
        port = listening.getsockname()[1]
        assert address("127.0.0.1", listening, None) == f"http://127.0.0.1:{port}/"
        assert address("::1", listening, None) == f"http://[::1]:{port}/"
        assert address("0.0.0.0", listening, "abc") == f"http://{socket.gethostname()}:{port}/?token=abc"
