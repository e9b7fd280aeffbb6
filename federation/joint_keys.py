"""A key that nobody holds alone, as it travels: what its keyholders signed, and its public parts.

The aggregator keeps packages and shows them; it can make none. Whoever encrypts under a key or
opens with it adds the key up itself from the package, against the roster that it verified: other
parts, other keyholders or a lower threshold give no key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError
from federation.membership import THRESHOLD, Roster
from federation.secure_sums import epoch_of, signers
from policies.parties import Role
from secure_compute import canonical
from secure_compute.errors import PeerProtocolError, RosterError
from secure_compute.secagg.epoch import Epoch
from secure_compute.threshold.joint import JointKey, KeyCommitment, assemble
from secure_compute.threshold.terms import Terms

FEWEST_KEYHOLDERS: Final = 3
"""Of three one can be away and one can be curious, and both at once."""

MOST_PARTS: Final = 4096
_LENGTH: Final = 4


def pack(parts: Sequence[bytes]) -> bytes:
    """Return several parts as one: each behind its length, 4 bytes big-endian."""
    return b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts)


def unpack(blob: bytes) -> list[bytes]:
    """Read what `pack` wrote.

    Raises:
        MalformedMessageError: a part is cut off, or there are too many.
    """
    return list(map(bytes, views(blob)))


def views(blob: bytes) -> list[memoryview]:
    """Return the parts of `blob` as they lie in it, without a copy: ciphertexts are large.

    Raises:
        MalformedMessageError: as `unpack` has it.
    """
    whole, parts, start = memoryview(blob), list[memoryview](), 0
    while start < len(blob):
        body = start + _LENGTH
        end = body + int.from_bytes(blob[start:body], "big")
        if end > len(blob) or body > len(blob) or len(parts) == MOST_PARTS:
            raise MalformedMessageError("a packed part of a letter is cut off, or has too many")
        parts.append(whole[body:end])
        start = end
    return parts


def keyholders(roster: Roster) -> tuple[str, ...]:
    """Return the names of the parties that hold keys, sorted; a suspended one holds none."""
    return tuple(sorted(member.party for member in roster.active(Role.KEYHOLDER)))


def require_holders(roster: Roster, threshold: int) -> None:
    """Accept a roster whose keyholders can hold keys of which `threshold` open.

    Raises:
        RosterError: they are too few, or two of them are of one organisation.
    """
    members = roster.active(Role.KEYHOLDER)
    organisations = {member.organisation for member in members}
    if len(organisations) != len(members):
        raise RosterError("two keyholders of one organisation count as one: seat one of each")
    if len(members) < FEWEST_KEYHOLDERS:
        raise RosterError(
            f"the roster has {len(members)} keyholders and joint questions need three of three "
            "organisations: seat the others"
        )
    if not 2 <= threshold <= len(members):
        raise RosterError(f"{threshold} of {len(members)} keyholders cannot be a threshold")


def epoch(roster: Roster, pool: str, keys: Iterable[bytes]) -> Epoch:
    """Return the epoch of a pool's keyholders; each key is signed by the party it names.

    pool: id of the pool, 64 hexadecimal digits.

    Raises:
        SecureComputeError: a key is damaged, not signed by whom it names, or of another pool.
        RosterError: they are not the keys of exactly the roster's keyholders.
    """
    made = epoch_of(roster, pool, keys)
    if tuple(member.party for member in made.members) != keyholders(roster):
        raise RosterError("the keys of a pool are those of all keyholders and of nobody else")
    return made


def terms(made: Epoch, threshold: int, serial: int) -> Terms:
    """Return the terms of a pool's key number `serial`, which all members of its epoch hold.

    Raises:
        PeerProtocolError: the numbers are impossible.
    """
    names = [member.party for member in made.members]
    return Terms.of(made, keyholders=names, threshold=threshold, serial=serial)


@dataclass(frozen=True, slots=True)
class Package:
    """A key as it is shown. parts: the public part of each piece, by place."""

    terms: Terms
    commitments: tuple[KeyCommitment, ...]
    parts: tuple[bytes, ...] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the one spelling."""
        said = [commitment.to_bytes() for commitment in self.commitments]
        return pack([canonical.encode(self.terms.to_json()), pack(said), pack(self.parts)])

    @classmethod
    def read(cls, blob: bytes) -> "Package":
        """Read what `to_bytes` wrote; whether it is a key is for `assemble` to see.

        Raises:
            MalformedMessageError, PeerProtocolError: it is no package of this version.
        """
        match unpack(blob):
            case [head, said, parts]:
                return cls(
                    Terms.from_json(canonical.decode(head)),
                    tuple(map(KeyCommitment.read, unpack(said))),
                    tuple(unpack(parts)),
                )
        raise MalformedMessageError("a key has three parts: terms, commitments, public parts")

    def assemble(self, roster: Roster, threshold: int = THRESHOLD) -> JointKey:
        """Return the key, added up here. threshold: fewest keyholders that may open with it.

        Raises:
            RosterError: its keyholders are not the roster's, or too few of them open it.
            BadSignatureError, PeerProtocolError: a keyholder did not sign it so, or a part is
                missing or not what was committed to.
        """
        self.terms.require_roster(signers(roster))
        if self.terms.parties != keyholders(roster):
            raise RosterError("the key is not of all keyholders of the roster and nobody else")
        require_holders(roster, self.terms.threshold)
        if self.terms.threshold < threshold:
            raise RosterError(
                f"{self.terms.threshold} keyholders open this key and here {threshold} must: make "
                "keys with a higher threshold"
            )
        if len(self.parts) != len(self.terms.pieces):
            raise PeerProtocolError("a key has one public part for each piece")
        return assemble(self.terms, self.commitments, dict(enumerate(self.parts)))
