"""Opens one sum in a process of its own: `python -m secure_compute.hequery.opening`.

Ciphertexts come from other parties, and the library that decrypts them is written in C++. Whatever
they do to it, they do to a child that knows one key of one query and ends at once.

Standard input:  8-byte big-endian length and canonical header {"width", "sizes"}, then the secret
                 key and the ciphertexts, one after another, as long as `sizes` says.
Standard output: canonical list of the integers. Any other end of the process is a refusal.
"""

import sys
from collections.abc import Sequence

from secure_compute import canonical
from secure_compute.errors import LocalProtocolError, SecureComputeError


def pack(secret: bytes, ciphertexts: Sequence[bytes], width: int) -> bytes:
    """Return what the child reads."""
    sizes = [len(secret), *map(len, ciphertexts)]
    header = canonical.encode({"width": width, "sizes": sizes})
    return b"".join((len(header).to_bytes(8, "big"), header, secret, *ciphertexts))


def unpack(data: bytes) -> tuple[bytes, list[bytes], int]:
    """Read what `pack` wrote.

    Raises:
        LocalProtocolError: it is something else.
    """
    start = 8 + int.from_bytes(data[:8], "big")
    match canonical.decode(data[8:start]):
        case {"width": int(width), "sizes": list(sizes)} if all(isinstance(s, int) for s in sizes):
            parts = []
            for size in map(int, map(str, sizes)):
                parts.append(data[start : start + size])
                start += size
            if start == len(data) and len(parts) > 1:
                return parts[0], parts[1:], width
    raise LocalProtocolError("the opening process was given something it does not know")


def main() -> int:
    """Open what standard input holds."""
    from secure_compute.hequery.scheme import SecretKey

    try:
        secret, ciphertexts, width = unpack(sys.stdin.buffer.read())
        values = SecretKey(secret).open_sum(ciphertexts, width)
    except SecureComputeError as why:
        sys.stderr.write(str(why))
        return 1
    sys.stdout.buffer.write(canonical.encode(list(values)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
