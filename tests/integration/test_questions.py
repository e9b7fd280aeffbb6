"""A joint question under keys that nobody holds alone: who may die, when, and what it costs."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest

from aggregator.answer_files import fetch_answer, keep_answer
from aggregator.jobs import Jobs
from aggregator.key_pool import KeyPool
from aggregator.stepping import LETTER_SECONDS
from experiments import querying
from experiments.errors import UsageError
from experiments.following import AbandonedRunError
from experiments.founding import DEMO_SEATS, Seat, found, free_ports
from experiments.notes import line
from experiments.opening import UnopenedError, fresh_key, released, rows_of
from experiments.ordering import Terms, query_order
from federation.envelopes import parse, seal
from federation.kept_answers import Box, open_answer
from federation.messages import Kind
from policies.errors import SmallCohortError
from policies.parties import Jurisdiction, PartyId, Role
from tests.simulator import CN, EU, KEYHOLDERS, LIMITS, SQL, UK, US, WAREHOUSES, Simulation, killed

SEATS = tuple(
    seat
    for seat in DEMO_SEATS
    if seat.role in {Role.WAREHOUSE, Role.KEYHOLDER, Role.AGGREGATOR, Role.ANALYST}
)
CH, OTHER, THIRD = KEYHOLDERS


@pytest.fixture
def simulation(tmp_path):
    """Four warehouses, three keyholders."""
    return Simulation(tmp_path / "federation", seats=SEATS)


@pytest.fixture
def asked(simulation):
    """A question, a key for it made; nobody was asked yet."""
    simulation.coordinator()._making.refill()
    assert pool(simulation).ready == 4
    order = simulation.query()
    simulation.put(order)
    return order


def pool(simulation):
    return KeyPool(simulation.home.aggregator / "keys.sqlite")


def silence(simulation, party, *kinds):
    for kind in kinds or Kind:
        simulation.mail.drop(kind, party)


def charged(simulation, order, *parties):
    """Exactly these have paid for the order, once; nobody has anything set aside."""
    for party in WAREHOUSES:
        account = simulation.account(party, "orders")
        spent = 0 if account is None else account.epsilon_spent
        pending = 0 if account is None else account.epsilon_pending
        paid = float(order.epsilon) if party in parties else 0
        assert (party, spent, pending) == (party, paid, 0)


# -- the coordinator dies --------------------------------------------------------------------------


KEYS = (Kind.KEYS_JOIN, Kind.KEYS_BEGIN, Kind.KEYS_COMMIT, Kind.KEYS_SHOW)
STEPS = (Kind.QUERY_COMMIT, Kind.QUERY_ENDORSE, Kind.QUERY_REVEAL, Kind.QUERY_OPEN)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_question_is_taken_up_at_every_step_and_paid_for_once(simulation, asked, moment):
    for kind in STEPS:
        simulation.mail.kill(kind, moment)
        assert killed(simulation.work), kind
        simulation.mail.repair()
    simulation.work()
    simulation.open(asked)
    job = simulation.job(asked)
    assert job.status == "done" and job.result["parties"] == [*WAREHOUSES]
    charged(simulation, asked, *WAREHOUSES)
    assert pool(simulation).ready == 3  # one key, whatever happened
    assert not left_behind(simulation)
    for kind in (Kind.QUERY_COMMITTED, Kind.QUERY_REVEALED):  # and never other bytes
        said = simulation.mail.replies(kind)
        assert len({(frame.sender, part(frame)) for frame in said}) == len(WAREHOUSES)


def left_behind(simulation):
    """Whose letters of a question still lie at the aggregator, and which keys of ended orders."""
    with closing(sqlite3.connect(simulation.home.aggregator / "questions.sqlite")) as db:
        parts = db.execute("SELECT party FROM parts").fetchall()
    with closing(sqlite3.connect(simulation.home.aggregator / "keys.sqlite")) as db:
        served = "SELECT key FROM packages WHERE job IS NOT NULL AND length(package) > 0"
        return parts + db.execute(served).fetchall()


def part(frame):
    """What a reply says beside what rides along for the ledgers."""
    blobs = frame.envelope.blobs
    return blobs.get("commitment") or blobs.get("chunks")


FILES = frozenset({"jobs.sqlite-wal", "keys.sqlite-wal", "questions.sqlite-wal"})
"""The logs of the aggregator's files that a question writes to."""


