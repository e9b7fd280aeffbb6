"""Joint questions over real nodes: what an honest aggregator carries, and the recipient opens.

Every letter is made and answered as between processes; any node may be killed between two of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.founding import DEMO_SEATS, Seat
from federation.envelopes import Envelope
from federation.joint_keys import Package, epoch, pack, terms, unpack
from federation.joint_questions import question_of
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.sealed_answers import Origin, unseal
from policies.parties import DATA_ROLES, Jurisdiction, PartyId, Role
from secure_compute.canonical import digest
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.threshold import opening
from secure_compute.threshold.ciphertext import add
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.listing import Commitment, Listing, listing
from secure_compute.threshold.pool import Deal
from secure_compute.threshold.question import Question
from tests.simulator import CN, EU, SHOP, UK, Simulation

HOLDERS = tuple(PartyId(f"keyholder-{place}") for place in ("ch", "eu", "uk"))
SEATS = (
    *(seat for seat in DEMO_SEATS if seat.role is not Role.KEYHOLDER),
    Seat(HOLDERS[0], "Zug Treuhand", Role.KEYHOLDER, Jurisdiction.CH),
    Seat(HOLDERS[1], "Dublin Trust", Role.KEYHOLDER, Jurisdiction.EU),
    Seat(HOLDERS[2], "London Notaries", Role.KEYHOLDER, Jurisdiction.UK),
)
FOUR = (CN, EU, UK, SHOP)
GOOD = {Kind.ACCEPTED, Kind.QUERY_COMMITTED, Kind.QUERY_ENDORSED, Kind.QUERY_REVEALED}
PRIVATE = AgreementKey(bytes(range(32)))
"""The half of the order's sealing key that stays with the proposer."""


def sealing_to(order: WorkOrder, private: AgreementKey = PRIVATE) -> WorkOrder:
    """The order whose answer can be opened with `private`."""
    return replace(order, parameters={**order.parameters, "sealing": private.public.hex()})


def question(simulation: Simulation, cohort: Sequence[PartyId] = FOUR, **terms: Any) -> WorkOrder:
    return sealing_to(simulation.query(cohort=tuple(cohort), **{"minimum": 3, **terms}))


def cosigned(simulation: Simulation, party: PartyId, head: bytes) -> None:
    """Everybody else puts its name to a node's head."""
    others = [m.party for m in simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER)]
    blob = simulation.cosign(party, head, tuple(o for o in others if o != party))
    simulation.node(party).answer(simulation.letter(Kind.LEDGER_WITNESS, party, "", cosigned=blob))


@dataclass
class Pool:
    """A pool of keys on its way, as the aggregator carries it."""

    simulation: Simulation = field(repr=False)
    id: str = digest("a pool")
    serials: tuple[int, ...] = (0,)
    holders: tuple[PartyId, ...] = HOLDERS
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    deals: list[Deal] = field(default_factory=list, repr=False)
    commitments: list[KeyCommitment] = field(default_factory=list, repr=False)
    parts: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)

    def ask(self, kind: Kind, party: PartyId, **blobs: bytes) -> Envelope:
        if kind is not Kind.KEYS_BEGIN:
            return self.simulation.ask(kind, party, self.id, **blobs)
        body = {"serials": list(self.serials)}
        letter = self.simulation._question(kind, party, body, self.id, 0, blobs)
        return self.simulation.read(self.simulation.node(party).answer(letter))

    def join(self, party: PartyId) -> Envelope:
        reply = self.ask(Kind.KEYS_JOIN, party)
        if reply.kind is Kind.KEYS_JOINED:
            self.keys[party] = reply.blobs["key"]
        return reply

    def begin(self, party: PartyId) -> Envelope:
        reply = self.ask(Kind.KEYS_BEGIN, party, keys=pack(list(self.keys.values())))
        if reply.kind is Kind.KEYS_DEALT:
            fresh = [Deal.read(wire) for wire in unpack(reply.blobs["deals"])]
            self.deals += [deal for deal in fresh if deal not in self.deals]
        return reply

    def commit(self, party: PartyId) -> Envelope:
        mine = [deal.to_bytes() for deal in self.deals if deal.receiver == party]
        reply = self.ask(Kind.KEYS_COMMIT, party, deals=pack(mine))
        if reply.kind is Kind.KEYS_COMMITTED:
            fresh = [KeyCommitment.read(wire) for wire in unpack(reply.blobs["commitments"])]
            self.commitments += [said for said in fresh if said not in self.commitments]
        return reply

    def show(self, party: PartyId) -> Envelope:
        said = pack([commitment.to_bytes() for commitment in self.commitments])
        reply = self.ask(Kind.KEYS_SHOW, party, commitments=said)
        if reply.kind is Kind.KEYS_SHOWN:
            parts = iter(unpack(reply.blobs["parts"]))
            for serial in self.serials:
                for place in self.terms(serial).made_by(party):
                    self.parts[serial, place] = next(parts)
        return reply

    def steps(self):
        return (self.join, self.begin, self.commit, self.show)

    def made(self) -> "Pool":
        """The pool, made to the end."""
        for step in self.steps():
            for party in self.holders:
                reply = step(party)
                assert reply.kind is not Kind.FAILED, (step, party)
        return self

    def terms(self, serial: int = 0):
        return terms(epoch(self.simulation.roster, self.id, self.keys.values()), 2, serial)

    def package(self, serial: int = 0) -> Package:
        named = self.terms(serial)
        said = tuple(one for one in self.commitments if one.key == named.digest)
        parts = tuple(self.parts[serial, place] for place in range(len(named.pieces)))
        return Package(named, said, parts)


