"""Every function that reads what came from outside the process, and bytes that it reads.

A parser is listed under the names of all functions that its bytes go through, by module. Where a
signature would hide the rest, the bytes are signed again first, as a member that lies would.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from aggregator import certifying, hosting, key_batch, registry, safetensors, stored
from aggregator import settings as aggregator_settings
from aggregator import stores as aggregator_stores
from aggregator.cards import Card
from aggregator.errors import AggregatorError
from aggregator.letters import Desk
from aggregator.training import read_update
from clients import app as client_app
from clients import consent, consents, persons, standing
from clients import settings as client_settings
from clients.approvals import Signed
from clients.errors import ClientError
from experiments.bench_threshold import Bench
from experiments.errors import ExperimentError
from experiments.founding import AGGREGATOR
from experiments.verifying import verify_file
from federation import (
    countersignatures,
    enrolment,
    ensembles,
    envelopes,
    evaluation,
    exchanges,
    invitations,
    joint_keys,
    kept_answers,
    knocks,
    mandates,
    orders,
    riding,
    roster_chain,
    sealed_answers,
    secure_sums,
    tasks,
    views,
)
from federation.boosted import Boosted
from federation.boosting import Boosting
from federation.control import captures, frames
from federation.covers import uncover
from federation.envelopes import Envelope
from federation.errors import FederationError
from federation.evaluation import ForecastSums, ScoreSums
from federation.feature_scales import Bins
from federation.informed import Informed
from federation.key_rates import Key
from federation.ledger import entries, notes, seen, withheld, witness
from federation.ledger.export import Export
from federation.ledger.receipt import Receipt, verify_receipt
from federation.ledger.succession import Succession
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest
from federation.losses import Pinball, loss_from_json, loss_to_json
from federation.matching import MatchTask
from federation.membership import Member as Party
from federation.messages import Kind
from federation.models import ModelSpec
from federation.pairing import Pair, advertise
from federation.partitions import Effect
from federation.people import calling, passkeys
from federation.queries import answers, tree
from federation.queries import parse as queries
from federation.recipes import Recipe
from federation.scaled import Scaled
from federation.second_order import SecondOrder
from federation.sequences import SequenceSpec, network_from_json
from federation.sum_recipes import SumRecipe
from federation.vault_file import VaultFile, wrapped
from policies import cases, contracts, engine
from policies.budget import events
from policies.errors import PolicyError
from policies.law import packs
from policies.parties import Jurisdiction, PartyId
from policies.parties import Role as Office
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import SecureComputeError
from secure_compute.primitives import authority, certificates, node_keys
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey
from secure_compute.primitives.vault import Vault
from secure_compute.psi import inner, messages, opening, session, summing, tokens
from secure_compute.psi.consent import Consent
from secure_compute.psi.sets import Book
from secure_compute.psi.terms import Reveals, Role
from secure_compute.psi.terms import Terms as PsiTerms
from secure_compute.psi.values import Value
from secure_compute.secagg import memory, ratchet, sharing, unmasking, upload
from secure_compute.secagg import messages as sums
from secure_compute.secagg.epoch import EpochKey, Member
from secure_compute.secagg.params import Parameters
from secure_compute.secagg.ring import Ring
from secure_compute.secagg.terms import Terms as SumTerms
from secure_compute.threshold import ciphertext, keyholder, listing, party, pieces, pool, residues
from secure_compute.threshold import memory as threshold_memory
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.params import PRIMES
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms as KeyTerms
from tests import certified, ledgers, masked, matched, rosters, summed
from tests.authenticator import Authenticator
from tests.boosts import RECIPE as BOOSTING
from tests.covers import MEMBERS, NODE, OPENING, PIN, TABLE, sealed
from tests.queries_cases import CASES
from tests.queries_table import contract as query_contract
from tests.simulator import CN, EU, Simulation, recipe, sum_recipe
from tests.vaults import Given

REFUSALS: Final = (
    PolicyError,
    SecureComputeError,
    FederationError,
    ClientError,
    AggregatorError,
    ExperimentError,
)
"""What a parser may raise: errors that say who is at fault. Anything else is a crash."""

_CASES_AT: Final = 20_000


@dataclass(frozen=True)
class Parser:
    """One way in. names: the functions that it goes through; valid: makes bytes that are read."""

    names: tuple[str, ...]
    read: Callable[[bytes], object]
    valid: Callable[[], Sequence[bytes]]
    text: bool = False

    @property
    def name(self) -> str:
        return self.names[0]


def parsers() -> tuple[Parser, ...]:
    """Return all of them."""
    first = (_law, _agreement, _joins, _recipes, _questions)
    groups = (*first, _ledgers, _sums, _keys, _matches, _shells)
    return tuple(parser for group in groups for parser in group())


# -- what parsers are made of ----------------------------------------------------------------------


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of text: what is no UTF-8 comes with signs that none has."""
    return lambda data: read(data.decode("utf-8", "replace"))


