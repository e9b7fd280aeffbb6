"""Matches of people between two real nodes: what is told, charged, kept and never told."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from clients.approvals import Approvals, Signed, approval
from clients.exports import Left
from clients.match_file import MatchFile
from clients.match_results import table_of
from clients.matching import Fixed
from clients.settings import load_settings
from federation.envelopes import parse, seal
from federation.errors import MalformedOrderError
from federation.ledger.entries import EntryKind
from federation.matching import MatchTask, event_of, law_for, require_contract, terms_of
from federation.messages import Kind
from federation.pairing import PAIR_KEY, Pair, advertise
from secure_compute.errors import FaultyPartyError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.psi import audit, session, tokens
from secure_compute.psi.opening import Bound
from secure_compute.psi.sets import Book, place
from secure_compute.psi.terms import Role
from tests.matching import (
    COMMON,
    ENDS,
    RECEIVER,
    SENDER,
    approve,
    match,
    people,
    restate,
    resumed,
    with_people,
)
from tests.simulator import OTHERS, WAREHOUSES, Killed, killed


@pytest.fixture
def matched(simulation):
    return with_people(simulation)


def entries(simulation, party, kind):
    return [entry for entry in simulation.books(party).entries() if entry.kind is kind]


def result(simulation, party, order):
    path = table_of(simulation.folder(party), order.id).with_suffix(".json")
    return json.loads(path.read_text())["size"]


def test_a_size_is_told_with_noise_and_charged_at_both_ends(matched):
    order = match(matched)
    job = matched.run(order)
    assert job.status == "done", job.result
    event = event_of(MatchTask.from_json(order.parameters))
    shift = MatchTask.from_json(order.parameters).dummies.shift
    for party in ENDS:
        matched.assert_charged(party, event, 1, "people")
    seen = result(matched, RECEIVER, order)
    assert abs(seen - COMMON) <= shift
    assert abs(job.result["size"] - seen) <= shift
    assert result(matched, SENDER, order) == job.result["size"]


def test_the_aggregator_sees_neither_identifiers_nor_what_follows_from_a_set(matched):
    first = match(matched)
    assert matched.run(first).status == "done"
    seen = [frame.wire for frame in matched.mail.replies(Kind.MATCH_SAID)]
    small = {RECEIVER: people(0, 3), SENDER: people(2, 9)}
    other = type(matched)(matched.home.folder.parent / "other")
    with_people(other)
    for party, table in small.items():
        pq.write_table(table, other.folder(party) / "data" / "people.parquet")
    second = match(other)
    assert other.run(second).status == "done"
    told = [frame.wire for frame in other.mail.replies(Kind.MATCH_SAID)]
    assert len(seen) == len(told) == 6
    bodies = [frame.envelope.blobs["said"] for frame in matched.mail.replies(Kind.MATCH_SAID)]
    others = [frame.envelope.blobs["said"] for frame in other.mail.replies(Kind.MATCH_SAID)]
    assert [len(body) for body in bodies] == [len(body) for body in others]
    for wire in matched.mail.letters + seen:
        assert b"person.2" not in wire.lower() and b"example.org" not in wire.lower()


def test_what_is_sealed_for_the_partner_opens_for_nobody_else(matched):
    """The protocol's own header stands in every step, and in no byte that is carried."""
    order = match(matched)
    matched.run(order)
    header = bytes.fromhex(terms_of(order).digest)
    assert all(header not in frame.wire for frame in matched.mail.replies(Kind.MATCH_SAID))


# -- disclosures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tokens", "intersection"])
def test_a_disclosure_waits_for_a_person_at_either_end(matched, mode):
    order = match(matched, mode)
    job = matched.run(order)
    assert job.status == "refused"
    assert {refusal["kind"] for refusal in job.result["refusals"]} == {"approval"}
    approve(matched, order, RECEIVER)
    assert resumed(matched, order) == "refused"
    (refusal,) = matched.job(order).result["refusals"]
    assert (refusal["node"], refusal["kind"]) == (SENDER, "approval")
    for party in ENDS:
        assert entries(matched, party, EntryKind.DISCLOSED) == []
        assert matched.mail.replies(Kind.MATCH_SAID) == []
    approve(matched, order, SENDER)
    assert resumed(matched, order) == "done"
    for party in ENDS:
        (entry,) = entries(matched, party, EntryKind.DISCLOSED)
        assert entry.order == order.id and entry.body["receiver"] == RECEIVER
        left = Left(matched.books(party))().outbound()
        assert {outbound.subjects for outbound in left} == {"customers"}
        assert matched.account(party, "people") is None  # no account pays for it