def test_no_log_is_folded_in_while_a_question_is_under_way(simulation, asked):
    """Each time would wait for the disk several times over; at the end nothing is left in them."""
    there, answers = [], []

    def deliver(party, wire):
        there.append({path.name for path in simulation.home.aggregator.glob("*-wal")})
        reply = simulation.deliver(party, wire)
        if parse(wire).kind in {Kind.QUERY_COMMIT, Kind.QUERY_ENDORSE, Kind.QUERY_REVEAL}:
            answered = parse(reply).kind is not Kind.LEDGER_UNSURE
            answers.append((simulation.folder(party) / "answers.sqlite-wal").exists() == answered)
        return reply

    simulation.mail.deliver = deliver
    simulation.work()
    assert simulation.job(asked).status == "done"
    assert all(names >= FILES for names in there) and all(answers)
    assert not [path for path in simulation.home.aggregator.glob("*-wal") if path.name in FILES]
    assert not [*simulation.home.folder.glob("nodes/*/answers.sqlite-wal")]


def test_witnesses_of_the_aggregators_own_log_are_kept_with_each_exchange(simulation, asked):
    simulation.work()
    with closing(sqlite3.connect(simulation.home.aggregator / "ledger.sqlite")) as db:
        found = {
            row[0].rpartition("/")[2] for row in db.execute("SELECT witness FROM cosignatures")
        }
    assert found >= {*WAREHOUSES}


def test_an_order_is_killed_between_its_answer_and_its_end(simulation, asked, monkeypatch):
    """The sealed answer is there and the table does not know it yet: it is the same again."""
    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            simulation.work()
    path = simulation.home.aggregator / "answers" / f"{asked.id}.bin"
    before, asked_so_far = path.read_bytes(), len(simulation.mail.letters)
    simulation.work()
    assert path.read_bytes() == before
    kinds = {parse(wire).kind for wire in simulation.mail.letters[asked_so_far:]}
    assert kinds <= {Kind.CLOSE}  # nobody was asked anything again
    simulation.open(asked)
    assert simulation.job(asked).result["answer"]


def test_keys_are_taken_up_at_every_step(simulation):
    for kind in KEYS:
        simulation.mail.kill(kind, "after")
        assert killed(simulation.coordinator()._making.refill), kind
        simulation.mail.repair()
    assert simulation.coordinator()._making.refill()
    assert pool(simulation).ready == 4
    begun = {letter.order for letter in simulation.mail.sent(Kind.KEYS_BEGIN)}
    assert len(begun) == 1  # who is asked again says the same


def test_an_order_that_comes_in_goes_before_a_batch_of_keys(simulation, monkeypatch):
    making, waits = simulation.coordinator()._making, []
    monkeypatch.setattr(making, "_waits", lambda: len(waits) > 1 or waits.append(1))
    assert not making.refill() and pool(simulation).ready == 0
    batch = pool(simulation).begun()
    assert batch and simulation.coordinator()._making.refill()
    assert {letter.order for letter in simulation.mail.sent(Kind.KEYS_SHOW)} == {batch}


# -- keyholders die --------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", KEYHOLDERS)
def test_any_two_keyholders_open_an_answer(simulation, asked, dead):
    silence(simulation, dead)
    simulation.work()
    simulation.open(asked)
    job = simulation.job(asked)
    assert job.status == "done"
    assert job.result["opened_by"] == [party for party in KEYHOLDERS if party != dead]
    charged(simulation, asked, *WAREHOUSES)


