"""Under which key a node encrypts."""

import sqlite3
from dataclasses import replace

import pytest

from clients.settings import load_settings
from federation.joint_keys import Package
from federation.messages import Kind
from federation.secure_sums import signers
from secure_compute.canonical import digest
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.threshold import pool as pools
from secure_compute.threshold.terms import Terms
from tests.asked import FOUR, HOLDERS
from tests.joint_questions import releases, state
from tests.simulator import CN, EU


def assert_nothing_left(table, asked, package, party=CN):
    before = releases(table.simulation, party)
    reply = asked.commit(party, package)
    assert reply.kind is Kind.FAILED
    assert releases(table.simulation, party) == before
    answers = table.simulation.folder(party) / "answers.sqlite"
    if answers.exists() and state_exists(answers):
        assert asked.order.id not in {a.query for a in state(table.simulation, party).answers}


def state_exists(path):
    with sqlite3.connect(path) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        return "party" in tables and db.execute("SELECT 1 FROM party").fetchone() is not None


def test_a_key_with_a_part_that_the_aggregator_made_is_not_encrypted_under(table, fixed):
    asked = table.offered()
    good, other = Package.read(asked.package), Package.read(table.package())
    own = other.parts[0]  # a part whose piece somebody knows
    cases = [
        replace(good, parts=(own, *good.parts[1:])),
        replace(good, parts=good.parts[1:]),
        replace(good, parts=(*good.parts, own)),
        replace(good, parts=(good.parts[1], good.parts[0], good.parts[2])),
        replace(good, parts=(good.parts[0][:-1], *good.parts[1:])),
        replace(good, commitments=good.commitments[1:]),
        replace(good, commitments=other.commitments),
        replace(good, terms=other.terms),
    ]
    for package in cases:
        assert_nothing_left(table, asked, package.to_bytes())
    for blob in (b"", b"\0" * 64, asked.package[:-1], asked.package + b"\0"):
        assert_nothing_left(table, asked, blob)
    assert fixed.asked == 0  # no row was touched for any of them
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def resigned(table, package, signers, **changes):
    """A key of other terms whose commitments are signed by whoever plays along."""
    terms = replace(package.terms, **changes)
    said = []
    for commitment in package.commitments:
        moved = replace(commitment, key=terms.digest)
        if commitment.keyholder in signers:
            moved = moved.signed(table.simulation.key(commitment.keyholder).sign)
        said.append(moved)
    return Package(terms, tuple(said), package.parts).to_bytes()


def test_a_key_of_other_keyholders_or_a_lower_threshold_is_not_encrypted_under(table):
    asked = table.offered()
    good = Package.read(asked.package)
    swapped = replace(
        good.terms.keyholders[2], identity=table.simulation.key(HOLDERS[0]).verify_key
    )
    for changes in (
        {"roster": "00" * 32},
        {"federation": "elsewhere"},
        {"serial": 999},  # signed by all but one
        {"keyholders": (*good.terms.keyholders[:2], swapped)},
        {"keyholders": good.terms.keyholders[:2]},
        {"threshold": 3},
    ):
        assert_nothing_left(table, asked, resigned(table, good, HOLDERS[:2], **changes))


@pytest.mark.parametrize("holders", [HOLDERS[:2], (CN, EU, FOUR[2])])
def test_a_key_that_others_than_the_rosters_keyholders_made_is_not_encrypted_under(table, holders):
    """It is sound in itself: made to the end, and signed by everybody who holds a piece of it."""
    asked = table.offered()
    assert_nothing_left(table, asked, made_by(table.simulation, holders))
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def made_by(simulation, holders):
    roster, secrets = (
        signers(simulation.roster),
        {h: AgreementKey(bytes.fromhex(digest(h))) for h in holders},
    )
    signed = [
        epochs.signed(epochs.advertise(roster, 1, h, secrets[h]), simulation.key(h).sign)
        for h in holders
    ]
    epoch = epochs.gather(roster, 1, signed)
    terms = Terms.of(epoch, keyholders=holders, threshold=2, serial=0)
    states, deals, parts = {}, [], {}
    for h in holders:
        states[h], dealt = pools.begin(pools.join(epoch, h, secrets[h]), terms, SystemEntropy())
        deals += dealt
    for deal in deals:
        states[deal.receiver] = pools.receive(states[deal.receiver], deal)
    said = []
    for h in holders:
        states[h], one = pools.commit(states[h], terms.digest, simulation.key(h).sign)
        said.append(one)
    for h in holders:
        for one in said:
            states[h] = pools.gather(states[h], one)
        parts |= pools.show(states[h], terms.digest)[1]
    return Package(terms, tuple(said), tuple(parts[at] for at in sorted(parts))).to_bytes()


@pytest.mark.parametrize("line", ["threshold", "colluding"])
def test_a_node_that_wants_more_takes_no_key_that_too_few_open(table, line):
    simulation, asked = table.simulation, table.offered()
    path = simulation.folder(EU) / "node.toml"
    kept = path.read_text()
    more = kept.replace("threshold = 2", "threshold = 3")
    path.write_text(more if line == "threshold" else "colluding = 2\n" + kept)
    try:
        simulation.kill(EU)
        assert getattr(load_settings(simulation.folder(EU)), line) in {2, 3}
        later = table.ask()
        later.offer(EU)
        assert_nothing_left(table, later, later.package, EU)
    finally:
        path.write_text(kept)
        simulation.kill(EU)
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def test_a_key_serves_one_query_and_a_query_has_one_key(table):
    asked = table.committed()
    second = table.ask(asked.package)
    second.offer(CN)
    assert_nothing_left(table, second, asked.package)
    before = releases(table.simulation)
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before
    first = asked.commitments[CN]
    assert asked.commit(CN).blobs["commitment"] == first


def test_an_order_without_a_sealing_key_is_not_answered(table):
    asked = table.ask()
    bare = {k: v for k, v in asked.order.parameters.items() if k != "sealing"}
    asked.order = replace(asked.order, parameters=bare)
    asked.offer(CN)
    assert_nothing_left(table, asked, asked.package)


def test_without_an_offer_nothing_is_answered(table):
    asked = table.ask()
    for step in (asked.commit, asked.endorse, asked.reveal):
        asked.commitments = {CN: b"x"}
        asked.endorsements = {CN: b"x"}
        assert step(CN).kind is Kind.FAILED
