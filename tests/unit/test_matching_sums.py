"""Sums over matched people between two real nodes: what is told, charged, kept and refused."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clients.match_file import MatchFile
from clients.match_results import table_of
from clients.matching import NUMBERS, Step
from experiments.errors import UsageError
from experiments.matching import explanation, interval, sum_noise
from experiments.matching_view import explained, found
from federation.ledger.entries import EntryKind
from federation.match_values import half_width
from federation.matching import MatchTask, event_of, task_of, terms_of
from federation.messages import Kind
from policies.budget.events import Composed, DiscreteLaplace
from secure_compute.psi import audit, summing
from secure_compute.psi.amounts import amounts_place
from secure_compute.psi.sets import place
from secure_compute.psi.terms import Role
from tests.matching import COMMON, ENDS, RECEIVER, SENDER, match, people, with_people
from tests.simulator import Killed, killed

STEP = Decimal("0.1")
EXACT = sum(Decimal(number % 7) for number in range(20, 50))
"""What the 30 people whom both have spent at the sender."""


@pytest.fixture
def matched(simulation):
    return with_people(simulation)


def asked(simulation, **changes):
    return match(simulation, "sum", of="spent", **changes)


def noises(simulation, order):
    """Return the noise of receiver and sender, in the unit, from the seeds that they keep."""
    terms = terms_of(order)
    ends = ((Role.RECEIVER, RECEIVER), (Role.SENDER, SENDER))
    seeds = [(role, MatchFile(simulation.folder(p)).session(order.id).seed) for role, p in ends]
    return [summing.noise(terms, role, seed) * STEP for role, seed in seeds]


def result(simulation, party, order):
    path = table_of(simulation.folder(party), order.id).with_suffix(".json")
    return json.loads(path.read_text())


def numbers_of(simulation):
    """Return the commitments to numbers that the sender's log names."""
    entries = [e for e in simulation.books(SENDER).entries() if e.kind is EntryKind.MATCHED]
    return {e.body["step"]: e.body["given"] for e in entries if NUMBERS in e.body["step"]}


def test_a_sum_is_exact_but_for_the_noise_of_both_and_charged_at_both_ends(matched):
    order = asked(matched)
    job = matched.run(order)
    assert job.status == "done", job.result
    task = MatchTask.from_json(order.parameters)
    mine, theirs = noises(matched, order)
    assert job.result["sum"] * STEP == EXACT + mine + theirs
    assert Decimal(result(matched, RECEIVER, order)["sum"]) == EXACT + theirs
    assert Decimal(result(matched, SENDER, order)["sum"]) == EXACT + mine
    assert result(matched, SENDER, order)["size"] == job.result["size"]
    assert result(matched, RECEIVER, order)["unit"] == "EUR"
    assert abs(result(matched, RECEIVER, order)["size"] - COMMON) <= task.dummies.shift
    event = event_of(task)
    assert isinstance(event, Composed)
    assert event.events[1] == DiscreteLaplace(2 * 5000, task.value.scale)
    for party in ENDS:
        matched.assert_charged(party, event, 1, "people")


def test_the_carrier_sees_neither_numbers_nor_what_follows_from_them(matched):
    order = asked(matched)
    assert matched.run(order).status == "done"
    seen = matched.mail.replies(Kind.MATCH_SAID)
    assert len(seen) == 7  # two commitments, list, reply, choice, sum, and nothing
    header = bytes.fromhex(terms_of(order).digest)
    assert all(header not in frame.wire for frame in seen)
    told = {(f.sender, f.envelope.sequence): set(f.envelope.body) for f in seen}
    assert {key: names for key, names in told.items() if names} == {
        (RECEIVER, Step.CONCLUDE): {"size"},
        (SENDER, Step.HEAR): {"sum"},
    }


def test_lengths_are_those_of_the_terms_whatever_is_held(matched):
    assert matched.run(asked(matched)).status == "done"
    other = type(matched)(matched.home.folder.parent / "other")
    with_people(other)
    small = people(2, 9).set_column(2, "spent", pa.array([None] * 7, pa.float64()))
    pq.write_table(small, other.folder(SENDER) / "data" / "people.parquet")
    assert other.run(asked(other)).status == "done"
    lengths = [
        [len(f.envelope.blobs["said"]) for f in each.mail.replies(Kind.MATCH_SAID)]
        for each in (matched, other)
    ]
    assert lengths[0] == lengths[1]


