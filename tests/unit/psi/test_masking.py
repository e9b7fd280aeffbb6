"""Masks commute, cores change nothing, and points of low order are refused."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.multiples import BASE, multiples
from secure_compute.psi import masking
from secure_compute.psi.masking import all_cores, hashed_and_masked, masked
from tests.matched import LOW_ORDER, P


def test_a_product_is_that_of_x25519_and_masks_commute():
    a, b = os.urandom(32), os.urandom(32)
    key = X25519PrivateKey.from_private_bytes(a)
    assert multiples(a, BASE) == key.public_key().public_bytes_raw()
    point = hashed_and_masked(b, [b"x"])[0]
    assert multiples(a, point) == key.exchange(X25519PublicKey.from_public_bytes(point))
    assert masked(b, masked(a, [BASE, point])) == masked(a, masked(b, [BASE, point]))


@pytest.mark.parametrize("point", [*LOW_ORDER, P.to_bytes(32, "little")])
def test_bad_points_of_low_order(point):
    with pytest.raises(PeerProtocolError, match="low order"):
        masked(os.urandom(32), [BASE, point, BASE])


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_bad_sizes(size):
    if size:
        with pytest.raises(PeerProtocolError):
            multiples(os.urandom(32), bytes(size))
    else:
        assert multiples(os.urandom(32), b"") == b""


def test_all_cores_give_what_one_does_in_the_same_order(monkeypatch):
    monkeypatch.setattr(masking, "PIECE", 7)
    scalar = os.urandom(32)
    messages = [b"%d" % i for i in range(45)]
    with all_cores(2) as spread:
        points = hashed_and_masked(scalar, messages, spread)
        twice = masked(scalar, points, spread)
    assert points == [point for m in messages for point in hashed_and_masked(scalar, [m])]
    assert twice == masked(scalar, points)
