"""What an upload binds its sender to: hashes of secrets that it may later have to show.

    self    H(b)                     b, put together from shares, is the mask that was added
    rest    H(H(leaves), anchor)     a leaf for every pair seed; the end of the chain of layer seeds

Hashes in the upload are cut to 16 bytes. Whoever shows another value later needs a second preimage
of them; a collision gives the sender only what it could have had by lying about its input.

The seeds of the noise layers hang on a chain, each link the hash of the one before: to show a link
is to show all later ones, none before it.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from secure_compute import canonical
from secure_compute.primitives import derivation

SIZE: Final = 16
HASH_SIZE: Final = 32


def self_commitment(context: str, secret: bytes) -> bytes:
    """Return the 16 bytes that bind to a self-mask seed of the round with digest `context`."""
    return _hash("self", context, secret)[:SIZE]


def leaf(context: str, seed: bytes) -> bytes:
    """Return the 32 bytes that bind to one pair seed."""
    return _hash("leaf", context, seed)


def pairs_root(context: str, leaves: Iterable[bytes]) -> bytes:
    """Return the hash of all leaves, in the order of the cohort."""
    return _hash("pairs", context, b"".join(leaves))


def rest_commitment(context: str, root: bytes, anchor: bytes) -> bytes:
    """Return the 16 bytes that bind to all pair seeds and all layer seeds."""
    return _hash("rest", context, root + anchor)[:SIZE]


def link_after(link: bytes, steps: int) -> bytes:
    """Return the link `steps` further on the chain; the anchor stands one after the last layer."""
    for _ in range(steps):
        link = _hash("link", "", link)
    return link


def layer_seed(context: str, link: bytes, layer: int) -> bytes:
    """Return the 32-byte seed of one layer, from its link."""
    return derivation.expand(link, "entrepot.secagg", "layer", context, layer)


def _hash(label: str, context: str, data: bytes) -> bytes:
    head = canonical.encode(["entrepot.secagg", label, context])
    return hashlib.sha256(head + data).digest()
