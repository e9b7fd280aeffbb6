"""What the aggregator carries between ledgers: bounded, checked, and each word from its signer."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aggregator.record
from aggregator.record import Record
from aggregator.witnessing import MOST_BYTES, MOST_NOTES, Relay
from experiments.founding import AGGREGATOR
from federation.envelopes import Envelope
from federation.errors import UntrustedNoteError
from federation.ledger import notes, witness
from federation.ledger.entries import EntryKind
from federation.ledger.notes import Checkpoint, origin_of
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.riding import pack, pack_cosigned, unpack, unpack_cosigned
from policies.parties import PartyId
from tests.simulator import CN, EU, KEYHOLDER, UK, US

NOW = 1_800_000_000


@pytest.fixture
def record(simulation):
    return opened(simulation)


def opened(simulation):
    path = simulation.home.aggregator / "ledger.sqlite"
    key = simulation.key(AGGREGATOR)
    return Record(path, AGGREGATOR, key, simulation.roster, lambda: float(NOW))


@pytest.fixture
def relay(simulation, record):
    return Relay(simulation.roster, record)


@pytest.fixture
def told(simulation, relay):
    """Lets a party reply to the relay."""

    def tell(sender, kind=Kind.LEDGER_COSIGNED, body=None, **blobs):
        relay.take(Envelope(kind, sender, AGGREGATOR, "", 0, body or {}, blobs))
        relay.keep()

    return tell


def name(simulation, party):
    return origin_of(simulation.roster.federation, party)


def note_of(simulation, party, size, signer=None, root=b""):
    head = Checkpoint(name(simulation, party), size, hashlib.sha256(root or b"%d" % size).digest())
    return notes.sign(head, simulation.key(signer or party))


def head_of(simulation, party, size, **changes):
    return WitnessRequest(note_of(simulation, party, size, **changes), {}).to_bytes()


def line_of(simulation, note, by, key=None):
    return witness.cosign(note, name(simulation, by), simulation.key(key or by), NOW)


def waiting(relay, party):
    blob = relay.lines(party).get("cosigned")
    return {} if blob is None else unpack_cosigned(blob)


def shown(relay, party):
    blob = relay.heads(party).get("heads")
    return {} if blob is None else unpack(blob)


# -- cosignatures ---------------------------------------------------------------------------------


def test_a_witness_speaks_for_itself_alone(simulation, relay, told):
    """Lines under the names of others are not theirs, and replace none of theirs."""
    note = note_of(simulation, CN, 5)
    honest = {name(simulation, EU): line_of(simulation, note, EU)}
    everybody = {name(simulation, m.party): "x\n" for m in simulation.roster.members}
    own = {name(simulation, US): line_of(simulation, note, US)}
    told(EU, cosigned=pack_cosigned({note: honest}))
    told(US, cosigned=pack_cosigned({note: {**everybody, **own}}))
    assert waiting(relay, CN) == {note: {**honest, **own}}
    told(KEYHOLDER, cosigned=pack_cosigned({note: everybody}))
    assert waiting(relay, CN) == {note: {**honest, **own}}


def test_a_line_that_is_none_is_carried_to_nobody(simulation, relay, told):
    note, forged = note_of(simulation, CN, 5), note_of(simulation, CN, 5, signer=US)
    for over, line in (
        (note, line_of(simulation, note, US, key=EU)),
        (note, line_of(simulation, note_of(simulation, CN, 6), US)),
        (forged, line_of(simulation, forged, US)),
        (note, "garbage"),
    ):
        told(US, cosigned=pack_cosigned({over: {name(simulation, US): line}}))
        assert waiting(relay, CN) == {}


def test_one_bad_line_spoils_no_good_one(simulation, relay, told):
    note, own = note_of(simulation, CN, 5), name(simulation, US)
    good = {own: line_of(simulation, note, US)}
    told(US, cosigned=pack_cosigned({"a garbled note": {own: "x"}, note: good}))
    assert waiting(relay, CN) == {note: good}


def test_lines_wait_for_the_latest_heads_alone(simulation, relay, told):
    for size in range(1, 40):
        note = note_of(simulation, CN, size)
        line = {name(simulation, US): line_of(simulation, note, US)}
        told(US, cosigned=pack_cosigned({note: line}))
    assert waiting(relay, CN).keys() == {note_of(simulation, CN, 39 - k) for k in range(MOST_NOTES)}


def test_what_came_in_meanwhile_still_waits(simulation, relay, told):
    note = note_of(simulation, CN, 5)
    first, second = ({name(simulation, p): line_of(simulation, note, p)} for p in (EU, US))
    told(EU, cosigned=pack_cosigned({note: first}))
    letter = relay.lines(CN)
    told(US, cosigned=pack_cosigned({note: second}))
    relay.arrived(CN, letter)
    assert waiting(relay, CN) == {note: second}
    relay.arrived(CN, relay.lines(CN))
    assert relay.lines(CN) == {}


# -- heads ----------------------------------------------------------------------------------------


def test_a_head_is_shown_until_it_is_cosigned(simulation, relay, told):
    first, second = head_of(simulation, CN, 5), head_of(simulation, CN, 6)
    told(CN, head=first)
    for answer in ({}, {"cosigned": pack_cosigned({})}):
        told(US, **answer)
        relay.arrived(US, relay.heads(US))
        assert shown(relay, US)[CN] == first
    note = note_of(simulation, CN, 5)
    line = {name(simulation, US): line_of(simulation, note, US)}
    told(US, cosigned=pack_cosigned({note: line}))
    assert CN not in shown(relay, US) and CN in shown(relay, EU)
    told(CN, head=second)
    assert shown(relay, US)[CN] == second


def test_a_head_is_its_own_partys_and_the_latest(simulation, relay, told):
    good = head_of(simulation, CN, 5)
    told(CN, head=good)
    for bad in (
        head_of(simulation, CN, 6, signer=US),
        head_of(simulation, US, 6, signer=CN),
        head_of(simulation, CN, 4),
        b"garbage",
        b"",
        head_of(simulation, CN, 6) + b" " * MOST_BYTES,
    ):
        told(CN, head=bad)
        assert shown(relay, US)[CN] == good
    assert CN not in shown(relay, CN)


def test_the_aggregators_own_log_is_shown_like_every_other(simulation, relay, told, record):
    relay.renew()
    note = WitnessRequest.from_bytes(shown(relay, US)[AGGREGATOR]).note
    line = {name(simulation, US): line_of(simulation, note, US)}
    told(US, cosigned=pack_cosigned({note: line}))
    assert AGGREGATOR not in shown(relay, US)
    record.delivered("a", "b", [CN])
    relay.renew()
    assert AGGREGATOR in shown(relay, US)


def test_what_is_said_of_the_own_log_is_written_down_together(
    simulation, relay, record, monkeypatch
):
    relay.renew()
    note = WitnessRequest.from_bytes(shown(relay, US)[AGGREGATOR]).note
    writes = []
    real = aggregator.record.writing
    monkeypatch.setattr(aggregator.record, "writing", lambda on: writes.append(on) or real(on))
    for party in (EU, UK, US):
        blob = pack_cosigned({note: {name(simulation, party): line_of(simulation, note, party)}})
        said = {"cosigned": blob}
        relay.take(Envelope(Kind.LEDGER_COSIGNED, party, AGGREGATOR, "", 0, {}, said))
    assert kept(simulation) == set() and not writes
    relay.keep()
    relay.keep()
    assert kept(simulation) == {name(simulation, party) for party in (EU, UK, US)}
    assert len(writes) == 1


def test_a_word_on_another_history_of_the_own_log_counts_for_nobody(
    simulation, relay, told, record
):
    record.delivered("a", "b", [CN])
    relay.renew()
    note = note_of(simulation, AGGREGATOR, 1)
    told(US, cosigned=pack_cosigned({note: {name(simulation, US): line_of(simulation, note, US)}}))
    assert kept(simulation) == set()
    assert AGGREGATOR not in relay._vouched.get(US, {})


# -- proofs that witnesses lack -------------------------------------------------------------------


def test_invented_sizes_crowd_nobody_out(simulation, relay, told):
    told(CN, head=head_of(simulation, CN, 50))
    told(EU, body={"missing": {CN: 10}})
    for invented in (*range(1, 50), 2**62, 50, 0, -1, True, "7", None):
        told(US, body={"missing": {CN: invented, "nobody": 3}})
    assert relay.wanted(CN) == [10, 49]
    assert relay.wanted(PartyId("nobody")) == []


def test_a_size_is_wanted_until_its_witness_has_cosigned(simulation, relay, told):
    told(CN, head=head_of(simulation, CN, 50))
    told(EU, body={"missing": {CN: 10}})
    note = note_of(simulation, CN, 50)
    line = {name(simulation, EU): line_of(simulation, note, EU)}
    told(EU, cosigned=pack_cosigned({note: line}))
    assert relay.wanted(CN) == []


# -- forks ----------------------------------------------------------------------------------------


def test_a_log_is_shown_what_it_signed_before(simulation, relay, told, record):
    note = note_of(simulation, CN, 7, root=b"another history")
    for _ in range(2):
        told(US, forked=pack({CN: note.encode()}))
    assert unpack(relay.lines(CN)["forked"]) == {US: note.encode()}
    (entry,) = record.entries()
    assert entry.kind is EntryKind.CHECKPOINT_SEEN
    assert (entry.body["origin"], entry.body["size"]) == (name(simulation, CN), 7)
    relay.arrived(CN, relay.lines(CN))
    assert relay.lines(CN) == {}


def test_a_fork_that_the_log_never_signed_is_none(simulation, relay, told, record):
    for owner, note in (
        (CN, note_of(simulation, CN, 7, signer=US)),
        (CN, note_of(simulation, EU, 7)),
        (US, note_of(simulation, US, 7)),  # its own
        (AGGREGATOR, note_of(simulation, AGGREGATOR, 7)),
        (PartyId("nobody"), note_of(simulation, CN, 7)),
        (CN, "garbage"),
    ):
        told(US, forked=pack({owner: note.encode()}))
        assert relay.lines(owner) == {}
    assert record.entries() == []


# -- whatever is sent -----------------------------------------------------------------------------

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
blobs = st.dictionaries(
    st.sampled_from(["head", "cosigned", "seen", "forked"]),
    st.binary(max_size=40)
    | st.builds(
        lambda names, part: pack(dict.fromkeys(names, part)), st.lists(st.text()), st.binary()
    )
    | st.builds(lambda note, line: pack_cosigned({note: {note: line}}), st.text(), st.text()),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(body=st.dictionaries(st.sampled_from(["missing", "lacks"]), json), blobs=blobs)
def test_nothing_that_is_sent_raises(told, body, blobs):
    told(US, body=body, **blobs)


# -- the aggregator's own ledger ------------------------------------------------------------------


def test_cosignatures_of_the_own_log_are_kept_under_their_signers(simulation, record):
    record.delivered("a", "b", [CN])
    note = WitnessRequest.from_bytes(record.request()).note
    good = {name(simulation, EU): line_of(simulation, note, EU)}
    borrowed = {name(simulation, UK): line_of(simulation, note, EU), "nobody": "x\n"}
    record.keep(note, {**good, **borrowed})
    assert kept(simulation) == {name(simulation, EU)}


def kept(simulation):
    import sqlite3

    with sqlite3.connect(simulation.home.aggregator / "ledger.sqlite") as db:
        return {row[0] for row in db.execute("SELECT witness FROM cosignatures")}


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_head_that_is_not_of_this_history_is_kept_nowhere(simulation, record, size):
    """It is signed by this very key: a copy of the folder was continued elsewhere."""
    record.delivered("a", "b", [CN])
    note = note_of(simulation, AGGREGATOR, size)
    with pytest.raises(UntrustedNoteError):
        record.keep(note, {name(simulation, EU): line_of(simulation, note, EU)})
    assert kept(simulation) == set()


def test_what_was_said_is_said_once_by_whichever_process(simulation, record):
    other = opened(simulation)
    for _ in range(3):
        record.delivered("a", "b", [CN])
        other.delivered("a", "b", [CN])
        other.delivered("a", "c", [CN])
    assert [entry.body["past"] for entry in record.entries()] == ["b", "c"]


def test_nothing_is_read_twice_to_say_one_thing_more(record, monkeypatch):
    read = []
    real = type(record._log).entries

    def counted(log, connection, start=0, end=None):
        found = real(log, connection, start, end)
        read.extend(found)
        return found

    monkeypatch.setattr(type(record._log), "entries", counted)
    for number in range(30):
        record.delivered("a", f"p{number}", [CN])
    assert len(read) <= 30


@pytest.mark.parametrize("reasons", [[{}], [{"id": None}], [{"id": 7}], ["x"], []])
def test_a_refusal_without_ids_is_written_down_without_them(record, reasons):
    record.refused("a", US, {"kind": "policy", "reasons": reasons})
    assert [entry.body["reasons"] for entry in record.entries()] == [[US]]