def test_what_a_keyholder_leaves_undone_is_asked_of_another(simulation, asked):
    """It bound the list, then died: the third one is asked for its pieces alone."""

    def nothing(wire):
        return b"" if parse(wire).kind is Kind.QUERY_OPENED else wire

    simulation.mail.tamper(Kind.QUERY_OPEN, CH, nothing)
    simulation.work()
    simulation.open(asked)
    job = simulation.job(asked)
    assert job.status == "done" and job.result["opened_by"] == [OTHER, THIRD]
    assert any(note["party"] == CH for note in simulation.notes(asked, "silence"))
    places = [
        (letter.recipient, letter.body["places"])
        for letter in simulation.mail.sent(Kind.QUERY_OPEN)
        if "places" in letter.body
    ]
    (first,) = {tuple(at) for party, at in places if party == CH}
    again = {tuple(at) for party, at in places if party in {OTHER, THIRD}}
    assert first not in again or len(again) > 1
    assert sum(len(set(at)) for at in again) >= 3


def test_with_one_keyholder_left_nothing_is_signed_or_spent(simulation, asked):
    for dead in (OTHER, THIRD):
        silence(simulation, dead)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned"
    for word in ("1 of at least 2 keyholders", OTHER, THIRD, "Nothing was spent"):
        assert word in job.result["error"]
    assert not simulation.mail.sent(Kind.QUERY_ENDORSE) + simulation.mail.sent(Kind.QUERY_REVEAL)
    charged(simulation, asked)
    assert pool(simulation).ready == 3  # its key is never another's, all the same


def test_keyholders_that_die_after_all_was_shown_open_nothing_and_it_is_said(simulation, asked):
    simulation.mail.kill(Kind.QUERY_OPEN, "before")
    for dead in (OTHER, THIRD):
        silence(simulation, dead, Kind.QUERY_OPEN)
    assert killed(simulation.work)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned"
    for word in ("of at least 2 keyholders", "Nothing was opened", f"ε {asked.epsilon} is spent"):
        assert word in job.result["error"]
    charged(simulation, asked, *WAREHOUSES)
    assert not (simulation.home.aggregator / "answers").exists()


def test_with_one_keyholder_away_the_pool_lasts_and_then_says_who_is_missing(simulation, asked):
    silence(simulation, THIRD)
    answered = [asked]
    while pool(simulation).ready > 1:
        simulation.work()
        answered.append(simulation.query(epsilon="0.1", source="fresh"))
        simulation.put(answered[-1])
    simulation.work()
    assert [simulation.job(order).status for order in answered] == ["done"] * 4
    order = simulation.query(epsilon="0.1", source="fresh")
    job = simulation.run(order)
    assert job.status == "abandoned"
    for word in (THIRD, "All 3 keyholders make a key, and 2 open with it", "Nothing was spent"):
        assert word in job.result["error"]
    assert order.id not in {letter.order for letter in simulation.mail.sent(Kind.QUERY_COMMIT)}


# -- nodes die -------------------------------------------------------------------------------------


def test_who_does_not_commit_is_left_out(simulation, asked):
    silence(simulation, US, Kind.QUERY_COMMIT)
    simulation.work()
    simulation.open(asked)
    job = simulation.job(asked)
    assert job.status == "done" and job.result["parties"] == [CN, EU, UK]
    assert job.result["answer"]["contributors"] == 3
    charged(simulation, asked, CN, EU, UK)


def test_too_few_that_commit_end_it_and_nothing_is_spent(simulation, asked):
    for party in (UK, US):
        silence(simulation, party, Kind.QUERY_COMMIT)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned" and "2 of at least 3 parties" in job.result["error"]
    assert not simulation.mail.sent(Kind.QUERY_REVEAL) + simulation.mail.sent(Kind.QUERY_OPEN)
    charged(simulation, asked)


def spoil(simulation, *parties):
    """Their tables cannot be read any more, whatever they agreed to."""
    for party in parties:
        simulation.started(party)
        (simulation.folder(party) / "data" / "orders.parquet").write_bytes(b"no table")


