"""Orders that wait for people: who is asked, what is held meanwhile, and how it goes on."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from click.testing import CliRunner

from aggregator import rosters
from aggregator.settings import load_aggregator
from clients.approvals import Approvals
from clients.consents import say
from clients.errors import RefusedWorkError
from clients.inbox import Inbox
from clients.once import Once, is_of_the_moment
from clients.settings import load_settings
from experiments import order_changes
from experiments.commands.node_approve import approve
from experiments.deciding import overview, pending, word_of
from experiments.errors import WaitingError
from experiments.following import asks_people, follow, require_done
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.envelopes import Envelope, seal
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.order_kinds import kinds_of
from federation.orders import open_order
from federation.roster_chain import Rekey, change_statement
from policies.budget.events import from_json
from policies.law.bundle import law_text
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.matching import ENDS, RECEIVER, SENDER, match, resumed, with_people
from tests.matching import approve as approve_match
from tests.persons import (
    OFFICER,
    approved,
    ask_above,
    is_asked,
    later,
    look,
    run,
    says,
    waiting,
)
from tests.rosters import key
from tests.simulator import CN, EU, UK, US, WAREHOUSES, Killed


@pytest.fixture
def asking(simulation):
    """Four warehouses, of which China's asks a person."""
    ask_above(simulation, CN)
    return simulation


def holds_nothing(simulation, *parties):
    return all(simulation.books(party).open_orders() == [] for party in parties)


# -- nothing changes for what no policy marks ------------------------------------------------------


def test_what_no_policy_marks_is_offered_at_once(simulation):
    order = simulation.training()
    assert simulation.run(order).status == "done"
    assert simulation.mail.sent(Kind.PROPOSE) == []
    assert not (simulation.folder(CN) / "approvals").exists()
    (entry,) = approved(simulation, CN, order)
    assert all("=" not in reason for reason in entry.body["reasons"])


def test_an_order_under_the_limit_asks_nobody(simulation):
    ask_above(simulation, CN, "100.0")
    order = waiting(simulation.training())
    assert simulation.run(order).status == "done"
    assert not is_asked(simulation, CN, order)


# -- waiting ---------------------------------------------------------------------------------------


def test_an_order_waits_and_nobody_holds_anything_meanwhile(asking):
    order = waiting(asking.training())
    job = run(asking, order)
    assert job.status == "waiting"
    assert is_asked(asking, CN, order)
    assert holds_nothing(asking, *WAREHOUSES)
    assert asking.mail.sent(Kind.OFFER) == []
    for party in WAREHOUSES:
        assert asking.account(party) is None


def test_a_node_says_one_word(asking):
    order = waiting(asking.training())
    run(asking, order)
    (reply,) = asking.mail.replies(Kind.WAITING)
    assert (dict(reply.envelope.body), dict(reply.envelope.blobs)) == ({}, {})
    (note,) = asking.notes(order, "waiting")
    assert (note["waiting"], note["named"]) == (1, [])


def test_who_lets_it_is_named(asking):
    path = asking.folder(CN) / "node.toml"
    path.write_text(path.read_text() + "\n[approvals]\nnamed = true\n")
    order = waiting(asking.training())
    run(asking, order)
    (note,) = asking.notes(order, "waiting")
    assert note["named"] == [CN]


def test_it_goes_on_by_itself_once_the_person_approved(asking):
    order = waiting(asking.training())
    run(asking, order)
    says(asking, CN, order)
    later(asking)
    assert asking.job(order).status == "done"
    assert asking.job(order).result["parties"] == list(WAREHOUSES)
    (entry,) = approved(asking, CN, order)
    assert [reason for reason in entry.body["reasons"] if reason.startswith("consent=")]
    (other,) = approved(asking, EU, order)
    assert not [reason for reason in other.body["reasons"] if "=" in reason]


def test_whoever_has_spoken_is_not_asked_again(asking):
    order = waiting(asking.training())
    run(asking, order)
    asking.mail.letters.clear()
    later(asking)
    later(asking)
    assert {letter.recipient for letter in asking.mail.sent(Kind.PROPOSE)} == {CN}