@pytest.mark.parametrize("mode", ["tokens", "intersection"])
def test_a_disclosure_leaves_only_after_a_quorum_has_cosigned_its_entry(matched, mode):
    order = match(matched, mode)
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party)
    matched.mail.kill(Kind.MATCH_STEP, "after", 0)
    matched.put(order)
    assert killed(matched.work)
    keys = {x.recipient: x.blobs[PAIR_KEY] for x in matched.mail.sent(Kind.MATCH_STEP)}
    commits = {f.sender: f.envelope.blobs["said"] for f in matched.mail.replies(Kind.MATCH_SAID)}
    listed = disclosed_by(matched, RECEIVER, order, 1, keys[RECEIVER], commit=commits[SENDER])
    brought = {"commit": commits[RECEIVER], "list": listed}
    disclosed_by(matched, SENDER, order, 2, keys[SENDER], **brought)
    matched.work()
    assert matched.job(order).status == "done", matched.job(order).result


def disclosed_by(simulation, party, order, step, key, **parts):
    """Return what one end discloses in a step, having seen that it waits for a quorum's names."""
    letter = {PAIR_KEY: key, **parts}
    witnesses = tuple(one for one in (*WAREHOUSES, *OTHERS) if one != party)
    named: dict[str, bytes] = {}
    for by in (witnesses[:3], witnesses):
        reply = simulation.ask(Kind.MATCH_STEP, party, order.id, step, **letter, **named)
        assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "witness"
        assert len(entries(simulation, party, EntryKind.DISCLOSED)) == 1
        named = {"cosigned": simulation.cosign(party, reply.blobs["head"], by)}
    reply = simulation.ask(Kind.MATCH_STEP, party, order.id, step, **letter, **named)
    assert reply.kind is Kind.MATCH_SAID
    return reply.blobs["said"]


def test_join_tokens_align_the_people_of_both(matched):
    order = match(matched, "tokens")
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party)
    assert matched.run(order).status == "done"
    tables = [
        pq.read_table(table_of(matched.folder(party), order.id)).to_pydict() for party in ENDS
    ]
    here, there = (dict(zip(t["token"], t["identifier"], strict=True)) for t in tables)
    assert len(here) == 50 and len(there) == 60
    common = here.keys() & there.keys()
    assert len(common) == COMMON
    assert all(here[token] == there[token] for token in common)
    for table in tables:
        flagged = {t for t, both in zip(table["token"], table["common"], strict=True) if both}
        assert flagged == common


def test_an_intersection_is_told_to_the_receiver_alone(matched):
    order = match(matched, "intersection")
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party)
    job = matched.run(order)
    assert job.status == "done" and "size" not in job.result
    found = pq.read_table(table_of(matched.folder(RECEIVER), order.id))["identifier"].to_pylist()
    assert found == sorted(f"person.{number}@example.org" for number in range(20, 50))
    assert not table_of(matched.folder(SENDER), order.id).exists()


def test_one_person_does_not_approve_for_both_ends(matched, tmp_path):
    order, key = match(matched, "tokens"), tmp_path / "one.key"
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party, key)
    assert matched.run(order).status == "abandoned"
    for party in ENDS:
        assert not table_of(matched.folder(party), order.id).exists()
        assert entries(matched, party, EntryKind.DISCLOSED) == []


def test_a_consent_to_other_terms_discloses_nobody(matched):
    order, other = match(matched, "tokens"), match(matched, "tokens")
    for party in ENDS:
        matched.node(party)
        approve(matched, order if party == RECEIVER else other, party)
    folder = matched.folder(SENDER) / "approvals"
    (folder / f"{other.id}.consent").rename(folder / f"{order.id}.consent")
    assert matched.run(order).status == "abandoned"
    assert entries(matched, RECEIVER, EntryKind.DISCLOSED) == []


def test_who_approved_stands_in_no_log(matched):
    order = match(matched, "tokens")
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party)
    assert matched.run(order).status == "done"
    for party in ENDS:
        (entry,) = entries(matched, party, EntryKind.DISCLOSED)
        assert "Officer" not in str(entry.body) and len(entry.body["approval"]) == 64
        assert Approvals(matched.folder(party)).given(order.id) is not None


# -- one set for a window -------------------------------------------------------------------------


