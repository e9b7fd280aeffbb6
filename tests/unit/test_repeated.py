"""A question asked again through a whole federation: paid once, and told to its owners alone."""

import dataclasses

import pytest

from experiments.explaining import explanation
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from experiments.querying import ask
from federation.envelopes import Envelope, seal
from federation.ledger.entries import EntryKind
from federation.membership import Member
from federation.messages import Kind
from federation.orders import sign_order
from federation.past import PAST
from federation.roster_chain import Admit, change_statement, extended, open_roster
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.signature import SigningKey
from tests.simulator import CN, EU, SQL, UK, US, killed

COHORT = (CN, EU, UK)
OTHER, FAR = PartyId("analyst-uk"), PartyId("analyst-br")
KEYS = {name: SigningKey(bytes([n]) * 32) for n, name in enumerate((OTHER, FAR), 1)}


@pytest.fixture
def simulation(simulation):
    """The federation with two more analysts."""
    homes = {OTHER: Jurisdiction.UK, FAR: Jurisdiction.BR}
    more = tuple(
        Member(name, f"Analytics {name}", Role.ANALYST, homes[name], KEYS[name].verify_key)
        for name in KEYS
    )
    wire, pin = (simulation.home.folder / "roster.bin").read_bytes(), simulation.home.pin
    keys = {party: simulation.key(party) for party in (CN, US)} | KEYS
    for entrant in map(Admit, more):
        said = change_statement(open_roster(wire, pin), entrant)
        words = {party: keys[party].sign(said) for party in (CN, US, entrant.party)}
        wire = extended(wire, pin, entrant, words)
    nodes = [
        m.party for m in simulation.roster.members if m.role not in {Role.ANALYST, Role.AGGREGATOR}
    ]
    folders = [simulation.folder(party) for party in nodes]
    for folder in (simulation.home.folder, simulation.home.aggregator, *folders):
        (folder / "roster.bin").write_bytes(wire)
    simulation.roster = open_roster(wire, pin)
    return simulation


def question(simulation, **changes):
    terms = {key: changes.pop(key) for key in ("source", "windows", "minimum") if key in changes}
    cohort = changes.pop("cohort", COHORT)
    order = simulation.query(
        changes.pop("epsilon", "0.3"), changes.pop("sql", SQL), cohort=cohort, **terms
    )
    made = dataclasses.replace(order, **changes)
    keys = simulation.home.people / "answers"
    (keys / f"{order.id}.key").rename(keys / f"{made.id}.key")  # it is named after the order
    return made


def run(simulation, order):
    """See an order through, signed by whoever proposes it."""
    key = KEYS.get(order.proposer) or simulation.key(order.proposer)
    simulation.jobs.add(order.id, sign_order(order, key), float(order.created))
    simulation.work()
    simulation.open(order)
    job = simulation.job(order)
    assert job.status == "done", job.result
    return job.result


def releases(simulation, *parties):
    accounts = [simulation.account(party, "orders") for party in parties or COHORT]
    return [0 if account is None else account.releases for account in accounts]


def said(simulation, party, kind):
    """The bodies of a node's ledger entries of one kind, by order."""
    return {e.order: e.body for e in simulation.books(party).entries() if e.kind is kind}


def recorded(simulation, kind):
    """The bodies of the aggregator's ledger entries of one kind, by order."""
    return {e.order: e.body for e in simulation.coordinator()._record.entries() if e.kind is kind}


# -- paid once -------------------------------------------------------------------------------------