def test_it_is_asked_about_no_sooner_than_due(asking):
    order = waiting(asking.training())
    run(asking, order)
    asking.mail.letters.clear()
    asking.work()
    assert asking.mail.letters == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_of_the_aggregator_asks_on(asking, moment):
    order = waiting(asking.training())
    asking.put(order)
    asking.mail.kill(Kind.PROPOSE, moment)
    with pytest.raises(Killed):
        asking.work()
    assert asking.job(order).status == "running"
    asking.work()
    assert asking.job(order).status == "waiting"
    says(asking, CN, order)
    asking.restart(CN)
    later(asking)
    assert asking.job(order).status == "done"


def test_waiting_for_long_is_no_crash(asking):
    """An order is given up after three starts without a step; asking people is none of them."""
    order = waiting(asking.training())
    run(asking, order)
    for _ in range(5):
        later(asking)
        assert asking.job(order).status == "waiting"


def test_a_node_that_restarts_still_waits_and_remembers_the_word(asking):
    order = waiting(asking.training())
    run(asking, order)
    asking.restart(CN)
    later(asking)
    assert asking.job(order).status == "waiting"
    says(asking, CN, order)
    asking.restart(CN)
    later(asking)
    assert asking.job(order).status == "done"


def test_a_query_waits_as_well(asking):
    order = waiting(asking.query(cohort=WAREHOUSES))
    asking.put(order)
    asking.work()
    assert asking.job(order).status == "waiting"
    assert asking.mail.sent(Kind.QUERY_COMMIT) == []
    says(asking, CN, order)
    later(asking)
    assert asking.job(order).status == "done"


# -- a partial veto --------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["no", "nothing"])
def test_a_veto_leaves_the_others_working(asking, answer):
    order = waiting(asking.training(), hours=1)
    run(asking, order)
    if answer == "no":
        says(asking, CN, order, "no")
    later(asking, 3601 if answer == "nothing" else 10)
    job = asking.job(order)
    assert job.status == "done"
    assert job.result["parties"] == [EU, UK, US]
    asking.assert_charged(EU, from_json(order.event), order.releases)
    assert asking.account(CN) is None


@pytest.mark.parametrize("answer", ["no", "nothing"])
def test_nothing_tells_the_data_team_who_vetoed(asking, answer):
    order = waiting(asking.training(), hours=1)
    run(asking, order)
    if answer == "no":
        says(asking, CN, order, "no")
    later(asking, 3601 if answer == "nothing" else 10)
    told = [note for _, note in asking.jobs.notes(order.id)] + [asking.job(order).result]
    assert str(CN) not in json.dumps(told)
    (offered,) = asking.notes(order, "offered")
    assert offered["declined"] == 1


def test_too_few_without_a_veto_and_still_nobody_is_named(asking):
    ask_above(asking, EU)
    order = waiting(asking.training())
    run(asking, order)
    for party in (CN, EU):
        says(asking, party, order, "no")
    later(asking)
    job = asking.job(order)
    assert job.status == "refused"
    told = json.dumps([job.result, [note for _, note in asking.jobs.notes(order.id)]])
    assert str(CN) not in told and str(EU) not in told
    assert {refusal["kind"] for refusal in job.result["refusals"]} == {"person"}
    assert holds_nothing(asking, *WAREHOUSES)


def test_an_officer_at_the_aggregator_reads_who_vetoed(asking):
    order = waiting(asking.training())
    run(asking, order)
    says(asking, CN, order, "no")
    later(asking)
    record = asking.coordinator()._record.entries()
    (entry,) = [e for e in record if e.kind is EntryKind.REFUSED and e.order == order.id]
    assert entry.body["reasons"] == [CN, "APPROVAL-004"]


def test_the_nodes_own_log_says_that_a_person_said_no(asking):
    order = waiting(asking.training())
    run(asking, order)
    says(asking, CN, order, "no")
    later(asking)
    entries = [e for e in asking.books(CN).entries() if e.kind is EntryKind.REFUSED]
    assert {tuple(e.body["reasons"]) for e in entries} == {("APPROVAL-004",)}


