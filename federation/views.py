"""What a party is shown over its own connection: who is in, who founds, who asks to be let in.

Nothing in a view is believed for who sent it: the chain is checked under the pin, statements are
made again by whoever signs them, requests are signed by who asks. A view that leaves something out
delays, and can do no more.
"""

from dataclasses import dataclass
from typing import Final

from federation.errors import MalformedMessageError
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import NotCanonicalError

VERSION: Final = 1
LARGEST: Final = 1 << 24
"""Bytes of a view at most: a long chain, and some requests."""
MOST_REQUESTS: Final = 64


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks to be let in: its enrolment, its certificate (PEM), and who has signed so far."""

    enrolment: bytes
    certificate: str
    signed: tuple[PartyId, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "enrolment": self.enrolment.hex(),
            "certificate": self.certificate,
            "signed": list(self.signed),
        }


@dataclass(frozen=True, slots=True)
class View:
    """What there is at this moment.

    chain:    of the roster, b"" before the founding.
    founding: the statement that founders sign, b"" where none was made or it is over.
    signed:   who has signed the founding.
    waiting:  organisations besides the aggregator's that asked, before the founding.
    requests: of those who wait to be let in.
    """

    chain: bytes = b""
    founding: bytes = b""
    signed: tuple[PartyId, ...] = ()
    waiting: int = 0
    requests: tuple[Request, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.encode(
            {
                "version": VERSION,
                "chain": self.chain.hex(),
                "founding": self.founding.hex(),
                "signed": list(self.signed),
                "waiting": self.waiting,
                "requests": [request.to_json() for request in self.requests],
            }
        )


def read_view(data: bytes) -> View:
    """Read what `View.to_bytes` wrote.

    Raises:
        MalformedMessageError: it is no view of this version.
    """
    match _decoded(data):
        case {
            "version": 1,
            "chain": str(chain),
            "founding": str(founding),
            "signed": list(signed),
            "waiting": int(waiting),
            "requests": list(requests),
            **rest,
        } if not rest and waiting >= 0 and len(requests) <= MOST_REQUESTS:
            return View(
                _bytes(chain),
                _bytes(founding),
                _parties(signed),
                waiting,
                tuple(map(_request, requests)),
            )
    raise MalformedMessageError("this is no view of a federation")


@dataclass(frozen=True, slots=True)
class Signature:
    """A party's word on a statement, which is named by its SHA-256."""

    statement: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.encode(
            {
                "version": VERSION,
                "statement": self.statement,
                "signature": self.signature.hex(),
            }
        )


def read_signature(data: bytes) -> Signature:
    """Read what `Signature.to_bytes` wrote.

    Raises:
        MalformedMessageError: it is none of this version.
    """
    match _decoded(data):
        case {"version": 1, "statement": str(statement), "signature": str(signature), **rest} if (
            not rest and len(statement) == 64 and len(signature) == 128
        ):
            return Signature(_bytes(statement).hex(), _bytes(signature))
    raise MalformedMessageError("this is no signature of a statement")


def _request(value: JSON) -> Request:
    match value:
        case {
            "enrolment": str(enrolment),
            "certificate": str(certificate),
            "signed": list(signed),
            **rest,
        } if not rest:
            return Request(_bytes(enrolment), certificate, _parties(signed))
    raise MalformedMessageError("a request to be let in is malformed")


def _parties(names: list[JSON]) -> tuple[PartyId, ...]:
    if not all(isinstance(name, str) for name in names):
        raise MalformedMessageError("a view names a party that has no name")
    return tuple(PartyId(str(name)) for name in names)


def _bytes(text: str) -> bytes:
    try:
        read = bytes.fromhex(text)
    except ValueError as why:
        raise MalformedMessageError("a view holds what is no bytes") from why
    if read.hex() != text:
        raise MalformedMessageError("a view holds bytes in another spelling")
    return read


def _decoded(data: bytes) -> JSON:
    if len(data) > LARGEST:
        raise MalformedMessageError(f"this is longer than {LARGEST} bytes")
    try:
        return canonical.decode(data)
    except NotCanonicalError as why:
        raise MalformedMessageError("this is not in its one spelling") from why
