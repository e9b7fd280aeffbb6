"""What a join service is told: an invitation's secret, and later an enrolment with it.

Both calls take the same form. The identity key is told in the first one only by who has enrolled
before and goes on; an entrant that comes for the first time says nothing of itself.
"""

from dataclasses import dataclass, field
from typing import Final

from federation.enrolment import LONGEST
from federation.errors import MalformedMessageError
from federation.invitations import ID_SIZE, SECRET_SIZE
from secure_compute import canonical
from secure_compute.errors import NotCanonicalError

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Knock:
    """One call of the join service.

    invitation: its id, 16 hexadecimal digits; secret: as the token has it [20].
    identity:   the key of who enrolled before, or "".
    enrolment:  its bytes, or b"" in the first call.
    """

    invitation: str
    secret: bytes = field(repr=False)
    identity: str = ""
    enrolment: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.encode(
            {
                "version": VERSION,
                "invitation": self.invitation,
                "secret": self.secret.hex(),
                "identity": self.identity,
                "enrolment": self.enrolment.hex(),
            }
        )


def read_knock(data: bytes) -> Knock:
    """Read what `Knock.to_bytes` wrote.

    Raises:
        MalformedMessageError: it is none of this version.
    """
    try:
        value = canonical.decode(data[: 4 * LONGEST])
        match value:
            case {
                "version": 1,
                "invitation": str(invitation),
                "secret": str(secret),
                "identity": str(identity),
                "enrolment": str(enrolment),
                **rest,
            } if not rest and len(identity) in {0, 64}:
                knock = Knock(invitation, bytes.fromhex(secret), identity, bytes.fromhex(enrolment))
                sizes = len(bytes.fromhex(invitation)), len(knock.secret)
                if sizes == (ID_SIZE, SECRET_SIZE) and knock.to_bytes() == data:
                    return knock
    except (NotCanonicalError, ValueError) as why:
        raise MalformedMessageError("this is no call of a join service") from why
    raise MalformedMessageError("this is no call of a join service of this version")