def test_a_window_has_one_set_whatever_comes_in(matched):
    assert matched.run(match(matched)).status == "done"
    pq.write_table(people(0, 80), matched.folder(RECEIVER) / "data" / "people.parquet")
    matched.restart(RECEIVER)
    assert matched.run(match(matched)).status == "done"
    found = [e for e in entries(matched, RECEIVER, EntryKind.MATCHED) if "set/" in e.body["step"]]
    assert len(found) == 1


def test_a_set_that_was_lost_is_not_chosen_anew(matched):
    assert matched.run(match(matched)).status == "done"
    matched.kill(RECEIVER)
    for path in matched.folder(RECEIVER).glob("match.sqlite*"):
        path.unlink()
    order = match(matched)
    job = matched.run(order)
    assert job.status == "abandoned"
    assert RECEIVER in job.result["error"]
    # No other set stands in its place, so that the file may be restored.
    assert MatchFile(matched.folder(RECEIVER)).chosen(place(terms_of(order), RECEIVER)) is None


def test_a_set_is_of_the_column_that_the_order_names(matched):
    """Of two columns of one kind, the second is not answered from the first one's set."""
    order = match(matched)
    other = replace(order, parameters={**order.parameters, "column": "work_email"})
    assert place(terms_of(order), RECEIVER) == place(terms_of(match(matched)), RECEIVER)
    assert place(terms_of(order), RECEIVER) != place(terms_of(other), RECEIVER)


def test_another_approval_is_another_set(matched):
    assert matched.run(match(matched)).status == "done"
    order = match(matched, "tokens")
    for party in ENDS:
        approve(matched, order, party)
    assert matched.run(order).status == "done"
    found = [e for e in entries(matched, RECEIVER, EntryKind.MATCHED) if "set/" in e.body["step"]]
    assert len({e.body["step"] for e in found}) == 2


# -- kills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["size", "tokens"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("part", ["outbox.keep", "books.settle"])
@pytest.mark.parametrize("party", ENDS)
def test_a_node_that_is_killed_says_the_same_again(matched, party, part, moment, mode):
    if mode == "tokens" and part == "books.settle":
        pytest.skip("a disclosure settles nothing")
    order = match(matched, mode)
    for end in ENDS:
        matched.node(end)
        if mode == "tokens":
            approve(matched, order, end)
    matched.node(party)
    if part == "outbox.keep":
        after_commit(matched, party, moment)
    else:
        matched.crash(party, "books", "settle", moment)
    job = matched.run(order)
    assert job.status == "done", job.result
    if mode == "size":
        event = event_of(MatchTask.from_json(order.parameters))
        for end in ENDS:
            matched.assert_charged(end, event, 1, "people")


def after_commit(simulation, party, moment):
    """Let the node die when it keeps its second step, not its commitment."""
    outbox, count = simulation.node(party)._outbox, [0]
    real = outbox.keep

    def dying(*arguments, **named):
        count[0] += 1
        if count[0] < 2:
            return real(*arguments, **named)
        if moment == "after":
            real(*arguments, **named)
        raise Killed

    outbox.keep = dying


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_aggregator_that_is_killed_carries_the_same_again(matched, step, moment):
    order = match(matched)
    matched.mail.kill(Kind.MATCH_STEP, moment, step)
    matched.put(order)
    assert killed(matched.work)
    matched.work()
    job = matched.job(order)
    assert job.status == "done", job.result
    told = {}
    for frame in matched.mail.replies(Kind.MATCH_SAID):
        name = (frame.sender, frame.envelope.sequence)
        assert told.setdefault(name, frame.envelope.blobs["said"]) == frame.envelope.blobs["said"]
    event = event_of(MatchTask.from_json(order.parameters))
    for end in ENDS:
        matched.assert_charged(end, event, 1, "people")


@pytest.mark.parametrize("put_back", [False, True])
def test_a_step_is_made_from_one_thing_alone_whatever_copy_lies_in_the_folder(
    matched, tmp_path, put_back
):
    """No account refuses to mask a second list of a disclosure: the folder and the log do."""
    order = match(matched, "tokens")
    for party in ENDS:
        matched.node(party)
        approve(matched, order, party)
    matched.mail.kill(Kind.MATCH_STEP, "after", 1)
    matched.put(order)
    assert killed(matched.work)
    kept = tmp_path / "match.sqlite"
    shutil.copy(matched.folder(SENDER) / "match.sqlite", kept)
    matched.work()
    assert matched.job(order).status == "done"
    if put_back:
        matched.kill(SENDER)
        for path in matched.folder(SENDER).glob("match.sqlite*"):
            path.unlink()
        shutil.copy(kept, matched.folder(SENDER) / "match.sqlite")
    letter = [f for f in matched.mail.sent(Kind.MATCH_STEP) if f.sequence == 2][-1]
    other = {**letter.blobs, "list": another_list(matched, order)}
    reply = matched.ask(Kind.MATCH_STEP, SENDER, order.id, 2, **other)
    assert reply.kind is Kind.FAILED
    assert len(replied(matched)) == 1


