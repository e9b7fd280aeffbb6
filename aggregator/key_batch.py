"""What the aggregator makes of a batch's letters: who gets which deal, and whole packages. Pure.

Everything is checked here as every node and keyholder will check it again, so that a batch that is
none is found before a question is asked under it.
"""

from collections.abc import Mapping, Sequence

from aggregator.errors import MalformedReplyError
from federation.joint_keys import Package, pack, unpack
from federation.membership import Roster
from policies.parties import PartyId
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.pool import Deal
from secure_compute.threshold.terms import Terms


def forwarded(dealt: Mapping[PartyId, bytes]) -> dict[PartyId, bytes]:
    """Return what each keyholder is dealt, packed, of what each has dealt.

    Raises:
        MalformedReplyError: a keyholder deals in another's name, or to nobody.
        MalformedMessageError, PeerProtocolError: a deal cannot be read.
    """
    found: dict[PartyId, list[bytes]] = {party: [] for party in dealt}
    for party, blob in dealt.items():
        for wire in unpack(blob):
            deal = Deal.read(wire)
            receiver = PartyId(deal.receiver)
            if deal.sender != party or receiver not in found:
                raise MalformedReplyError(f"{party} deals for others than itself, or to nobody")
            found[receiver].append(wire)
    return {party: pack(wires) for party, wires in found.items()}


def packages(
    roster: Roster,
    threshold: int,
    every: Sequence[Terms],
    commitments: Sequence[bytes],
    shown: Mapping[PartyId, bytes],
) -> dict[str, bytes]:
    """Return the package of each key, by the key's digest.

    every: the terms of the keys, by serial; commitments: everybody's to all of them.
    shown: the public parts that each keyholder made, by serial, then place.

    Raises:
        MalformedReplyError: there are more or fewer parts than pieces.
        FederationError, SecureComputeError: as `Package.assemble` has it of one of them.
    """
    said = [KeyCommitment.read(wire) for wire in commitments]
    parts = _by_place(every, shown)
    made = {}
    for terms in every:
        mine = tuple(one for one in said if one.key == terms.digest)
        own = tuple(parts[terms.digest, place] for place in range(len(terms.pieces)))
        package = Package(terms, mine, own)
        made[package.assemble(roster, threshold).digest] = package.to_bytes()
    return made


def _by_place(
    every: Sequence[Terms], shown: Mapping[PartyId, bytes]
) -> dict[tuple[str, int], bytes]:
    found: dict[tuple[str, int], bytes] = {}
    for party, blob in shown.items():
        places = [(terms.digest, place) for terms in every for place in terms.made_by(party)]
        wires = unpack(blob)
        if len(wires) != len(places):
            raise MalformedReplyError(f"{party} shows {len(wires)} parts of {len(places)}")
        found.update(zip(places, wires, strict=True))
    return found
