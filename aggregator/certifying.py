"""What the aggregator makes of the parts of a joint question: lists, sums and who opens what. Pure.

Nothing here is believed by anybody: keyholders and recipient check every signature again, and add
up for themselves. It is checked here so that whoever sent what cannot be used is as good as silent.
"""

from collections.abc import Mapping, Sequence

from aggregator.errors import LateError, MalformedReplyError
from federation.joint_keys import views
from federation.slots import late
from secure_compute.threshold import ciphertext
from secure_compute.threshold.listing import Commitment, Endorsement, Listing
from secure_compute.threshold.question import Question
from secure_compute.threshold.residues import Wire
from secure_compute.threshold.statements import require_signed
from secure_compute.threshold.terms import Terms


def read_commitment(question: Question, party: str, wire: bytes) -> Commitment:
    """Return a party's commitment to its part of this question.

    Raises:
        LateError: the party says that it has none in time.
        MalformedReplyError: it is to something else, or of somebody else.
        SecureComputeError: it cannot be read, or was not signed.
    """
    if wire == late(question, party):
        raise LateError
    said = Commitment.read(wire)
    require_signed(question.find(party).key, party, said.signature, said.statement())
    if (said.party, said.question, len(said.chunks)) != (
        party,
        question.digest,
        question.layout.chunks,
    ):
        raise MalformedReplyError(f"{party} committed to a part of another question")
    return said


def read_endorsement(listed: Listing, party: str, wire: bytes) -> Endorsement:
    """Return a party's signature on the list.

    Raises:
        MalformedReplyError: it is on another list, or of somebody else.
        SecureComputeError: it cannot be read, or was not signed.
    """
    said, question = Endorsement.read(wire), listed.question
    require_signed(question.find(party).key, party, said.signature, said.statement())
    if (said.party, said.question, said.listing) != (party, question.digest, listed.digest):
        raise MalformedReplyError(f"{party} signed another list")
    return said


def read_chunks(listed: Listing, party: str, blob: bytes) -> tuple[memoryview, ...]:
    """Return the ciphertexts that a party committed to, as they lie in `blob`.

    Raises:
        MalformedReplyError: they are others.
        MalformedMessageError: they cannot be read.
    """
    wires = tuple(views(blob))
    hashes = tuple(
        ciphertext.digest(wire, listed.question.digest, party, at) for at, wire in enumerate(wires)
    )
    if hashes not in {said.chunks for said in listed.commitments if said.party == party}:
        raise MalformedReplyError(f"{party} shows other ciphertexts than it committed to")
    return wires


def totals(listed: Listing, shown: Mapping[str, Sequence[Wire]]) -> tuple[bytes, ...]:
    """Return the sum of each chunk over the list, as bytes.

    Raises:
        PeerProtocolError, FaultyPartyError: as `ciphertext.add` does.
    """
    return tuple(
        ciphertext.to_bytes(
            ciphertext.add(
                listed, chunk, {party: wires[chunk] for party, wires in shown.items()}
            ).ciphertext
        )
        for chunk in range(listed.question.layout.chunks)
    )


def shared_out(
    terms: Terms, willing: Sequence[str], places: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Return which of `places` each keyholder is asked for: `threshold` of them share the work.

    willing: the keyholders that may be asked, those first that should be.

    Raises:
        SecureComputeError: nobody of them holds one of the pieces.
    """
    chosen = list(willing)[: terms.threshold]
    found: dict[str, list[int]] = {party: [] for party in chosen}
    for place in places:
        holders = [party for party in chosen if party in terms.pieces[place]]
        if not holders:
            raise MalformedReplyError(f"nobody who is there holds piece {place} of the key")
        least = min(holders, key=lambda party: (len(found[party]), party))
        found[least].append(place)
    return {party: tuple(mine) for party, mine in found.items() if mine}
