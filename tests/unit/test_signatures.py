"""A signature holds over the bytes it was made over, however often, and over no others."""

import pytest

from secure_compute.errors import BadSignatureError
from secure_compute.primitives.signature import SigningKey

KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))


@pytest.mark.parametrize("size", [0, 1, 300, 4096, 4097, 100_000])
def test_what_held_once_makes_nothing_else_hold(size):
    data = b"x" * size
    signature = KEY.sign(data)
    for _ in range(2):
        KEY.verify_key.verify(signature, data)
        for key, signed, said in (
            (KEY, signature, data + b"x"),
            (KEY, signature, b"y" + data[1:]),
            (KEY, OTHER.sign(data), data),
            (KEY, bytes(64), data),
            (KEY, b"", data),
            (OTHER, signature, data),
        ):
            with pytest.raises(BadSignatureError):
                key.verify_key.verify(signed, said)