def test_who_has_no_answer_in_its_slot_is_left_out_named_and_charged(simulation, asked):
    spoil(simulation, US)
    simulation.work()
    simulation.open(asked)
    result = simulation.job(asked).result
    assert (result["parties"], result["late"]) == ([CN, EU, UK], [US])
    assert result["answer"]["contributors"] == 3
    (note,) = simulation.notes(asked, "late")
    assert "no answer when its slot ended" in line(note) and line(note).startswith(US)
    charged(simulation, asked, *WAREHOUSES)
    said = {frame.sender: part(frame) for frame in simulation.mail.replies(Kind.QUERY_COMMITTED)}
    assert len({len(commitment) for commitment in said.values()}) == 1
    assert [party for party, commitment in said.items() if not any(commitment)] == [US]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_was_late_is_known_after_a_crash_and_its_price_is_told(simulation, asked, moment):
    spoil(simulation, US)
    simulation.mail.kill(Kind.QUERY_ENDORSE, moment)
    assert killed(simulation.work)
    for party in (CN, EU):
        silence(simulation, party, Kind.QUERY_REVEAL)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned"
    assert (
        f"ε {asked.epsilon} is spent at {UK}, {US}, and may be at {CN}, {EU}" in job.result["error"]
    )
    charged(simulation, asked, UK, US)


def test_too_few_in_their_slots_end_it_and_the_late_are_charged(simulation, asked):
    spoil(simulation, UK, US)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned" and "2 of at least 3 parties" in job.result["error"]
    assert f"ε {asked.epsilon} is spent at {UK}, {US}" in job.result["error"]
    charged(simulation, asked, UK, US)


def test_nodes_are_waited_for_until_after_their_slot(simulation, asked):
    order = simulation.query(sql="SELECT COUNT(*) FROM orders", deadline=120_000)
    simulation.put(order)
    simulation.work()
    waits = [wait for wait in simulation.mail.exchanges if CN in wait]
    commits = [max(wait.values()) for wait in waits if max(wait.values()) > 120]
    assert commits and all(seconds == 120 + LETTER_SECONDS for seconds in commits)


def test_who_does_not_sign_is_still_on_the_list(simulation, asked):
    silence(simulation, US, Kind.QUERY_ENDORSE)
    assert killed_once(simulation, asked)["parties"] == [*WAREHOUSES]


def killed_once(simulation, order):
    simulation.work()
    simulation.open(order)
    job = simulation.job(order)
    assert job.status == "done", job.result
    return job.result


def test_too_few_signatures_end_it_and_there_is_no_second_try(simulation, asked):
    for party in (UK, US):
        silence(simulation, party, Kind.QUERY_ENDORSE)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned" and "no second list" in job.result["error"]
    assert "nothing was spent" in job.result["error"]
    assert len(simulation.mail.sent(Kind.QUERY_ENDORSE)) == len(WAREHOUSES)
    assert not simulation.mail.sent(Kind.QUERY_REVEAL)
    charged(simulation, asked)


def test_with_too_few_keyholders_after_the_list_was_signed_nothing_is_shown_or_spent(
    simulation, asked
):
    for dead in (CH, OTHER):
        simulation.mail.drop(Kind.QUERY_BIND, dead)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned" and "1 of at least 2 keyholders" in job.result["error"]
    assert simulation.mail.replies(Kind.QUERY_ENDORSED)
    assert not simulation.mail.sent(Kind.QUERY_REVEAL)
    charged(simulation, asked)


def test_who_dies_between_committing_and_revealing_ends_it(simulation, asked):
    silence(simulation, US, Kind.QUERY_REVEAL)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned"
    assert f"{US} committed to a part of the sum and did not show it" in job.result["error"]
    spent = f"ε {asked.epsilon} is spent at {CN}, {EU}, {UK}, and may be at {US};"
    assert spent in job.result["error"]
    assert not simulation.mail.replies(Kind.QUERY_OPENED)
    charged(simulation, asked, CN, EU, UK)  # what never left is given back


def test_a_node_that_restarts_between_committing_and_revealing_reveals(simulation, asked):
    simulation.mail.kill(Kind.QUERY_ENDORSE, "before")
    assert killed(simulation.work)
    simulation.restart(US)
    simulation.work()
    simulation.open(asked)
    assert simulation.job(asked).result["parties"] == [*WAREHOUSES]
    charged(simulation, asked, *WAREHOUSES)