def test_a_node_whose_clock_is_slow_holds_nobody_up(asking):
    asking.wrong[CN] = -200.0
    order = waiting(asking.training(), hours=1)
    run(asking, order)
    later(asking, 3601)
    assert asking.job(order).status == "done"
    assert asking.job(order).result["parties"] == [EU, UK, US]


def test_an_order_that_is_over_asks_nobody_any_more(asking):
    order = waiting(asking.training(), hours=1)
    run(asking, order)
    assert is_asked(asking, CN, order)
    later(asking, 3601)
    assert not is_asked(asking, CN, order)


# -- orders that wait for nobody -------------------------------------------------------------------


def test_an_order_that_waits_for_nobody_goes_on_without_the_node_that_would_ask(asking):
    order = asking.training()
    assert asking.run(order).result["parties"] == [EU, UK, US]
    assert not is_asked(asking, CN, order)


def test_an_order_that_needs_the_node_is_known_as_one_to_put_once_more(asking):
    ask_above(asking, EU)
    order = asking.training()
    job = asking.run(order)
    assert job.status == "refused"
    assert asks_people(job)
    assert holds_nothing(asking, *WAREHOUSES)
    assert asking.account(US).epsilon_spent == 0


def test_the_data_team_is_told_that_it_waits_with_exit_code_12(asking):
    order = waiting(asking.training())
    run(asking, order)
    job = follow(asking.jobs, order.id, lambda _: None)
    with pytest.raises(WaitingError, match=f"--resume {order.id[:12]}") as waits:
        require_done(job)
    assert waits.value.exit_code == 12


# -- words that do not count -----------------------------------------------------------------------


def test_a_word_about_another_order_is_none(asking):
    first, second = waiting(asking.training()), waiting(asking.training(seed=2))
    run(asking, first)
    run(asking, second)
    says(asking, CN, first)
    folder = asking.folder(CN) / "approvals"
    (folder / f"{second.id}.word").write_bytes((folder / f"{first.id}.word").read_bytes())
    later(asking)
    assert asking.job(second).status == "waiting"


def test_a_word_that_was_altered_is_none(asking):
    order = waiting(asking.training())
    run(asking, order)
    says(asking, CN, order, "no")
    path = asking.folder(CN) / "approvals" / f"{order.id}.word"
    path.write_bytes(path.read_bytes().replace(b'"said":"no"', b'"said":"yes"'))
    later(asking)
    assert asking.job(order).status == "waiting"


def test_a_word_whose_key_the_party_does_not_vouch_for_is_none(asking):
    order = waiting(asking.training())
    run(asking, order)
    settings = load_settings(asking.folder(CN))
    stranger = SigningKey(bytes(range(32)))
    word = say(word_of(settings, order.id, "yes", "Eve", "mine"), stranger, stranger)
    Approvals(settings.folder).answer(order.id, canonical.encode(word.to_json()))
    later(asking)
    assert asking.job(order).status == "waiting"


def test_a_word_is_given_once(asking):
    order = waiting(asking.training())
    run(asking, order)
    found = look(asking, CN, order)
    found.say("no", OFFICER, "not today", None)
    with pytest.raises(RefusedWorkError, match="answered already"):
        found.say("yes", OFFICER, "after all", None)


def test_what_the_law_refuses_in_any_case_is_no_question_for_a_person(asking):
    order = waiting(asking.query("0.6"))
    job = run(asking, order)
    assert job.status == "refused"
    assert asking.mail.replies(Kind.WAITING) == []
    assert not is_asked(asking, CN, order)
    assert {r["id"] for refusal in job.result["refusals"] for r in refusal["reasons"]} >= {
        "NODE-002"
    }


def test_what_the_account_cannot_pay_is_no_question_for_a_person(asking):
    order = waiting(asking.training(abandoned=0, noise_multiplier=Decimal("2.4")))
    assert 6.5 < float(order.epsilon) < 8  # within the law, beyond the account
    run(asking, order)
    assert asking.mail.replies(Kind.WAITING) == []
    assert not is_asked(asking, CN, order)


# -- messages of an order --------------------------------------------------------------------------


