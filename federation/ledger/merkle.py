"""The Merkle tree of RFC 6962 and RFC 9162: roots, inclusion proofs, consistency proofs.

    leaf hash = SHA-256(0x00 || entry)         node hash = SHA-256(0x01 || left || right)

A prover is given `subtree(level, index)`: the hash over the leaves `[index << level, (index + 1) <<
level)`, which must all exist. A verifier is given hashes alone; it raises, and never answers
yes or no.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from federation.errors import BadProofError

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Subtree: TypeAlias = Callable[[int, int], bytes]

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry, which no node hash can equal."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees."""
    return _sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over 2^k neighbouring hashes of one level, k ≥ 0."""
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [_sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root of the tree over the first `size` leaves."""
    return EMPTY_ROOT if size == 0 else _range(0, size, subtree)


def inclusion(number: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the proof that leaf `number` stands in the tree of `size` leaves (RFC 9162 2.1.3.1).

    Raises:
        BadProofError: there is no such leaf in that tree.
    """
    if not 0 <= number < size:
        raise BadProofError(f"entry {number} is not among the first {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if number < middle:
            proof.append(_range(middle, end, subtree))
            end = middle
        else:
            proof.append(_range(start, middle, subtree))
            start = middle
    return tuple(reversed(proof))


def consistency(old: int, new: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the proof that the tree of `old` leaves is a beginning of that of `new` leaves.

    It is empty for equal sizes and for `old` = 0 (RFC 9162 2.1.4.1).

    Raises:
        BadProofError: `old` is greater than `new`, or negative.
    """
    if not 0 <= old <= new:
        raise BadProofError(f"a tree of {old} entries is no beginning of one of {new}")
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old not in {0, end}:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range(middle, end, subtree))
            end = middle
        else:
            proof.append(_range(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        proof.append(_range(start, end, subtree))
    return tuple(reversed(proof))


def verify_inclusion(
    leaf: bytes, number: int, size: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Return if `proof` leads from the leaf hash to the root `expected` (RFC 9162 2.1.3.2).

    Raises:
        BadProofError: it does not.
    """
    if not 0 <= number < size:
        raise BadProofError(f"entry {number} is not among the first {size}")
    position, last, reached = number, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProofError(f"the inclusion proof of entry {number} is too long")
        if position & 1 or position == last:
            reached = node_hash(sibling, reached)
            position, last = _climb(position, last)
        else:
            reached = node_hash(reached, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or reached != expected:
        raise BadProofError(f"entry {number} does not stand in the tree of {size} entries")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Return if the tree of `old` leaves is a beginning of that of `new` (RFC 9162 2.1.4.2).

    Raises:
        BadProofError: it is not, or the proof does not show it.
    """
    failure = BadProofError(f"the tree of {new} entries does not begin with that of {old}")
    if not 0 <= old <= new:
        raise failure
    if old in {0, new}:
        expected = EMPTY_ROOT if old == 0 and new != 0 else new_root
        if proof or old_root != expected:
            raise failure
        return
    first, rest = (old_root, proof) if old & (old - 1) == 0 else (b"".join(proof[:1]), proof[1:])
    if (old_root, new_root) != _both_roots(old, new, first, rest):
        raise failure


class Growing:
    """A tree that is only counted: it keeps one hash per level and never a leaf."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """The tree has one more leaf, given by its hash."""
        peak, size = leaf, self.size
        while size & 1:
            peak = _sha256(b"\x01" + self._peaks.pop() + peak).digest()
            size >>= 1
        self._peaks.append(peak)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over everything appended so far."""
        if not self._peaks:
            return EMPTY_ROOT
        *others, reached = self._peaks
        for peak in reversed(others):
            reached = node_hash(peak, reached)
        return reached


def roots_over(hashes: Iterable[bytes], sizes: Collection[int] = ()) -> Mapping[int, bytes]:
    """Return the roots over leaf hashes: at each of `sizes` reached, at 0, and at the end."""
    tree, wanted = Growing(), frozenset(sizes)
    found = {0: EMPTY_ROOT}
    for leaf in hashes:
        tree.append(leaf)
        if tree.size in wanted:
            found[tree.size] = tree.root()
    found[tree.size] = tree.root()
    return found


def roots(entries: Iterable[bytes], sizes: Collection[int] = ()) -> Mapping[int, bytes]:
    """Return the roots over entries: at each of `sizes` that is reached, at 0, and at the end."""
    return roots_over(map(leaf_hash, entries), sizes)


def _both_roots(old: int, new: int, first: bytes, rest: Sequence[bytes]) -> tuple[bytes, bytes]:
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_reached = new_reached = first
    for sibling in rest:
        if last == 0:
            raise BadProofError(f"the consistency proof from {old} to {new} is too long")
        if position & 1 or position == last:
            old_reached = node_hash(sibling, old_reached)
            new_reached = node_hash(sibling, new_reached)
            position, last = _climb(position, last)
        else:
            new_reached = node_hash(new_reached, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise BadProofError(f"the consistency proof from {old} to {new} is too short")
    return old_reached, new_reached


def _climb(position: int, last: int) -> tuple[int, int]:
    """Skip the levels on which a right edge has no sibling."""
    while position and not position & 1:
        position, last = position >> 1, last >> 1
    return position, last


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(start: int, end: int, subtree: Subtree) -> bytes:
    """Return the hash over the leaves [start, end), which begin at a multiple of their width."""
    pieces = [subtree(level, index) for level, index in _complete(start, end)]
    reached = pieces.pop()
    while pieces:
        reached = node_hash(pieces.pop(), reached)
    return reached


def _complete(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the complete subtrees that cover [start, end), from left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level
