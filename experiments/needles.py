"""The forms a planted record can take in bytes, and one pass over the bytes that finds them all."""

import json
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

ANCHOR: Final = 4
TABLE_BITS: Final = 20
SHORTEST_TEXT: Final = 6
TELLING_BYTES: Final = 4
FLOAT32: Final = 4


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted record. amount: of money, in the home currency; time: microseconds since 1970."""

    party: str
    record: str
    customer: str
    amount: float
    time: int
    time_text: str

    @property
    def name(self) -> tuple[str, str]:
        """What the report calls it."""
        return (self.party, self.record)


@dataclass(frozen=True, slots=True)
class Value:
    """One field of one canary: two of these side by side are no accident."""

    canary: tuple[str, str]
    column: str


class Form(Enum):
    """How a value is spelled in bytes."""

    TEXT = auto()
    WIDE = auto()
    FLOAT32 = auto()
    FLOAT32_SWAPPED = auto()


@dataclass(frozen=True, slots=True)
class Needle:
    """One spelling of one or more values; text counts only as a whole word or number."""

    spelling: bytes
    form: Form
    values: frozenset[Value]

    @property
    def is_loud(self) -> bool:
        """Whether it is long enough to count wherever it stands; a float32 needs company."""
        return self.form in {Form.TEXT, Form.WIDE}

    @property
    def word(self) -> int | None:
        """The word that stands in an array of float32, else None."""
        return int.from_bytes(self.spelling, "little") if self.form is Form.FLOAT32 else None


@dataclass(frozen=True, slots=True)
class Hit:
    """A needle at a byte position."""

    position: int
    needle: Needle


def load_canaries(path: Path) -> tuple[Canary, ...]:
    """Return the planted records of `truth/canaries.json`, by party."""
    value: Mapping[str, Sequence[Mapping[str, object]]] = json.loads(path.read_text("utf-8"))
    return tuple(_canary(party, record) for party in sorted(value) for record in value[party])


def _canary(party: str, record: Mapping[str, object]) -> Canary:
    return Canary(
        party,
        str(record["id"]),
        str(record.get("customer", "")),
        float(str(record["amount"])),
        int(str(record["timestamp_us"])),
        str(record["timestamp_text"]),
    )


def needles(canaries: Sequence[Canary]) -> tuple[Needle, ...]:
    """Return every spelling of every value; equal spellings become one needle."""
    values: dict[tuple[bytes, Form], set[Value]] = defaultdict(set)
    for canary in canaries:
        for column, spelling, form in _spellings(canary):
            values[spelling, form].add(Value(canary.name, column))
    return tuple(Needle(spelling, form, frozenset(of)) for (spelling, form), of in values.items())


def _spellings(canary: Canary) -> Iterator[tuple[str, bytes, Form]]:
    for column, text in _texts(canary):
        if len(text) >= SHORTEST_TEXT:
            yield column, text.encode(), Form.TEXT
            yield column, text.encode("utf-16-le"), Form.TEXT
    for column, number in _numbers(canary):
        for spelling in _wide(number):
            # A small integer or a round float is mostly zeros: that stands everywhere.
            if sum(byte != 0 for byte in spelling) >= TELLING_BYTES:
                yield column, spelling, Form.WIDE
        # A float32 of a time is right to two minutes: it would say nothing.
        if column != "time":
            yield column, struct.pack("<f", number), Form.FLOAT32
            yield column, struct.pack(">f", number), Form.FLOAT32_SWAPPED


def _texts(canary: Canary) -> Iterator[tuple[str, str]]:
    yield "id", canary.record
    yield "customer", canary.customer
    amount = canary.amount
    # Not rounded: an average of many rows may well round to the same.
    for spelling in {repr(amount), f"{amount:,}", repr(float(np.float32(amount)))}:
        yield "amount", spelling
        yield "amount", spelling.translate(str.maketrans(".,", ",."))
    plain = canary.time_text.removesuffix("Z").removesuffix("+00:00")
    for spelling in {plain.replace("T", " "), plain.replace(" ", "T"), str(canary.time)}:
        yield "time", spelling


def _numbers(canary: Canary) -> Iterator[tuple[str, int | float]]:
    for column, name in (("id", canary.record), ("customer", canary.customer)):
        if name.isdecimal() and int(name) < 2**63:
            yield column, int(name)
    yield "amount", canary.amount
    yield "time", canary.time
    yield "time", canary.time * 1000
    yield "time", canary.time // 1000


def _wide(number: float) -> Iterator[bytes]:
    if isinstance(number, int):
        yield from (struct.pack("<q", number), struct.pack(">q", number))
    yield from (struct.pack("<d", number), struct.pack(">d", number))


class Index:
    """Finds all needles in one pass: four bytes of each, its rarest, stand in a hash table."""

    def __init__(self, wanted: Sequence[Needle]) -> None:
        self._by_anchor: dict[int, list[tuple[int, Needle]]] = defaultdict(list)
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)
        common = Counter(word for needle in wanted for word, _ in _windows(needle.spelling))
        for needle in wanted:
            word, offset = min(
                _windows(needle.spelling), key=lambda window: _dullness(window[0], common)
            )
            self._by_anchor[word].append((offset, needle))
            self._table[_hash(np.array([word], dtype=np.uint32))] = True

    def search(self, data: bytes) -> list[Hit]:
        """Return every needle in `data`, at any alignment, by position."""
        hits: set[Hit] = set()
        for phase in range(min(ANCHOR, max(0, len(data) - ANCHOR + 1))):
            words = np.frombuffer(data, "<u4", (len(data) - phase) // ANCHOR, phase)
            for place in np.flatnonzero(self._table[_hash(words)]).tolist():
                hits.update(self._at(data, phase + ANCHOR * place, int(words[place])))
        return sorted(hits, key=lambda hit: (hit.position, hit.needle.spelling))

    def _at(self, data: bytes, position: int, word: int) -> Iterator[Hit]:
        for offset, needle in self._by_anchor.get(word, ()):
            start = position - offset
            if start < 0 or not data.startswith(needle.spelling, start):
                continue
            if needle.form is not Form.TEXT or _stands_alone(data, start, needle.spelling):
                yield Hit(start, needle)


def _windows(spelling: bytes) -> list[tuple[int, int]]:
    return [
        (int.from_bytes(spelling[at : at + ANCHOR], "little"), at)
        for at in range(len(spelling) - ANCHOR + 1)
    ]


def _dullness(word: int, common: Counter[int]) -> tuple[int, int]:
    """Order windows: what few needles share first, then what has the most different bytes."""
    return common[word], -len(set(word.to_bytes(ANCHOR, "little")) - {0})


def _hash(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return (words * np.uint32(0x9E3779B1)) >> np.uint32(32 - TABLE_BITS)


def _stands_alone(data: bytes, start: int, spelling: bytes) -> bool:
    """Whether the text is a whole word or number: 4711.80 is 4711.8, but 14711.8 is not."""
    step = 2 if spelling[1] == 0 else 1
    before = data[start - step : start - step + 1] if start >= step else b""
    end = start + len(spelling)
    if spelling[0] in b"0123456789" and (b"." in spelling or b"," in spelling):
        while data[end : end + 1] == b"0":
            end += step
    after = data[end : end + 1]
    first, last = spelling[:1], spelling[-step : len(spelling) - step + 1]
    return not (_goes_on(before, first) or _goes_on(last, after))


def _goes_on(left: bytes, right: bytes) -> bool:
    if left.isdigit() or right.isdigit():
        return left.isdigit() and right.isdigit()
    return left.isalnum() and right.isalnum()