def test_a_node_answers_no_message_that_is_no_part_of_the_order(simulation, caplog):
    """It looks at the kind first, before at anything that the message brings."""
    order = simulation.training()
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    for kind in (Kind.SUM_ROUND, Kind.SUM_ASK, Kind.QUERY_REVEAL, Kind.MATCH_STEP):
        caplog.clear()
        assert simulation.ask(kind, CN, order.id).kind is Kind.FAILED
        assert f"{kind} is no part of order" in caplog.text


def test_the_messages_of_an_order_follow_from_what_it_asks_for(simulation):
    assert kinds_of(simulation.training()) == {Kind.TRAIN_ROUND}
    query = kinds_of(simulation.query())
    assert {Kind.QUERY_COMMIT, Kind.QUERY_OPEN} < query and Kind.TRAIN_ROUND not in query


def test_an_order_is_not_begun_before_its_time(simulation):
    order = simulation.training()
    order = replace(order, not_before=order.created + 600)
    job = run(simulation, order)
    assert job.status == "waiting"
    assert simulation.mail.letters == []
    assert simulation.offer(CN, order).kind is Kind.REFUSED
    later(simulation, 601)
    assert simulation.job(order).status == "done"


# -- what a person is shown ------------------------------------------------------------------------


def test_a_person_sees_price_rest_and_what_is_new(asking):
    first = waiting(asking.training())
    run(asking, first)
    says(asking, CN, first)
    later(asking)
    second = waiting(asking.training(rounds=1))
    run(asking, second)
    shown = look(asking, CN, second).shown()
    (account,) = shown["accounts"]
    before = asking.account(CN)
    assert account["left"] == pytest.approx(
        account["limit"] - before.epsilon_spent - account["cost"], abs=1e-3
    )
    assert shown["since"] == first.id
    changed = {change["what"]: (change["before"], change["now"]) for change in shown["changes"]}
    assert changed["releases"] == ("3", "1")
    assert [rule["id"] for rule in shown["rules"]] == ["NODE-007"]
    assert set(shown["asked"]) == {EU, UK, US}
    assert asking.home.analyst in shown["learns"] and str(UK) in shown["learns"]
    assert shown["leaves"] == "train.update"


def test_a_question_is_shown_with_its_error(asking):
    order = waiting(asking.query(cohort=WAREHOUSES))
    run(asking, order)
    shown = look(asking, CN, order).shown()
    assert [error["label"] for error in shown["errors"]] and shown["since"] is None


def test_of_two_questions_the_texts_come_before_what_they_were_compiled_to(asking):
    first, second = (
        waiting(asking.query(cohort=WAREHOUSES, sql=f"SELECT category, {what} FROM orders {group}"))
        for what, group in (
            ("COUNT(*)", "GROUP BY category"),
            ("SUM(amount)", "WHERE amount < 100 GROUP BY category"),
        )
    )
    found = order_changes.changes(first, second)
    assert found and all(change.before != change.now for change in found)
    plan = [change.what.startswith("parameters.plan.") for change in found]
    assert any(plan) and plan == sorted(plan)
    assert "parameters.sql" in [change.what for change in found]


def invoke(*words):
    return CliRunner().invoke(approve, [str(word) for word in words])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_lists_shows_and_approves(asking, lang):
    order = waiting(asking.training())
    run(asking, order)
    folder = asking.folder(CN)
    assert order.id[:12] in invoke(folder, "--lang", lang).output
    shown = invoke(folder, order.id[:12], "--lang", lang)
    assert shown.exit_code == 0, shown.output
    assert "NODE-007" in shown.output and str(EU) in shown.output
    assert is_asked(asking, CN, order)
    done = invoke(folder, order.id[:12], "--person", OFFICER, "--yes", "--json")
    assert json.loads(done.stdout)["approved"] is True
    assert not is_asked(asking, CN, order)
    later(asking)
    assert asking.job(order).status == "done"


def test_the_command_refuses(asking):
    order = waiting(asking.training())
    run(asking, order)
    words = (order.id[:12], "--person", OFFICER, "--refuse", "--reason", "too dear", "--yes")
    assert invoke(asking.folder(CN), *words).exit_code == 0
    later(asking)
    assert asking.job(order).result["parties"] == [EU, UK, US]