def test_the_same_question_twice_costs_once(simulation):
    first = question(simulation)
    answer = run(simulation, first)
    assert answer.get("reused") is None
    again = question(simulation, purpose="supply_planning", sql=SQL.lower())
    told = run(simulation, again)
    assert told["answer"] == answer["answer"]
    assert told["parties"] == sorted(COHORT)
    assert told["reused"] == {
        "run": first.id,
        "asked_at": first.created,
        "epsilon": first.epsilon,
    }
    assert releases(simulation) == [1, 1, 1]
    assert all(not simulation.books(party).open_orders() for party in COHORT)
    analyst = simulation.home.analyst
    for party in COHORT:
        entry = said(simulation, party, EntryKind.DELIVERED)
        assert entry == {again.id: {"past": first.id, "recipients": [analyst]}}
        assert again.id not in said(simulation, party, EntryKind.RESERVED)
    assert recorded(simulation, EntryKind.DELIVERED) == {
        again.id: {"past": first.id, "recipients": [analyst]}
    }
    for kind in (Kind.QUERY_COMMIT, Kind.QUERY_REVEAL, Kind.QUERY_OPEN):
        assert {letter.order for letter in simulation.mail.sent(kind)} == {first.id}


def test_a_third_time_it_is_still_the_first_release(simulation):
    first = question(simulation)
    run(simulation, first)
    run(simulation, question(simulation))
    assert run(simulation, question(simulation))["reused"]["run"] == first.id
    assert releases(simulation) == [1, 1, 1]


def test_nothing_is_read_for_it(simulation):
    run(simulation, question(simulation))
    again = question(simulation)
    with (
        simulation.without_rows(CN),
        simulation.without_rows(EU),
        simulation.without_rows(UK),
    ):
        assert run(simulation, again)["reused"] is not None


def test_an_empty_account_answers_what_it_has_paid_for(simulation):
    costly = question(simulation, epsilon="0.5", minimum=3)
    answer = run(simulation, costly)
    for party in COHORT:
        path = simulation.folder(party) / "contract" / "orders.toml"
        text = path.read_text().replace('epsilon = "3.5"', 'epsilon = "0.51"')
        path.write_text(text)
        simulation.restart(party)
    refused = question(simulation, epsilon="0.5", source="fresh")
    simulation.put(refused)
    simulation.work()
    assert simulation.job(refused).status == "refused"
    assert run(simulation, question(simulation, epsilon="0.5"))["answer"] == answer["answer"]


def test_a_fresh_release_is_paid_for(simulation):
    first = question(simulation)
    run(simulation, first)
    fresh = run(simulation, question(simulation, source="fresh"))
    assert fresh.get("reused") is None
    assert releases(simulation) == [2, 2, 2]


def test_a_past_release_can_be_demanded_and_nothing_is_ever_paid_for_it(simulation):
    wanted = question(simulation, source="past")
    simulation.put(wanted)
    simulation.work()
    assert simulation.job(wanted).status == "abandoned"
    assert "no past release" in simulation.job(wanted).result["error"]
    assert releases(simulation) == [0, 0, 0]
    run(simulation, question(simulation))
    assert run(simulation, question(simulation, source="past"))["reused"] is not None
    # An aggregator that offers such an order as one to be paid for is refused.
    reply = simulation.offer(CN, question(simulation, source="past"))
    assert reply.kind is Kind.REFUSED and reply.body["kind"] == "order"


OTHER_RELEASES = {
    "larger cohort": {
        "cohort": (CN, EU, UK, US, *(PartyId(f"merchant-{p}") for p in ("uk", "br")))
    },
    "plan": {"sql": "SELECT category, COUNT(*), SUM(amount) FROM orders GROUP BY category"},
    "finer": {"epsilon": "0.5"},
    "window": {"windows": ("2025",)},
}


@pytest.mark.parametrize("change", OTHER_RELEASES.values(), ids=OTHER_RELEASES)
def test_another_question_pays(simulation, change):
    run(simulation, question(simulation))
    assert run(simulation, question(simulation, **change)).get("reused") is None
    assert releases(simulation, CN, EU) == [2, 2]


def test_another_version_of_the_contract_pays(simulation):
    run(simulation, question(simulation))
    for party in COHORT:
        path = simulation.folder(party) / "contract" / "orders.toml"
        path.write_text(path.read_text().replace("\nversion = 1", "\nversion = 2"))
        simulation.restart(party)
    order = question(simulation)
    simulation.put(order)
    simulation.work()
    assert simulation.job(order).status == "refused"
    assert said(simulation, CN, EntryKind.DELIVERED) == {}


