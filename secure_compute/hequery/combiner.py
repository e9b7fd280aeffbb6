"""Adding ciphertexts, without a key that opens any: the aggregator can only ever add.

The keyholder recomputes this sum from the holders' signed hashes and takes nobody's word for it.
"""

from collections.abc import Sequence

from secure_compute.hequery.messages import Sealed
from secure_compute.hequery.scheme import PublicKey


def add(sealed: Sequence[Sealed], public: PublicKey) -> bytes:
    """Return the ciphertext of the slot-wise sum.

    Raises:
        PeerProtocolError: one part is no ciphertext of its stated width under this key.
    """
    return public.add([part.ciphertext for part in sealed], sealed[0].commitment.width)