def replied(simulation):
    """Return the different replies of the sender that left."""
    frames = simulation.mail.replies(Kind.MATCH_SAID)
    return {f.envelope.blobs["said"] for f in frames if f.envelope.sequence == 2}


def another_list(simulation, order):
    """Return a list that the receiver might have sent as well, sealed as it would have been."""
    terms, roster = terms_of(order), simulation.roster
    mine, theirs = (MatchFile(simulation.folder(party)) for party in ENDS)
    begun = mine.session(order.id)
    agreed = approval(terms, [Signed.from_json(one) for one in json.loads(begun.approval)], roster)
    bound = Bound(terms=terms, role=Role.RECEIVER, chosen=mine.chosen(place(terms, RECEIVER)))
    _, _, listed = tokens.blind(Book(), bound, agreed, Fixed(bytes(range(session.SEED))))
    key = AgreementKey(theirs.session(order.id).pair)
    said = advertise(order.id, SENDER, RECEIVER, key, simulation.key(SENDER))
    own = AgreementKey(begun.pair)
    return Pair.of(order.id, RECEIVER, SENDER, own, said, roster).seal(1, listed)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cap": 30_000}, "sets of 100"),
        ({"cap": None}, "write it anew with cap=100 most=1"),
        ({"most": 2}, "1 of one person"),
        ({"terms": {"purpose": "marketing"}}, "BASE-016"),
    ],
)
def test_what_contract_and_law_do_not_allow_is_refused(matched, change, word):
    job = matched.run(match(matched, **change))
    assert job.status == "refused" and word in json.dumps(job.result)


@pytest.mark.parametrize("side", ["receiver_cap", "sender_cap"])
def test_no_side_brings_more_than_the_contract_says(matched, side):
    order = match(matched)
    contract = load_settings(matched.folder(RECEIVER)).contracts()[order.contract]
    task = MatchTask.from_json(order.parameters)
    require_contract(replace(task, **{side: contract.match.cap}), contract)
    with pytest.raises(MalformedOrderError, match=f"sets of {contract.match.cap}"):
        require_contract(replace(task, **{side: contract.match.cap + 1}), contract)


@pytest.mark.parametrize("side", ["receiver_cap", "sender_cap", "most"])
def test_no_order_states_less_than_the_contract_either(matched, side):
    order = match(matched)
    contract = load_settings(matched.folder(RECEIVER)).contracts()[order.contract]
    contract = replace(contract, match=replace(contract.match, most=3))
    task = replace(MatchTask.from_json(order.parameters), most=3)
    require_contract(task, contract)
    with pytest.raises(MalformedOrderError, match="how large a set is"):
        require_contract(replace(task, **{side: getattr(task, side) - 1}), contract)


@pytest.mark.parametrize("side", ["receiver_cap", "sender_cap"])
def test_how_an_order_ends_does_not_say_on_which_side_of_its_cap_a_set_is(matched, side):
    """The sets are of 50 and 60, and chosen; nobody halves the way to them, order by order."""
    assert matched.run(match(matched)).status == "done"
    said, charged = len(matched.mail.replies(Kind.MATCH_SAID)), matched.account(RECEIVER, "people")
    ends = []
    for cap in (40, 80):
        order = match(matched)
        lower = replace(order, parameters={**order.parameters, side: cap})
        ends.append(matched.run(lower))
    assert [job.status for job in ends] == ["refused", "refused"]
    refusals = [json.dumps(job.result["refusals"], sort_keys=True) for job in ends]
    assert refusals[0] == refusals[1] and "how large a set is" in refusals[0]
    assert len(matched.mail.replies(Kind.MATCH_SAID)) == said
    assert matched.account(RECEIVER, "people") == charged