@pytest.mark.parametrize("blobs", [{}, {"commitment": b""}, {"commitment": b"x" * 200}])
def test_a_commitment_that_is_none_is_as_good_as_silence(simulation, asked, blobs):
    def change(wire):
        return seal(replace(parse(wire), blobs=blobs), simulation.key(US))

    simulation.mail.tamper(Kind.QUERY_COMMIT, US, change)
    assert killed_once(simulation, asked)["parties"] == [CN, EU, UK]
    assert any(note["party"] == US for note in simulation.notes(asked, "silence"))


def test_other_ciphertexts_than_were_committed_to_end_it(simulation, asked):
    def change(wire):
        letter = parse(wire)
        bad = bytearray(letter.blobs["chunks"])
        bad[100] ^= 1
        return seal(replace(letter, blobs={"chunks": bytes(bad)}), simulation.key(US))

    simulation.mail.tamper(Kind.QUERY_REVEAL, US, change)
    simulation.work()
    job = simulation.job(asked)
    assert job.status == "abandoned"
    assert f"{US} committed to a part of the sum and did not show it" in job.result["error"]
    assert not simulation.mail.replies(Kind.QUERY_OPENED)


# -- the recipient ---------------------------------------------------------------------------------


@pytest.fixture
def sealed(simulation, asked):
    """A question whose answer nobody has opened."""
    simulation.work()
    assert simulation.job(asked).result["answer"] is None
    return asked


def kept(simulation, order):
    return fetch_answer(simulation.home.aggregator / "answers", order.id)


def key_file(simulation, order):
    return simulation.home.people / "answers" / f"{order.id}.key"


def test_the_key_is_its_owners_alone_and_gone_once_the_answer_is_noted(simulation, sealed):
    path = key_file(simulation, sealed)
    assert path.stat().st_mode & 0o777 == 0o600
    seed = path.read_bytes()
    files = [item for item in simulation.home.folder.rglob("*") if item.is_file() and item != path]
    assert not any(seed in item.read_bytes() for item in files)
    result = released(simulation.home, simulation.jobs, simulation.job(sealed))
    assert result["answer"]["rows"] and not path.exists()
    again = released(simulation.home, simulation.jobs, simulation.job(sealed))
    assert again == result


def test_an_interrupted_question_is_taken_up_by_its_id(simulation, sealed):
    said = querying.resume(simulation.home, sealed.id[:12], lambda _: None)
    assert (said["run"], said["charged"], said["reused"]) == (sealed.id, sealed.epsilon, None)
    again = querying.resume(simulation.home, sealed.id[:12], lambda _: None)
    assert again == said
    charged(simulation, sealed, *WAREHOUSES)
    with pytest.raises(UsageError, match="no question begins"):
        querying.resume(simulation.home, "0" * 12, lambda _: None)


def test_an_answer_that_nobody_opened_is_no_past_release(simulation, sealed):
    past = simulation.query(source="past")
    assert simulation.run(past).status == "abandoned"
    simulation.open(sealed)
    past = simulation.query(source="past")
    job = simulation.run(past)
    assert job.status == "done" and job.result["reused"]["run"] == sealed.id
    assert job.result["answer"] == simulation.job(sealed).result["answer"]


def test_without_its_key_nobody_opens_an_answer(simulation, sealed):
    with pytest.raises(Exception, match="does not open"):
        rows_of(sealed, simulation.roster, kept(simulation, sealed), fresh_key())
    key_file(simulation, sealed).unlink()
    with pytest.raises(UsageError, match="Only who asked"):
        released(simulation.home, simulation.jobs, simulation.job(sealed))


def test_a_question_that_came_to_nothing_leaves_no_key(simulation, asked):
    for party in WAREHOUSES:
        silence(simulation, party, Kind.QUERY_COMMIT)
    simulation.work()
    with pytest.raises(AbandonedRunError):
        querying.resume(simulation.home, asked.id[:12], lambda _: None)
    assert not key_file(simulation, asked).exists()


def changed(blob, at):
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


