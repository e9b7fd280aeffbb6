"""Masks: the residues that follow from a seed, added to a vector or taken away again."""

from collections.abc import Iterable

import numpy as np

from secure_compute.primitives.keystream import CHUNK, Keystream
from secure_compute.secagg.ring import Residues


def add_masks(residues: Residues, seeds: Iterable[tuple[bytes, int]]) -> None:
    """Add PRG(seed), or subtract it where the sign is negative, for each (seed, sign), in place.

    Every chunk of the vector meets all the masks while it lies in the cache; no mask is ever held
    whole. A mask is the keystream read as little-endian words of `residues`.
    """
    streams = [(Keystream(seed), np.add if sign > 0 else np.subtract) for seed, sign in seeds]
    buffer = bytearray(CHUNK)
    words = np.frombuffer(buffer, residues.dtype)
    for start in range(0, len(residues), len(words)):
        chunk = residues[start : start + len(words)]
        mask = words[: len(chunk)]
        for stream, operation in streams:
            stream.write(buffer, mask.nbytes)
            operation(chunk, mask, out=chunk)
