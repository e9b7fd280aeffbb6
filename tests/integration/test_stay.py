"""A federation that stays up: the commands it prints, refusals, kills, and its end."""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from aggregator.jobs import Job, Jobs
from experiments.borders import read_captures
from experiments.home import Home, open_home
from federation.messages import Kind
from federation.orders import open_order
from policies.parties import PartyId
from secure_compute.primitives.certificates import make_certificates, write_certificates
from tests.processes import (
    ROOT,
    Said,
    alive,
    end,
    entrepot,
    environment,
    finish,
    recorded,
    started,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COHORT = ("payments-eu", "payments-cn", "merchant-uk", "merchant-br")
BACK_SECONDS = 30.0
CHEAP = "privacy.epsilon=0.3"


@dataclass
class Federation:
    """A federation that a demo left up, and every process id that was ever recorded for it."""

    folder: Path
    said: Said
    pids: set[int] = field(default_factory=set)

    @property
    def home(self) -> Home:
        return open_home(self.folder)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.home.jobs)

    @property
    def cwd(self) -> Path:
        return self.folder.parent

    def run(self, *words: str, **others: Any) -> Said:
        return entrepot(*words, "--federation", str(self.folder), cwd=self.cwd, **others)

    def server(self, name: str) -> int:
        return recorded(self.folder / "aggregator" / "run" / f"{name}.pid")

    def node(self, party: str) -> int:
        return recorded(self.folder / "nodes" / party / "run" / "node.pid")

    def note_pids(self) -> None:
        """Remember every process of this federation that runs now."""
        for path in self.folder.rglob("run/*.pid"):
            self.pids.add(recorded(path))
        with suppress(FileNotFoundError):
            self.pids |= set(map(int, (self.folder / "running.pids").read_text().split()))
        for pid in list(self.pids):
            with suppress(psutil.Error):
                self.pids |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        self.pids.discard(0)

    def left(self) -> list[int]:
        """Return the remembered processes that live and are this federation's."""
        return [pid for pid in self.pids if alive(pid) and str(self.folder) in _words(pid)]


def _words(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join([*process.cmdline(), *(process.parent() or process).cmdline()])
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("stay") / "federation"
    up = Federation(folder, Said(-1, "", "", 0.0))
    try:
        up.said = entrepot("demo", "--stay", "--federation", str(folder), cwd=folder.parent)
        up.note_pids()
        assert up.said.code == 0, up.said.err
        yield up
    finally:
        up.note_pids()
        if (folder / "running.pids").exists():
            up.run("demo", "--stop")
        with suppress(AssertionError):
            wait_until(lambda: not up.left(), 20.0, "the federation ends")
        end(up.left())


# -- commands --------------------------------------------------------------------------------------


def printed(federation: Federation) -> list[list[str]]:
    """Return the commands that the demo shows to try, as a shell would read them."""
    lines = federation.said.err.splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("entrepot ")]


def test_the_demo_leaves_everything_up_and_says_what_to_try(federation: Federation) -> None:
    words = printed(federation)
    assert [line[0] for line in words] == ["query", "train", "budget", "audit", "demo"]
    assert words[-1][1] == "--stop"
    parties = [member.party for member in federation.home.holders()]
    assert all(
        alive(federation.node(party)) for party in (*parties, "keyholder-ch", "keyholder-uk")
    )
    assert alive(federation.server("superlink"))
    assert alive(federation.server("executor"))


def test_the_printed_query_shows_its_price_and_spends_nothing(federation: Federation) -> None:
    before = spent(federation)
    said = entrepot(*printed(federation)[0], cwd=federation.cwd)
    assert said.code == 0, said.err
    assert "costs ε" in said.out
    assert "±" in said.out
    assert spent(federation) == before


