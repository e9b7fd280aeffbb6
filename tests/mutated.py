"""Bytes that nobody should send, made from bytes that somebody did send.

Most mutations keep the form: a JSON value inside the bytes is found, one place of it is changed, it
is spelt again canonically, and lengths in front of it are put right. So they come past the
first check and reach what reads the fields. The others flip, cut, splice, repeat and claim
lengths.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any, Final

LARGEST: Final = 1 << 20
"""No mutant is longer than this or its original."""

_NUMBERS: Final = (
    *(0, 1, -1, 2, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 40, 1 << 53, (1 << 63) - 1, -(1 << 62)),
    *(1 << 63, 1 << 70, -(1 << 64), 10**400),
)
_OTHERS: Final = (None, True, False, 0.5, 1e308, float("nan"), float("inf"), [], {}, "")
_TEXTS: Final = (
    *("0", "-1", "1e999999999", "1e-999999999", "NaN", "Infinity", "-0", "1_000", "٣", "9" * 5000),
    *(
        "0.1",
        "1E400",
        "\0",
        "\n",
        "ï¬\u0301",
        "\ud800",
        "A" * 300,
        "'; DROP TABLE x; --",
        "../../x",
    ),
    *("0" * 64, "f" * 64, "Z" * 64, "=" * 8, "{}", "(" * 300, "2026-02-30", "9999-99-99"),
)
_TOKENS: Final = (
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "=",
        ",",
        ".",
        "\n",
        "\0",
        "--",
        "/*",
        ";",
        "%",
        "\\",
    ),
    *("NULL", "true", "nan", "inf", "1e999999999", "9" * 5000, "0x10", "-", "SELECT", "—", "٣"),
    *("(" * 400, "[" * 1500, "NOT " * 400, "{a=" * 1200, "a." * 500, "1979-05-27", "'''", '"""'),
)
_BEGINS: Final = re.compile(r'[{\[]["{\[\]}\dtfn-]')
_LOOKED_AT: Final = 1 << 16
_TRIES: Final = 8
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")


def mutate(data: bytes, other: bytes, chance: random.Random, text: bool = False) -> bytes:
    """Return a mutant of `data`; parts of it may be of `other`."""
    ways: list[Callable[[bytes, bytes, random.Random], bytes]] = [_bytes]
    ways += [_text] * 4 if text else [_json] * 4
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(ways)(data, other, chance)[: max(LARGEST, len(data))]
    return data


# -- bytes -----------------------------------------------------------------------------------------


