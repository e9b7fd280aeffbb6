"""Members over real processes: one is suspended, restored and leaves, and the others go on."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.jobs import FINAL, Job, Jobs
from aggregator.key_pool import KeyPool
from clients.checking import check
from clients.errors import NodeSettingsError
from clients.settings import load_settings
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.health_line import Line
from experiments.home import Home
from experiments.node_membership import membership
from experiments.opening import released
from experiments.ordering import Terms, query_order, sign
from experiments.running import Fleet, running
from policies.parties import PartyId, Role
from tests.processes import ROOT, entrepot, environment, wait_until
from tests.simulator import (
    CN,
    EU,
    KEYHOLDERS,
    LIMITS,
    SQL,
    UK,
    US,
    WAREHOUSES,
    demand_table,
    orders_table,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEATS = tuple(seat for seat in DEMO_SEATS if seat.role not in {Role.MERCHANT, Role.PAYMENT_PARTNER})
OTHERS = (CN, EU, US)
SLOT = 15_000
"""Milliseconds that nodes have for their answers: enough beside whatever else this machine does."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Four warehouses and three keyholders."""
    made = found(tmp_path / "federation", "members", SEATS, LIMITS, free_ports())
    for number, party in enumerate(WAREHOUSES):
        data = made.node(party) / "data"
        orders_table(number).to_parquet(data / "orders.parquet")
        demand_table(number).to_parquet(data / "demand.parquet")
    return made


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with running(home, stay=False) as up:
        up.start_aggregator()
        up.start_nodes()
        up.wait_joined(lambda *_: None)
        yield up


def epoch(home: Home, party: PartyId) -> int:
    return load_settings(home.node(party)).roster().epoch


def standing(home: Home, party: PartyId) -> Line:
    """What `entrepot node check` says of its membership."""
    return membership(load_settings(home.node(party)))


def worked(home: Home, party: PartyId) -> str:
    return (home.node(party) / "logs" / "node.log").read_text(encoding="utf-8")


def works(home: Home, party: PartyId, number: int) -> bool:
    """Whether a node has taken this epoch up, where it ran or in another process."""
    _, took, since = worked(home, party).rpartition(f"epoch {number} of the roster came from")
    return bool(took) and ("is taken up" in since or "Connected to" in since)


def take_up(home: Home, number: int, parties: tuple[PartyId, ...]) -> None:
    """They all have the epoch and work with it."""
    wait_until(lambda: all(works(home, p, number) for p in parties), 180.0, "it is taken up")
    assert {epoch(home, party) for party in parties} == {number}


def asked(home: Home, cohort: tuple[PartyId, ...], minimum: int) -> Job:
    terms = Terms(
        purpose="market_statistics",
        source="fresh",
        deadline=SLOT,
        cohort=cohort,
        minimum=minimum,
    )
    order = query_order(home, SQL, "0.4", terms)
    jobs = Jobs(home.jobs)
    jobs.add(order.id, sign(home, order), time.time())

    def over() -> bool:
        job = jobs.find(order.id)
        return job is not None and job.status in FINAL

    wait_until(over, 240.0, "the question ends")
    job = jobs.find(order.id)
    assert job is not None
    return job