def test_the_printed_training_runs(federation: Federation) -> None:
    words = [*printed(federation)[1], "model.rounds=2", "--json"]
    assert "privacy.epsilon=1" in words
    said = entrepot(*words, cwd=federation.cwd)
    assert said.code == 0, said.err
    value = json.loads(said.out)
    assert value["schema"] == "entrepot.train/1"
    assert value["rounds"] == 2
    assert 0.9 < float(value["epsilon"]) <= 1
    assert tuple(value["parties"]) == COHORT
    assert Path(value["model"]).exists()
    assert_paid_once(federation, value["run"], 2)


def spent(federation: Federation) -> dict[tuple[str, str], float]:
    said = entrepot("budget", "show", "--json", cwd=federation.cwd, env=at_home(federation))
    assert said.code == 0, said.err
    rows = json.loads(said.out)["budgets"]
    assert all(row["epsilon"] <= row["limit"] for row in rows)
    return {(row["node"], row["dataset"]): row["epsilon"] for row in rows}


def at_home(federation: Federation) -> dict[str, str]:
    return environment(home=federation.folder)


def test_the_printed_budget_shows_every_account(federation: Federation) -> None:
    said = entrepot(*printed(federation)[2], cwd=federation.cwd)
    assert said.code == 0, said.err
    assert len(spent(federation)) == 12
    assert all(member.party in said.out for member in federation.home.holders())


def test_without_a_folder_there_is_no_federation(federation: Federation) -> None:
    said = entrepot("budget", "show", cwd=federation.cwd)
    assert said.code == 2
    assert "no federation in .entrepot" in said.err


def test_the_variable_finds_it_too(federation: Federation) -> None:
    sql = "SELECT COUNT(*) FROM orders"
    said = entrepot("query", sql, "--explain", cwd=federation.cwd, env=at_home(federation))
    assert said.code == 0, said.err


def test_a_second_demo_does_not_start_over_it(federation: Federation) -> None:
    said = federation.run("demo", "--stay")
    assert said.code == 2
    assert "--stop" in said.err


# -- refusals --------------------------------------------------------------------------------------


def test_a_purpose_that_nodes_forbid_is_refused_with_10(federation: Federation) -> None:
    before = spent(federation)
    said = federation.run("query", "SELECT AVG(amount) FROM orders", "purpose=marketing")
    assert said.code == 10, said.err
    assert "CN-001" in said.err or "marketing" in said.err
    assert "Traceback" not in said.err
    assert spent(federation) == before


def test_more_than_any_account_can_pay_is_refused_with_11(federation: Federation) -> None:
    before = spent(federation)
    said = federation.run("train", "fraud", "privacy.epsilon=6")
    assert said.code == 11, said.err
    assert all(f"{party}: BUDGET-001" in said.err for party in COHORT)
    assert "privacy.epsilon=" in said.err
    assert spent(federation) == before


def test_a_run_without_privacy_is_refused_with_10(federation: Federation) -> None:
    said = federation.run("train", "fraud", "privacy=none")
    assert said.code == 10
    assert "BASE-007" in said.err


def test_an_order_for_other_code_is_refused_by_every_node(
    federation: Federation, tmp_path: Path
) -> None:
    for package in ("federation", "clients", "aggregator", "policies", "secure_compute"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    experiments = shutil.ignore_patterns("*.pyc", "cheese")
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=experiments)
    with (tmp_path / "federation" / "models.py").open("a", encoding="utf-8") as source:
        source.write("# another version\n")
    before = spent(federation)
    said = federation.run("train", "fraud", CHEAP, env=environment((tmp_path,)))
    assert said.code == 10, said.err
    assert all(f"{party}: " in said.err for party in COHORT)
    assert "code" in said.err
    assert spent(federation) == before


def test_a_wrong_certificate_ends_a_node_with_one_sentence(
    federation: Federation, tmp_path: Path
) -> None:
    copy = tmp_path / "warehouse-us"
    kept = shutil.ignore_patterns("outbox.sqlite*", "node_id", "run", "logs", "captures")
    shutil.copytree(federation.folder / "nodes" / "warehouse-us", copy, ignore=kept)
    write_certificates(tmp_path / "other", make_certificates(datetime.now(UTC)))
    shutil.copy(tmp_path / "other" / "ca.crt", copy / "keys" / "ca.crt")
    said = entrepot("node", "run", str(copy), cwd=tmp_path, seconds=120)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert "certificate" in said.err
    assert "Traceback" not in said.err
    assert alive(federation.node("warehouse-us"))


