"""The tree of RFC 6962 against its known answers and against its definition, word for word."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from federation.errors import BadProofError
from federation.ledger import merkle

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "merkle.json").read_text())
KNOWN = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
ROOTS = {int(size): bytes.fromhex(root) for size, root in VECTORS["roots"].items()}

MOST = 100
LEAVES = [f"entry {n}".encode() for n in range(MOST)]


# -- the definition, as section 2.1 of the RFC writes it, on lists of leaves ----------------------


def mth(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of D[n]."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = half(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """Return SUBPROOF(m, D[n], b)."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def half(n: int) -> int:
    """Return the largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


# -------------------------------------------------------------------------------------------------


def subtree_of(leaves: Sequence[bytes]) -> merkle.Subtree:
    """Return the prover's view of `leaves`; it refuses subtrees that are not complete."""

    def subtree(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level
        return mth(part)

    return subtree


@pytest.mark.parametrize("size", sorted(ROOTS))
def test_the_known_roots(size: int) -> None:
    assert merkle.root(size, subtree_of(KNOWN[:size])) == ROOTS[size]
    assert merkle.roots(KNOWN[:size])[size] == ROOTS[size]


@pytest.mark.parametrize("case", VECTORS["inclusion"])
def test_the_known_inclusion_proofs(case: dict) -> None:
    proof = [bytes.fromhex(part) for part in case["proof"]]
    number, size = case["number"], case["size"]
    assert list(merkle.inclusion(number, size, subtree_of(KNOWN))) == proof
    merkle.verify_inclusion(merkle.leaf_hash(KNOWN[number]), number, size, proof, ROOTS[size])


@pytest.mark.parametrize("case", VECTORS["consistency"])
def test_the_known_consistency_proofs(case: dict) -> None:
    proof = [bytes.fromhex(part) for part in case["proof"]]
    old, new = case["old"], case["new"]
    assert list(merkle.consistency(old, new, subtree_of(KNOWN))) == proof
    merkle.verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])


@pytest.fixture(scope="module")
def hashes() -> dict[int, bytes]:
    return {size: mth(LEAVES[:size]) for size in range(MOST + 1)}


@pytest.fixture(scope="module")
def subtree() -> merkle.Subtree:
    memo: dict[tuple[int, int], bytes] = {}
    inner = subtree_of(LEAVES)

    def remembered(level: int, index: int) -> bytes:
        if (level, index) not in memo:
            memo[level, index] = inner(level, index)
        return memo[level, index]

    return remembered


def test_every_root_is_that_of_the_definition(hashes: dict, subtree: merkle.Subtree) -> None:
    assert {size: merkle.root(size, subtree) for size in hashes} == hashes
    assert merkle.roots(LEAVES, hashes.keys()) == hashes


def test_every_inclusion_proof_is_that_of_the_definition(
    hashes: dict, subtree: merkle.Subtree
) -> None:
    for size in range(1, MOST + 1, 3):
        for number in range(size):
            proof = merkle.inclusion(number, size, subtree)
            assert list(proof) == path(number, LEAVES[:size])
            leaf = merkle.leaf_hash(LEAVES[number])
            merkle.verify_inclusion(leaf, number, size, proof, hashes[size])


def test_every_consistency_proof_is_that_of_the_definition(
    hashes: dict, subtree: merkle.Subtree
) -> None:
    for new in range(1, MOST + 1, 3):
        for old in range(1, new + 1):
            proof = merkle.consistency(old, new, subtree)
            assert list(proof) == subproof(old, LEAVES[:new], True)
            merkle.verify_consistency(old, new, proof, hashes[old], hashes[new])


def test_all_proofs_of_all_sizes_are_accepted(hashes: dict, subtree: merkle.Subtree) -> None:
    for size in range(1, MOST + 1):
        for k in range(size):
            leaf, shown = merkle.leaf_hash(LEAVES[k]), hashes[size]
            merkle.verify_inclusion(leaf, k, size, merkle.inclusion(k, size, subtree), shown)
            proof = merkle.consistency(k, size, subtree)
            merkle.verify_consistency(k, size, proof, hashes[k], shown)


def test_no_proof_fits_another_leaf_number_size_or_root(
    hashes: dict, subtree: merkle.Subtree
) -> None:
    for size in range(2, 40):
        for k in range(size):
            proof, leaf = merkle.inclusion(k, size, subtree), merkle.leaf_hash(LEAVES[k])
            wrong = [
                (merkle.leaf_hash(b"another"), k, size, proof, hashes[size]),
                (leaf, (k + 1) % size, size, proof, hashes[size]),
                (leaf, k, size, proof, hashes[size + 1]),
                (leaf, k, size, proof[:-1], hashes[size]),
                (leaf, k, size, (*proof, bytes(32)), hashes[size]),
                (leaf, k, size, (bytes(32), *proof[1:]), hashes[size]),
                (leaf, size, size, proof, hashes[size]),
                (leaf, -1, size, proof, hashes[size]),
            ]
            for case in wrong:
                with pytest.raises(BadProofError):
                    merkle.verify_inclusion(*case)


def test_no_consistency_proof_fits_other_heads(hashes: dict, subtree: merkle.Subtree) -> None:
    for new in range(3, 40):
        for old in range(1, new):
            proof = merkle.consistency(old, new, subtree)
            wrong = [
                (old, new, proof, hashes[old + 1], hashes[new]),
                (old, new, proof, hashes[old], hashes[new + 1]),
                (old, new, proof[:-1], hashes[old], hashes[new]),
                (old, new, (*proof, bytes(32)), hashes[old], hashes[new]),
                (old, new, (), hashes[old], hashes[new]),
                (old, new, (bytes(32), *proof[1:]), hashes[old], hashes[new]),
                (new, old, proof, hashes[new], hashes[old]),
                (old, old, proof, hashes[old], hashes[old]),
                (0, new, proof, merkle.EMPTY_ROOT, hashes[new]),
                (0, new, (), hashes[1], hashes[new]),
                (0, 0, (), hashes[1], merkle.EMPTY_ROOT),
                (old, old, (), hashes[old], hashes[new]),
            ]
            for case in wrong:
                with pytest.raises(BadProofError):
                    merkle.verify_consistency(*case)


def test_the_empty_tree_is_the_beginning_of_every_tree(hashes: dict) -> None:
    for new in range(5):
        merkle.verify_consistency(0, new, (), merkle.EMPTY_ROOT, hashes[new])


def test_what_is_not_there_is_not_proven(subtree: merkle.Subtree) -> None:
    with pytest.raises(BadProofError):
        merkle.inclusion(5, 5, subtree)
    with pytest.raises(BadProofError):
        merkle.consistency(6, 5, subtree)


def test_a_node_is_no_leaf() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
    assert merkle.fold([left, right]) == merkle.node_hash(left, right)