def test_the_set_is_that_of_a_size_and_the_numbers_of_a_window_are_the_first(matched):
    assert matched.run(match(matched)).status == "done"
    first = asked(matched)
    assert matched.run(first).status == "done"
    before = numbers_of(matched)
    table = people(20, 80).set_column(2, "spent", pa.array([400.0] * 60))
    pq.write_table(table, matched.folder(SENDER) / "data" / "people.parquet")
    matched.restart(SENDER)
    second = asked(matched)
    job = matched.run(second)
    assert job.status == "done", job.result
    assert job.result["sum"] * STEP == EXACT + sum(noises(matched, second))
    assert numbers_of(matched) == before and len(before) == 1
    sets = [e for e in matched.books(SENDER).entries() if "set/" in e.body.get("step", "")]
    assert len(sets) == 1


def test_numbers_that_were_lost_are_not_read_anew(matched):
    assert matched.run(asked(matched)).status == "done"
    matched.kill(SENDER)
    terms = terms_of(asked(matched))
    file = MatchFile(matched.folder(SENDER))
    file._write([("DELETE FROM amounts WHERE place = ?", (amounts_place(terms),))])
    job = matched.run(asked(matched))
    assert job.status == "abandoned" and SENDER in job.result["error"]
    assert file.amounts(amounts_place(terms)) is None


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("party", "count"),
    [*((RECEIVER, count) for count in (1, 2, 3, 4)), *((SENDER, count) for count in (1, 2, 3))],
)
def test_a_node_that_is_killed_at_any_step_says_the_same_again(matched, party, count, moment):
    """It dies as it keeps its first, second, third step: nothing is released twice."""
    order = asked(matched)
    for end in ENDS:
        matched.node(end)
    dying(matched, party, count, moment)
    job = matched.run(order)
    assert job.status == "done", job.result
    assert job.result["sum"] * STEP == EXACT + sum(noises(matched, order))
    told = {}
    for frame in matched.mail.replies(Kind.MATCH_SAID):
        name = (frame.sender, frame.envelope.sequence)
        said = frame.envelope.blobs["said"], dict(frame.envelope.body)
        assert told.setdefault(name, said) == said
    event = event_of(task_of(order))
    for end in ENDS:
        matched.assert_charged(end, event, 1, "people")


def dying(simulation, party, count, moment):
    """Let the node die when it keeps the step of that number."""
    outbox, seen = simulation.node(party)._outbox, [0]
    real = outbox.keep

    def keep(*arguments, **named):
        seen[0] += 1
        if seen[0] != count:
            return real(*arguments, **named)
        if moment == "after":
            real(*arguments, **named)
        raise Killed

    outbox.keep = keep


@pytest.mark.parametrize("step", [3, 4, 5])
def test_an_aggregator_that_is_killed_carries_the_same_sum(matched, step):
    order = asked(matched)
    matched.mail.kill(Kind.MATCH_STEP, "after", step)
    matched.put(order)
    assert killed(matched.work)
    matched.work()
    job = matched.job(order)
    assert job.status == "done", job.result
    assert job.result["sum"] * STEP == EXACT + sum(noises(matched, order))


@pytest.mark.parametrize("put_back", [False, True])
def test_a_sender_opens_one_choice_whatever_copy_lies_in_its_folder(matched, tmp_path, put_back):
    order = asked(matched)
    matched.mail.kill(Kind.MATCH_STEP, "after", Step.CONCLUDE)
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
    letter = [f for f in matched.mail.sent(Kind.MATCH_STEP) if f.sequence == Step.HEAR][-1]
    reply = [f for f in matched.mail.sent(Kind.MATCH_STEP) if f.sequence == Step.CONCLUDE][-1]
    other = {**letter.blobs, "conclude": reply.blobs["reply"]}
    assert matched.ask(Kind.MATCH_STEP, SENDER, order.id, 4, **other).kind is Kind.FAILED
    told = matched.mail.replies(Kind.MATCH_SAID)
    assert len({f.envelope.blobs["said"] for f in told if f.envelope.sequence == Step.HEAR}) == 1


def test_a_match_that_sums_nothing_has_no_further_step(matched):
    order = match(matched)
    assert matched.run(order).status == "done"
    for step in (5, 6):
        assert matched.ask(Kind.MATCH_STEP, RECEIVER, order.id, step).kind is Kind.FAILED


