"""What is made of a private key again and again is kept, until all of it is forgotten.

    @kept(maxsize=4)
    def _private(seed: bytes) -> …

    forget_keys()       # a key was given up: nothing here holds it any more

What was kept is let go, and not overwritten: neither Python nor the libraries below promise that.
"""

from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache
from typing import Final, TypeVar

Made = TypeVar("Made")

_FORGET: Final[list[Callable[[], None]]] = []


def kept(maxsize: int) -> "Callable[[Callable[[bytes], Made]], _lru_cache_wrapper[Made]]":
    """Keep what was made of the last `maxsize` seeds."""

    def keep(make: Callable[[bytes], Made]) -> "_lru_cache_wrapper[Made]":
        keeping = lru_cache(maxsize)(make)
        _FORGET.append(keeping.cache_clear)
        return keeping

    return keep


def forget_keys() -> None:
    """Nothing that was made of a private key is kept; what is needed still is made again."""
    for forget in _FORGET:
        forget()
