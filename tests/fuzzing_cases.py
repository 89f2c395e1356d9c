"""Files that were made to do harm, each for one target: bombs, lies, and ways out of the file."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from fuzzing import safetensors_bytes, safetensors_parts
from fuzzing_formats import NAMES, encoded, png_bytes, png_chunks
from fuzzing_targets import FACE_NAMES


class Case(NamedTuple):
    """A file for a target; whether it must be refused, or may be read as well."""

    target: str
    name: str
    data: bytes
    refused: bool = True


def image_cases() -> Iterator[Case]:
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (0, 5), (1, 2**31 - 1)):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
        yield Case("png", f"declares {width} x {height}", png_bytes(chunks))
    plain = png_chunks(encoded("PNG"))
    zeros = _deflated_zeros(1 << 30)
    for chunk, body in (
        (b"zTXt", b"Comment\0\0" + zeros),
        (b"iTXt", b"Comment\0\1\0\0\0" + zeros),
        (b"iCCP", b"icc\0\0" + zeros),
        (b"IDAT", zeros),
    ):
        yield Case(
            "png", f"a gigabyte of zeros in {chunk.decode()}", png_bytes([plain[0], (chunk, body), *plain[1:]]), False
        )
    texts = [(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20)))] * 100
    yield Case("png", "a hundred long texts", png_bytes([plain[0], *texts, *plain[1:]]), False)
    without_palette = [part for part in png_chunks(encoded("PNG", "P")) if part[0] != b"PLTE"]
    yield Case("png", "a palette that is missing", png_bytes(without_palette), False)
    yield Case(
        "png",
        "a palette that is missing, transparent",
        png_bytes([without_palette[0], (b"tRNS", b"\0\1"), *without_palette[1:]]),
        False,
    )
    for form, offset, size, kind in (
        ("GIF", 6, 2, "gif"), ("BMP", 18, 4, "bmp"),
    ):  # fmt: skip
        data = bytearray(encoded(form, "P"))
        data[offset : offset + 2 * size] = b"\xff" * (size - 1) + b"\x7f" + b"\xff" * (size - 1) + b"\x7f"
        yield Case(kind, "declares more than it holds", bytes(data), form == "BMP")
    yield Case("bmp", "runs that leap over 250 lines of 90 million", _leaping_bmp(90_000_000, 2))
    yield Case("bmp", "runs that leap", _leaping_bmp(10_000, 500), False)
    gif = encoded("GIF", "P")
    yield Case("gif", "a comment of 3 MB", gif[:-1] + b"!\xfe" + (b"\xff" + b"x" * 255) * 12_000 + b"\0;", False)
    yield Case("gif", "a frame outside", gif.replace(b",\0\0\0\0\x18\0\x18\0", b",\xff\x7f\xff\x7f\x18\0\x18\0"), False)
    for tag, value in ((256, 2**31), (257, 2**32 - 1), (273, 2**32 - 1), (279, 2**32 - 1), (278, 0), (277, 65535)):
        yield Case("tiff", f"tag {tag} is {value}", _tiff_with(tag, value), False)
    tiff = bytearray(encoded("TIFF"))
    start = struct.unpack_from("<I", tiff, 4)[0]
    count = struct.unpack_from("<H", tiff, start)[0]
    struct.pack_into("<I", tiff, start + 2 + 12 * count, start)
    yield Case("tiff", "directories in a ring", bytes(tiff), False)
    yield Case("webp", "declares 16,383 x 16,383", _webp(), True)
    yield Case("pnm", "declares more than memory", b"P6 999999999 999999999 255\n" + bytes(100))
    yield Case("pnm", "a number without end", b"P6 " + b"9" * 100_000)
    yield Case("pnm", "a comment without end", b"P6 #" + b"x" * 100_000)
    yield Case("jpeg", "scans without end", _scans(4000))
    yield Case(
        "jpeg", "segments without end", b"\xff\xd8" + b"\xff\xe1\xff\xffExif\0\0" + b"\xff" * 65527 + b"\xff\xd9"
    )
    yield Case("jpeg", "declares 65,500 x 65,500", _sized_jpeg(65_500, 65_500))


def _deflated_zeros(size: int) -> bytes:
    """Zeros as a zlib stream, made of one piece again and again."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (size >> 24) + b"\x03\0\0\0\0\1"


def _leaping_bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    start = 14 + 40 + 1024
    rows = b"\0\2\xff\xff" * 20 + b"\0\1"
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + bytes(1024) + rows