# -- kills -----------------------------------------------------------------------------------------


@contextmanager
def training(federation: Federation, rounds: int) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Give a training run in the background and its id, once the order is on the table."""
    known = _ids(federation)
    words = ("train", "fraud", CHEAP, f"model.rounds={rounds}", "--json")
    folder = ("--federation", str(federation.folder))
    with started(*words, *folder, cwd=federation.cwd) as process:
        wait_until(lambda: _ids(federation) - known, 30.0, "the order is on the table")
        (run,) = _ids(federation) - known
        yield process, run


def _ids(federation: Federation) -> set[str]:
    with closing(sqlite3.connect(federation.home.jobs)) as db:
        return {row[0] for row in db.execute("SELECT id FROM jobs")}


def job(federation: Federation, run: str) -> Job:
    found = federation.jobs.find(run)
    assert found is not None
    return found


def committed(federation: Federation, run: str) -> int:
    last = federation.jobs.last_round(run)
    return -1 if last is None else last.round


def reach(federation: Federation, run: str, round_: int) -> None:
    """Wait until a round is committed; the run goes on."""

    def reached() -> bool:
        status = job(federation, run).status
        assert status in {"queued", "running", "done"}, job(federation, run).result
        return committed(federation, run) >= round_

    wait_until(reached, 90.0, f"round {round_} of {run[:12]}")
    assert job(federation, run).status == "running"


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def assert_paid_once(federation: Federation, run: str, rounds: int) -> None:
    """Every round is committed; every node paid for each of its rounds once, and sent it once."""
    with closing(sqlite3.connect(federation.home.jobs)) as db:
        found = db.execute("SELECT round FROM rounds WHERE job = ? ORDER BY round", (run,))
        assert [row[0] for row in found] == list(range(rounds + 1))
    last = federation.jobs.last_round(run)
    assert last is not None
    order = open_order(job(federation, run).wire, federation.home.roster()).order
    assert order.releases == rounds
    reserved = rounds + order.abandoned
    for party in last.parties:
        assert booked(federation.home, party, run) == ([reserved], rounds, 1), party
        sent = updates(federation, party, run)
        assert sent.keys() == set(range(rounds))
        assert all(len(forms) == 1 for forms in sent.values()), f"{party} drew noise twice"


def updates(federation: Federation, party: PartyId, run: str) -> dict[int, set[bytes]]:
    """Return the different uploads that a node sent in each round, from its capture."""
    sent: dict[int, set[bytes]] = {}
    for frame in read_captures(federation.folder):
        letter = frame.envelope
        if letter is None or (letter.order, letter.sender) != (run, party):
            continue
        if letter.kind is Kind.SUM_UPLOAD:
            sent.setdefault(letter.sequence, set()).add(letter.blobs["upload"])
    return sent


def booked(home: Home, party: PartyId, run: str) -> tuple[list[int], int, int]:
    """Return what a node's books hold of a run: reserved releases, settled ones, closings."""
    with closing(sqlite3.connect(home.node(party) / "books.sqlite")) as books:
        reserved = books.execute("SELECT releases FROM reservations WHERE order_id = ?", (run,))
        return (
            [row[0] for row in reserved],
            books.execute("SELECT COUNT(*) FROM settlements WHERE order_id = ?", (run,)).fetchone()[
                0
            ],
            books.execute("SELECT COUNT(*) FROM closings WHERE order_id = ?", (run,)).fetchone()[0],
        )


def resumptions(federation: Federation, run: str) -> list[int]:
    notes = [note for _, note in federation.jobs.notes(run)]
    return [note["round"] for note in notes if note["stage"] == "resumed"]