@pytest.mark.usefixtures("fleet")
def test_one_is_suspended_restored_and_leaves_and_the_others_go_on(home: Home) -> None:
    federation = ("--federation", str(home.folder))
    pool = KeyPool(home.aggregator / "keys.sqlite")
    wait_until(lambda: pool.ready == 4, 120.0, "keys are made ahead")

    revoke = ("aggregator", "revoke", UK, "--reason")
    assert entrepot(*revoke, "lost laptop", *federation, cwd=ROOT).code == 0
    take_up(home, 2, (*OTHERS, *KEYHOLDERS))
    wait_until(lambda: "not registered" in worked(home, UK), 60.0, "it is cut off")
    assert epoch(home, UK) == 1
    wait_until(lambda: standing(home, UK).state == "fail", 60.0, "its operator can see that")
    assert "has not let this node in" in standing(home, UK).said
    job = asked(home, OTHERS, 3)
    assert job.status == "done", job.result
    assert released(home, Jobs(home.jobs), job)
    assert (job.result or {})["parties"] == sorted(OTHERS)

    assert entrepot(*revoke, "found it", "--restore", *federation, cwd=ROOT).code == 0
    take_up(home, 3, (*WAREHOUSES, *KEYHOLDERS))
    wait_until(lambda: standing(home, UK).state == "ok", 60.0, "it is let in again")

    leave = entrepot("node", "leave", str(home.node(UK)), "--yes", "--json", cwd=ROOT)
    assert json.loads(leave.out)["running"]
    wait_until(lambda: home.roster().epoch == 4, 120.0, "it has left")
    assert UK not in {member.party for member in home.roster().members}
    take_up(home, 4, (*OTHERS, *KEYHOLDERS))
    with pytest.raises(NodeSettingsError, match=f"{UK} has left"):
        check(load_settings(home.node(UK)))
    gone = f"{UK} has left; nothing is to be run"
    wait_until(lambda: gone in worked(home, UK), 60.0, "it ends by itself")
    command = [sys.executable, "-m", "clients", "--folder", str(home.node(UK))]
    again = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (again.returncode, gone in again.stdout) == (2, True), again.stderr
    refused = entrepot("node", "leave", str(home.node(UK)), "--yes", cwd=ROOT)
    assert refused.code == 2 and f"{UK} has left" in refused.err

    words = ("audit", "show", "--node", UK, "--kind", "left", "--json")
    shown = entrepot(*words, *federation, cwd=ROOT)
    assert shown.code == 0, shown.err
    assert [entry["body"] for entry in json.loads(shown.out)["logs"][0]["shown"]] == [
        {"party": UK, "epoch": 4}
    ]
    trust, proof = home.folder / "trust.txt", home.folder / "proof"
    prove = entrepot("audit", "prove", "--out", str(proof), *federation, cwd=ROOT)
    assert prove.code == 0, prove.err
    verified = entrepot("audit", "verify", str(proof), "--trust", str(trust), cwd=ROOT)
    assert verified.code == 0, verified.err


@pytest.mark.usefixtures("fleet")
def test_one_takes_another_sealing_key_then_another_identity_key_and_all_go_on(home: Home) -> None:
    pool = KeyPool(home.aggregator / "keys.sqlite")
    wait_until(lambda: pool.ready == 4, 120.0, "keys are made ahead")
    federation = ("--federation", str(home.folder))
    first = home.folder / "trust of before.txt"
    first.write_bytes((home.folder / "trust.txt").read_bytes())
    before, settings = home.roster().find(UK), load_settings(home.node(UK))
    stream = settings.folder / "keys" / "stream.key"
    held = stream.read_bytes()

    rotate = entrepot("node", "rotate", str(home.node(UK)), "--json", cwd=ROOT)
    assert rotate.code == 0, rotate.err
    assert json.loads(rotate.out)["running"]
    wait_until(lambda: home.roster().epoch == 2, 120.0, "the roster names it")
    take_up(home, 2, (*WAREHOUSES, *KEYHOLDERS))
    after = home.roster().find(UK)
    assert after.identity == before.identity and after.sealing != before.sealing
    assert [key.sealing_key for key in settings.openings] == [after.sealing]
    assert stream.read_bytes() != held and not list(stream.parent.glob("*next*"))

    job = asked(home, WAREHOUSES, 4)
    assert job.status == "done", job.result
    assert (job.result or {})["parties"] == sorted(WAREHOUSES)

    flower = (settings.folder / "keys" / "flower").read_bytes()
    command = ("node", "rotate", str(home.node(UK)), "--identity", "--json")
    told: list[str] = []

    def is_taken() -> bool:  # a node hears a moment after the job's end that it is over
        identity = entrepot(*command, cwd=ROOT)
        told.append(identity.out)
        assert identity.code == 0 or "under way" in identity.err, identity.err
        return identity.code == 0

    wait_until(is_taken, 120.0, "no order is under way")
    wait_until(lambda: home.roster().epoch == 3, 120.0, "the roster names it")
    take_up(home, 3, (*WAREHOUSES, *KEYHOLDERS))
    assert home.roster().find(UK).identity.hex == json.loads(told[-1])["identity"]
    assert home.roster().find(UK).identity != after.identity
    assert settings.identity.verify_key == home.roster().find(UK).identity
    assert not settings.next_identity.exists()
    assert (settings.folder / "keys" / "flower").read_bytes() == flower

    job = asked(home, WAREHOUSES, 4)
    assert job.status == "done", job.result
    assert (job.result or {})["parties"] == sorted(WAREHOUSES)
    proof = home.folder / "proof"
    prove = entrepot("audit", "prove", "--out", str(proof), *federation, cwd=ROOT)
    assert prove.code == 0, prove.err
    for trust in (first, home.folder / "trust.txt"):
        words = ("audit", "verify", str(proof), "--trust", str(trust), "--json")
        verified = entrepot(*words, cwd=ROOT)
        assert verified.code == 0, verified.err
        assert len(json.loads(verified.out)["rotated"]) == 1