def _tiff_with(tag: int, value: int) -> bytes:
    data = bytearray(encoded("TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    for number in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * number
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<HII", data, place + 2, 4, 1, value)
    return bytes(data)


def _webp() -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xfe\x3f\0" * 2 + encoded("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _sized_jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    data = bytearray(encoded("JPEG", progressive=progressive))
    at = max(data.find(b"\xff\xc0\0\x11\x08"), data.find(b"\xff\xc2\0\x11\x08"))
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


def _scans(count: int) -> bytes:
    """A progressive JPEG of 30 million pixels with many scans of a few bytes, each of which takes a pass over all of them."""
    data = _sized_jpeg(6000, 5000, progressive=True)
    at = data.rfind(b"\xff\xda")
    return data[:at] + data[at:-2] * count + b"\xff\xd9"


# ---------------------------------------------------------------------------------------------------------- archives


def archive_cases() -> Iterator[Case]:
    yield Case("archive", "10 GB of zeros", _zip_of(_raw(10 << 30), 10 << 30), False)
    yield Case("archive", "10 GB of zeros that is said to be small", _zip_of(_raw(1 << 30), 1000), False)
    yield Case("archive", "says 2^32 - 2 bytes stored", _zip_of(encoded("JPEG"), 2**32 - 2, method=0, packed=2**32 - 2))
    yield Case("archive", "nested", _zip({"1.jpg": _zip({"2.jpg": encoded("JPEG")})}), False)
    yield Case(
        "archive",
        "names that lead out",
        _zip(dict.fromkeys([name for name in NAMES if name[0] != "\0"], encoded("JPEG"))),
        False,
    )
    link = zipfile.ZipInfo("1.jpg")
    link.external_attr = 0o120777 << 16
    yield Case("archive", "a link", _zip({link: b"/etc/passwd"}), False)
    encrypted = bytearray(_zip({"1.jpg": encoded("JPEG")}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.find(signature) + offset] |= 1
    yield Case("archive", "encrypted", bytes(encrypted), False)
    yield Case("archive", "one file under a thousand names", _overlapping(1000))
    yield Case(
        "archive",
        "a directory of 60,000 files that are not there",
        _zip({})[:-14] + struct.pack("<HHIIH", 60_000, 60_000, 2**31, 0, 0),
    )
    yield Case(
        "celeba archive",
        "a name twice",
        _zip({f"a/{FACE_NAMES[0]}": encoded("JPEG"), f"b/{FACE_NAMES[0]}": encoded("PNG")}),
    )


def _raw(size: int) -> bytes:
    return _deflated_zeros(size)[2:-4]


def _zip(members: dict[str, bytes] | dict[zipfile.ZipInfo, bytes] | dict[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _zip_of(content: bytes, size: int, *, method: int = 8, packed: int | None = None) -> bytes:
    """An archive of one member, of which the directory says what it is told to."""
    packed = len(content) if packed is None else packed
    extra = struct.pack("<HHQQ", 1, 16, size, packed)
    fields = struct.pack("<HHHHIIIHH", 0, method, 0, 33, 0, 2**32 - 1, 2**32 - 1, 5, len(extra))
    local = b"PK\x03\x04" + struct.pack("<H", 45) + fields + b"1.jpg" + extra + content
    central = (
        b"PK\x01\x02" + struct.pack("<HH", 45, 45) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"1.jpg" + extra
    )
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def _overlapping(count: int) -> bytes:
    data = _zip({"1.jpg": encoded("JPEG") * 100})
    start = data.find(b"PK\x01\x02")
    entry = data[start : data.find(b"PK\x05\x06")]
    entries = [
        entry[:28] + struct.pack("<H", 9) + entry[30:46] + b"%05d.jpg" % number + entry[51:] for number in range(count)
    ]
    return (
        data[:start]
        + b"".join(entries)
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, count, count, sum(map(len, entries)), start, 0)
    )


# ------------------------------------------------------------------------------------------------------------ tables


def table_cases() -> Iterator[Case]:
    for target, line in (("attribute table", "000001.jpg 1 -1 1"), ("partition", "000001.jpg 0")):
        head = "Bald Male Smiling\n" if target == "attribute table" else ""
        for name, data in {
            "10 MB without an end of line": b"x" * 10_000_000,
            "10 MB of separators": b" ," * 5_000_000,
            "10 MB of quotes": (head.replace(" ", ",") or "a,0\n").encode() + b'"' * 10_000_000,
            "nothing": b"",
            "blanks": b"\n \n\t",
            "zeros": bytes(100_000),
            "UTF-16": (head + line).encode("utf-16"),
            "a count that lies": f"999999999\n{head}{line}\n".encode(),
            "a row twice": f"{head}{line}\n{line}\n".encode(),
            "1e999": f"{head}{line[:-1]}1e999\n".encode(),
            "a byte 0": f"{head}{line}\0\n".encode(),
            "quotes that do not end": (head.replace(" ", ",") + '"000001.jpg,0').encode(),
            "a program": b"#!/bin/sh\nexit 1\n",
            "a long name twice": f"{head}{line.replace('000001', 'x' * 1_000_000)}\n".encode() * 2,
        }.items():
            yield Case(target, name, data)


# ------------------------------------------------------------------------------------------------------- safetensors

SAFETENSORS = ("weights", "checkpoint", "upscaler", "upscaler checkpoint", "judge", "frame network")


def safetensors_cases(target: str, seed: bytes) -> Iterator[Case]:
    header, values = safetensors_parts(seed)
    metadata = header["__metadata__"]
    first = next(name for name in header if name != "__metadata__")
    for length in (0, 1, -1, 2**31, 2**63, 99_999_999):
        yield Case(target, f"a header of {length} bytes", safetensors_bytes(header, values, length=length))
    for name, text in {
        "no JSON": b"{x",
        "a list": b"[]",
        "nothing": b"{}",
        "deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "deep lists": b'{"__metadata__":' + b"[" * 100_000,
        "not UTF-8": b'{"\xff\xfe": 1}',
    }.items():
        yield Case(target, f"a header that is {name}", safetensors_bytes(text, values))
    for name, entry in {
        "an unknown type": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]},
        "a shape that overflows": {"dtype": "F32", "shape": [2**32, 2**32, 4], "data_offsets": [0, 4]},
        "a huge shape": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        "a negative shape": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        "offsets the wrong way": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        "offsets beyond the end": {"dtype": "F32", "shape": [1], "data_offsets": [len(values), len(values) + 4]},
        "no shape": {"dtype": "F32", "data_offsets": [0, 4]},
        "nothing": None,
    }.items():
        yield Case(target, f"a tensor of {name}", safetensors_bytes({**header, first: entry}, values))
    shared = {name: header[first] if name != "__metadata__" else entry for name, entry in header.items()}
    yield Case(target, "tensors that overlap", safetensors_bytes(shared, values))
    yield Case(
        target,
        "a tensor too many",
        safetensors_bytes({**header, "x": {"dtype": "U8", "shape": [0], "data_offsets": [len(values)] * 2}}, values),
        target == "frame network",
    )
    yield Case(
        target,
        "no metadata",
        safetensors_bytes({key: entry for key, entry in header.items() if key != "__metadata__"}, values),
    )
    for key in metadata:
        if key not in ("training", "record", "attribute_names", "attribute_counts", "attribute_pairs"):
            yield Case(
                target,
                f"without {key}",
                safetensors_bytes({**header, "__metadata__": {**metadata, key: None}}, values),
                False,
            )
        yield Case(
            target, f"{key} is deep", _with_text(header, values, key, "[" * 100_000), key != "format_version" or True
        )
        yield Case(target, f"{key} is no JSON", _with_text(header, values, key, "{'x'"))
        yield Case(target, f"{key} is a huge number", _with_text(header, values, key, "9" * 100_000), False)
    for version in ("2", "99", "-1", "x", "\u0662"):
        yield Case(
            target,
            f"version {version}",
            safetensors_bytes({**header, "__metadata__": {**metadata, "format_version": version}}, values),
        )
    doubled = json.dumps({"__metadata__": {"format": "x"}})[1:-1].encode()
    yield Case(
        target,
        "metadata twice",
        safetensors_bytes(b"{" + doubled + b"," + seed[9 : 8 + int.from_bytes(seed[:8], "little")], values),
        False,
    )
    for number in (float("nan"), float("inf"), 3e38):
        yield Case(
            target,
            f"all values {number}",
            safetensors_bytes(header, struct.pack("<f", number) * (len(values) // 4) + values[len(values) // 4 * 4 :]),
            False,
        )


def _with_text(header: dict[str, dict[str, object]], values: bytes, key: str, text: str) -> bytes:
    metadata = {
        name: text if name == key else value if name in ("format", "format_version") else json.dumps(value)
        for name, value in header["__metadata__"].items()
    }
    return safetensors_bytes(json.dumps({**header, "__metadata__": metadata}).encode(), values)


# ----------------------------------------------------------------------------------------------------- everything else


def other_cases() -> Iterator[Case]:
    for name, data in {
        "an empty file": b"",
        "8 bytes": bytes(8),
        "a HDF5 signature": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "a list of a hundred thousand lists": struct.pack("<Q", 200_002) + b'{"a":' + b"[" * 200_000,
        "a table that takes long to tell": b"name," + b"z0," * 100_000 + b"x\n",
        "a zip with odd metadata": _zip({"metadata.npy": bytes(10)}),
        "Parquet of a huge footer": b"PAR1" + struct.pack("<I", 2**31 - 1) + b"PAR1",
    }.items():
        yield Case("any", name, data)
    yield Case("run log", "deep", b"[" * 500_000)
    yield Case("run log", "a line of 5 MB", b'{"event": "start", "x": "' + b"x" * 5_000_000)
    yield Case("run log", "another event", b'{"event": "end"}\n')
    yield Case("detector", "a pickle", b"\x80\x04cos\nsystem\n(S'false'\ntR.")