def test_a_node_killed_in_mid_round_is_back_and_the_run_ends(federation: Federation) -> None:
    """Without it: its order was open when it came back, so it is over there and paid whole."""
    party = PartyId("merchant-uk")
    log = federation.folder / "nodes" / party / "logs" / "node.log"
    before, joined = federation.node(party), log.read_text().count("Joined as node")
    with training(federation, 10) as (process, run):
        reach(federation, run, 2)
        kill(before)
        took = wait_until(
            lambda: log.read_text().count("Joined as node") > joined, BACK_SECONDS, "it is back"
        )
        print(f"{party} was back after {took:.1f} s")
        said = finish(process)
    assert federation.node(party) not in {0, before}
    assert alive(federation.node(party))
    assert said.code == 0, said.err
    notes = [note for _, note in federation.jobs.notes(run) if note["stage"] == "round"]
    lost = [name for note in notes for name in note["lost"]]
    assert lost == [party]
    survivors = set(json.loads(said.out)["parties"])
    assert survivors == set(COHORT) - set(lost)
    assert_paid_once(federation, run, 10)
    reserved, settled, closed = booked(federation.home, party, run)
    assert reserved == [10]  # a round of sums is begun once: none is set aside to be made again
    assert settled == 10
    assert closed == 1
    assert len(updates(federation, party, run)) < 10


def test_a_killed_server_or_executor_or_both_cost_no_round_and_no_budget(
    federation: Federation,
) -> None:
    with training(federation, 14) as (process, run):
        reach(federation, run, 2)
        for names in (("superlink",), ("executor",), ("superlink", "executor")):
            before = {name: federation.server(name) for name in names}
            done = committed(federation, run)
            kill(*before.values())
            for name, pid in before.items():
                took = wait_until(
                    lambda name=name, pid=pid: federation.server(name) not in {0, pid},
                    BACK_SECONDS,
                    f"another {name}",
                )
                print(f"{name} was started again after {took:.1f} s")
            reach(federation, run, min(done + 2, 13))
        said = finish(process)
    assert said.code == 0, said.err
    assert tuple(json.loads(said.out)["parties"]) == COHORT
    resumed = resumptions(federation, run)
    assert len(resumed) >= 2
    assert resumed == sorted(resumed)
    assert resumed[0] >= 2
    assert_paid_once(federation, run, 14)


def test_an_aggregator_killed_whole_goes_on_when_it_is_started_by_hand(
    federation: Federation,
) -> None:
    federation.note_pids()
    supervisor = int((federation.folder / "running.pids").read_text().split()[0])
    assert "aggregator" in _words(supervisor)
    with training(federation, 6) as (process, run):
        reach(federation, run, 1)
        killed = [supervisor, federation.server("superlink"), federation.server("executor")]
        kill(*killed)
        wait_until(lambda: not any(map(alive, killed)), 10.0, "nothing of it is left")
        reached = committed(federation, run)
        assert job(federation, run).status == "running"
        words = ("aggregator", "run", "--federation", str(federation.folder))
        with started(*words, cwd=federation.cwd) as aggregator:
            said = finish(process)
            federation.note_pids()
            aggregator.send_signal(signal.SIGTERM)
            assert aggregator.wait(60) == 0
    assert said.code == 0, said.err
    assert resumptions(federation, run) == [reached]
    assert_paid_once(federation, run, 6)


# -- the end ---------------------------------------------------------------------------------------


def test_stop_ends_every_process(federation: Federation) -> None:
    federation.note_pids()
    assert len(federation.left()) >= 18  # nine supervisors, nine workers
    said = federation.run("demo", "--stop")
    assert said.code == 0
    wait_until(lambda: not federation.left(), 30.0, "no process lives")
    assert not list(federation.folder.rglob("run/*.pid"))
    again = federation.run("demo", "--stop")
    assert again.code == 0
    assert "0 supervisors" in again.err
