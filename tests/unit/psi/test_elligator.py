"""The map to the curve: RFC 9380, appendix J.4.2, and the RFC's own steps written out again."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute.primitives.multiples import multiples
from secure_compute.psi import elligator
from secure_compute.psi.elligator import A, P

DST = b"QUUX-V01-CS02-with-curve25519_XMD:SHA-512_ELL2_NU_"
VECTORS = [  # message, u[0], Q.x, P.x
    (b"",
     "608d892b641f0328523802a6603427c26e55e6f27e71a91a478148d45b5093cd",
     "51125222da5e763d97f3c10fcc92ea6860b9ccbbd2eb1285728f566721c1e65b",
     "1bb913f0c9daefa0b3375378ffa534bda5526c97391952a7789eb976edfe4d08"),
    (b"abc",
     "46f5b22494bfeaa7f232cc8d054be68561af50230234d7d1d63d1d9abeca8da5",
     "7d56d1e08cb0ccb92baf069c18c49bb5a0dcd927eff8dcf75ca921ef7f3e6eeb",
     "7c22950b7d900fa866334262fcaea47a441a578df43b894b4625c9b450f9a026"),
    (b"abcdef0123456789",
     "235fe40c443766ce7e18111c33862d66c3b33267efa50d50f9e8e5d252a40aaa",
     "3fbe66b9c9883d79e8407150e7c2a1c8680bee496c62fabe4619a72b3cabe90f",
     "31ad08a8b0deeb2a4d8b0206ca25f567ab4e042746f792f4b7973f3ae2096c52"),
    (b"q128_" + b"q" * 128,
     "001e92a544463bda9bd04ddbe3d6eed248f82de32f522669efc5ddce95f46f5b",
     "227e0bb89de700385d19ec40e857db6e6a3e634b1c32962f370d26f84ff19683",
     "027877759d155b1997d0d84683a313eb78bdb493271d935b622900459d52ceaa"),
    (b"a512_" + b"a" * 512,
     "1a68a1af9f663592291af987203393f707305c7bac9c8d63d6a729bdc553dc19",
     "3bcd651ee54d5f7b6013898aab251ee8ecc0688166fce6e9548d38472f6bd196",
     "5fd892c0958d1a75f54c3182a18d286efab784e774d1e017ba2fb252998b5dc1"),
]  # fmt: skip


def number(point: bytes) -> int:
    return int.from_bytes(point, "little")


def mapped_by_the_book(r: int) -> int:
    """RFC 9380 §6.7.1, line by line, with Euler's criterion."""
    x1 = -A * pow(1 + 2 * r * r, -1, P) % P or -A % P
    gx1 = (x1**3 + A * x1**2 + x1) % P
    return x1 if pow(gx1, (P - 1) // 2, P) in {0, 1} else (-x1 - A) % P


def doubled(u: int) -> int:
    """Return u(2Q), by the affine formula of RFC 7748's curve."""
    return (u * u - 1) ** 2 * pow(4 * u * (u * u + A * u + 1), -1, P) % P


@pytest.mark.parametrize(("message", "u", "q", "p"), VECTORS)
def test_the_vectors_of_the_rfc(message, u, q, p):
    assert elligator.hash_to_field(message, DST) == int(u, 16)
    mapped = elligator.map_to_curve([int(u, 16)])[0]
    assert mapped == int(q, 16)
    assert number(elligator.encode([message], DST)) == int(q, 16)
    assert doubled(doubled(doubled(mapped))) == int(p, 16)


def test_a_scalar_clears_the_cofactor_that_the_map_leaves():
    """aQ for a = 8a' is a'(8Q): X25519 sees no difference between Q and Q plus a small point."""
    scalar = hashlib.sha256(b"scalar").digest()
    for _, _, q, _ in VECTORS:
        u = int(q, 16)
        beside = pow(u, -1, P)  # Q + (0, 0), a point of order 2
        ends = [multiples(scalar, value.to_bytes(32, "little")) for value in (u, beside)]
        assert ends[0] == ends[1]


@given(st.lists(st.integers(0, P - 1), max_size=8))
@settings(max_examples=60, deadline=None)
def test_many_at_once_are_each_mapped_by_the_book(elements):
    assert elligator.map_to_curve(elements) == [mapped_by_the_book(r) for r in elements]


@pytest.mark.parametrize("r", [0, 1, P - 1, 2, (P - 1) // 2])
def test_the_edges_of_the_field(r):
    assert elligator.map_to_curve([r]) == [mapped_by_the_book(r)]


@given(st.integers(0, P - 1))
@settings(max_examples=150, deadline=None)
def test_curve_and_twist_are_told_apart_as_by_eulers_criterion(u):
    power = pow((u**3 + A * u * u + u) % P, (P - 1) // 2, P)
    assert elligator.is_on_curve(u) is (power != P - 1)


def test_every_message_meets_the_curve_and_raw_hashes_do_not():
    messages = [b"%d" % i for i in range(200)]
    points = elligator.encode(messages)
    assert all(elligator.is_on_curve(number(points[at : at + 32])) for at in range(0, 6400, 32))
    raw = [number(hashlib.sha256(message).digest()) % P for message in messages]
    assert 60 < sum(map(elligator.is_on_curve, raw)) < 140


def test_messages_and_domains_do_not_meet():
    first = elligator.encode([b"a", b"b"])
    assert first[:32] != first[32:]
    assert elligator.encode([b"a"], DST) != first[:32]
    assert elligator.encode([]) == b""