def test_a_window_opened_since_pays(simulation):
    """`All windows` was another set when the question was first asked."""
    run(simulation, question(simulation))
    path = simulation.folder(EU) / "contract" / "orders.toml"
    path.write_text(path.read_text().replace('window = "2025"', 'window = "2026"'))
    simulation.restart(EU)
    assert run(simulation, question(simulation)).get("reused") is None
    assert releases(simulation, CN) == [2]


# -- who may see it --------------------------------------------------------------------------------


def test_another_analyst_pays_and_is_shown_the_full_price(simulation):
    first = question(simulation)
    run(simulation, first)
    shown = explanation(simulation.home, question(simulation))
    assert (shown["charged"], shown["epsilon"]) == ("0", first.epsilon)
    assert shown["reused"] == {"run": first.id, "asked_at": first.created}
    stranger = question(simulation, proposer=OTHER, recipients=(OTHER,))
    shown = explanation(simulation.home, stranger)
    assert (shown["charged"], shown["epsilon"]) == (first.epsilon, first.epsilon)
    assert shown["reused"] is None
    assert run(simulation, stranger).get("reused") is None
    assert releases(simulation) == [2, 2, 2]
    assert said(simulation, CN, EntryKind.DELIVERED) == {}


def test_a_demand_for_a_past_one_tells_a_stranger_nothing(simulation):
    texts = []
    for asked_before in (False, True):
        if asked_before:
            run(simulation, question(simulation))
        order = question(simulation, proposer=OTHER, recipients=(OTHER,), source="past")
        simulation.jobs.add(order.id, sign_order(order, KEYS[OTHER]), float(order.created))
        simulation.work()
        texts.append((simulation.job(order).status, simulation.job(order).result))
    assert texts[0] == texts[1]


def test_a_new_recipient_whom_every_node_allows_may_see_it_from_then_on(simulation):
    first = question(simulation)
    run(simulation, first)
    shared = question(simulation, recipients=(simulation.home.analyst, OTHER))
    assert run(simulation, shared)["reused"]["run"] == first.id
    theirs = question(simulation, proposer=OTHER, recipients=(OTHER,))
    assert run(simulation, theirs)["reused"]["run"] == first.id
    assert releases(simulation) == [1, 1, 1]
    assert said(simulation, CN, EntryKind.DELIVERED)[theirs.id]["recipients"] == [OTHER]


def test_a_recipient_that_a_law_refuses_is_not_given_it(simulation):
    first = question(simulation)
    run(simulation, first)
    law = simulation.folder(EU) / "policy" / "own.cedar"
    law.write_text(
        '@id("OWN-001") @law("own") @en("not to Brazil") @zh("不") @fix_en("leave it out") '
        '@fix_zh("去掉") @override("") forbid (principal, action, resource) '
        'when { context.recipients.contains("BR") };'
    )
    simulation.restart(EU)
    order = question(simulation, recipients=(simulation.home.analyst, FAR), source="past")
    simulation.put(order)
    simulation.work()
    job = simulation.job(order)
    assert job.status == "abandoned" and "answer" not in job.result
    assert "OWN-001" in said(simulation, EU, EntryKind.REFUSED)[order.id]["reasons"]
    assert order.id not in said(simulation, EU, EntryKind.DELIVERED)
    assert recorded(simulation, EntryKind.DELIVERED) == {}
    # The one who may see it is not given it for a purpose that the law refuses either.
    order = question(simulation, purpose="marketing", source="past")
    simulation.put(order)
    simulation.work()
    assert simulation.job(order).status == "abandoned"


# -- what a node goes by ---------------------------------------------------------------------------


def offered(simulation, party, order, past):
    """What a node answers to the offer of an order that would repeat a release of `past`."""
    wire = seal(
        Envelope(
            Kind.OFFER,
            AGGREGATOR,
            party,
            order.id,
            0,
            {PAST: past},
            {"order": sign(simulation.home, order)},
        ),
        simulation.key(AGGREGATOR),
    )
    return simulation.read(simulation.node(party).answer(wire))


