"""What can be wrong with images, archives, tables and journals beyond their bytes, for the fuzz tests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from fuzzing import INTERESTING, JUNK, mutate_bytes

# ------------------------------------------------------------------------------------------------------------ images

SIDE = 24


@cache
def picture(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    """A picture that no codec makes one colour of."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[0:side, 0:side]
    waves = [128 + 100 * np.sin(rows / (3 + k) + columns / (5 - k)) + random.normal(0, 6, rows.shape) for k in range(3)]
    image = Image.fromarray(np.clip(np.stack(waves, axis=2), 0, 255).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((columns * 10 % 256).astype(np.uint8)))
        return image
    if mode == "I;16":
        return Image.fromarray((rows * 1000 + columns).astype(np.uint16))
    return image.convert(mode)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int = 6) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x010F] = "maker"
    data.get_ifd(0x8769)[0x9286] = b"comment"
    return data.tobytes()


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG: type and content."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_bytes(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of any chunks, with check sums that are right."""
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


_PNG_KINDS = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"zTXt",
    b"iTXt",
    b"tEXt",
    b"iCCP",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"gAMA",
    b"pHYs",
)


def mutate_png(data: bytes, random: Random) -> bytes:
    """Return a PNG with chunks changed, moved, doubled, left out or put in, all with right check sums."""
    chunks = png_chunks(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(chunks)) if chunks else 0
        way = random.randrange(7)
        if way == 0 and chunks:
            chunks[at] = chunks[at][0], mutate_bytes(chunks[at][1], random)
        elif way == 1 and chunks and chunks[0][0] == b"IHDR":
            header = bytearray(chunks[0][1].ljust(13, b"\0"))
            struct.pack_into(">I", header, random.choice((0, 4)), random.choice(INTERESTING) & 0xFFFFFFFF)
            if random.random() < 0.5:
                header[random.randrange(8, 13)] = random.randrange(20)
            chunks[0] = b"IHDR", bytes(header)
        elif way == 2 and chunks:
            del chunks[at]
        elif way == 3 and chunks:
            chunks.insert(at, chunks[random.randrange(len(chunks))])
        elif way == 4 and chunks:
            chunks.insert(at, chunks.pop(random.randrange(len(chunks))))
        elif way == 5:
            body = random.choice(
                (
                    random.randbytes(9),
                    b"key\0\0" + zlib.compress(bytes(5000)),
                    b"a\0\1\0\0\0" + zlib.compress(bytes(90)),
                    exif(),
                )
            )
            chunks.insert(at, (random.choice(_PNG_KINDS), body))
        elif chunks:
            pixels = b"".join(body for kind, body in chunks if kind == b"IDAT")
            try:
                raw = zlib.decompress(pixels)
            except zlib.error:
                raw = b""
            packed = zlib.compress(mutate_bytes(raw, random))
            chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
            chunks.insert(max(0, len(chunks) - 1), (b"IDAT", packed))
    return png_bytes(chunks)