@dataclass
class Joint:
    """A question on its way, as the aggregator carries it."""

    simulation: Simulation = field(repr=False)
    order: WorkOrder = field(repr=False)
    package: bytes = field(repr=False)
    parties: tuple[PartyId, ...] = FOUR
    commitments: dict[PartyId, bytes] = field(default_factory=dict, repr=False)
    endorsements: dict[PartyId, bytes] = field(default_factory=dict, repr=False)
    chunks: dict[PartyId, bytes] = field(default_factory=dict, repr=False)
    boxes: dict[PartyId, bytes] = field(default_factory=dict, repr=False)

    def offer(self, party: PartyId) -> Envelope:
        reply = self.simulation.offer(party, self.order)
        if reply.kind is Kind.ACCEPTED:
            cosigned(self.simulation, party, reply.blobs["head"])
        return reply

    def commit(self, party: PartyId, package: bytes | None = None) -> Envelope:
        reply = self.ask(Kind.QUERY_COMMIT, party, key=self.package if package is None else package)
        if reply.kind is Kind.QUERY_COMMITTED:
            self.commitments[party] = reply.blobs["commitment"]
        return reply

    def endorse(self, party: PartyId, commitments: Collection[bytes] | None = None) -> Envelope:
        said = pack(list(self.commitments.values() if commitments is None else commitments))
        reply = self.ask(Kind.QUERY_ENDORSE, party, commitments=said)
        if reply.kind is Kind.QUERY_ENDORSED:
            self.endorsements[party] = reply.blobs["endorsement"]
        return reply

    def reveal(self, party: PartyId, endorsements: Collection[bytes] | None = None) -> Envelope:
        signed = pack(list(self.endorsements.values() if endorsements is None else endorsements))
        reply = self.ask(Kind.QUERY_REVEAL, party, endorsements=signed)
        if reply.kind is Kind.QUERY_REVEALED:
            self.chunks[party] = reply.blobs["chunks"]
        return reply

    def ask(self, kind: Kind, party: PartyId, **blobs: bytes) -> Envelope:
        return self.simulation.ask(kind, party, self.order.id, **blobs)

    def answered(self) -> "Joint":
        """The question, with everybody's ciphertexts on the table."""
        for step in (self.offer, self.commit, self.endorse, self.reveal):
            for party in self.parties:
                reply = step(party)
                assert reply.kind in GOOD, (step, party, reply.kind, reply.body)
        return self

    def open_letter(
        self, party: PartyId, body: Mapping[str, Any] | None = None, **changes: bytes
    ) -> bytes:
        blobs = {
            "order": self._signed(),
            "commitments": pack(list(self.commitments.values())),
            "endorsements": pack(list(self.endorsements.values())),
            **{f"of:{name}": chunks for name, chunks in self.chunks.items()},
            **{name.replace("of_", "of:"): blob for name, blob in changes.items()},
        }
        named = {"key": Package.read(self.package).terms.digest, **(body or {})}
        return self.simulation._question(Kind.QUERY_OPEN, party, named, self.order.id, 0, blobs)

    def open_once(self, party: PartyId, letter: bytes | None = None) -> Envelope:
        """What a keyholder answers to one letter."""
        wire = letter or self.open_letter(party)
        return self.simulation.read(self.simulation.node(party).answer(wire))

    def open(self, party: PartyId, letter: bytes | None = None) -> Envelope:
        """What it answers when it has what it lacks; its opening is cosigned by everybody else."""
        wire = letter or self.open_letter(party)
        reply = self.open_once(party, wire)
        if reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "witness":
            cosigned(self.simulation, party, reply.blobs["head"])
            reply = self.open_once(party, wire)
        if reply.kind is Kind.QUERY_OPENED:
            self.boxes[party] = reply.blobs["sealed"]
        return reply

    def close(self, party: PartyId) -> Envelope:
        return self.ask(Kind.CLOSE, party)

    def _signed(self) -> bytes:
        from experiments.ordering import sign

        return sign(self.simulation.home, self.order)

    # -- the recipient -----------------------------------------------------------------------

    @property
    def joint(self):
        return Package.read(self.package).assemble(self.simulation.roster)

    @property
    def question(self) -> Question:
        joint = self.joint
        return question_of(self.order, self.simulation.roster, joint.terms, joint.digest)

    @property
    def listed(self) -> Listing:
        return listing(self.question, map(Commitment.read, self.commitments.values()))

    def partials(self, party: PartyId, private: AgreementKey = PRIVATE) -> list[Partial]:
        origin = Origin(self.order.id, party, self.listed.digest)
        return [Partial.read(wire) for wire in unseal(self.boxes[party], private, origin)]

    def answer(self, quorum: Collection[PartyId]) -> tuple[int, ...]:
        """What the recipient reads."""
        listed, chunks = self.listed, {p: unpack(blob) for p, blob in self.chunks.items()}
        totals = [
            add(listed, at, {party: wires[at] for party, wires in chunks.items()})
            for at in range(listed.question.layout.chunks)
        ]
        found = [partial for party in quorum for partial in self.partials(party)]
        return opening.combine(self.joint.terms, totals, found)


def federation(folder) -> Simulation:
    """A federation with three keyholders."""
    return Simulation(folder, seats=SEATS)
