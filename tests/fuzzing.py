"""Rubbish for the readers: how files are spoiled, and what may come of reading one.

A reader either returns, or raises a `FacevaeError` of one line that names the file: no other exception, no warning, not more than
`MOST_SECONDS`, and no more memory than `MOST_MEMORY`. `attempt` holds it to that. What is spoiled, and how it is read, is in
`fuzzing_targets`; files that were made to do harm are in `fuzzing_cases`.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from facevae.errors import FacevaeError

MOST_SECONDS = 10.0
"""A file of a few kilobytes takes milliseconds; the rest is for slow machines."""
MOST_MEMORY = 1 << 30
"""Bytes that the peak of the process may grow by: an image of 200 million pixels is the most that is taken."""
_LIMIT = 3 << 30
"""Bytes above what the process has, beyond which it gets no more: a fault must not take the machine along."""
_LONGEST_MESSAGE = 700

_HARMLESS = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")

INTERESTING = (
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)

FORBIDDEN = frozenset(
    {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"}
)
"""Python's own audit events that no reader may cause."""


class FaultError(AssertionError):
    """A reader did what it must not; the text says what."""


@dataclass(frozen=True)
class Target:
    """A reader: how valid files for it are made, how it is called, and how its files are spoiled besides as bytes.

    Attributes:
        name: of the target.
        file: the name that its files have.
        seeds: makes valid files, in an empty folder.
        read: reads a file in full, as the commands do.
        mutate: spoils a file in the terms of its format.
        memory: bytes that the peak may grow by.
    """

    name: str
    file: str
    seeds: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path], Any]
    mutate: Callable[[bytes, Random], bytes] | None = None
    memory: int = MOST_MEMORY

    def spoiled(self, seeds: Sequence[bytes], random: Random) -> bytes:
        """Return one of the valid files, spoiled: in its own terms, as bytes, or both."""
        data = random.choice(seeds)
        ways = random.choice(("own", "own", "bytes", "both")) if self.mutate is not None else "bytes"
        if ways != "bytes" and self.mutate is not None:
            data = self.mutate(data, random)
        return data if ways == "own" else mutate_bytes(data, random, seeds)


def mutate_bytes(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a file with one to four things done to its bytes."""
    spoiled = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(_WAYS)(spoiled, random, others or (data,))
    return bytes(spoiled)


def _place(data: bytearray, random: Random) -> int:
    """Return where to strike: in one of the blocks that are not empty, or near the beginning, where the headers are."""
    if not data:
        return 0
    if random.random() < 0.3:
        return random.randrange(min(len(data), 512))
    for _ in range(20):
        place = random.randrange(len(data))
        if any(data[place & ~31 : (place & ~31) + 32]):
            return place
    return random.randrange(len(data))


def _flip_bits(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 3, 10))):
        if data:
            data[_place(data, random)] ^= 1 << random.randrange(8)


def _other_bytes(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    place = _place(data, random)
    length = random.choice((1, 1, 2, 4, 16))
    data[place : place + length] = random.randbytes(min(length, max(0, len(data) - place)))


def _truncate(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    del data[
        random.choice(
            (_place(data, random), random.randrange(len(data) + 1), max(0, len(data) - random.randrange(1, 9)))
        ) :
    ]


def _extend(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    length = random.choice((1, 7, 100, 5000))
    data += random.choice((bytes(length), random.randbytes(length), b"\xff" * length, bytes(data[:length])))


def _splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    other = random.choice(others)
    data[_place(data, random) :] = other[random.randrange(len(other) + 1) :]


def _interesting(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    size = random.choice((1, 2, 4, 8))
    value = random.choice(INTERESTING) & ((1 << 8 * size) - 1)
    place = _place(data, random) & ~random.choice((0, size - 1))
    if place + size <= len(data):
        data[place : place + size] = value.to_bytes(size, random.choice(("little", "big")))


def _remove(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    place = _place(data, random)
    del data[place : place + random.choice((1, 4, 16, 256))]


def _repeat(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    place = _place(data, random)
    piece = data[place : place + random.choice((1, 4, 16, 256))]
    data[place:place] = bytes(piece) * random.choice((1, 1, 2, 30))


def _swap(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    length = random.choice((1, 4, 16, 64))
    first, second = _place(data, random), _place(data, random)
    data[first : first + length], data[second : second + length] = (
        bytes(data[second : second + length]),
        bytes(data[first : first + length]),
    )


_WAYS = (
    _flip_bits,
    _flip_bits,
    _other_bytes,
    _truncate,
    _extend,
    _splice,
    _interesting,
    _interesting,
    _remove,
    _repeat,
    _swap,
)


def attempt(target: Target, path: Path) -> str | None:
    """Read a file; return None where that succeeds, and the text of the refusal otherwise.

    Raises:
        FaultError: the reader did neither.
    """
    before, started = _peak(), time.monotonic()
    with limited_memory(), warnings.catch_warnings(record=True) as caught, _audited() as forbidden:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module="PIL")  # as the command line does
        try:
            target.read(path)
            refused = None
        except FacevaeError as error:
            refused = error
        except FaultError:
            raise
        except Exception as error:
            raise FaultError(f"{type(error).__name__}: {error}\n{_where(error)}") from error
    if refused is not None:
        check_refusal(refused, path)
    if caught:
        raise FaultError(
            f"a warning escapes: {caught[0].category.__name__}: {caught[0].message} ({caught[0].filename})"
        )
    if forbidden:
        raise FaultError(f"it did what no reader may: {forbidden[0]}")
    if time.monotonic() - started > MOST_SECONDS:
        raise FaultError(f"it took {time.monotonic() - started:.0f} seconds")
    if _peak() - before > target.memory:
        raise FaultError(f"it took {(_peak() - before) >> 20} MiB")
    return str(refused) if refused is not None else None


def check_refusal(error: FacevaeError, path: Path) -> None:
    """Raise a `FaultError` unless the error is a sentence or two in one line that name the file, and cost no memory."""
    text = str(error)
    shown = text.replace(str(path.parent), "")
    if not text or _HARMLESS.fullmatch(text) is None or len(shown) > _LONGEST_MESSAGE:
        raise FaultError(f"its text is no sentence: {shown[:300]!r} ({len(shown)} characters)")
    if path.name not in text:
        raise FaultError(f"its text does not name the file: {text}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            raise FaultError(f"it asked for more memory than there is: {cause}\n{_where(cause)}")
        cause = cause.__cause__ or cause.__context__


def _where(error: BaseException) -> str:
    """Return where an exception comes from, the innermost frames only."""
    return "".join(traceback.format_tb(error.__traceback__)[-4:])


def _peak() -> int:
    """Return the most memory that this process had, in bytes, 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextmanager
def limited_memory(above: int = _LIMIT) -> Iterator[None]:
    """Give this process no more than so many bytes above what it has now, where the system can."""
    if sys.platform != "linux":
        yield
        return
    import resource

    has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + above, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Audit:
    """What was forbidden and happened: a hook, once there, stays for the life of the process, so it can be turned off."""

    installed = False
    events: list[str] | None = None

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.events is not None and event in FORBIDDEN:
            cls.events.append(f"{event} {arguments!r:.200}")


@contextmanager
def _audited() -> Iterator[list[str]]:
    if not _Audit.installed:
        sys.addaudithook(_Audit.hook)
        _Audit.installed = True
    events: list[str] = []
    _Audit.events = events
    try:
        yield events
    finally:
        _Audit.events = None


# ------------------------------------------------------------------------------------------------ JSON and safetensors

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 2**64, 10**400, 1e308, float("nan"), float("inf"), -0.0, 0.5,
    "", "x", "nan", "\n\x1b[2J", "\ud800", "../../x", "a" * 5000,
    [], [[]], {}, [0], [1, "x"], [[1, 2], [3, 4]], {"x": 1}, {"": {}},
)  # fmt: skip