def mutate_jpeg(data: bytes, random: Random) -> bytes:
    """Return a JPEG with segments changed, moved, doubled, left out or put in."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segments.append(data[place : place + 2 + length])
        place += 2 + length
    rest = data[place:]
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(len(segments) + 1)
        way = random.randrange(5)
        if way == 0 and segments:
            at = random.randrange(len(segments))
            body = mutate_bytes(segments[at][4:], random)[:65000]
            segments[at] = segments[at][:2] + struct.pack(">H", len(body) + 2) + body
        elif way == 1 and segments:
            del segments[random.randrange(len(segments))]
        elif way == 2 and segments:
            segments.insert(at, random.choice(segments))
        elif way == 3:
            body = random.choice(
                (
                    b"Exif\0\0" + mutate_bytes(exif()[6:], random),
                    b"http://ns.adobe.com/xap/1.0/\0<x>",
                    b"ICC_PROFILE\0\1\1",
                    b"MPF\0II*\0",
                    b"Adobe\0d\0\0\0\0\1",
                )
            )
            segments.insert(
                at,
                b"\xff"
                + random.choice((b"\xe0", b"\xe1", b"\xe2", b"\xed", b"\xee", b"\xfe"))
                + struct.pack(">H", len(body) + 2)
                + body,
            )
        else:
            rest = mutate_bytes(rest, random)
    return data[:2] + b"".join(segments) + rest


def mutate_tiff(data: bytes, random: Random) -> bytes:
    """Return a TIFF with entries of its directory changed."""
    order = "<" if data[:2] == b"II" else ">"
    spoiled = bytearray(data)
    start = struct.unpack_from(order + "I", data, 4)[0]
    if start + 2 > len(data):
        return mutate_bytes(data, random)
    count = struct.unpack_from(order + "H", data, start)[0]
    for _ in range(random.choice((1, 1, 2, 4))):
        entry = start + 2 + 12 * random.randrange(max(1, count))
        if entry + 12 > len(data):
            break
        way = random.randrange(5)
        if way == 0:
            struct.pack_into(
                order + "H",
                spoiled,
                entry,
                random.choice(
                    (
                        254,
                        256,
                        257,
                        258,
                        259,
                        262,
                        273,
                        274,
                        277,
                        278,
                        279,
                        284,
                        317,
                        320,
                        322,
                        323,
                        324,
                        338,
                        339,
                        34675,
                        34665,
                        700,
                    )
                ),
            )
        elif way == 1:
            struct.pack_into(order + "H", spoiled, entry + 2, random.randrange(20))
        elif way == 2:
            struct.pack_into(order + "I", spoiled, entry + 4, random.choice(INTERESTING) & 0xFFFFFFFF)
        elif way == 3:
            struct.pack_into(order + "I", spoiled, entry + 8, random.choice(INTERESTING) & 0xFFFFFFFF)
        else:
            struct.pack_into(order + "I", spoiled, entry + 8, random.randrange(len(data)))
    return bytes(spoiled)


# ---------------------------------------------------------------------------------------------------------- archives

NAMES = (
    "../../up.jpg",
    "/root.jpg",
    "C:\\x.jpg",
    "..\\x.jpg",
    "a/../b.jpg",
    "\0.jpg",
    "x\n\x1b[2J.jpg",
    "a" * 300 + ".jpg",
    ".jpg",
    "./1.jpg",
    "1.jpg",
    "d/",
)


def mutate_zip(data: bytes, random: Random) -> bytes:
    """Return an archive with other names, doubled members, and fields of its directory that lie."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as archive:
        for info in source.infolist():
            content = source.read(info)
            if random.random() < 0.2:
                content = mutate_bytes(content, random)
            named = zipfile.ZipInfo(random.choice(NAMES) if random.random() < 0.3 else info.filename)
            named.compress_type = random.choice(
                (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
            )
            named.external_attr = random.choice((0, 0o120777 << 16, 0o010644 << 16, 0x10))
            if named.filename not in archive.NameToInfo:
                archive.writestr(named, content)
    spoiled = bytearray(buffer.getvalue())
    for signature, fields in ((b"PK\x01\x02", 42), (b"PK\x03\x04", 26), (b"PK\x05\x06", 20)):
        place = spoiled.find(signature)
        while place >= 0:
            if random.random() < 0.3:
                offset, size = random.randrange(4, fields), random.choice((1, 2, 4))
                value = random.choice(INTERESTING) & ((1 << 8 * size) - 1)
                spoiled[place + offset : place + offset + size] = value.to_bytes(size, "little")
            place = spoiled.find(signature, place + 4)
    return bytes(spoiled)


# ------------------------------------------------------------------------------------------------------------ tables

_TOKENS = (
    "1e999", "-1", "0", "2", "3", "-0", "+1", "\u0661", "", "NaN", "999999999", "9999999999", '"', '"a,b', ",", ",,", "image_id",
    "x" * 3000, "\x00", "\x1b[2J", "\u2028", "\ufeff", "000001.jpg",
)  # fmt: skip


def mutate_table(data: bytes, random: Random) -> bytes:
    """Return a table with lines and words changed, or in another encoding."""
    text = data.decode("utf-8-sig", "replace")
    lines = text.split("\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(lines))
        way = random.randrange(8)
        if way == 0:
            del lines[at]
        elif way == 1:
            lines.insert(at, random.choice(lines or [""]))
        elif way == 2:
            lines.insert(at, lines.pop(random.randrange(len(lines))))
        elif way < 6:
            separator = "," if "," in lines[at] else " "
            words = lines[at].split(separator)
            words[random.randrange(len(words))] = random.choice(_TOKENS)
            lines[at] = separator.join(words)
        elif way == 6:
            lines[at] *= random.choice((2, 100))
        else:
            lines[at] = random.choice(_TOKENS)
        lines = lines or [""]
    changed = random.choice(("\n", "\n", "\n", "\r\n", "\r", "\n\n", "\x0b", "\x85")).join(lines)
    return changed.encode(random.choice(("utf-8",) * 6 + ("utf-16", "utf-8-sig", "utf-32", "utf-7")), "replace")


# ---------------------------------------------------------------------------------------------------------- journals


def mutate_journal(data: bytes, random: Random) -> bytes:
    """Return the unfinished faces of `prepare` with other numbers in a record's head, or other JSON, and right check sums."""
    from facevae.storage import journal

    head, start = journal._HEAD, data.index(journal._TAG)
    spoiled, place = bytearray(data[:start]), start
    while place + head.size <= len(data):
        tag, rows, length, check, digest = head.unpack_from(data, place)
        text = data[place + head.size : place + head.size + length]
        stop = data.find(journal._TAG, place + 4)
        stop = stop if stop >= 0 else len(data)
        images = data[place + head.size + length : stop]
        if random.random() < 0.5:
            rows = random.choice((rows, rows, rows + 1, 0, random.choice(INTERESTING) & 0xFFFFFFFF))
            text = random.choice((text, _left_out(random), _left_out(random)))
            images = random.choice((images, images, images[:-1], images * 2))
        check = zlib.crc32(images, journal._check(rows, digest, text))
        spoiled += head.pack(tag, rows, len(text), check, digest) + text + images
        place = stop
    return bytes(spoiled)


def _left_out(random: Random) -> bytes:
    rows = [
        [random.choice((0, 1, 2, *JUNK)), random.choice((None, "reason", *JUNK))] for _ in range(random.randrange(4))
    ]
    return random.choice(
        (
            json.dumps(rows).encode("utf-8", "replace"),
            json.dumps(random.choice(JUNK)).encode("utf-8", "replace"),
            b"[" * 5000,
            b"\xff",
        )
    )


Mutate = Callable[[bytes, Random], bytes]
