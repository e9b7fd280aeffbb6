"""Whatever can be unpacked from bytes: compressed streams, archives, Parquet, base64, hexadecimal.

Found by their magic numbers anywhere in the bytes. A bare deflate stream has none and is not found.
"""

import base64
import binascii
import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

LARGEST: Final = 64 << 20
"""Bytes taken from one stream at most."""

STEP: Final = 1 << 7
ARROW_STEP: Final = 1 << 12
ZIP_DEFLATED: Final = 8


class Stream(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...


def unpack(data: bytes) -> Iterator[bytes]:
    """Yield what every packed part of `data` holds, as far as it can be read."""
    for magic, opened in _MAGICS:
        for match in magic.finditer(data):
            plain = opened(data, match.start())
            if plain:
                yield plain
    yield from _encoded(data)


def unpack_all(data: bytes) -> tuple[bytes, ...]:
    """Return what every packed part of `data` holds."""
    return tuple(unpack(data))


def _inflate(window: int) -> Callable[[bytes, int], bytes]:
    def opened(data: bytes, start: int) -> bytes:
        stream = zlib.decompressobj(window)
        return _drain(lambda part: stream.decompress(part, LARGEST), stream, data, start)

    return opened


def _bzip(data: bytes, start: int) -> bytes:
    stream = bz2.BZ2Decompressor()
    return _drain(lambda part: stream.decompress(part, LARGEST), stream, data, start)


def _xz(data: bytes, start: int) -> bytes:
    stream = lzma.LZMADecompressor()
    return _drain(lambda part: stream.decompress(part, LARGEST), stream, data, start)


def _drain(feed: Callable[[bytes], bytes], stream: Stream, data: bytes, start: int) -> bytes:
    """Return what comes out until the stream ends, breaks or is too long; most starts are none."""
    pieces: list[bytes] = []
    size, position, step = 0, start, STEP
    try:
        while position < len(data) and not stream.eof and size < LARGEST:
            pieces.append(feed(data[position : position + step]))
            size += len(pieces[-1])
            position, step = position + step, min(2 * step, 1 << 20)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        pass
    return b"".join(pieces)


def _zip_entry(data: bytes, start: int) -> bytes:
    """Inflate one entry of a zip archive (so also of an `.npz`): 30 bytes, a name, extras."""
    if int.from_bytes(data[start + 8 : start + 10], "little") != ZIP_DEFLATED:
        return b""
    name = int.from_bytes(data[start + 26 : start + 28], "little")
    extra = int.from_bytes(data[start + 28 : start + 30], "little")
    return _inflate(-zlib.MAX_WBITS)(data, start + 30 + name + extra)


def _arrow(codec: str) -> Callable[[bytes, int], bytes]:
    def opened(data: bytes, start: int) -> bytes:
        # What follows a stream breaks the reading of its last piece: read that byte by byte.
        pieces = b"".join(_pieces(codec, data[start:], repeat(ARROW_STEP)))
        again = chain([len(pieces)] if pieces else [], repeat(1, ARROW_STEP))
        return b"".join(_pieces(codec, data[start:], again))

    return opened


def _pieces(codec: str, data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    total = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            for size in sizes:
                piece = bytes(stream.read(size))
                yield piece
                total += len(piece)
                if not piece or total > LARGEST:
                    return
    except (OSError, ValueError, pa.ArrowException):
        return


def _parquet(data: bytes, start: int) -> bytes:
    """Return the columns of a Parquet file, plain: its pages may be compressed without a magic."""
    end = data.rfind(b"PAR1")
    if end <= start:
        return b""
    sink = pa.BufferOutputStream()
    try:
        table = pq.read_table(pa.BufferReader(data[start : end + 4]))
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except (OSError, ValueError, pa.ArrowException):
        return b""
    return bytes(sink.getvalue())


def _zlib_starts() -> bytes:
    """Return a pattern of all two-byte zlib headers (RFC 1950): a multiple of 31, no dictionary."""
    return b"|".join(
        re.escape(bytes([first, second]))
        for first in range(0x08, 0x80, 0x10)
        for second in range(256)
        if (256 * first + second) % 31 == 0 and not second & 0x20
    )


_OPENERS: Final[tuple[tuple[bytes, Callable[[bytes, int], bytes]], ...]] = (
    (_zlib_starts(), _inflate(zlib.MAX_WBITS)),
    (re.escape(b"\x1f\x8b\x08"), _inflate(zlib.MAX_WBITS | 16)),
    (re.escape(b"PK\x03\x04"), _zip_entry),
    (re.escape(b"\x28\xb5\x2f\xfd"), _arrow("zstd")),
    (re.escape(b"\x04\x22\x4d\x18"), _arrow("lz4")),
    (b"BZh[1-9]1AY&SY", _bzip),
    (re.escape(b"\xfd7zXZ\x00"), _xz),
    (b"PAR1", _parquet),
)
_MAGICS: Final = tuple((re.compile(magic, re.DOTALL), opened) for magic, opened in _OPENERS)

_HEX: Final = re.compile(rb"[0-9A-Fa-f]{16,}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}")


def _encoded(data: bytes) -> Iterator[bytes]:
    for match in _HEX.finditer(data):
        run = match.group()
        yield binascii.unhexlify(run[: len(run) // 2 * 2])
    for match in _BASE64.finditer(data):
        run = match.group().translate(bytes.maketrans(b"-_", b"+/"))
        whole = run[: len(run) // 4 * 4]
        yield base64.b64decode(whole) + _tail(run[len(whole) :])


def _tail(rest: bytes) -> bytes:
    return base64.b64decode(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""