CHANGES = {
    "another key": lambda one: replace(one, package=changed(one.package, len(one.package) // 2)),
    "no key": lambda one: replace(one, package=b""),
    "one party left out": lambda one: replace(one, commitments=one.commitments[1:]),
    "a forged commitment": lambda one: replace(
        one, commitments=(changed(one.commitments[0], 3), *one.commitments[1:])
    ),
    "another sum": lambda one: replace(one, totals=(changed(one.totals[0], 50),)),
    "no sum": lambda one: replace(one, totals=()),
    "one keyholder's pieces": lambda one: replace(one, boxes=one.boxes[:1]),
    "one keyholder's pieces twice": lambda one: replace(one, boxes=one.boxes[:1] * 2),
    "boxes under each other's names": lambda one: replace(one, boxes=swapped(one.boxes)),
    "a changed box": lambda one: replace(
        one, boxes=(replace(one.boxes[0], sealed=changed(one.boxes[0].sealed, 40)), one.boxes[1])
    ),
}


def test_whatever_is_changed_in_a_kept_answer_it_does_not_open(simulation, sealed):
    folder, whole = simulation.home.aggregator / "answers", kept(simulation, sealed)
    for name, change in CHANGES.items():
        keep_answer(folder, sealed.id, change(whole))
        with pytest.raises(UnopenedError, match="does not open"):
            released(simulation.home, simulation.jobs, simulation.job(sealed))
        assert simulation.job(sealed).result["answer"] is None, name
        assert key_file(simulation, sealed).exists(), name
    path = folder / f"{sealed.id}.bin"
    for data in (b"", whole.to_bytes()[:1000], b"x" + whole.to_bytes()[1:]):
        path.write_bytes(data)
        with pytest.raises(UnopenedError, match="does not open"):
            released(simulation.home, simulation.jobs, simulation.job(sealed))
    keep_answer(folder, sealed.id, whole)
    assert released(simulation.home, simulation.jobs, simulation.job(sealed))["answer"]


def swapped(boxes):
    one, two = boxes
    return (Box(two.keyholder, one.sealed), Box(one.keyholder, two.sealed))


def test_the_gate_counts_organisations_before_rows_are_noted(simulation, asked, monkeypatch):
    """Whoever certified the list: what fewer stand behind than the order says is not noted."""
    silence(simulation, US, Kind.QUERY_COMMIT)
    simulation.work()

    def one_fewer(*arguments):
        listed, values = open_answer(*arguments)
        return replace(listed, commitments=listed.commitments[1:]), values

    monkeypatch.setattr("experiments.opening.open_answer", one_fewer)
    with pytest.raises(SmallCohortError, match="2 organisations contributed and 3 are needed"):
        released(simulation.home, simulation.jobs, simulation.job(asked))
    assert simulation.job(asked).result["answer"] is None


# -- budgets and founding --------------------------------------------------------------------------


def test_two_analysts_together_spend_no_more_than_a_node_allows(tmp_path):
    second = Seat(PartyId("analyst-two"), "Trade Insight", Role.ANALYST, Jurisdiction.EU)
    limits = LIMITS | {"orders": {"epsilon": "0.6", "delta": "1e-6"}}
    simulation = Simulation(tmp_path / "two", seats=(*SEATS, second), limits=limits)
    homes = (simulation.home, replace(simulation.home, analyst=second.party))
    ended = []
    for number in range(4):
        simulation.home = homes[number % 2]
        terms = Terms(purpose="market_statistics", source="fresh")
        order = query_order(simulation.home, SQL, "0.4", terms)
        job = simulation.run(order)
        ended.append(job.status)
    assert set(ended[:2]) == {"done"} and set(ended[-2:]) == {"refused"}
    for party in WAREHOUSES:
        account = simulation.account(party, "orders")
        assert account.releases == ended.count("done")
        assert account.epsilon_spent + account.epsilon_pending <= 0.6
        assert Decimal(repr(account.epsilon_spent)) > Decimal("0.4")


def test_two_keyholders_found_nothing(tmp_path):
    seats = [seat for seat in SEATS if seat.party != THIRD]
    with pytest.raises(UsageError, match="2 organisations are to hold the keys"):
        found(tmp_path / "a", "a", seats, LIMITS, free_ports())
    one = [
        replace(seat, organisation="Zug Treuhand") if "keyholder" in seat.party else seat
        for seat in SEATS
    ]
    with pytest.raises(UsageError, match="1 organisations"):
        found(tmp_path / "b", "b", one, LIMITS, free_ports())
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
