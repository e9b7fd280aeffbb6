"""Six words that two people read to one another, to know that they look at the same keys.

They stand for 66 bits of a hash of an invitation, both ends' certificates and identity keys, and
the founding. Whoever sits in between would have to show each end other keys under the same words.
He may choose on both sides, so each try is made dear: the hash is scrypt (RFC 7914) at 16 MiB.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON

COUNT: Final = 6
_BITS: Final = 11
_LABEL: Final = b"entrepot check words/1"


def check_words(*what: JSON) -> tuple[str, ...]:
    """Return the six words of these values; it takes about 50 ms, by design."""
    return _words(canonical.encode(list(what)))


@cache
def _words(data: bytes) -> tuple[str, ...]:
    hashed = hashlib.scrypt(data, salt=_LABEL, n=2**14, r=8, p=1, dklen=9)
    bits = int.from_bytes(hashed) >> (9 * 8 - COUNT * _BITS)
    listed = word_list()
    return tuple(listed[bits >> _BITS * place & 2**_BITS - 1] for place in reversed(range(COUNT)))


@cache
def word_list() -> Sequence[str]:
    """Return the 2,048 words, in order."""
    text = files("federation.bip39").joinpath("english.txt").read_text(encoding="ascii")
    return tuple(text.split())