def test_a_node_goes_by_its_own_books_and_outbox(simulation):
    first = question(simulation)
    run(simulation, first)
    again = question(simulation)
    with simulation.nothing_happens(CN):
        assert offered(simulation, CN, again, first.id).body == {PAST: first.id}
    unknown = offered(simulation, CN, again, "0" * 64)
    other = offered(simulation, CN, question(simulation, cohort=(CN, EU, US)), first.id)
    fresh = offered(simulation, CN, question(simulation, source="fresh"), first.id)
    assert [reply.kind for reply in (unknown, other, fresh)] == [Kind.REFUSED] * 3
    assert unknown.body == other.body == fresh.body  # why it cannot be confirmed is not told
    assert unknown.body["reasons"][0]["id"] == "PAST-001"


def test_what_was_accepted_and_never_released_is_not_confirmed(simulation):
    first = question(simulation)
    simulation.node(CN)
    run(simulation, question(simulation, sql="SELECT COUNT(*) FROM orders"))
    assert simulation.offer(CN, first).kind is Kind.ACCEPTED
    reply = offered(simulation, CN, question(simulation), first.id)
    assert reply.kind is Kind.REFUSED
    assert reply.body["reasons"][0]["id"] == "PAST-001"


def test_a_repetition_is_no_order_to_work_on(simulation):
    first = question(simulation)
    run(simulation, first)
    again = question(simulation)
    offered(simulation, CN, again, first.id)
    (key, *_) = [letter.blobs["key"] for letter in simulation.mail.sent(Kind.QUERY_COMMIT)]
    reply = simulation.ask(Kind.QUERY_COMMIT, CN, again.id, key=key)
    assert reply.kind is Kind.FAILED
    assert releases(simulation, CN) == [1]


def test_one_entry_however_often_the_letter_comes(simulation):
    first = question(simulation)
    run(simulation, first)
    again = question(simulation)
    for _ in range(3):
        offered(simulation, CN, again, first.id)
    entries = [e for e in simulation.books(CN).entries() if e.kind is EntryKind.DELIVERED]
    assert len(entries) == 1


def test_a_node_that_says_nothing_or_something_else_lets_nothing_go(simulation):
    first = question(simulation)
    run(simulation, first)
    for knob in (simulation.mail.drop, simulation.mail.delay):
        knob(Kind.OFFER, UK)
        order = question(simulation, source="past")
        simulation.put(order)
        simulation.work()
        assert simulation.job(order).status == "abandoned"
        simulation.mail.repair()


def test_a_run_that_was_begun_is_seen_through(simulation):
    first, second = question(simulation), question(simulation, source="any")
    simulation.put(second)
    simulation.mail.kill(Kind.QUERY_COMMIT, "after")
    assert killed(simulation.work)
    simulation.mail.repair()
    simulation.work()
    simulation.open(second)
    assert simulation.job(second).result.get("reused") is None
    assert run(simulation, first)["reused"]["run"] == second.id
    assert releases(simulation) == [1, 1, 1]


# -- the command line ------------------------------------------------------------------------------


def test_the_result_says_what_was_charged(simulation, monkeypatch):
    def answered(jobs, order, _):
        simulation.work()
        return simulation.jobs.find(order)

    monkeypatch.setattr("experiments.querying.follow", answered)
    monkeypatch.setattr("experiments.querying.require_done", lambda job: job.result)
    first = question(simulation)
    paid = ask(simulation.home, first, lambda _: None)
    assert (paid["charged"], paid["epsilon"], paid["reused"]) == (
        first.epsilon,
        first.epsilon,
        None,
    )
    second = question(simulation, epsilon="0.2")
    free = ask(simulation.home, second, lambda _: None)
    assert (free["charged"], free["epsilon"]) == ("0", first.epsilon)
    assert free["reused"] == {"run": first.id, "asked_at": first.created}
    assert free["answer"] == paid["answer"] and free["run"] == second.id


