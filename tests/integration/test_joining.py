"""A federation from nothing, by real processes over real TLS, word for word as README says it.

Four found it; three more join by token and are let in by two members, one of them with a table of
other names, in euros, by another clock, through its drafted contract. They train, ask, and verify
every ledger; one is revoked, and two of the three go on.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pytest

from clients.books import Books
from clients.consent import agreed
from clients.settings import load_settings
from experiments.home import open_home
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from tests.foreign import in_csv
from tests.processes import Said, entrepot, recorded, started, wait_until
from tests.simulator import LIMITS, SQL, orders_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOUNDERS = {
    "merchant-br": ("merchant", "BR", "Recife Comércio"),
    "keyholder-ch": ("keyholder", "CH", "Zug Treuhand"),
    "keyholder-eu": ("keyholder", "EU", "Dublin Custody"),
    "keyholder-uk": ("keyholder", "UK", "Edinburgh Trust"),
}
LATER = {
    "merchant-uk": ("merchant", "UK", "Leeds Outfitters"),
    "payments-eu": ("payment_partner", "EU", "Lyon Paiements"),
    "merchant-de": ("merchant", "EU", "Hamburger Versand"),
}
"""The last keeps its orders in German, in euros, by Berlin's clocks, in a file of its own."""
OTHER = "SELECT AVG(LEAST(amount, 150)) AS average_order FROM orders"
WORDS = ("model.rounds=4", "model.moments=2", "privacy.epsilon=1")


class Town:
    """Everybody's folders, and whatever runs."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self.folder = folder
        self.federation = folder / "federation"
        self._held = held

    def say(self, *words: str, code: int = 0) -> Said:
        said = entrepot(*words, cwd=self.folder)
        assert said.code == code, (words, said)
        assert "Traceback" not in said.err
        return said

    def run(self, *words: str) -> None:
        self._held.enter_context(started(*words, cwd=self.folder))

    def aggregator(self, *words: str, code: int = 0) -> Said:
        name, *more = words
        return self.say("aggregator", name, "--federation", str(self.federation), *more, code=code)

    def invite(self, party: str, seat: tuple[str, str, str]) -> str:
        role, place, organisation = seat
        words = ("--role", role, "--jurisdiction", place, "--party", party)
        said = self.aggregator("invite", *words, "--organisation", organisation, "--json")
        return str(json.loads(said.out)["token"])

    def offer(self, party: str, number: int) -> None:
        """The party holds orders and offers them."""
        source = files("experiments") / "parties" / "contracts" / "orders.toml"
        text = Template(source.read_text(encoding="utf-8")).substitute(LIMITS["orders"])
        (self.node(party) / "contract" / "orders.toml").write_text(text, encoding="utf-8")
        orders_table(number).to_parquet(self.node(party) / "data" / "orders.parquet")

    def offer_through_a_draft(self, party: str, number: int) -> None:
        """The party's own file is drafted, every question answered by its operator, and read."""
        found = orders_table(number).assign(amount=lambda rows: rows.amount.round(2))
        laid = in_csv(self.folder, found)
        given = [
            "node",
            "contract",
            "draft",
            *laid.words,
            "--node",
            str(self.node(party)),
            "--json",
        ]
        known = {**laid.answers, "twice": "missing", "limit:epsilon": LIMITS["orders"]["epsilon"]}
        while left := [q for q in self._draft(given)["questions"] if q["answer"] is None]:
            key = left[0]["key"]
            value = known.get(key) or known.get(key.split(":")[0], "yes")
            given += ["--answer", f"{left[0]['number']}={value}"]
        assert self._draft([*given, "--write"])["usable"]
        self.say("node", "refresh", str(self.node(party)))

    def _draft(self, words: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say(*words).out)
        return found

    def node(self, party: str) -> Path:
        """Where the officer's tools on this machine look for a node's books."""
        return self.federation / "nodes" / party

    def start(self, party: str) -> None:
        self.say("node", "check", str(self.node(party)))
        self.run("node", "run", str(self.node(party)))

    def join(self, party: str, token: str, code: int) -> dict[str, Any]:
        words = ("node", "join", token, "--folder", str(self.node(party)), "--yes", "--json")
        value: dict[str, Any] = json.loads(self.say(*words, code=code).out)
        return value

    def words(self) -> dict[str, list[str]]:
        rows = json.loads(self.aggregator("pending", "--json").out)["parties"]
        return {row["party"]: row["words"] for row in rows}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with ExitStack() as held:
        yield Town(tmp_path, held)