def _bytes(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, end = sorted(chance.randint(0, len(data)) for _ in range(2))
    match chance.randrange(8):
        case 0:
            return _flipped(data, chance)
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:]
        case 4:
            start = chance.randint(0, len(other))
            return data[:at] + other[start : start + end - at] + data[end:]
        case 5:
            return data[:at] + bytes(chance.randrange(256) for _ in range(9)) + data[at:]
        case 6:
            size = chance.choice((0, 1, 0x7F, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "big")
            place = chance.choice((0, 5, at))
            return data[:place] + size + data[place + 4 :]
        case _:
            return data[:at] + bytes([chance.choice((0, 0xFF, 0x80))]) * (end - at) + data[end:]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


# -- JSON inside bytes -----------------------------------------------------------------------------


def _json(data: bytes, other: bytes, chance: random.Random) -> bytes:
    found = _value_in(data, chance)
    if found is None:
        return _bytes(data, other, chance)
    start, end, value = found
    if chance.randrange(12) == 0:
        spelt = _twice(data[start:end], chance)
    else:
        spelt = _spelt(_changed(value, chance))
    return _with_lengths(data[:start], data[start:end], spelt) + spelt + data[end:]


def _value_in(data: bytes, chance: random.Random) -> tuple[int, int, Any] | None:
    """Return where one of the outermost JSON values lies, and the value."""
    text, values, at = data[:_LOOKED_AT].decode("latin-1"), [], 0
    decoder, tries = json.JSONDecoder(), iter(range(_TRIES))
    while next(tries, None) is not None and (match := _BEGINS.search(text, at)):
        try:
            _, end = decoder.raw_decode(text, match.start())
            value = json.loads(data[match.start() : end])
            values.append((match.start(), end, value))
        except (ValueError, RecursionError):
            end = match.start() + 1
        at = end
    return chance.choice(values) if values else None


def _spelt(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except (RecursionError, ValueError):
        return b"[" * 2000 + b"]" * 2000
    return text.encode("utf-8", "surrogatepass")


def _twice(spelt: bytes, chance: random.Random) -> bytes:
    """Return the object with a key that stands twice, or deeper than any stack."""
    if spelt.startswith(b"{") and len(spelt) > 2 and chance.random() < 0.7:
        return spelt[:-1] + b"," + spelt[1:]
    deep = chance.choice((500, 5000, 100_000))
    return b"[" * deep + spelt + b"]" * deep


def _with_lengths(before: bytes, old: bytes, new: bytes) -> bytes:
    """Return what stands before a value, with the lengths that include it put right."""
    changed, delta = bytearray(before), len(new) - len(old)
    for width, order in ((4, "big"), (8, "little")):
        for at in range(max(0, len(before) - 300), len(before) - width + 1):
            said = int.from_bytes(before[at : at + width], order)  # type: ignore[arg-type]
            inside = len(before) - at - width + len(old)
            if 0 <= said - inside < 64 and said + delta >= 0:
                changed[at : at + width] = (said + delta).to_bytes(width, order)  # type: ignore[arg-type]
    return bytes(changed)


def _changed(value: Any, chance: random.Random) -> Any:
    """Return the value with one place of it changed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(10):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, chance.choice((*_TEXTS[:3], *value)): chance.choice(_OTHERS)}
            case 2:
                return {**value, key: value[chance.choice(list(value))]}
            case _:
                return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value + value[at:]
            case 2 if len(value) < 100:
                return value * chance.choice((2, 300))
            case _:
                return [*value[:at], _changed(value[at], chance), *value[at + 1 :]]
    return _leaf(value, chance)


def _leaf(value: Any, chance: random.Random) -> Any:
    match chance.randrange(7):
        case 0:
            return chance.choice(_OTHERS)
        case 1:
            return _nested(value, chance.choice((1, 2, 20, 150, 300, 400, 480, 700)), chance)
        case 2:
            return chance.choice(_TEXTS)
        case 3 if isinstance(value, str) and value:
            at = chance.randrange(len(value))
            return value[:at] + chance.choice(("", "0", "é", "Z", value)) + value[at + 1 :]
        case 4 if isinstance(value, int):
            return value + chance.choice((-1, 1, 1 << 20))
        case 5 if isinstance(value, int):
            return str(value)
        case _:
            return chance.choice(_NUMBERS)


def _nested(value: Any, depth: int, chance: random.Random) -> Any:
    keys = list(value) if isinstance(value, dict) else []
    key = chance.choice(keys) if keys else "of"
    for _ in range(depth):
        match value:
            case dict() if keys:
                value = {**value, key: value if chance.random() < 0.9 else [value]}
            case _:
                value = [value]
        if depth > 20 and isinstance(value, dict):
            value = {key: value[key], **{k: v for k, v in value.items() if not isinstance(v, dict)}}
    return value


# -- text ------------------------------------------------------------------------------------------


def _text(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return a text of which tokens were dropped, doubled, exchanged or put in."""
    tokens = _WORDS.findall(data[:LARGEST].decode("utf-8", "surrogateescape")) or [""]
    at, to = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    match chance.randrange(7):
        case 0:
            tokens[at] = chance.choice(_TOKENS)
        case 1:
            tokens.insert(at, chance.choice(_TOKENS))
        case 2:
            del tokens[min(at, to) : min(at, to) + chance.choice((1, 2, 5))]
        case 3:
            tokens[at], tokens[to] = tokens[to], tokens[at]
        case 4:
            tokens[at:at] = tokens[min(at, to) : max(at, to)]
        case 5:
            tokens[at] = str(chance.choice(_TEXTS))
        case _:
            words = _WORDS.findall(other.decode("utf-8", "surrogateescape")) or [""]
            tokens[at] = chance.choice(words)
    return "".join(tokens).encode("utf-8", "surrogatepass" if chance.random() < 0.5 else "replace")
