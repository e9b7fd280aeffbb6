"""Hashing and masking in bulk: pure functions of one piece, and how to spread pieces over cores."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Final, Protocol, TypeVar

from secure_compute.primitives.multiples import SIZE, multiples
from secure_compute.psi import elligator

T = TypeVar("T")

PIECE: Final = 2048
"""Points that one worker is given at once: a tenth of a second of work."""


class Spread(Protocol):
    """How a function meets its pieces: the results stand in the order of the pieces."""

    def __call__(self, function: Callable[[T], bytes], pieces: Sequence[T], /) -> Iterable[bytes]:
        """Return function(piece) for every piece."""
        ...


def alone(function: Callable[[T], bytes], pieces: Sequence[T], /) -> Iterable[bytes]:
    """One piece after the other, in this process."""
    return map(function, pieces)


@contextmanager
def all_cores(workers: int | None = None) -> Iterator[Spread]:
    """Pieces go to processes of their own, one for each core; they end with the block.

    They are started afresh, never forked: the caller may have threads.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def spread(function: Callable[[T], bytes], pieces: Sequence[T], /) -> Iterable[bytes]:
            return pool.map(function, pieces)

        yield spread


def masked(scalar: bytes, points: Sequence[bytes], spread: Spread = alone) -> list[bytes]:
    """Return each point times the scalar, in order.

    Raises:
        PeerProtocolError: a point is of low order.
    """
    return _points(spread(partial(mask_piece, scalar), _pieces(points)))


def hashed_and_masked(
    scalar: bytes, messages: Sequence[bytes], spread: Spread = alone
) -> list[bytes]:
    """Return the point of each message times the scalar, in order."""
    return _points(spread(partial(hash_and_mask_piece, scalar), _pieces(messages)))


def mask_piece(scalar: bytes, points: Sequence[bytes]) -> bytes:
    """Return the points of one piece times the scalar."""
    return multiples(scalar, b"".join(points))


def hash_and_mask_piece(scalar: bytes, messages: Sequence[bytes]) -> bytes:
    """Return the points of the messages of one piece times the scalar."""
    return multiples(scalar, elligator.encode(messages))


def _pieces(items: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [items[at : at + PIECE] for at in range(0, len(items), PIECE)]


def _points(pieces: Iterable[bytes]) -> list[bytes]:
    whole = b"".join(pieces)
    return [whole[at : at + SIZE] for at in range(0, len(whole), SIZE)]