def _value(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of a JSON value that came in canonical bytes."""
    return lambda data: read(canonical.decode(data))


def _mapping(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of a JSON object; whoever calls it has seen that it is one."""

    def reading(data: bytes) -> object:
        value = canonical.decode(data)
        return read(value) if isinstance(value, dict) else None

    return reading


def _object(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [canonical.encode(value.to_json()) for value in values]


def _plain(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [canonical.encode(value) for value in values]


def _resigned(key: SigningKey, read: Callable[[bytes], object], label: bytes = b"") -> Any:
    """A reader of a signature and a body; the body is signed anew by a member that lies."""

    def reading(wire: bytes) -> object:
        body = wire[SIGNATURE_SIZE:]
        return read(key.sign(label + body) + body)

    return reading


def _in_a_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def reading(data: bytes) -> object:
        path = _folder() / name
        path.write_bytes(data)
        found = read(path)
        return list(found) if isinstance(found, Iterator) else found

    return reading


@cache
def _folder() -> Path:
    kept = tempfile.TemporaryDirectory(prefix="parsers-")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: Final[list[object]] = []


@cache
def _federation() -> Simulation:
    return Simulation(_folder() / "federation")


@cache
def _asked() -> Any:
    return _federation().query()


# -- policies --------------------------------------------------------------------------------------


def _law() -> Iterator[Parser]:
    made = (
        events.Composed((events.Gaussian(10), events.Repeated(events.Gaussian(Decimal("1.5")), 3))),
        events.Approximate(events.Skellam(1, 10**9, 300, 40), Decimal("1e-9")),
        events.Grouped(events.SampledGaussian(Decimal("0.1"), 2), 3),
        events.Mixture(2, (Decimal("0.75"), Decimal("0.25"))),
        events.Grouped(events.DiscreteLaplace(2, 3), 2),
    )
    texts = [events.dumps(event).encode() for event in made]
    yield Parser(
        ("policies.budget.events.from_json",), _value(events.from_json), lambda: list(texts)
    )
    yield Parser(("policies.budget.events.loads",), _text(events.loads), lambda: list(texts))
    yield Parser(
        ("policies.contracts.load_contract",),
        _text(contracts.load_contract),
        lambda: [(_federation().folder(CN) / "contract" / "orders.toml").read_bytes()],
        text=True,
    )
    yield Parser(
        ("policies.cases.load_cases",),
        _text(lambda text: cases.load_cases(text, Jurisdiction.CN, _CASES_AT)),
        lambda: [cases.default_table().encode()],
        text=True,
    )
    yield Parser(
        ("policies.law.packs.load_pack",), _text(packs.load_pack), lambda: _law_files("toml"), True
    )
    yield Parser(
        ("policies.engine.load_law",),
        _text(lambda text: engine.load_law([text], _schema())),
        lambda: [(_federation().folder(CN) / "policy" / "base.cedar").read_bytes()],
        text=True,
    )


def _law_files(kind: str) -> list[bytes]:
    folder = Path(packs.__file__).parent
    found = sorted(path for path in folder.rglob(f"*.{kind}") if path.name != cases.NAME)
    return [path.read_bytes() for path in found]


def _schema() -> str:
    return next(Path(packs.__file__).parent.rglob("*.cedarschema")).read_text()


# -- envelopes, rosters, orders --------------------------------------------------------------------


def _agreement() -> Iterator[Parser]:
    yield Parser(
        ("secure_compute.canonical.decode",),
        canonical.decode,
        _plain({"a": [1, "x", None, True], "b": {}}),
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
        lambda wire: _resigned(
            _federation().key(_federation().home.analyst),
            lambda signed: orders.open_order(signed, _federation().roster),
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
        _text(mandates.Mandate.parse),
        lambda: [str(_mandate()).encode()],
        text=True,
    )
    yield Parser(
        ("federation.countersignatures.listed", "federation.orders.open_order"),
        lambda tail: orders.open_order(
            _signed_order() + countersignatures.SEPARATOR + tail, _federation().roster
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
        _mapping(standing.standing_from_json),
        lambda: [canonical.encode(standing.read_standing(_ENVELOPE).to_json())],
    )
    yield Parser(
        ("clients.standing.read_standing",),
        _text(standing.read_standing),
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
        _in_a_file(captures.read_capture, "capture"),
        lambda: [b"".join(len(p).to_bytes(4, "big") + p for p in (b"one", b"", b"three"))],
    )


_LIAR: Final = SigningKey(bytes(range(32)))


@cache
def _signed_order() -> bytes:
    from experiments.ordering import sign

    return sign(_federation().home, _asked())


def _countersigned() -> bytes:
    simulation = _federation()
    name = simulation.home.name
    given = {EU: countersignatures.countersign(name, _asked().id, EU, simulation.key(EU))}
    return countersignatures.attached(_signed_order(), given)


_PERSON: Final = SigningKey(bytes([77] * 32))


def _mandate() -> mandates.Mandate:
    simulation = _federation()
    identity, until = simulation.key(EU), 2**40
    return mandates.mandate(simulation.home.name, EU, _PERSON.verify_key, until, identity)


def _by_person() -> bytes:
    name, order = _federation().home.name, _asked().id
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
        federation=_federation().home.name,
        party=CN,
        about=about,
        person="Officer",
        said="yes",
        reason="as agreed",
        at=1,
    )
    return consents.say(word, _LIAR, _federation().key(CN))


def _word_read(data: bytes) -> object:
    own = _federation().key(CN).verify_key
    return consents.read_word(data, own, CN, _federation().home.name)


def _kept_envelope() -> bytes:
    terms = standing.read_standing(_ENVELOPE)
    return persons.kept_form(terms, _word(terms.id).to_json())


def _envelope_read(data: bytes) -> object:
    known = _federation().node(CN)._judge.persons
    assert known is not None
    return known.read(standing.read_standing(_ENVELOPE).id, data)


@cache
def _letters() -> list[bytes]:
    """Letters of the aggregator to one node, one of every kind that nodes answer."""
    of = _asked().id
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
        Kind.SUM_ROUND: {"keys": secure_sums.pack_keys([_epoch_key()]), "weights": bytes(8)},
        Kind.QUERY_COMMIT: {"key": _package()},
        Kind.QUERY_ENDORSE: {"commitments": joint_keys.pack([_commitment()])},
        Kind.QUERY_REVEAL: {"endorsements": joint_keys.pack([_endorsement()])},
        Kind.LEDGER_WITNESS: {
            "cosigned": riding.pack_cosigned({"n": {"w": "l"}}),
            "seen": riding.pack({"a": _seen()}),
            "heads": riding.pack({CN: _request()}),
        },
    }
    asked = [kind for kind in Kind if kind in _federation().node(CN)._steps()]
    return [
        envelopes.seal(
            Envelope(kind, AGGREGATOR, CN, of, 0, bodies.get(kind, {}), blobs.get(kind, {})),
            _federation().key(AGGREGATOR),
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
    return [envelopes.seal(one, _federation().key(CN)) for one in said]


def _sealed_anew(wire: bytes, sender: PartyId) -> bytes:
    """Return the letter with its header signed by who it should be from."""
    start = len(envelopes.MAGIC) + 4
    end = start + int.from_bytes(wire[len(envelopes.MAGIC) : start], "big")
    header = wire[start:end]
    return wire[:end] + _federation().key(sender).sign(header) + wire[end + SIGNATURE_SIZE :]


def _opened(wire: bytes) -> object:
    signed = _sealed_anew(wire, AGGREGATOR)
    return envelopes.open_envelope(signed, _federation().roster, CN)


def _own(wire: bytes) -> object:
    signed = _sealed_anew(wire, AGGREGATOR)
    return envelopes.open_own(signed, _federation().roster, AGGREGATOR, CN)


def _signed(wire: bytes) -> object:
    return envelopes.is_signed_by(wire, _federation().roster.find(AGGREGATOR).identity)


def _asked_anew(wire: bytes) -> object:
    return _federation().node(CN).answer(_sealed_anew(wire, AGGREGATOR))


def _answered(wire: bytes) -> object:
    simulation = _federation()
    desk = Desk(party=AGGREGATOR, key=simulation.key(AGGREGATOR), roster=simulation.roster)
    return desk.read(Kind.OFFER, "o", 0, CN, _sealed_anew(wire, CN))


def _frames(size: int = 0) -> bytes:
    message = frames.Message(7, frames.Kind.REQUEST, b"x" * size)
    return joint_keys.pack(list(frames.cut(message)))


def _assembled(data: bytes) -> object:
    assembly = frames.Assembly({frames.Kind.REQUEST})
    return [assembly.add(frame) for frame in joint_keys.unpack(data)]


# -- recipes and tasks -----------------------------------------------------------------------------


def _joins() -> Iterator[Parser]:
    """What passes between an entrant, the join service and members."""
    yield Parser(
        ("federation.invitations.Token.parse",),
        _text(invitations.Token.parse),
        lambda: [str(_TOKEN).encode()],
        text=True,
    )
    yield Parser(
        ("federation.enrolment.open_enrolment",),
        _resigned(
            _LIAR, lambda w: enrolment.open_enrolment(w, "harbour"), b"entrepot enrolment/1\n"
        ),
        lambda: [enrolment.sign_enrolment(_enrolment(), _LIAR)],
    )
    yield Parser(
        ("federation.enrolment.read_offer",), enrolment.read_offer, lambda: _object(_offer())()
    )
    yield Parser(
        ("federation.knocks.read_knock",),
        knocks.read_knock,
        lambda: [knocks.Knock("0" * 16, bytes(20), "a" * 64, b"enrolment").to_bytes()],
    )
    yield from _people()
    asked = views.Request(b"enrolment", "certificate", (PartyId("a"),))
    yield Parser(
        ("federation.views.read_view",),
        views.read_view,
        lambda: [views.View(b"c", b"f", (PartyId("b"),), 2, (asked,)).to_bytes()],
    )
    yield Parser(
        ("federation.views.read_signature",),
        views.read_signature,
        lambda: [views.Signature("a" * 64, bytes(64)).to_bytes()],
    )
    yield Parser(
        ("clients.consent.read_consent",),
        _resigned(
            _LIAR,
            lambda w: consent.read_consent(w, _LIAR.verify_key),
            b"entrepot consent to a policy card/1\n",
        ),
        lambda: [
            bytes(64) + canonical.encode(consent.Consent(PartyId("a"), "b" * 64, 1).to_json())
        ],
    )
    yield Parser(
        ("secure_compute.primitives.authority.read_request",),
        lambda pem: authority.read_request(pem, "cn"),
        lambda: [authority.request_certificate(_folder() / "asked.key", "cn")],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.authority.key_pin",),
        authority.key_pin,
        lambda: [_authority().certificate],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.authority.load_authority",),
        _in_a_file(lambda path: authority.load_authority(path.parent), "ca.key"),
        lambda: [_made_authority()],
        text=True,
    )
    yield Parser(
        ("aggregator.hosting.load_hosting",),
        _in_a_file(lambda path: hosting.load_hosting(path.parent), "aggregator.toml"),
        lambda: [(_federation().home.aggregator / "aggregator.toml").read_bytes()],
        text=True,
    )


_TOKEN: Final = invitations.Token("join.example", 9447, bytes(32), bytes(8), bytes(20), 1 << 40)


def _people() -> Iterator[Parser]:
    """What people say at their door; what an authenticator says comes in it."""
    phone = Authenticator(id=b"i" * 16, key=derive_private_key(7, SECP256R1()))
    challenge, site = b"c" * 32, passkeys.Site(phone.host, phone.origin)
    kept = passkeys.registered(phone.register(challenge), challenge, site)
    yield Parser(
        ("federation.people.calling.read_call",),
        calling.read_call,
        lambda: [calling.Call("00" * 32, {"person": "ana", "code": "123456"}).to_bytes()],
    )
    yield Parser(
        ("federation.people.passkeys.registered",),
        _mapping(lambda said: passkeys.registered(said, challenge, site)),
        _plain(phone.register(challenge)),
    )
    yield Parser(
        ("federation.people.passkeys.asserted",),
        _mapping(lambda said: passkeys.asserted(said, challenge, site, kept)),
        _plain(phone.answer(challenge)),
    )


def _enrolment() -> enrolment.Enrolment:
    return enrolment.Enrolment(
        federation="harbour",
        invitation="0" * 16,
        member=Party(PartyId("cn"), "Ningbo", Office.MERCHANT, Jurisdiction.CN, _LIAR.verify_key),
        request="a request",
        flower="a line",
        card="a" * 64,
    )


def _offer() -> enrolment.Offer:
    return enrolment.Offer(
        federation="harbour",
        party=PartyId("cn"),
        organisation="Ningbo",
        role=Office.MERCHANT,
        jurisdiction=Jurisdiction.CN,
        host=_enrolment().member,
        authority="a certificate",
        fleet="a:1",
        stream="a:2",
        threshold=2,
        colluding=1,
        pin="",
    )


@cache
def _made_authority() -> bytes:
    authority.create_authority(_folder(), datetime(2026, 5, 1, tzinfo=UTC))
    return (_folder() / "ca.key").read_bytes()


def _recipes() -> Iterator[Parser]:
    of = "federation"
    series = SequenceSpec("gru", 2, 2, 1, 3)
    scaled = Scaled(
        bins=Bins(count=33, reach=Decimal(12)),
        releases=1,
        bound=Decimal(8),
        then=sum_recipe(model=ModelSpec((3, 1))).method,
    )
    key = Key(column="category", domain=("a", "b"))
    informed = Informed(
        keys=(key,),
        releases=1,
        then=sum_recipe(model=ModelSpec((4, 1))).method,
        event_clip=Decimal("1.2"),
        row_clip=Decimal(8),
    )
    measured = sum_recipe(holdout=Decimal("0.2"), evaluation=ScoreSums(8, 2))
    whole = [recipe(), sum_recipe(), measured]
    trained = tasks.TrainingTask("demand", 1, 0, recipe())
    forecasts = ForecastSums(4, Decimal(2), Decimal("0.5"))
    boosted = Boosted(boosting=BOOSTING, seed=3)
    rows: tuple[tuple[str, Callable[[Any], object], Callable[[], list[bytes]]], ...] = (
        ("models.ModelSpec.from_json", ModelSpec.from_json, _object(ModelSpec((4, 3, 1)))),
        ("sequences.SequenceSpec.from_json", SequenceSpec.from_json, _object(series)),
        ("sequences.network_from_json", network_from_json, _object(series, ModelSpec((4, 1)))),
        ("recipes.Recipe.from_json", Recipe.from_json, _object(recipe())),
        ("sum_recipes.SumRecipe.from_json", SumRecipe.from_json, _object(*whole[1:])),
        ("second_order.SecondOrder.from_json", SecondOrder.from_json, _object(sum_recipe().method)),
        ("scaled.Scaled.from_json", Scaled.from_json, _object(scaled)),
        ("informed.Informed.from_json", Informed.from_json, _object(informed)),
        ("boosting.Boosting.from_json", Boosting.from_json, _object(BOOSTING)),
        ("boosted.Boosted.from_json", Boosted.from_json, _object(boosted)),
        ("evaluation.from_json", evaluation.from_json, _object(ScoreSums(8, 2), forecasts)),
        ("tasks.read_recipe", tasks.read_recipe, _object(*whole)),
        ("tasks.TrainingTask.from_json", tasks.TrainingTask.from_json, _object(trained)),
    )
    for name, read, valid in rows:
        yield Parser((f"{of}.{name}",), _mapping(read), valid)
    yield Parser(
        (f"{of}.feature_scales.Bins.from_json",), _value(Bins.from_json), _object(scaled.bins)
    )
    yield Parser((f"{of}.key_rates.Key.from_json",), _value(Key.from_json), _object(key))
    yield Parser(
        (f"{of}.partitions.Effect.from_json",), _value(Effect.from_json), _object(*BOOSTING.effects)
    )
    yield Parser(
        (f"{of}.losses.loss_from_json",),
        _value(loss_from_json),
        _plain(loss_to_json(Pinball(Decimal("0.9"))), "bce"),
    )
    start = ensembles.to_bytes(ensembles.start(BOOSTING))
    yield Parser(
        (f"{of}.ensembles.from_bytes",),
        lambda data: ensembles.from_bytes(BOOSTING, data),
        lambda: [start],
    )
    yield Parser(
        ("aggregator.training.read_update",), lambda data: read_update(data, 3), lambda: [bytes(12)]
    )


# -- questions -------------------------------------------------------------------------------------


def _questions() -> Iterator[Parser]:
    of = "federation.queries"
    offered = {"orders": query_contract()}
    yield Parser(
        (f"{of}.parse.parse",),
        _text(lambda sql: queries.parse(sql, offered, _federation().roster.members)),
        lambda: [sql.encode() for sql in _statements()],
        text=True,
    )
    inside = (f"{of}.expressions.from_json", f"{of}.sources.read_source")
    yield Parser((f"{of}.tree.from_json", *inside), _value(tree.from_json), _plans)
    yield Parser(("federation.tasks.read_plan",), _mapping(tasks.read_plan), _plans)
    yield Parser(
        ("federation.tasks.QueryTask.from_json",),
        _mapping(tasks.QueryTask.from_json),
        lambda: [canonical.encode(_asked().parameters)],
    )
    answer = answers.Answer(
        keys=("category",),
        labels=("n",),
        units=("",),
        rows=(answers.Row(("home",), (_cell(),)),),
        contributors=3,
    )
    yield Parser(
        (f"{of}.answers.read_answer",),
        lambda data: answers.read_answer(_loose(data)),
        lambda: [json.dumps(answer.to_json()).encode()],
    )


def _loose(data: bytes) -> Any:
    """Read JSON as any library does: numbers that are none, keys that stand twice."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as why:
        raise FederationError("no JSON") from why


def _cell() -> answers.Cell:
    return answers.Cell("1", "0", "2", "")


def _statements() -> list[str]:
    return [*_NESTED, *(_statement(*clauses) for clauses in CASES)]


_NESTED: Final = (
    (
        "WITH firsts AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY day) AS n"
        " FROM orders) SELECT category, COUNT(*) FROM firsts WHERE n <= 2 GROUP BY category"
    ),
    "SELECT COUNT(*) AS n FROM orders GROUP BY category HAVING n > 3",
)


def _statement(select: str, where: str, group: str) -> str:
    keys = f"{group}, " if group else ""
    only = f" WHERE {where}" if where else ""
    return f"SELECT {keys}{select} FROM orders{only}" + (f" GROUP BY {group}" if group else "")


@cache
def _plans() -> list[bytes]:
    offered = {"orders": query_contract()}
    made = (queries.parse(sql, offered, _cohort()) for sql in _statements()[:40])
    return [canonical.encode(tree.to_json(plan)) for plan in made]


def _cohort() -> Any:
    return _federation().roster.members


# -- ledgers ---------------------------------------------------------------------------------------


def _ledgers() -> Iterator[Parser]:
    of, own = "federation.ledger", ledgers.KEYS["cn"]
    note = lambda: notes.sign(notes.Checkpoint(ledgers.origin("cn"), 3, bytes(32)), own)  # noqa: E731
    yield Parser((f"{of}.entries.decode",), entries.decode, _entries)
    yield Parser((f"{of}.notes.read",), _text(notes.read), lambda: [note().encode()], True)
    yield Parser(
        (f"{of}.notes.read_lines",),
        _text(notes.read_lines),
        lambda: [note().partition("\n\n")[2].encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.open_note",),
        _text(lambda text: notes.open_note(text, ledgers.named_key("cn"))),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.open_by_one",),
        _text(lambda text: notes.open_by_one(text, [ledgers.named_key("cn")])),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.succession.Succession.open",),
        _text(
            lambda text: Succession(ledgers.origin("cn")).open(text, ledgers.named_key("cn").key)
        ),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.NamedKey.parse",),
        _text(notes.NamedKey.parse),
        lambda: [str(ledgers.named_key("cn")).encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.trust.Trust.parse",),
        _text(Trust.parse),
        lambda: [str(ledgers.TRUST).encode()],
        True,
    )
    yield Parser(
        (f"{of}.witness.WitnessRequest.from_bytes",),
        WitnessRequest.from_bytes,
        lambda: [_request()],
    )
    line = lambda: witness.cosign(note(), ledgers.origin("eu"), ledgers.KEYS["eu"], 5)  # noqa: E731
    yield Parser(
        (f"{of}.witness.open_cosignature", f"{of}.witness.cosigners"),
        _text(_cosigned),
        lambda: [f"{note()}\f{line()}".encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.seen.open_seen",),
        _resigned(
            own, lambda wire: seen.open_seen(wire, ledgers.ROSTER, "n"), b"entrepot seen/1\n"
        ),
        lambda: [_seen(), seen.sign_seen(ledgers.origin("eu"), None, "n", 5, PartyId("cn"), own)],
    )
    yield Parser(
        (f"{of}.withheld.open_withheld",),
        _resigned(
            own,
            lambda wire: withheld.open_withheld(wire, ledgers.ROSTER, "o", "r"),
            b"entrepot withheld/1\n",
        ),
        lambda: [withheld.sign_withheld("o", "r", PartyId("cn"), own)],
    )
    yield Parser(
        (f"{of}.export.Export.from_bytes", f"{of}.verify.verify"),
        lambda data: verify(Export.from_bytes(data), ledgers.TRUST),
        lambda: [_export().to_bytes()],
    )
    yield Parser(
        (f"{of}.receipt.Receipt.from_bytes", f"{of}.receipt.verify_receipt"),
        lambda data: verify_receipt(Receipt.from_bytes(data), ledgers.TRUST),
        lambda: [_receipt()],
    )
    yield Parser(
        ("experiments.verifying.verify_file",),
        _in_a_file(lambda path: verify_file(path, None), "export.json"),
        lambda: [_export().to_bytes(), _receipt()],
    )


def _entries() -> list[bytes]:
    return [entries.encode(entry) for entry in ledgers.ordinary()]


@cache
def _export() -> Export:
    return ledgers.export(ledgers.founded())


def _receipt() -> bytes:
    log, path = _export().logs[0], ledgers.founded()["cn"].log
    with ledgers.reading(path.engine) as connection:
        size = path.size(connection)
        proof = path.inclusion(connection, 1, size)
    parts = (1, log.entries[1], proof, log.witnessed)
    return Receipt(ledgers.FEDERATION, log.origin, *parts).to_bytes()


@cache
def _request() -> bytes:
    party = ledgers.founded()["cn"]
    party.append(ledgers.ordinary("more"))
    return party.request().to_bytes()


@cache
def _seen() -> bytes:
    last = ledgers.signed("eu", 3, bytes(32))
    return seen.sign_seen(ledgers.origin("eu"), last, "n", 5, PartyId("cn"), ledgers.KEYS["cn"])


def _cosigned(text: str) -> object:
    note, _, line = text.partition("\f")
    witness.cosigners(note, [line], ledgers.TRUST)
    name = ledgers.origin("eu")
    return witness.open_cosignature(note, line, name, ledgers.KEYS["eu"].verify_key)


# -- secure sums -----------------------------------------------------------------------------------


@cache
def _round() -> Any:
    """A cohort, what it uploads, a request to open, an answer to it and states of both sides."""
    from secure_compute.secagg import aggregator

    made = masked.cohort(4, dimension=6)
    state, asked, sent = aggregator.Gathering(terms=made.terms), (), []
    for name, vector in masked.vectors(made).items():
        sent.append(made.submit(name, vector))
        state, asked = aggregator.receive(state, sent[-1])
    requests, openings = [*asked], []
    while state.phase is not aggregator.Phase.OPENED:
        said = [made.answer(name, request) for name, request in asked]
        openings = [message for message in said if message.kind is sums.Kind.OPEN]
        for message in said:
            state, asked = aggregator.receive(state, message)
        requests += asked
    return made, sent, requests, openings, state


def _sums() -> Iterator[Parser]:
    of = "secure_compute.secagg"
    cohort = masked.cohort(4, dimension=6)
    terms = cohort.terms
    sent, asked, opened = (lambda at=at: _round()[at] for at in (1, 2, 3))
    yield Parser((f"{of}.epoch.EpochKey.read",), EpochKey.read, lambda: [_epoch_key()])
    yield Parser(
        (f"{of}.epoch.Member.from_json",), _value(Member.from_json), _object(terms.members[0])
    )
    yield Parser((f"{of}.terms.Terms.from_json",), _value(SumTerms.from_json), _object(terms))
    yield Parser(
        (f"{of}.params.Parameters.from_json",),
        _mapping(Parameters.from_json),
        _object(terms.parameters),
    )
    yield Parser(
        (f"{of}.messages.Message.read", f"{of}.upload.read"),
        lambda wire: upload.read(terms, sums.Message.read(wire, terms)),
        lambda: [message.to_bytes(terms) for message in sent()],
    )
    yield Parser(
        (f"{of}.messages.Request.read",),
        sums.Request.read,
        lambda: [request.to_bytes() for _, request in asked()],
    )
    yield Parser(
        (f"{of}.unmasking.read_opening",),
        lambda wire: unmasking.read_opening(terms, sums.Message.read(wire, terms), terms.cohort),
        lambda: [message.to_bytes(terms) for message in opened()],
    )
    yield Parser(
        (f"{of}.memory.node_from_bytes",),
        memory.node_from_bytes,
        lambda: [memory.node_to_bytes(node) for node in _round()[0].nodes.values()],
    )
    yield Parser(
        (f"{of}.memory.gathering_from_bytes",),
        memory.gathering_from_bytes,
        lambda: [memory.gathering_to_bytes(_round()[4])],
    )
    yield Parser(
        (f"{of}.ring.Ring.unpack", f"{of}.ring.Ring.require"),
        lambda data: [Ring(bits).unpack(data, 6) for bits in (20, 32)],
        lambda: [Ring(bits).pack(np.arange(6, dtype=Ring(bits).dtype)) for bits in (20, 32)],
    )
    yield Parser((f"{of}.sharing.from_bytes",), sharing.from_bytes, lambda: [sharing.to_bytes(5)])
    key, head = bytes(32), bytes(32)
    yield Parser(
        (f"{of}.ratchet.open_share", "secure_compute.primitives.sealing.open_sealed"),
        lambda sealed: ratchet.open_share(key, head, "a", "b", sealed),
        lambda: [ratchet.seal_share(key, head, "a", "b", bytes(32))],
    )
    yield Parser(
        ("federation.secure_sums.unpack_keys",),
        secure_sums.unpack_keys,
        lambda: [secure_sums.pack_keys([_epoch_key(), b""])],
    )


def _epoch_key() -> bytes:
    return masked.epoch_key("node-000", masked.roster(masked.names(4))).to_bytes()


# -- keys and ciphertexts --------------------------------------------------------------------------


@cache
def _bench() -> Bench:
    return Bench(3, 2, 4, 100)


@cache
def _submitted() -> tuple[dict[str, listing.Commitment], dict[str, bytes], dict[str, party.Party]]:
    bench, said, wires, states = _bench(), {}, {}, {}
    for name in bench.parties:
        state, one, made = bench._submitted(name)
        said[name], wires[name], states[name] = one, made[0], state
    return said, wires, states


def _listed() -> listing.Listing:
    return listing.listing(_bench().question, _submitted()[0].values())


def _commitment() -> bytes:
    return next(iter(_submitted()[0].values())).to_bytes()


@cache
def _endorsements() -> list[listing.Endorsement]:
    said, _, states = _submitted()
    bench = _bench()
    return [bench._endorsed(name, states[name], list(said.values()))[1] for name in bench.parties]


def _endorsement() -> bytes:
    return _endorsements()[0].to_bytes()


@cache
def _said() -> tuple[KeyCommitment, ...]:
    return _bench().states["holder-0"].keys[0].commitments


def _package() -> bytes:
    bench = _bench()
    parts = tuple(bench.shown[place] for place in sorted(bench.shown))
    return joint_keys.Package(bench.terms, _said(), parts).to_bytes()


@cache
def _partials() -> list[keyholder.Partial]:
    bench, (said, wires, _) = _bench(), _submitted()
    total = ciphertext.add(_listed(), 0, wires)
    quorum = bench.holders[:2]
    bound = {name: bench._bound(name, list(said.values()), _endorsements()) for name in quorum}
    return [
        keyholder.partial(bound[name], bench.terms.digest, total, at, bench.identity[name].sign)
        for name, places in bench._shares(quorum).items()
        for at in places
    ]


_PRIVATE: Final = AgreementKey(bytes(range(1, 33)))


def _kept() -> kept_answers.KeptAnswer:
    listed, grouped = _listed(), {}
    for part in _partials():
        grouped.setdefault(part.keyholder, []).append(part.to_bytes())
    origin = lambda name: sealed_answers.Origin("bench", name, listed.digest)  # noqa: E731
    boxes = tuple(
        kept_answers.Box(n, sealed_answers.seal(w, _PRIVATE.public, origin(n), bytes(32)))
        for n, w in grouped.items()
    )
    total = ciphertext.to_bytes(ciphertext.add(listed, 0, _submitted()[1]).ciphertext)
    said = tuple(one.to_bytes() for one in listed.commitments)
    return kept_answers.KeptAnswer(_package(), said, (total,), boxes)


def _keys() -> Iterator[Parser]:
    of, bench = "secure_compute.threshold", _bench
    first = lambda: bench().parties[0]  # noqa: E731
    yield Parser(
        (f"{of}.terms.Terms.from_json",),
        _value(KeyTerms.from_json),
        lambda: _object(bench().terms)(),
    )
    yield Parser(
        (f"{of}.question.Question.from_json",),
        _value(Question.from_json),
        lambda: _object(bench().question)(),
    )
    yield Parser(
        (f"{of}.joint.KeyCommitment.read", f"{of}.statements.split"),
        KeyCommitment.read,
        lambda: [s.to_bytes() for s in _said()],
    )
    yield Parser(
        (f"{of}.listing.Commitment.read",), listing.Commitment.read, lambda: [_commitment()]
    )
    yield Parser(
        (f"{of}.listing.Endorsement.read",), listing.Endorsement.read, lambda: [_endorsement()]
    )
    yield Parser(
        (f"{of}.keyholder.Partial.read",),
        keyholder.Partial.read,
        lambda: [part.to_bytes() for part in _partials()[:2]],
    )
    yield Parser((f"{of}.pool.Deal.read",), pool.Deal.read, lambda: [_dealt()[0].to_bytes()])
    yield Parser(
        (f"{of}.pieces.receive",),
        lambda box: pieces.receive(box, *_dealt()[1:]),
        lambda: [_dealt()[0].box],
    )
    yield Parser(
        (
            f"{of}.ciphertext.from_bytes",
            f"{of}.residues.from_bytes",
            f"{of}.ciphertext.relayed",
            f"{of}.ciphertext.read_into",
            f"{of}.residues.read_into",
        ),
        lambda wire: (
            ciphertext.relayed(_listed(), 0, wire),
            residues.from_bytes(wire[: residues.size(PRIMES)], PRIMES),
        ),
        lambda: [_submitted()[1][first()]],
    )
    yield Parser(
        (f"{of}.ciphertext.add", "aggregator.certifying.totals"),
        lambda wire: certifying.totals(
            _listed(), {n: (w,) for n, w in {**_submitted()[1], first(): wire}.items()}
        ),
        lambda: [_submitted()[1][first()]],
    )
    yield Parser(
        (f"{of}.memory.keyholder_from_bytes",),
        threshold_memory.keyholder_from_bytes,
        lambda: [threshold_memory.keyholder_to_bytes(s) for s in bench().states.values()],
    )
    yield Parser(
        (f"{of}.memory.party_from_bytes",),
        threshold_memory.party_from_bytes,
        lambda: [threshold_memory.party_to_bytes(s) for s in _submitted()[2].values()],
    )
    yield Parser(
        ("federation.joint_keys.unpack", "federation.joint_keys.views"),
        joint_keys.unpack,
        lambda: [joint_keys.pack([b"", b"abc", bytes(300)])],
    )
    yield Parser(
        ("federation.joint_keys.Package.read", f"{of}.joint.assemble"),
        lambda blob: _assemble(joint_keys.Package.read(blob)),
        lambda: [_package()],
    )
    yield Parser(
        ("federation.kept_answers.KeptAnswer.read", "federation.kept_answers.open_answer"),
        lambda data: kept_answers.open_answer(
            kept_answers.KeptAnswer.read(data), bench().question, bench().joint, _PRIVATE
        ),
        lambda: [_kept().to_bytes()],
    )
    yield Parser(
        ("federation.sealed_answers.unseal",),
        lambda box: sealed_answers.unseal(
            box, _PRIVATE, sealed_answers.Origin("bench", "holder-0", _listed().digest)
        ),
        lambda: [_kept().boxes[0].sealed],
    )
    signing = lambda: bench().identity[first()]  # noqa: E731
    yield Parser(
        ("aggregator.certifying.read_commitment",),
        lambda wire: _resigned(
            signing(), lambda w: certifying.read_commitment(bench().question, first(), w)
        )(wire),
        lambda: [_commitment()],
    )
    yield Parser(
        ("aggregator.certifying.read_endorsement",),
        lambda wire: _resigned(
            signing(), lambda w: certifying.read_endorsement(_listed(), first(), w)
        )(wire),
        lambda: [_endorsement()],
    )
    yield Parser(
        ("aggregator.certifying.read_chunks",),
        lambda blob: certifying.read_chunks(_listed(), first(), blob),
        lambda: [joint_keys.pack([_submitted()[1][first()]])],
    )
    yield Parser(
        ("aggregator.key_batch.packages",),
        lambda data: key_batch.packages(
            _federation().roster, 2, [bench().terms], joint_keys.unpack(data), _parts_shown()
        ),
        lambda: [joint_keys.pack([one.to_bytes() for one in _said()])],
    )


def _parts_shown() -> dict[PartyId, bytes]:
    bench = _bench()
    made = {name: bench.terms.made_by(name) for name in bench.holders}
    return {
        PartyId(name): joint_keys.pack([bench.shown[place] for place in places])
        for name, places in made.items()
    }


def _assemble(package: joint_keys.Package) -> object:
    return joint_keys.assemble(_bench().terms, package.commitments, dict(enumerate(package.parts)))


@cache
def _dealt() -> Any:
    """A deal, and everything that its receiver knows beside its box."""
    bench = _bench()
    state = pool.join(bench.epoch, "holder-0", bench.secrets["holder-0"])
    deal = pool.begin(state, bench.terms, SystemEntropy())[1][0]
    return (
        deal,
        deal.place,
        bench.terms,
        dict(state.pairs)[deal.receiver],
        "holder-0",
        deal.receiver,
    )


# -- matching people -------------------------------------------------------------------------------


@cache
def _pair(reveals: Reveals) -> Any:
    """Two parties, their approval if there is one, and everything that one of them sends."""
    pair = matched.Pair(matched.terms(reveals=reveals), "abcd", "cdef")
    if reveals is Reveals.SIZE:
        pair.blind()
        pair.reply()
        book, size = session.conclude(pair.book, pair.blinded, pair.answer)
        return pair, None, session.tell(book, size)[1]
    approval = matched.approval(pair.terms)
    pair.before = pair.book, pair.other
    pair.book, pair.blinded, pair.list = tokens.blind(
        pair.book, pair.bound, approval, SystemEntropy()
    )
    pair.listed_book = pair.book
    pair.other, pair.replied, pair.answer = tokens.reply(
        pair.other, pair.other_bound, approval, pair.list, SystemEntropy()
    )
    told = b""
    if reveals is Reveals.JOIN_TOKENS:
        told = tokens.join(pair.book, pair.blinded, approval, pair.answer)[2]
    return pair, approval, told


def _matches() -> Iterator[Parser]:
    of = "secure_compute.psi"
    size = lambda: _pair(Reveals.SIZE)[0]  # noqa: E731
    terms = matched.terms()
    yield Parser((f"{of}.terms.Terms.from_json",), _value(PsiTerms.from_json), _object(terms))
    yield Parser(
        (f"{of}.opening.bind", f"{of}.messages.read"),
        lambda wire: _bind(terms, wire),
        lambda: [size().commitments[1]],
    )
    yield Parser(
        (f"{of}.session.reply", f"{of}.session.sender_reply", f"{of}.session.read_list"),
        lambda wire: (
            session.read_list(size().terms, wire)
            and session.sender_reply(size().terms, size().theirs, bytes(32), wire)
        ),
        lambda: [size().list],
    )
    yield Parser(
        (f"{of}.session.conclude", f"{of}.session.read_reply"),
        lambda wire: session.conclude(replace(size().book, steps=()), size().blinded, wire),
        lambda: [size().answer],
    )
    yield Parser(
        (f"{of}.session.hear",),
        lambda wire: session.hear(size().answered, wire),
        lambda: [_pair(Reveals.SIZE)[2]],
    )
    yield Parser(
        (f"{of}.messages.read_points",),
        messages.read_points,
        lambda: [size().list[messages.HEADER + messages.POINT :]],
    )
    yield from _disclosures(of)
    yield from _match_sums(of)
    yield Parser(
        (f"{of}.sets.Book.from_bytes",),
        Book.from_bytes,
        lambda: [size().book.to_bytes()],
    )
    yield Parser((f"{of}.values.Value.from_json",), _value(Value.from_json), _object(summed.VALUE))
    yield Parser(
        (f"{of}.inner.Key.open",), lambda wire: _inner()[0].open(wire), lambda: [_inner()[2]]
    )
    yield Parser(
        (f"{of}.inner.choose",),
        lambda wire: inner.choose(
            _inner()[0].public, wire, [np.ones(3, np.int64)], [0], SystemEntropy()
        ),
        lambda: [_inner()[1]],
    )
    consent = Signed(Consent("p", "A", "b"), bytes(64), _LIAR.verify_key, bytes(64))
    yield Parser(
        ("clients.approvals.Signed.from_json",), _value(Signed.from_json), _object(consent)
    )
    task = MatchTask(
        mode="size",
        receiver=PartyId("a"),
        sender=PartyId("b"),
        column="email",
        identifier="email",
        receiver_cap=10,
        sender_cap=12,
        most=1,
        window="2026",
        dummies=matched.LAW,
    )
    yield Parser(
        ("federation.matching.MatchTask.from_json",), _mapping(MatchTask.from_json), _object(task)
    )
    ends = [Pair("0" * 64, *names, bytes(32)) for names in (("a", "b"), ("b", "a"))]
    yield Parser(
        ("federation.pairing.Pair.open",),
        lambda sealed: ends[1].open(1, sealed),
        lambda: [ends[0].seal(1, b"what one says to the other")],
    )
    yield Parser(("federation.pairing.Pair.of",), _paired, lambda: [_key_letter()])


def _disclosures(of: str) -> Iterator[Parser]:
    both, join = Reveals.INTERSECTION, Reveals.JOIN_TOKENS
    yield Parser(
        (f"{of}.tokens.reply", f"{of}.tokens.disclosing_reply"),
        lambda wire: tokens.disclosing_reply(
            _pair(both)[0].terms, _pair(both)[0].theirs, bytes(32), wire
        ),
        lambda: [_pair(both)[0].list],
    )
    yield Parser(
        (f"{of}.tokens.intersect",),
        lambda wire: tokens.intersect(
            _pair(both)[0].listed_book, _pair(both)[0].blinded, _pair(both)[1], wire
        ),
        lambda: [_pair(both)[0].answer],
    )
    yield Parser(
        (f"{of}.tokens.join",),
        lambda wire: tokens.join(
            _pair(join)[0].listed_book, _pair(join)[0].blinded, _pair(join)[1], wire
        ),
        lambda: [_pair(join)[0].answer],
    )
    yield Parser(
        (f"{of}.tokens.align",),
        lambda wire: tokens.align(
            _pair(join)[0].other, _pair(join)[0].replied, _pair(join)[1], wire
        ),
        lambda: [_pair(join)[2]],
    )


@cache
def _summed() -> summed.Summing:
    """A sum that both ends have seen through; every step is open to be taken again."""
    found = summed.Summing(summed.summing_terms(), "abcd", {"c": 7, "d": 9, "e": 11})
    found.run()
    return found


def _match_sums(of: str) -> Iterator[Parser]:
    both = _summed
    again = lambda book: replace(book, steps=())  # noqa: E731
    yield Parser(
        (f"{of}.summing.reply", f"{of}.summing.summing_reply", f"{of}.session.replied"),
        lambda wire: summing.reply(
            again(both().other), both().other_bound, both().amounts, wire, SystemEntropy()
        ),
        lambda: [both().list],
    )
    yield Parser(
        (
            f"{of}.summing.choose",
            f"{of}.summing.choice",
            f"{of}.session.matches",
            f"{of}.session.sealed_part",
        ),
        lambda wire: summing.choose(again(both().book), both().blinded, wire),
        lambda: [both().answer],
    )
    yield Parser(
        (f"{of}.summing.release", f"{of}.summing.released", f"{of}.summing.size_in"),
        lambda wire: (
            summing.size_in(both().terms, wire),
            summing.release(again(both().other), both().answered, wire),
        ),
        lambda: [both().choice],
    )
    yield Parser(
        (f"{of}.summing.take", f"{of}.summing.told_by"),
        lambda wire: summing.take(
            again(both().book),
            both().terms,
            both().blinded.seed,
            both().size.noised,
            wire,
        ),
        lambda: [both().told],
    )


def _bind(terms: PsiTerms, wire: bytes) -> object:
    book, opened, _ = opening.open_session(Book(), terms, Role.RECEIVER, matched.chosen("abcd"))
    return opening.bind(book, opened, wire)


@cache
def _inner() -> tuple[inner.Key, bytes, bytes]:
    key = inner.Key.generate(SystemEntropy())
    sealed = key.seal(np.arange(3, dtype=np.int64), SystemEntropy())
    chosen = inner.choose(key.public, sealed, [np.ones(3, np.int64)], [0], SystemEntropy())
    return key, sealed, chosen[0]


def _key_letter() -> bytes:
    names = PartyId("eu"), PartyId("cn")
    return advertise("0" * 64, *names, _PRIVATE, ledgers.KEYS["eu"])


def _paired(wire: bytes) -> object:
    return _resigned(
        ledgers.KEYS["eu"],
        lambda said: Pair.of(
            "0" * 64, PartyId("cn"), PartyId("eu"), AgreementKey(bytes(32)), said, ledgers.ROSTER
        ),
    )(wire)


# -- files and processes ---------------------------------------------------------------------------


def _shells() -> Iterator[Parser]:
    yield Parser(("aggregator.safetensors.decode",), safetensors.decode, lambda: [_stored()])
    yield Parser(
        ("aggregator.stored.decode", "aggregator.stored.load", "aggregator.registry.load_model"),
        _in_a_file(registry.load_model, "model.safetensors"),
        lambda: [_stored()],
    )
    yield Parser(
        ("aggregator.registry.load_model",),
        _in_a_file(registry.load_model, "model.npz"),
        lambda: [_old_model()],
    )
    yield Parser(
        ("aggregator.cards.Card.from_json",), _value(Card.from_json), lambda: _object(_card())()
    )
    yield Parser(
        ("clients.settings.load_settings",), _settings, lambda: [_file("node.toml")], text=True
    )
    yield Parser(
        ("clients.settings.read_text",),
        _in_a_file(client_settings.read_text, "text.toml"),
        lambda: [_file("node.toml")],
        text=True,
    )
    yield Parser(
        ("aggregator.stores.load_stores",),
        _in_a_file(lambda path: aggregator_stores.load_stores(path.parent), "aggregator.toml"),
        lambda: [
            b'database = "postgresql://test@host/ours"\n'
            + (_federation().home.aggregator / "aggregator.toml").read_bytes()
        ],
        text=True,
    )
    yield Parser(
        ("aggregator.settings.load_aggregator",),
        _in_a_file(
            lambda path: aggregator_settings.load_aggregator(path.parent), "aggregator.toml"
        ),
        lambda: [(_federation().home.aggregator / "aggregator.toml").read_bytes()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.certificates.read_client_certificate",),
        lambda pem: certificates.read_client_certificate(pem, _authority().certificate),
        lambda: [
            _authority().client("cn").certificate,
            _authority().client_with("a:b").certificate,
        ],
        text=True,
    )
    yield Parser(
        ("federation.vault_file.VaultFile.from_bytes",),
        VaultFile.from_bytes,
        lambda: [_vault_file()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.vault.Vault.open",),
        lambda data: Vault(bytes(32)).open("file:a", data),
        lambda: [Vault(bytes(32)).seal("file:a", b"secret")],
    )
    yield Parser(
        ("secure_compute.primitives.node_keys.load_node_key",),
        _in_a_file(node_keys.load_node_key, "a.key"),
        lambda: [_node_key()],
        text=True,
    )
    yield Parser(
        ("secure_compute.primitives.node_keys.public_pem",),
        node_keys.public_pem,
        lambda: [_node_key() and (_folder() / "made" / "n.key.pub").read_bytes().strip()],
        text=True,
    )
    yield Parser(
        ("clients.app.unpack", "clients.app.bytes_in"),
        _unrecorded,
        _plain({"envelope": "entrepot.envelope/2"}),
    )


@cache
def _vault_file() -> bytes:
    source = Given(b"m" * 32, "credential:vault", weak=False)
    made = wrapped(Vault(bytes(32)), "acme @ lanes", source, b"m" * 32)
    return VaultFile("acme @ lanes", (made,)).to_bytes()


@cache
def _authority() -> certified.Authority:
    return certified.Authority()


@cache
def _node_key() -> bytes:
    path = _folder() / "made" / "n.key"
    node_keys.create_node_key(path)
    return path.read_bytes()


def _file(name: str) -> bytes:
    return (_federation().folder(CN) / name).read_bytes()


def _settings(data: bytes) -> object:
    return _in_a_file(lambda path: client_settings.load_settings(path.parent), "node.toml")(data)


def _card() -> Card:
    values: dict[str, Any] = {
        "run": "a1", "order": "0" * 64, "model": "demand", "round": 1, "rounds": 3, "seed": 1,
        "recipe": recipe().to_json(), "contract": "demand", "contract_version": 1,
        "unit": "commercial", "event": {"event": "made up", "count": 1},
        "epsilon": "0.1", "delta": "1e-6", "cohort": ("cn", "eu", "us"),
        "parties": ("cn", "us"), "code": "c" * 64,
    }  # fmt: skip
    return Card(**values)


@cache
def _stored() -> bytes:
    size = recipe().model.dimension
    return stored.encode(_card(), np.ones(size, np.float32), {"velocity": np.ones(size)})


@cache
def _old_model() -> bytes:
    import io

    buffer, value = io.BytesIO(), {"version": registry.VERSION, "recipe": recipe().to_json()}
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = recipe().model.dimension
    np.savez(buffer, weights=np.ones(size, np.float32), card=text)
    return buffer.getvalue()


def _unrecorded(data: bytes) -> object:
    """Records of Flower's, of whatever kinds and names the bytes say."""
    from flwr.app import ConfigRecord, MetricRecord, RecordDict

    value = _loose(data)
    named = value if isinstance(value, dict) else {"envelope": value}
    records = {
        str(name): ConfigRecord({key: data}) if isinstance(key, str) else MetricRecord({"n": 1})
        for name, key in named.items()
    }
    return client_app.unpack(RecordDict(records))