def test_an_audit_makes_all_messages_of_a_sum_again(matched):
    order = asked(matched)
    assert matched.run(order).status == "done"
    terms, files = terms_of(order), {p: MatchFile(matched.folder(p)) for p in ENDS}
    seeds = {party: files[party].session(order.id).seed for party in ENDS}
    mine, theirs = (files[party].chosen(place(terms, party)) for party in ENDS)
    amounts = files[SENDER].amounts(amounts_place(terms))
    reply, choice = files[RECEIVER].heard(order.id, 2), files[SENDER].heard(order.id, 3)
    commits = [files[other].heard(order.id, 0)[4:] for other in (SENDER, RECEIVER)]
    listed = files[SENDER].heard(order.id, 1)
    sent = (commits[1], reply)
    audit.require_reply(terms, theirs, seeds[SENDER], sent, listed, amounts=amounts)
    audit.require_choice(terms, mine, seeds[RECEIVER], (commits[0], choice), reply)
    told = files[RECEIVER].heard(order.id, 4)
    audit.require_release(terms, seeds[SENDER], told, choice)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"of": "spend"}, "did you mean 'spent'"),
        ({"of": "email"}, "no bounds"),
        ({"unit": "USD"}, "in EUR, the bound in USD"),
        ({"bound": "501"}, "between 0 and 500"),
        ({"bound": "much"}, "is no number"),
        ({"epsilon": "1e-9"}, "ask for a larger one"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(matched, changes, why):
    with pytest.raises(UsageError, match=why):
        match(matched, "sum", **{"of": "spent", **changes})


def forged(order, **value):
    """Return the order with another value than a proposer of this version would write."""
    told = {**order.parameters["value"], **value}
    return replace(order, parameters={**order.parameters, "value": told})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"unit": "USD"}, "bound in USD"),
        ({"high": 6000}, "between 0 and 500"),
        ({"column": "spend"}, "did you mean"),
        ({"scale": 100}, "price"),
        ({"high": 100}, "price"),
    ],
)
def test_a_node_refuses_what_its_contract_does_not_say(matched, value, why):
    job = matched.run(forged(asked(matched), **value))
    assert job.status == "refused" and why in json.dumps(job.result), job.result


def test_a_sender_without_the_column_ends_the_match(matched):
    pq.write_table(people(20, 80).drop(["spent"]), matched.folder(SENDER) / "data/people.parquet")
    assert matched.run(asked(matched)).status == "abandoned"


def test_an_empty_account_pays_for_no_sum(simulation):
    with_people(simulation, {"epsilon": "0.4", "delta": "1e-6"})
    order = asked(simulation)
    assert simulation.run(order).status == "refused"
    assert {r["kind"] for r in simulation.job(order).result["refusals"]} == {"budget"}


# -- how it is explained --------------------------------------------------------------------------


def test_the_price_and_who_learns_what_stand_there_before(matched):
    order = asked(matched, bound="50", unit="EUR")
    for member in matched.home.holders():
        matched.folder(member.party)
    said = explanation(matched.home, order)
    noise = said["noise"]["sum"]
    assert (noise["of"], noise["low"], noise["high"], noise["unit"]) == ("spent", "0", "50", "EUR")
    assert Decimal(noise["ends"]) < Decimal(noise["told"])
    assert set(said["bytes"]) == {"list", "reply", "choice"}
    learns = {line["who"]: line["what"] for line in said["learns"]}
    assert "sender's noise" in learns[RECEIVER] and "receiver's noise" in learns[SENDER]
    text = explained(said)
    assert f"± {noise['told']} to the others" in text and "ε " in text
    assert all(matched.account(party, "people") is None for party in ENDS)


def test_what_came_of_it_has_intervals(matched):
    value = task_of(asked(matched)).value
    total = interval(1234, half_width(value.scale), value)
    assert total["value"] == "123.4" and Decimal(total["low"]) < Decimal("123.4")
    shown = {
        "receiver": RECEIVER,
        "sender": SENDER,
        "on": "email",
        "epsilon": "0.5",
        "unit": "customer",
        "sizes": interval(30, 5),
        "sum": total,
        "unit_of_sum": value.unit,
        "noise": {"delta": "1e-10", "sum": sum_noise(value)},
    }
    text = found(shown)
    assert "(25 to 35)" in text and f"({total['low']} to {total['high']}" in text