def test_orders_under_a_key_that_was_given_up_hide_none_that_waits(asking):
    before = waiting(asking.training())
    run(asking, before)
    says(asking, CN, before)
    later(asking)
    left = waiting(asking.training(rounds=1))
    run(asking, left)
    folder, analyst, new = asking.folder(CN), asking.home.analyst, key("analyst anew")
    settings = load_aggregator(asking.home.aggregator)
    change = Rekey(analyst, new.verify_key)
    said = change_statement(settings.roster(), change)
    rosters.change(settings, change, {analyst: new.sign(said) + asking.key(analyst).sign(said)})
    (folder / "roster.bin").write_bytes(settings.chain.read_bytes())
    (asking.home.people / "identity.key").write_bytes(new.seed)
    order = waiting(asking.training(rounds=2))
    Approvals(folder).wait(open_order(sign(asking.home, order), asking.home.roster()))
    assert [one["order"] for one in overview(folder)["waiting"]] == [order.id]
    assert look(asking, CN, order).shown()["since"] is None
    asking.kill(CN)
    letter = Envelope(Kind.CLOSE, AGGREGATOR, CN, left.id, 0, {}, {})
    sealed = seal(letter, asking.key(AGGREGATOR))
    assert asking.read(asking.node(CN).answer(sealed)).kind is Kind.CLOSED
    assert set(Approvals(folder).kept()) == {order.id}


def test_a_proposal_is_judged_anew_however_often_it_is_put(asking):
    """The same letter twice: the first time it waits, then the person has spoken."""
    order = waiting(asking.training())
    node = asking.node(CN)
    once = Once(node.answer, Inbox(asking.folder(CN) / "inbox.sqlite"), is_of_the_moment)
    wire = sign(asking.home, order)
    letter = seal(
        Envelope(Kind.PROPOSE, AGGREGATOR, CN, order.id, 0, {}, {"order": wire}),
        asking.key(AGGREGATOR),
    )
    assert asking.read(once(letter)).kind is Kind.WAITING
    says(asking, CN, order)
    assert asking.read(once(letter)).kind is Kind.WILLING


# -- disclosures -----------------------------------------------------------------------------------


@pytest.fixture
def matched(simulation):
    return with_people(simulation)


def test_a_disclosure_that_waits_is_there_for_its_person_after_the_order_was_closed(matched):
    order = match(matched, "tokens")
    assert matched.run(order).status == "refused"
    for party in ENDS:
        assert is_asked(matched, party, order)


def test_a_person_refuses_a_disclosure(matched):
    order = match(matched, "tokens")
    matched.run(order)
    words = (order.id[:12], "--person", OFFICER, "--refuse", "--reason", "no", "--yes")
    assert invoke(matched.folder(RECEIVER), *words).exit_code == 0
    approve_match(matched, order, SENDER)
    assert resumed(matched, order) == "refused"
    (refusal,) = matched.job(order).result["refusals"]
    assert refusal["kind"] == "person"
    assert RECEIVER not in json.dumps(matched.job(order).result)
    with pytest.raises(RefusedWorkError, match="answered already"):
        approve_match(matched, order, RECEIVER)


def test_a_disclosure_waits_for_a_second_organisation_and_its_persons(matched):
    rule = law_text("countersigning_disclosures.cedar")
    for party in ENDS:
        path = matched.folder(party) / "policy" / "base.cedar"
        path.write_text(path.read_text(encoding="utf-8") + rule, encoding="utf-8")
    order = waiting(match(matched, "intersection"))
    assert run(matched, order).status == "waiting"
    pending(matched.folder(SENDER), order.id[:12]).countersign()
    later(matched)
    assert matched.job(order).status == "waiting"
    for party in ENDS:
        approve_match(matched, order, party)
    later(matched)
    assert matched.job(order).status == "done"


def test_a_priced_match_waits_as_well(matched):
    ask_above(matched, RECEIVER)
    order = waiting(match(matched))
    assert run(matched, order).status == "waiting"
    assert matched.account(SENDER, "people") is None
    says(matched, RECEIVER, order)
    later(matched)
    assert matched.job(order).status == "done"
    (entry,) = approved(matched, RECEIVER, order)
    assert any(reason.startswith("consent=") for reason in entry.body["reasons"])