def test_a_federation_from_nothing(town: Town) -> None:
    found(town)
    town.offer("merchant-br", 0)
    for party in FOUNDERS:
        town.start(party)
    joined(town, FOUNDERS)
    for party, seat in LATER.items():
        let_in(town, party, seat)
    town.offer("merchant-uk", 1)
    town.offer("payments-eu", 2)
    town.offer_through_a_draft("merchant-de", 3)
    for party in LATER:
        town.start(party)
    joined(town, LATER)
    assert open_home(town.federation).roster().epoch == 1 + len(LATER)
    assert carded(town.node("merchant-de"))

    holders = {"merchant-br", *LATER}
    ask(town, SQL, holders)
    train(town, holders)
    town.aggregator("revoke", "merchant-uk", "--reason", "its contract ended")
    two = holders - {"merchant-uk"}
    ask(town, OTHER, two)  # the same one would single out who is gone, and is refused
    train(town, two)

    proof, keys = town.folder / "ledger.json", str(town.federation / "trust.txt")
    town.say("audit", "prove", "--out", str(proof), "--federation", str(town.federation))
    told = json.loads(town.say("audit", "verify", str(proof), "--trust", keys, "--json").out)
    assert {*FOUNDERS, *LATER, "aggregator"} <= set(map(str, parties_in(proof))), told


def found(town: Town) -> None:
    """Four founders of four organisations begin: init, invite, join, compare words, sign."""
    about = ("--name", "harbour", "--organisation", "Entrepôt Operations", "--jurisdiction", "EU")
    town.say("aggregator", "init", str(town.federation), *about, "--analyst-organisation", "Desk")
    tokens = {party: town.invite(party, seat) for party, seat in FOUNDERS.items()}
    town.run("aggregator", "run", "--federation", str(town.federation))
    wait_until(lambda: reached(town), 60.0, "the join port answers")
    seconds = []
    for party, token in tokens.items():
        begun = time.monotonic()
        value = town.join(party, token, 12)
        seconds.append(time.monotonic() - begun)
        assert town.words()[party] == value["words"] and not value["member"]
    print(f"join, from token to words: {max(seconds):.1f} s at most, {min(seconds):.1f} s at least")
    town.aggregator("found", "--yes", code=12)
    for party in FOUNDERS:
        last = party == list(FOUNDERS)[-1]
        town.say("node", "found", str(town.node(party)), "--yes", code=0 if last else 12)
    for party in FOUNDERS:
        said = town.say("node", "found", str(town.node(party)), "--yes", "--json")
        assert json.loads(said.out)["member"]
    assert "harbour is founded: 6 members" in town.aggregator("found", "--wait", "30").out
    members = {m.party for m in open_home(town.federation).roster().members}
    assert members == {*FOUNDERS, "aggregator", "analyst"}


def let_in(town: Town, party: str, seat: tuple[str, str, str]) -> None:
    """A party comes with a token; two members of other organisations compare its words."""
    token = town.invite(party, seat)
    value = town.join(party, token, 12)
    for member in ("merchant-br", "keyholder-ch"):
        node = str(town.node(member))
        shown = json.loads(town.say("node", "admit", node, "--json").out)["requests"]
        assert [one["words"] for one in shown] == [value["words"]]
        town.say("node", "admit", node, party, "--yes")
    assert town.join(party, token, 0)["member"]


def train(town: Town, parties: set[str]) -> None:
    """A model is trained by secure sums of all of these parties, and of nobody else."""

    words = ("train", "fraud", *WORDS, f"seed={time.time_ns() % 10**6}", "--json")
    said = town.say(*words, "--federation", str(town.federation))
    assert set(json.loads(said.out)["parties"]) == parties, said.err


def parties_in(proof: Path) -> list[str]:
    """Whose ledgers an export holds."""
    text = proof.read_text(encoding="utf-8")
    return [party for party in (*FOUNDERS, *LATER, "aggregator") if f"harbour/{party}" in text]


def carded(folder: Path) -> bool:
    """Whether the node's own log says which card its operator agreed to."""
    settings = load_settings(folder)
    consent = agreed(folder, settings.identity.verify_key)
    origin = origin_of(settings.federation, settings.party)
    books = Books.existing(settings.books, origin, settings.identity, time.time)
    assert books is not None and consent is not None
    cards = [e.body.get("card") for e in books.entries() if e.kind is EntryKind.JOINED]
    return cards == [consent.card]


def reached(town: Town) -> bool:
    import socket

    from aggregator.hosting import load_hosting

    port = load_hosting(town.federation / "aggregator").join_port
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port or 0)) == 0


def joined(town: Town, parties: object) -> None:
    names = list(parties)  # type: ignore[call-overload]
    there = lambda: all((town.node(p) / "node_id").exists() for p in names)  # noqa: E731
    wait_until(there, 90.0, f"{names} are connected")
    assert all(recorded(town.node(p) / "run" / "node.pid") for p in names)


def ask(town: Town, sql: str, parties: set[str]) -> None:
    """A question is answered by these parties."""

    def answered() -> bool:
        words = ("query", sql, "privacy.epsilon=0.3", "deadline=20", "--fresh", "--json")
        said = entrepot(*words, "--federation", str(town.federation), cwd=town.folder)
        print(said.err)
        return said.code == 0 and set(json.loads(said.out)["parties"]) == parties

    wait_until(answered, 240.0, f"{sorted(parties)} answer")
