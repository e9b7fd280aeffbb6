"""How many raw rows crossed a border: counted, by looking for rows that were planted to be found.

Every node's data holds canaries: records with an id, an amount and a time that nothing else has.
Each is searched in every message, as it was signed and as it left sealed: as text, as 8-byte
integer and float of both byte orders, as float32, in base64 and hexadecimal, and inside whatever
unpacks, three levels deep.

Chance. Six characters that stand alone and eight bytes do not occur by accident in megabytes of
ciphertext; four bytes do: 640 of them in 20 MB are expected three times. So a float32 counts

* alone, only little-endian and aligned in a part that is no ciphertext, and where so few values are
  of its sign and magnitude that chance explains it less than once in a million parts;
* otherwise only with another canary value within 64 bytes, as a row would have it;
* or when one part holds more of them than chance explains (a column of them).

`Search.chance` adds up what chance would report under these rules.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from experiments.borders import Frame
from experiments.needles import FLOAT32, Canary, Hit, Index, load_canaries, needles
from experiments.outcome import Search
from experiments.unpacking import unpack_all
from federation.riding import RIDING

CIPHERTEXT: Final = "query."
"""Kinds that begin so carry ciphertexts and keys: bytes that look like chance."""

DEPTH: Final = 3
NEIGHBOURHOOD: Final = 64
TELLING: Final = 1e-6
COLUMN: Final = 1e-9
MANTISSA_BITS: Final = 23
OCTAVES: Final = 512
SHORTEST_VECTOR: Final = 256
SPACES: Final = str.maketrans("\t\n\r", "   ")

Name = tuple[str, str]
Opened: TypeAlias = Callable[[bytes], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to search. is_vector: numbers may stand in it, aligned to its start."""

    data: bytes
    is_vector: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """Canaries seen in one part, and how many chance would report there."""

    names: frozenset[Name]
    chance: float


def count_raw_rows(frames: Sequence[Frame], truth: Path) -> Search:
    """Return what of `truth/canaries.json` stands in any captured message."""
    return search(frames, load_canaries(truth))


def search(frames: Sequence[Frame], canaries: Sequence[Canary]) -> Search:
    """Return what was looked for in the messages and what was found. Pure; 10 MB a second.

    What goes to eight nodes stands in eight messages: equal parts are unpacked and read once.
    """
    index, words = _prepared(tuple(canaries))
    opened, looked = cache(unpack_all), cache(lambda part: _look(part, index, words))
    seen = [looked(part) for frame in frames for part in _parts(frame, opened)]
    return Search(
        canaries=len(canaries),
        frames=sum(not frame.is_sealed for frame in frames),
        size=sum(len(frame.wire) for frame in frames),
        foreign=sum(frame.is_foreign for frame in frames),
        found=tuple(sorted(frozenset[Name]().union(*(item.names for item in seen)))),
        chance=sum(item.chance for item in seen),
    )


@lru_cache(maxsize=1)
def _prepared(canaries: tuple[Canary, ...]) -> tuple[Index, npt.NDArray[np.uint32]]:
    wanted = needles(canaries)
    words = [item.word for item in wanted if item.word is not None]
    return Index(wanted), np.array(words, dtype=np.uint32)


def _parts(frame: Frame, opened: Opened) -> Iterator[Part]:
    if frame.is_sealed:  # ciphertext from end to end: nothing in it unpacks
        yield Part(frame.wire, is_vector=False)
        return
    yield from _deep(Part(frame.wire, is_vector=False), DEPTH, opened)
    if frame.envelope is not None and not frame.kind.startswith(CIPHERTEXT):
        # The bytes stand in the wire too; here their numbers are aligned. What rides for the
        # ledgers is text: hashes and signatures in base64, in which no number stands.
        blobs = frame.envelope.blobs.items()
        yield from (Part(blob, is_vector=True) for name, blob in blobs if name not in RIDING)


def _deep(part: Part, depth: int, opened: Opened) -> Iterator[Part]:
    yield part
    if depth:
        for plain in opened(part.data):
            # Shorter ones are the hashes and signatures of a header: bytes that look like chance.
            is_vector = len(plain) >= SHORTEST_VECTOR and not _is_text(plain)
            yield from _deep(Part(plain, is_vector=is_vector), depth - 1, opened)


def _is_text(data: bytes) -> bool:
    """Whether it reads as UTF-8 without a sign that cannot be printed: numbers never do so long."""
    try:
        return data.decode().translate(SPACES).isprintable()
    except UnicodeDecodeError:
        return False


def _look(part: Part, index: Index, words: npt.NDArray[np.uint32]) -> Seen:
    hits = index.search(part.data)
    quiet = [hit for hit in hits if not hit.needle.is_loud]
    expected = len(part.data) * 2 * len(words) / 2**32
    counted = [hit for hit in hits if hit.needle.is_loud]
    counted += _neighbours(hits)
    if _tail(len({hit.needle for hit in quiet}), expected) < COLUMN:
        counted += quiet
    chance = COLUMN + expected**2 * 2 * NEIGHBOURHOOD / max(len(part.data), NEIGHBOURHOOD)
    if part.is_vector:
        rates = _rates(part.data, words)
        telling = frozenset(words[rates < TELLING].tolist())
        counted += [
            hit for hit in quiet if not hit.position % FLOAT32 and hit.needle.word in telling
        ]
        chance += float(rates[rates < TELLING].sum()) + _if_noise(part.data, words)
    return Seen(frozenset(value.canary for hit in counted for value in hit.needle.values), chance)


def _rates(data: bytes, words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Return how often each float32 is expected in a vector by chance.

    How many values are of its magnitude, give or take an octave, is taken from the vector; only
    the mantissa is chance. The value itself, if it is there, does not speak for itself.
    """
    values = np.frombuffer(data, "<u4", len(data) // FLOAT32)
    counts = np.bincount(values >> MANTISSA_BITS, minlength=OCTAVES)
    octave = words >> MANTISSA_BITS
    alike = sum(counts[(octave.astype(np.int64) + step) % OCTAVES] for step in (-1, 0, 1))
    if not len(words):
        return np.zeros(0)
    ordered = np.sort(words)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found = np.bincount(place[ordered[place] == values], minlength=len(ordered))
    alone = found[np.searchsorted(ordered, words)]
    return np.asarray((alike - alone) / 2.0**MANTISSA_BITS, dtype=np.float64)


def _if_noise(data: bytes, words: npt.NDArray[np.uint32]) -> float:
    """Return what `_rates` overlooks if a short vector is in truth all noise: its empty octaves."""
    size = len(data) / FLOAT32
    return size * len(words) / 2**32 * math.exp(-3 * size / OCTAVES)


def _neighbours(hits: Sequence[Hit]) -> Iterator[Hit]:
    """Yield the hits that have another value of a canary beside them, not over them."""
    for place, hit in enumerate(hits):
        for other in hits[place + 1 :]:
            if other.position - hit.position > NEIGHBOURHOOD:
                break
            if other.position >= _end(hit) and other.needle.values != hit.needle.values:
                yield from (hit, other)


def _end(hit: Hit) -> int:
    return hit.position + len(hit.needle.spelling)


def _tail(count: int, expected: float) -> float:
    """Return the chance of at least `count` accidents where `expected` are expected (Poisson)."""
    if count == 0:
        return 1.0
    return min(1.0, expected**count / math.factorial(min(count, 170)))