# -- what a repetition is judged by and counted as -------------------------------------------------


def capped(simulation, party, epsilon):
    """Let a node's law forbid more than `epsilon` where somebody in the UK will know."""
    law = simulation.folder(party) / "policy" / "own.cedar"
    law.write_text(
        '@id("OWN-001") @law("own") @en("too much for the UK") @zh("不") @fix_en("ask for less") '
        f'@fix_zh("少") @override("privacy.epsilon={epsilon}") forbid (principal, action, resource)'
        f' when {{ context.epsilon.greaterThan(decimal("{epsilon}")) && '
        'context.recipients.contains("UK") };'
    )
    simulation.restart(party)


def test_a_repetition_costs_what_was_made_and_not_what_is_asked_for(simulation):
    """Asked for at a low price, a release that was made at a high one is still what is given."""
    first = question(simulation, epsilon="0.5")
    run(simulation, first)
    for party in COHORT:
        capped(simulation, party, "0.2")
    both = (simulation.home.analyst, OTHER)
    for epsilon in ("0.5", "0.1"):
        order = question(simulation, epsilon=epsilon, recipients=both, source="past")
        reply = offered(simulation, CN, order, first.id)
        assert reply.kind is Kind.REFUSED
        assert [reason["id"] for reason in reply.body["reasons"]] == ["OWN-001"]
        assert reply.body["nearest"] == []  # no setting makes it cheaper
        (fix,) = reply.body["fixes"]
        assert fix["override"] == "" and "fresh release" in fix["en"]
        simulation.put(order)
        simulation.work()
        assert simulation.job(order).status == "abandoned"
    fresh = question(simulation, epsilon="0.1", recipients=both, source="fresh")
    assert run(simulation, fresh).get("reused") is None


def test_a_setting_that_helps_a_repetition_is_told(simulation):
    first = question(simulation)
    run(simulation, first)
    order = question(simulation, purpose="marketing")
    reply = offered(simulation, EU, order, first.id)
    assert reply.kind is Kind.REFUSED
    assert reply.body["nearest"] == ["purpose=market_statistics"]


def at_home(simulation):
    """Put aggregator, keyholders and analyst into the UK."""
    members = tuple(
        dataclasses.replace(m, jurisdiction=Jurisdiction.UK)
        if m.role in {Role.AGGREGATOR, Role.KEYHOLDER} or m.party == simulation.home.analyst
        else m
        for m in simulation.roster.members
    )
    return dataclasses.replace(simulation.roster, members=members)


def test_the_rules_under_which_it_goes_stand_in_the_ledger_before_it_goes(simulation):
    first = question(simulation)
    run(simulation, first)
    approved = said(simulation, CN, EntryKind.APPROVED)
    rules = simulation.node(CN)._judge.rules(first)
    assert approved[first.id]["reasons"] == list(rules)
    again = question(simulation, recipients=(simulation.home.analyst, OTHER))
    run(simulation, again)
    wider = said(simulation, CN, EntryKind.APPROVED)[again.id]["reasons"]
    assert wider == list(simulation.node(CN)._judge.rules(again))
    kinds = [e.kind for e in simulation.books(CN).entries() if e.order == again.id]
    assert kinds[:2] == [EntryKind.APPROVED, EntryKind.DELIVERED]


def test_a_delivery_abroad_counts_with_those_it_is_about(simulation):
    from clients.exports import Left

    home = at_home(simulation)
    judge = dataclasses.replace(simulation.node(UK)._judge, roster=home)
    first = question(simulation)
    assert judge.rules(first) == ("UK-HOME",)
    abroad = question(simulation, recipients=(simulation.home.analyst, FAR))
    assert "UK-HOME" in judge.rules(abroad) and len(judge.rules(abroad)) == 2
    run(simulation, first)
    again = question(simulation, recipients=(simulation.home.analyst, OTHER))
    run(simulation, again)
    tally = Left(simulation.books(CN))()
    assert {item.subjects for item in tally.outbound(first.id)} == {"customers"}
