"""`entrepot psi` over real processes: size, sum, tokens that people approve, killed nodes."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aggregator.jobs import Jobs
from clients.match_file import MatchFile
from clients.match_results import table_of
from experiments.founding import AGGREGATOR, ANALYST, DEMO_SEATS, Seat, found, free_ports
from experiments.home import Home, open_home
from federation.matching import terms_of
from federation.messages import Kind
from federation.orders import open_order
from policies.parties import PartyId
from secure_compute.psi.summing import noise
from secure_compute.psi.terms import Role
from tests.matching import COMMON, ENDS, RECEIVER, SENDER, offer, people
from tests.processes import Said, entrepot, environment, recorded, started, wait_until
from tests.simulator import KEYHOLDERS, LIMITS, orders_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WANTED = {*ENDS, *KEYHOLDERS, AGGREGATOR, ANALYST}
SEATS: tuple[Seat, ...] = tuple(seat for seat in DEMO_SEATS if seat.party in WANTED)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("psi") / "federation"
    found(folder, "psi", SEATS, LIMITS, free_ports())
    home = open_home(folder)
    for number, member in enumerate(home.holders()):
        data = home.node(member.party) / "data"
        orders_table(number).to_parquet(data / "orders.parquet")
    for party, table in ((RECEIVER, people(0, 50)), (SENDER, people(20, 80))):
        offer(home, party, table, LIMITS["orders"])
    with ExitStack() as processes:
        words = [("aggregator", "run", "--federation", str(folder))]
        words += [("node", "run", str(path)) for path in sorted((folder / "nodes").iterdir())]
        for line in words:
            process = processes.enter_context(started(*line, cwd=folder.parent, env=environment()))
            for stream in (process.stdout, process.stderr):
                threading.Thread(target=stream.read, daemon=True).start()  # type: ignore[union-attr]
        yield home


def psi(home: Home, *words: str) -> Said:
    """Run the command, again while the processes still come up."""
    said: list[Said] = []

    def settled() -> bool:
        line = ("psi", *words, "--federation", str(home.folder))
        said.append(entrepot(*line, cwd=home.folder.parent))
        return said[-1].code in {0, 2, 10, 12}

    wait_until(settled, 240, "the command finds all processes")
    return said[-1]


def size(home: Home) -> Said:
    return psi(home, "size", *ENDS, "--on", "email", "cap=100", "--json")


def test_a_size_is_told_with_its_noise_and_explained_before(home: Home) -> None:
    explained = psi(home, "size", *ENDS, "--on", "email", "cap=100", "--json", "--explain")
    value = json.loads(explained.out)
    assert explained.code == 0 and value["schema"] == "entrepot.psi.explain/1"
    assert {who["who"] for who in value["learns"]} == {*ENDS, "analyst"}
    said = size(home)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["schema"] == "entrepot.psi/1" and told["epsilon"] == value["epsilon"]
    assert abs(told["size"] - COMMON) <= 2 * value["noise"]["shift"]
    sealed = [path.read_bytes() for path in home.folder.rglob("captures/*.cap")]
    assert any(Kind.MATCH_SAID.value.encode() in wire for wire in sealed)
    assert all(b"example.org" not in wire.lower() for wire in sealed)


def test_tokens_wait_for_a_person_at_each_end_and_align_both(home: Home) -> None:
    asked = psi(home, "tokens", *ENDS, "--on", "email", "cap=100", "--json")
    assert asked.code == 12, asked.err
    order = asked.err.split("match ")[-1].split()[0]
    for number, party in enumerate(ENDS):
        folder = str(home.node(party))
        shown = entrepot("node", "approve", folder, order[:12], "--json", cwd=home.folder)
        assert shown.code == 0, shown.err
        assert json.loads(shown.out)["receiver"] == RECEIVER
        words = ("--person", f"Officer {number}", "--legal-basis", "Art. 6(1)(f)", "--yes")
        given = entrepot("node", "approve", folder, order[:12], *words, cwd=home.folder)
        assert given.code == 0, given.err
        if number == 0:
            assert psi(home, "resume", order[:12]).code == 12
    done = psi(home, "resume", order[:12], "--json")
    assert done.code == 0, done.err
    tokens = [_tokens(home, party, order) for party in ENDS]
    assert len(tokens[0] & tokens[1]) == COMMON
    ledger = entrepot("audit", "show", "--federation", str(home.folder), cwd=home.folder)
    assert ledger.code == 0 and "outside ε" in ledger.out


def _tokens(home: Home, party: PartyId, order: str) -> set[bytes]:
    return set(pq.read_table(table_of(home.node(party), order))["token"].to_pylist())


def test_a_node_that_is_killed_in_between_finishes_its_match(home: Home) -> None:
    """It dies once it is bound to its set in this very match, which nobody asks for again."""
    pids, taken = home.node(SENDER) / "run" / "node.pid", steps(home)
    before = recorded(pids)

    def kill() -> None:
        wait_until(lambda: steps(home) > taken, 120.0, "the match begins")
        os.kill(before, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    words = ("psi", "size", *ENDS, "--on", "email", "cap=100", "--json")
    said = entrepot(*words, "--federation", str(home.folder), cwd=home.folder.parent)
    killer.join()
    wait_until(lambda: recorded(pids) not in {0, before}, 60.0, "the node comes back")
    assert said.code == 0, said.err
    assert steps(home) == taken + 3  # commit, reply, hear: of one match


def steps(home: Home, party: PartyId = SENDER) -> int:
    """Return how many steps of matches an end has taken."""
    return int(MatchFile(home.node(party))._read("SELECT count(*) FROM said")[0][0])


def test_a_sum_is_told_with_its_noise_though_both_nodes_are_killed_in_between(home: Home) -> None:
    """Each dies after a step of its own; what is told is the join and the noise of two seeds."""
    words = ("sum", *ENDS, "--on", "email", "--of", "spent", "cap=100", "bound=5", "--json")
    explained = json.loads(psi(home, *words, "--explain").out)
    assert explained["noise"]["sum"]["unit"] == "EUR" and explained["noise"]["sum"]["high"] == "5"
    ends = {party: home.node(party) / "run" / "node.pid" for party in ENDS}
    before = {party: recorded(path) for party, path in ends.items()}
    taken = {party: steps(home, party) for party in ENDS}

    def kill() -> None:
        for party, count in ((SENDER, 2), (RECEIVER, 3)):  # a reply; what was weighed

            def far(party: PartyId = party, count: int = count) -> bool:
                return steps(home, party) >= taken[party] + count

            wait_until(far, 240.0, f"{party} has taken its step")
            os.kill(before[party], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    said = entrepot("psi", *words, "--federation", str(home.folder), cwd=home.folder.parent)
    killer.join()
    for party, path in ends.items():
        wait_until(lambda p=path, b=before[party]: recorded(p) not in {0, b}, 60.0, "it is back")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    exact = sum(min(Decimal(number % 7), Decimal(5)) for number in range(20, 50))
    noises = _noises(home, told["run"], explained["noise"]["sum"]["step"])
    assert Decimal(told["sum"]["value"]) == exact + sum(noises)
    assert (
        Decimal(told["sum"]["low"]) < Decimal(told["sum"]["value"]) < Decimal(told["sum"]["high"])
    )
    assert told["epsilon"] == explained["epsilon"]
    for party, other in zip(ENDS, reversed(noises), strict=True):
        found = json.loads(table_of(home.node(party), told["run"]).with_suffix(".json").read_text())
        assert Decimal(found["sum"]) == exact + other
    assert [steps(home, party) - taken[party] for party in ENDS] == [4, 3]


def _noises(home: Home, order: str, step: str) -> list[Decimal]:
    """Return the noise of receiver and sender, in the unit, from the seeds that they keep."""
    (job,) = Jobs(home.jobs).named(order)
    terms = terms_of(open_order(job.wire, home.roster()).order)
    ends = ((Role.RECEIVER, RECEIVER), (Role.SENDER, SENDER))
    kept = [(role, MatchFile(home.node(party)).session(order)) for role, party in ends]
    return [noise(terms, role, session.seed) * Decimal(step) for role, session in kept if session]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("size", RECEIVER, SENDER, "--on", "spent"), "not by 'spent'"),
        (("size", RECEIVER, "nobody", "--on", "email"), "holds no people"),
        (("size", RECEIVER, RECEIVER, "--on", "email"), "one organisation"),
        (("size", RECEIVER, SENDER, "--on", "email", "cap=many"), "are numbers"),
        (("resume", "0123456789ab"), "no one match"),
        (("sum", RECEIVER, SENDER, "--on", "email", "--of", "spend"), "did you mean 'spent'"),
        (("sum", RECEIVER, SENDER, "--on", "email", "--of", "email"), "no bounds"),
        (("sum", *ENDS, "--on", "email", "--of", "spent", "unit=USD"), "bound in USD"),
    ],
)
def test_bad_input_is_one_sentence(home: Home, words: tuple[str, ...], why: str) -> None:
    said = psi(home, *words)
    assert said.code == 2 and why in said.err, (said.err, Path(home.folder))
