"""Envelopes, rosters, orders, mandates and what is kept of them."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from aggregator.letters import Desk
from clients import consents, persons, standing
from experiments.founding import AGGREGATOR
from federation import (
    countersignatures,
    envelopes,
    exchanges,
    joint_keys,
    mandates,
    orders,
    riding,
    roster_chain,
    secure_sums,
)
from federation.control import captures, frames
from federation.covers import uncover
from federation.envelopes import Envelope
from federation.messages import Kind
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey
from tests import rosters
from tests.covers import MEMBERS, NODE, OPENING, PIN, TABLE, sealed
from tests.parsers.keys import commitment, endorsement, package
from tests.parsers.ledgers import request, the_seen
from tests.parsers.making import (
    Parser,
    a_federation,
    a_query,
    of_file,
    of_mapping,
    of_text,
    resigned,
    values,
)
from tests.parsers.sums import epoch_key
from tests.simulator import CN, EU


def parsers() -> Iterator[Parser]:
    yield Parser(
        ("secure_compute.canonical.decode",),
        canonical.decode,
        values({"a": [1, "x", None, True], "b": {}}),
    )
    yield Parser(
        (
            "federation.covers.uncover",
            "federation.covers.is_cover",
            "secure_compute.primitives.hpke.OpeningKey.open",
        ),
        lambda wire: uncover(wire, [OPENING], TABLE, PIN),
        lambda: [sealed()],
    )
    yield Parser(
        ("federation.exchanges.open_exchange", "federation.exchanges.is_exchange"),
        lambda wire: exchanges.open_exchange(wire, b"old", MEMBERS[0], PIN),
        lambda: [exchanges.sign_exchange(b"-----BEGIN", b"old", NODE, PIN, rosters.key(NODE))],
    )
    yield Parser(("federation.envelopes.parse",), envelopes.parse, _letters)
    yield Parser(("federation.envelopes.open_envelope",), _opened, _letters)
    yield Parser(("federation.envelopes.open_own",), _own, _letters)
    yield Parser(("federation.envelopes.is_signed_by",), _signed, _letters)
    yield Parser(("aggregator.letters.Desk.read",), _answered, _replies)
    yield Parser(("clients.node.Node.answer",), _asked_anew, _letters)
    yield Parser(
        (
            *(f"federation.roster_chain.{name}" for name in ("open_roster", "history", "extended")),
            *(f"federation.roster_changes.read_{of}" for of in ("founding", "change", "member")),
            "federation.membership.Member.from_json",
        ),
        lambda wire: roster_chain.open_roster(wire, roster_chain.pin_of(wire)),
        lambda: [chain.wire for chain in rosters.of_every_kind()],
    )
    yield Parser(
        ("federation.orders.open_order",),
        lambda wire: resigned(
            a_federation().key(a_federation().home.analyst),
            lambda signed: orders.open_order(signed, a_federation().roster),
        )(wire),
        lambda: [_signed_order()],
    )
    yield Parser(
        ("federation.orders.read_order",),
        orders.read_order,
        lambda: [_signed_order(), _countersigned()],
    )
    yield Parser(
        ("federation.mandates.Mandate.parse", "federation.mandates.mandate_of"),
        of_text(mandates.Mandate.parse),
        lambda: [str(_mandate()).encode()],
        text=True,
    )
    yield Parser(
        ("federation.countersignatures.listed", "federation.orders.open_order"),
        lambda tail: orders.open_order(
            _signed_order() + countersignatures.SEPARATOR + tail, a_federation().roster
        ),
        lambda: [
            countersignatures.divided(one)[1] or b"" for one in (_countersigned(), _by_person())
        ],
    )
    apart = ("taken_apart", "divided", "attached")
    yield Parser(
        tuple(f"federation.countersignatures.{name}" for name in apart),
        lambda wire: countersignatures.attached(wire, countersignatures.taken_apart(wire)[1]),
        lambda: [_signed_order(), _countersigned()],
    )
    yield Parser(
        ("clients.consents.read_word",),
        _word_read,
        lambda: [canonical.encode(_word().to_json())],
    )
    yield Parser(
        ("clients.standing.standing_from_json",),
        of_mapping(standing.standing_from_json),
        lambda: [canonical.encode(standing.read_standing(_ENVELOPE).to_json())],
    )
    yield Parser(
        ("clients.standing.read_standing",),
        of_text(standing.read_standing),
        lambda: [_ENVELOPE.encode()],
        text=True,
    )
    yield Parser(
        ("clients.persons.Persons.read",),
        _envelope_read,
        lambda: [_kept_envelope()],
    )
    yield Parser(
        ("federation.riding.unpack",),
        riding.unpack,
        lambda: [riding.pack({"a": b"12", "b": b"", "c": bytes(70)})],
    )
    yield Parser(
        ("federation.riding.unpack_cosigned",),
        riding.unpack_cosigned,
        lambda: [riding.pack_cosigned({"note": {"w": "line", "v": "other"}})],
    )
    yield Parser(
        ("federation.control.frames.Assembly.add",), _assembled, lambda: [_frames(), _frames(4)]
    )
    yield Parser(
        ("federation.control.captures.read_capture",),
        of_file(captures.read_capture, "capture"),
        lambda: [b"".join(len(p).to_bytes(4, "big") + p for p in (b"one", b"", b"three"))],
    )


LIAR: Final = SigningKey(bytes(range(32)))


@cache
def _signed_order() -> bytes:
    from experiments.ordering import sign

    return sign(a_federation().home, a_query())


def _countersigned() -> bytes:
    simulation = a_federation()
    name = simulation.home.name
    given = {EU: countersignatures.countersign(name, a_query().id, EU, simulation.key(EU))}
    return countersignatures.attached(_signed_order(), given)


_PERSON: Final = SigningKey(bytes([77] * 32))


def _mandate() -> mandates.Mandate:
    simulation = a_federation()
    identity, until = simulation.key(EU), 2**40
    return mandates.mandate(simulation.home.name, EU, _PERSON.verify_key, until, identity)


def _by_person() -> bytes:
    name, order = a_federation().home.name, a_query().id
    given = {EU: countersignatures.countersign_for(name, order, _mandate(), _PERSON)}
    return countersignatures.attached(_signed_order(), given)


_ENVELOPE: Final = """
kinds = ["query"]
reads = [{contract = "orders", version = 1, columns = ["amount"]}]
purposes = ["market_statistics"]
legal_bases = ["contract"]
recipients = ["analyst"]
organisations = 3
epsilon = "0.5"
delta = "0.000001"
total_epsilon = "1.0"
total_delta = "0.00001"
days = 30
begins = 0
expires = 2000000000
"""


def _word(about: str = "0" * 64) -> consents.SignedWord:
    word = consents.Statement(
        federation=a_federation().home.name,
        party=CN,
        about=about,
        person="Officer",
        said="yes",
        reason="as agreed",
        at=1,
    )
    return consents.say(word, LIAR, a_federation().key(CN))


def _word_read(data: bytes) -> object:
    own = a_federation().key(CN).verify_key
    return consents.read_word(data, own, CN, a_federation().home.name)


def _kept_envelope() -> bytes:
    terms = standing.read_standing(_ENVELOPE)
    return persons.kept_form(terms, _word(terms.id).to_json())


def _envelope_read(data: bytes) -> object:
    known = a_federation().node(CN)._judge.persons
    assert known is not None
    return known.read(standing.read_standing(_ENVELOPE).id, data)


@cache
def _letters() -> list[bytes]:
    """Letters of the aggregator to one node, one of every kind that nodes answer."""
    of = a_query().id
    bodies: dict[Kind, dict[str, Any]] = {
        Kind.KEYS_BEGIN: {"serials": [0, 1]},
        Kind.LEDGER_SEEN: {"about": {CN: "0" * 64}},
        Kind.CLOSE: {"reason": "done"},
        Kind.QUERY_OPEN: {"places": [0, 1]},
        Kind.TRAIN_ROUND: {"round": 0, "cohort": [CN, "warehouse-eu"]},
        Kind.SUM_ROUND: {"round": 0, "cohort": [CN, "warehouse-eu"]},
    }
    blobs: dict[Kind, dict[str, bytes]] = {
        Kind.PROPOSE: {"order": _signed_order()},
        Kind.OFFER: {"order": _signed_order()},
        Kind.SUM_ROUND: {"keys": secure_sums.pack_keys([epoch_key()]), "weights": bytes(8)},
        Kind.QUERY_COMMIT: {"key": package()},
        Kind.QUERY_ENDORSE: {"commitments": joint_keys.pack([commitment()])},
        Kind.QUERY_REVEAL: {"endorsements": joint_keys.pack([endorsement()])},
        Kind.LEDGER_WITNESS: {
            "cosigned": riding.pack_cosigned({"n": {"w": "l"}}),
            "seen": riding.pack({"a": the_seen()}),
            "heads": riding.pack({CN: request()}),
        },
    }
    asked = [kind for kind in Kind if kind in a_federation().node(CN)._steps()]
    return [
        envelopes.seal(
            Envelope(kind, AGGREGATOR, CN, of, 0, bodies.get(kind, {}), blobs.get(kind, {})),
            a_federation().key(AGGREGATOR),
        )
        for kind in asked
    ]


@cache
def _replies() -> list[bytes]:
    refusal = {
        "kind": "policy",
        "reasons": [{"id": "R-1", "law": "l", "en": "no", "zh": "no"}],
        "fixes": [],
        "nearest": ["privacy.epsilon=0.1"],
    }
    said = [
        Envelope(kind, CN, AGGREGATOR, "o", 0, body)
        for kind, body in ((Kind.ACCEPTED, {}), (Kind.REFUSED, refusal), (Kind.FAILED, {}))
    ]
    return [envelopes.seal(one, a_federation().key(CN)) for one in said]


def _sealed_anew(wire: bytes, sender: PartyId) -> bytes:
    """Return the letter with its header signed by who it should be from."""
    start = len(envelopes.MAGIC) + 4
    end = start + int.from_bytes(wire[len(envelopes.MAGIC) : start], "big")
    header = wire[start:end]
    return wire[:end] + a_federation().key(sender).sign(header) + wire[end + SIGNATURE_SIZE :]


def _opened(wire: bytes) -> object:
    signed = _sealed_anew(wire, AGGREGATOR)
    return envelopes.open_envelope(signed, a_federation().roster, CN)


def _own(wire: bytes) -> object:
    signed = _sealed_anew(wire, AGGREGATOR)
    return envelopes.open_own(signed, a_federation().roster, AGGREGATOR, CN)


def _signed(wire: bytes) -> object:
    return envelopes.is_signed_by(wire, a_federation().roster.find(AGGREGATOR).identity)


def _asked_anew(wire: bytes) -> object:
    return a_federation().node(CN).answer(_sealed_anew(wire, AGGREGATOR))


def _answered(wire: bytes) -> object:
    simulation = a_federation()
    desk = Desk(party=AGGREGATOR, key=simulation.key(AGGREGATOR), roster=simulation.roster)
    return desk.read(Kind.OFFER, "o", 0, CN, _sealed_anew(wire, CN))


def _frames(size: int = 0) -> bytes:
    message = frames.Message(7, frames.Kind.REQUEST, b"x" * size)
    return joint_keys.pack(list(frames.cut(message)))


def _assembled(data: bytes) -> object:
    assembly = frames.Assembly({frames.Kind.REQUEST})
    return [assembly.add(frame) for frame in joint_keys.unpack(data)]