@pytest.mark.parametrize("bounds", [{"cap": 40}, {"most": 2}])
def test_a_contract_that_changes_is_matched_with_another_set(matched, bounds):
    """The set of the window has 50 people; the operator lets 40 be matched from now on."""
    assert matched.run(match(matched)).status == "done"
    for party in ENDS:
        restate(matched.folder(party), **bounds)
        matched.restart(party)
    order = match(matched, **bounds)
    job = matched.run(order)
    assert job.status == "done", job.result
    terms = terms_of(order)
    for party, size in ((RECEIVER, 50), (SENDER, 60)):
        found = [e for e in entries(matched, party, EntryKind.MATCHED) if "set/" in e.body["step"]]
        assert len(found) == 2
        chosen = MatchFile(matched.folder(party)).chosen(place(terms, party))
        assert len(chosen.identifiers) == min(size, bounds.get("cap", size))


def test_a_set_of_many_of_one_person_serves_no_order_that_pays_for_one(matched):
    for party in ENDS:
        restate(matched.folder(party), most=5)
        matched.restart(party)
    dear, cheap = match(matched, most=5, epsilon="0.5"), match(matched, epsilon="0.5")
    assert matched.run(dear).status == "done"
    job = matched.run(cheap)
    assert job.status == "refused" and "5 of one person" in json.dumps(job.result)
    assert MatchTask.from_json(dear.parameters).dummies.scale == 10
    assert MatchTask.from_json(cheap.parameters).dummies.scale == 2
    assert place(terms_of(dear), SENDER) != place(terms_of(cheap), SENDER)


def test_a_price_beyond_the_cap_is_refused(matched):
    job = matched.run(match(matched, epsilon="2"))
    assert job.status == "refused" and "NODE-005" in json.dumps(job.result)


def test_an_account_that_is_empty_pays_for_no_size(simulation):
    with_people(simulation, {"epsilon": "0.6", "delta": "1e-6"})
    assert simulation.run(match(simulation)).status == "done"
    order = match(simulation)
    assert simulation.run(order).status == "refused"
    assert {r["kind"] for r in simulation.job(order).result["refusals"]} == {"budget"}


@pytest.mark.parametrize("blob", ["said", "list", "commit"])
def test_a_letter_that_was_changed_ends_the_match(matched, blob):
    def change(wire):
        said = parse(wire)
        blobs = {**said.blobs, "said": said.blobs["said"][:-1] + b"\1"}
        return seal(type(said)(**{**_parts(said), "blobs": blobs}), matched.key(RECEIVER))

    step = {"said": 3, "list": 1, "commit": 0}[blob]
    matched.node(RECEIVER)
    matched.mail.tamper(Kind.MATCH_STEP, RECEIVER, change, step)
    assert matched.run(match(matched)).status == "abandoned"


def _parts(envelope):
    names = ("kind", "sender", "recipient", "order", "sequence", "body", "blobs")
    return {name: getattr(envelope, name) for name in names}


def test_a_step_out_of_turn_is_refused(matched):
    order = match(matched)
    assert matched.run(order).status == "done"
    for step in (2, 4, 9):
        assert matched.ask(Kind.MATCH_STEP, RECEIVER, order.id, step).kind is Kind.FAILED


@pytest.mark.parametrize(("epsilon", "scale"), [("1", 1), ("0.99", 2), ("0.5", 2), ("0.1", 10)])
def test_a_size_never_costs_more_than_was_asked(epsilon, scale):
    assert law_for(Decimal(epsilon), 1).scale == scale


# -- an audit -------------------------------------------------------------------------------------


def test_what_a_node_keeps_makes_its_messages_again(matched):
    order = match(matched)
    assert matched.run(order).status == "done"
    terms = terms_of(order)
    files = {party: MatchFile(matched.folder(party)) for party in ENDS}
    seeds = {party: files[party].session(order.id).seed for party in ENDS}
    sets = {party: files[party].chosen(place(terms, party)) for party in ENDS}
    listed, reply = files[SENDER].heard(order.id, 1), files[RECEIVER].heard(order.id, 2)
    commits = [files[other].heard(order.id, 0)[4:] for other in (SENDER, RECEIVER)]
    audit.require_list(terms, sets[RECEIVER], seeds[RECEIVER], (commits[0], listed))
    audit.require_reply(terms, sets[SENDER], seeds[SENDER], (commits[1], reply), listed)
    with pytest.raises(FaultyPartyError):
        audit.require_list(terms, sets[SENDER], seeds[RECEIVER], (commits[0], listed))