def mutate_json(value: Any, random: Random) -> Any:
    """Return a JSON value with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        changed = dict(value)
        key = random.choice(list(changed))
        way = random.random()
        if way < 0.15:
            del changed[key]
        elif way < 0.25:
            changed[random.choice(("x", "", "0", key + "x"))] = random.choice(JUNK)
        else:
            changed[key] = mutate_json(changed[key], random)
        return changed
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        way = random.random()
        if way < 0.15:
            return value[:at] + value[at + 1 :]
        if way < 0.3:
            return value[:at] + [value[at]] * random.choice((2, 5)) + value[at:]
        return [*value[:at], mutate_json(value[at], random), *value[at + 1 :]]
    return random.choice(JUNK)


def safetensors_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, with the metadata decoded where they are JSON, and its values."""
    import json

    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    for key, value in metadata.items():
        if key not in ("format", "format_version"):
            metadata[key] = json.loads(value)
    return header, data[8 + length :]


def safetensors_bytes(header: Any, values: bytes, *, length: int | None = None) -> bytes:
    """Return a safetensors file of any header: a value that becomes JSON, or text as it is."""
    import json

    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        metadata = {
            key: value if isinstance(value, str) and key in ("format", "format_version") else json.dumps(value)
            for key, value in header["__metadata__"].items()
        }
        header = {**header, "__metadata__": metadata}
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if length is None else length & (2**64 - 1)) + text + values


_DTYPES: tuple[str, ...] = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "U16",
    "U32",
    "U64",
    "BOOL",
    "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0",
    "C64",
)
_DTYPES += ("F4", "F6_E2M3", "X", "")


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """Return a safetensors file with another header, or values that are not finite."""
    header, values = safetensors_parts(data)
    names = [name for name in header if name != "__metadata__"]
    way = random.random()
    if way < 0.45:
        header["__metadata__"] = mutate_json(header.get("__metadata__", {}), random)
    elif way < 0.6 and names:
        entry = header[random.choice(names)]
        part = random.choice(("dtype", "dtype", "shape", "data_offsets"))
        entry[part] = random.choice(_DTYPES) if part == "dtype" else mutate_json(entry[part], random)
    elif way < 0.7 and names:
        name = random.choice(names)
        header[random.choice((name + "x", "vae.", "optimizer.0.x", "optimizer.0", "best.x", ""))] = header.pop(name)
    elif way < 0.8:
        header = mutate_json(header, random)
    elif way < 0.95:
        place = random.randrange(len(values) + 1) & ~3
        number = random.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45))
        values = values[:place] + struct.pack("<f", number) * random.choice((1, 10)) + values[place:]
        values = values[: len(data) - 8 - struct.unpack("<Q", data[:8])[0]]
    else:
        return safetensors_bytes(header, values, length=random.choice(INTERESTING))
    return safetensors_bytes(header, values)
