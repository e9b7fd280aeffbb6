"""A whole federation in one process: real nodes, a real coordinator, letters carried in memory.

Only five things are not what runs in production: nobody listens on a port, letters are signed and
travel in no cover, training runs in this process instead of a child, a kill is an exception that no
handler of the program catches, and the time of slots stands still while rows are read: it goes on
when a node waits, and nobody waits.
"""

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from aggregator import rosters
from aggregator.coordinator import Coordinator
from aggregator.jobs import Job, Jobs
from aggregator.settings import load_aggregator
from clients.books import Books
from clients.errors import ComputeError
from clients.node import Node
from clients.settings import load_settings
from clients.slots import Slots
from clients.training.jobs import TrainJob
from clients.worker import build
from experiments.borders import Frame
from experiments.founding import AGGREGATOR, DEMO_SEATS, Ports, Seat, found
from experiments.home import Home, open_home
from experiments.opening import released
from experiments.ordering import Terms, query_order, sign, training_order
from federation import at_rest
from federation.envelopes import Envelope, open_envelope, parse, seal
from federation.errors import FederationError
from federation.ledger import notes
from federation.ledger import witness as witnesses
from federation.ledger.notes import Checkpoint, NamedKey, origin_of
from federation.ledger.witness import WitnessRequest
from federation.membership import Roster
from federation.messages import Kind
from federation.models import ModelSpec
from federation.orders import WorkOrder
from federation.recipes import Recipe
from federation.riding import pack, pack_cosigned, unpack
from federation.roster_chain import Change, Suspend, change_statement, open_roster
from federation.second_order import SecondOrder
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.budget import accountant
from policies.budget.events import Event, Repeated
from policies.budget.statement import Statement
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.primitives.signature import SigningKey

LIMITS: Final = {
    "orders": {"epsilon": "3.5", "delta": "1e-6"},
    "demand": {"epsilon": "6.5", "delta": "1e-6"},
}
DELTA: Final = 1e-6
CN, EU, UK, US = (PartyId(f"warehouse-{place}") for place in ("cn", "eu", "uk", "us"))
WAREHOUSES: Final = (CN, EU, UK, US)
KEYHOLDERS: Final = tuple(PartyId(f"keyholder-{place}") for place in ("ch", "eu", "uk"))
KEYHOLDER: Final = KEYHOLDERS[0]
SHOP, OTHER_SHOP = PartyId("merchant-br"), PartyId("merchant-uk")
OTHERS: Final = (*KEYHOLDERS, SHOP, OTHER_SHOP, *(PartyId(f"payments-{p}") for p in ("eu", "cn")))
"""As many as the warehouse of a founded demonstration needs to vouch for it."""
SQL: Final = "SELECT category, SUM(amount), COUNT(*) FROM orders GROUP BY category"

Moment = Literal["before", "after"]
Reads = list[tuple[PartyId, int]]


class Killed(BaseException):
    """As by kill -9: nothing in the program catches it."""


def recipe(**changes: Any) -> Recipe:
    """A demand recipe of five parameters that takes milliseconds; costs epsilon 1.6 or so."""
    values: dict[str, Any] = {
        "model": ModelSpec((4, 1)),
        "loss": "huber",
        "rounds": 3,
        "steps": 3,
        "sampling_rate": Decimal(1),
        "clip": Decimal(1),
        "noise_multiplier": Decimal(10),
        "grid": 4096,
        "learning_rate": Decimal("0.1"),
        "expected_units": 50,
        "rows_per_unit": 1,
        "window": 3,
    }
    return Recipe(**{**values, **changes})


def fraud_recipe(**changes: Any) -> Recipe:
    """A linear fraud recipe; customers are sampled."""
    from clients.training.fraud import FEATURES

    values: dict[str, Any] = {
        "model": ModelSpec((len(FEATURES), 1)),
        "loss": "bce",
        "rounds": 2,
        "steps": 2,
        "sampling_rate": Decimal("0.2"),
        "noise_multiplier": Decimal(5),
        "rows_per_unit": 8,
        "window": 0,
    }
    return recipe(**{**values, **changes})


def sum_recipe(**changes: Any) -> SumRecipe:
    """A linear fraud recipe by secure sums: one round of moments, two of gradients."""
    from clients.training.fraud import FEATURES

    values: dict[str, Any] = {
        "model": ModelSpec((len(FEATURES), 1)),
        "loss": "bce",
        "rounds": 3,
        "moments": 1,
        "clip": Decimal(1),
        "moment_clip": Decimal(20),
        "target_clip": Decimal(5),
        "learning_rate": Decimal("0.5"),
        "momentum": Decimal("0.5"),
        "ridge": Decimal(50),
        "start_norm": Decimal(2),
        "base_rate": Decimal("0.1"),
        "expected_units": 320,
    }
    around: dict[str, Any] = {
        "sampling_rate": Decimal(1),
        "noise_multiplier": Decimal(10),
        "grid": 1 << 14,
        "expected_units": 320,
        "rows_per_unit": 8,
        "nodes": 8,
        "colluding": 1,
        "ring_bits": 32,
        "window": 0,
        "holdout": Decimal(0),
        "evaluation": None,
        "groups": 1,
        "trimmed": 0,
    }
    method = changes.get("method") or SecondOrder(
        **{name: changes.get(name, value) for name, value in values.items()}
    )
    return SumRecipe(method=method, **{n: changes.get(n, value) for n, value in around.items()})


def price(event: Event, releases: int) -> float:
    """What an account should say after that many releases of `event` alone."""
    return accountant.epsilon([Repeated(event, releases)], DELTA)


class Workshop:
    """Trains in this process, where a node would start a child; `rounds` says what was asked."""

    def __init__(self) -> None:
        from clients.training.service import Trainer

        self._trainer = Trainer()
        self.rounds: list[int] = []
        self.sums: list[np.ndarray] = []
        self.warmed: list[str] = []
        self.stopped = 0

    def warm(self, job: Callable[[], TrainJob]) -> None:
        with suppress(Exception):  # as in production, nobody is told
            self.warmed.append(job().order)

    def update(self, job: TrainJob, round_: int, weights: bytes) -> bytes:
        self.rounds.append(round_)
        try:
            return self._trainer.perform(job, round_, weights)
        except Exception as why:
            raise ComputeError(f"{type(why).__name__}: {why}") from why

    def clipped_sum(self, job: TrainJob, round_: int, weights: bytes) -> np.ndarray:
        self.sums.append(np.frombuffer(self.update(job, round_, weights), "<i8").astype(np.int64))
        return self.sums[-1]

    def stop(self, order: str = "") -> None:
        self.stopped += 1


class Pace:
    """The time of slots: only who sleeps moves it on, and what is begun is done at once."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slots = Slots(lambda: self.at, self.sleep, lambda work: work())

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass(frozen=True)
class Match:
    """Which letters a knob is meant for; None stands for any."""

    kind: Kind
    party: PartyId | None = None
    sequence: int | None = None

    def fits(self, envelope: Envelope) -> bool:
        return (
            envelope.kind is self.kind
            and self.party in {None, envelope.recipient}
            and self.sequence in {None, envelope.sequence}
        )


@dataclass
class Mail:
    """Carries letters in memory, and loses, delays, repeats or changes them when told to.

    letters: every request that the coordinator sent, in order; said: every reply that left a node;
    exchanges: for each exchange, how long each party was waited for at most.
    """

    deliver: Callable[[PartyId, bytes], bytes]
    letters: list[bytes] = field(default_factory=list)
    said: list[Frame] = field(default_factory=list)
    exchanges: list[dict[PartyId, float]] = field(default_factory=list)
    _lost: list[Match] = field(default_factory=list)
    _late: list[Match] = field(default_factory=list)
    _changed: list[tuple[Match, Callable[[bytes], bytes]]] = field(default_factory=list)
    _kills: list[tuple[Match, Moment]] = field(default_factory=list)

    def drop(self, kind: Kind, party: PartyId | None = None, sequence: int | None = None) -> None:
        """Such letters do not arrive."""
        self._lost.append(Match(kind, party, sequence))

    def delay(self, kind: Kind, party: PartyId | None = None, sequence: int | None = None) -> None:
        """Such letters arrive and are answered; the answer comes too late."""
        self._late.append(Match(kind, party, sequence))

    def tamper(
        self, kind: Kind, party: PartyId, change: Callable[[bytes], bytes], sequence: int = 0
    ) -> None:
        """Replies to such letters are changed on their way back."""
        self._changed.append((Match(kind, party, sequence), change))

    def kill(self, kind: Kind, moment: Moment, sequence: int | None = None) -> None:
        """The coordinator dies once, before such an exchange or after its last reply."""
        self._kills.append((Match(kind, None, sequence), moment))

    def repair(self) -> None:
        """Every letter arrives from now on."""
        for knobs in (self._lost, self._late, self._changed, self._kills):
            knobs.clear()  # type: ignore[attr-defined]

    def sent(self, kind: Kind) -> list[Envelope]:
        """The requests of that kind, in order."""
        return [letter for letter in map(parse, self.letters) if letter.kind is kind]

    def replies(self, kind: Kind) -> list[Frame]:
        """The replies of that kind that left a node, in order."""
        return [frame for frame in self.said if frame.kind == kind.value]

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> dict[PartyId, bytes | str]:
        assert timeout > 0 and set(sooner) <= set(requests)
        self.exchanges.append({party: sooner.get(party, timeout) for party in requests})
        self._strike("before", requests)
        replies = {party: self._carry(party, wire) for party, wire in requests.items()}
        self._strike("after", requests)
        return replies

    def _carry(self, party: PartyId, wire: bytes) -> bytes | str:
        self.letters.append(wire)
        letter = parse(wire)
        if any(match.fits(letter) for match in self._lost):
            return "unreachable"
        try:
            reply = self.deliver(party, wire)
        except Exception:  # noqa: BLE001  what the Flower application makes of it: an error without a word
            return "the node failed; its operator finds why in its log"
        self.said.append(Frame(party, reply, parse(reply)))
        if any(match.fits(letter) for match in self._late):
            return "no reply in time"
        for match, change in self._changed:
            if match.fits(letter):
                reply = change(reply)
        return reply

    def _strike(self, moment: Moment, requests: Mapping[PartyId, bytes]) -> None:
        for letter in map(parse, requests.values()):
            for kill in self._kills:
                if kill[1] == moment and kill[0].fits(letter):
                    self._kills.remove(kill)
                    raise Killed


class Simulation:
    """One federation in `folder`; nodes are built when first asked for, from what lies on disk."""

    def __init__(
        self,
        folder: Path,
        orders: Callable[[PartyId], Path] | None = None,
        limits: Mapping[str, Mapping[str, str]] = LIMITS,
        seats: tuple[Seat, ...] = DEMO_SEATS,
    ) -> None:
        self._template = _template(seats, json.dumps(limits))
        self._orders = orders
        shutil.copytree(self._template, folder, ignore=shutil.ignore_patterns("nodes"))
        self.home: Home = open_home(folder)
        self.roster = self.home.roster()
        self.later = 0.0
        self.wrong: dict[PartyId, float] = {}
        self.mail = Mail(self.deliver)
        self.workshops: dict[PartyId, Workshop] = {}
        self.pace = Pace()
        self._nodes: dict[PartyId, Node] = {}

    # -- processes -------------------------------------------------------------------------------

    def folder(self, party: PartyId) -> Path:
        """The folder of a node; it is laid down when first asked for."""
        folder = self.home.node(party)
        if not folder.exists():
            shutil.copytree(self._template / "nodes" / party, folder)
            if self._orders and (folder / "data" / "orders.parquet").exists():
                shutil.copy(self._orders(party), folder / "data")
        return folder

    def node(self, party: PartyId) -> Node:
        """The running node of a party, after its witnesses have vouched for its ledger."""
        node = self.started(party)
        if not node._witnessing._is_sure():
            self._introduce(node, party)
        return node

    def started(self, party: PartyId) -> Node:
        """The running node of a party, as it comes up: nobody has vouched for its ledger yet."""
        if party not in self._nodes:
            node = build(
                load_settings(self.folder(party)),
                lambda: self.clock(party),
                self.monotonic,
                slots=self.pace.slots,
            )
            node._compute = self.workshops[party] = Workshop()  # type: ignore[assignment]
            node.begin()
            self._nodes[party] = node
        return self._nodes[party]

    def restart(self, party: PartyId) -> Node:
        """The node as it comes back after a kill: whatever was not on disk is gone."""
        self.kill(party)
        return self.node(party)

    def kill(self, party: PartyId) -> None:
        """The node's process ends; what was not on disk is gone."""
        self._nodes.pop(party, None)

    def now(self) -> float:
        """What time it is."""
        return time.time() + self.later

    def clock(self, party: PartyId) -> float:
        """What the machine of a party takes for the time; `wrong` says by how much it is wrong."""
        return self.now() + self.wrong.get(party, 0.0)

    def monotonic(self) -> float:
        """Seconds that nobody can set."""
        return time.monotonic() + self.later

    def _introduce(self, node: Node, party: PartyId) -> None:
        """Bring what witnesses last saw of the node's ledger: all that are there, and some more."""
        about = {party: node._witnessing.nonce}
        words: dict[str, bytes] = {}
        for member in self.roster.with_role(*DATA_ROLES, Role.KEYHOLDER):
            if member.party == party:
                continue
            if self.home.node(member.party).exists():
                letter = self._question(Kind.LEDGER_SEEN, member.party, {"about": about})
                reply = self.read(self.started(member.party).answer(letter))
                words[member.party] = unpack(reply.blobs["seen"])[party]
            else:
                words[member.party] = self.word(member.party, party, about[party])
        node.answer(self.letter(Kind.LEDGER_WITNESS, party, "", seen=pack(words)))

    def word(
        self, witness: PartyId, about: PartyId, nonce: str, seen: Checkpoint | None = None
    ) -> bytes:
        """What a witness says it last saw of a party's ledger; nothing, if not told otherwise."""
        origin, own = origin_of(self.roster.federation, about), self.key(about)
        key = NamedKey(origin, own.verify_key)
        last = notes.open_note(notes.sign(seen, own), key) if seen else None
        return witnesses.sign_seen(origin, last, nonce, int(self.now()), witness, self.key(witness))

    def cosign(self, party: PartyId, head: bytes, by: tuple[PartyId, ...] = ()) -> bytes:
        """The blob in which witnesses cosign; all others than the warehouses if none are named."""
        note = WitnessRequest.from_bytes(head).note
        lines = {}
        for witness in by or OTHERS:
            origin = origin_of(self.roster.federation, witness)
            lines[origin] = witnesses.cosign(note, origin, self.key(witness), int(self.now()))
        return pack_cosigned({note: lines})

    def crash(self, party: PartyId, part: str, step: str, moment: Moment) -> None:
        """Let the node die once, before or after `step` of its outbox, books or workshop."""
        owner = getattr(self.node(party), f"_{part}")
        real = getattr(owner, step)

        def dying(*arguments: Any, **named: Any) -> Any:
            if moment == "after":
                real(*arguments, **named)
            raise Killed

        setattr(owner, step, dying)

    def deliver(self, party: PartyId, wire: bytes) -> bytes:
        """The node's reply; one that dies on the way comes back and is asked again."""
        try:
            return self.started(party).answer(wire)
        except Killed:
            self.kill(party)
            return self.started(party).answer(wire)

    @property
    def jobs(self) -> Jobs:
        """The aggregator's table, as on disk."""
        return Jobs(self.home.jobs)

    def coordinator(self) -> Coordinator:
        """A coordinator that knows only what is on disk."""
        settings = load_aggregator(self.home.aggregator)
        return Coordinator(settings, self.jobs, self.mail, now=self.now)

    def work(self) -> None:
        """Work through the table, as a freshly started aggregator would."""
        coordinator = self.coordinator()
        while (job := self.jobs.next(self.now())) is not None:
            coordinator.work(job)

    def run(self, order: WorkOrder) -> Job:
        """Put an order on the table and see it through; a question's answer is opened, too."""
        self.put(order)
        self.work()
        self.open(order)
        return self.job(order)

    def open(self, order: WorkOrder) -> None:
        """Open the answer to a question as who asked it does; nothing where there is none."""
        job = self.job(order)
        if job.status == "done" and (job.result or {}).get("sealed"):
            released(self.home, self.jobs, job)

    def put(self, order: WorkOrder) -> None:
        """Put an order on the table."""
        self.jobs.add(order.id, sign(self.home, order), float(order.created))

    def job(self, order: WorkOrder) -> Job:
        """What the table says about an order."""
        job = self.jobs.find(order.id)
        assert job is not None
        return job

    def notes(self, order: WorkOrder, stage: str) -> list[dict[str, Any]]:
        """What whoever watches was told of one stage."""
        return [note for _, note in self.jobs.notes(order.id) if note["stage"] == stage]

    # -- orders ----------------------------------------------------------------------------------

    def training(
        self, seed: int = 1, cohort: tuple[PartyId, ...] = (), abandoned: int = 3, **changes: Any
    ) -> WorkOrder:
        """An order that trains demand by `recipe(**changes)`."""
        task = TrainingTask("demand", seed, 0, recipe(**changes))
        terms = Terms(purpose="demand_forecasting", cohort=cohort, abandoned=abandoned)
        return training_order(self.home, task, terms)

    def summing(
        self, cohort: tuple[PartyId, ...] = WAREHOUSES, minimum: int = 3, **changes: Any
    ) -> WorkOrder:
        """An order that trains fraud by `sum_recipe(**changes)`."""
        task = TrainingTask("fraud", 1, 0, sum_recipe(**changes))
        terms = Terms(purpose="fraud_prevention", cohort=cohort, minimum=minimum)
        return training_order(self.home, task, terms)

    def query(self, epsilon: str = "0.4", sql: str = SQL, **terms: Any) -> WorkOrder:
        """An order that asks a joint question."""
        return query_order(
            self.home, sql, epsilon, Terms(**{"purpose": "market_statistics", **terms})
        )

    # -- letters ---------------------------------------------------------------------------------

    def key(self, party: PartyId) -> SigningKey:
        """The identity key of any party, that which a node has now."""
        own, laid = self.home.node(party), self._template / "nodes" / party
        folder = {
            AGGREGATOR: self.home.aggregator / "keys",
            self.home.analyst: self.home.folder / "people" / self.home.analyst,
        }.get(party, (own if own.exists() else laid) / "keys")
        return SigningKey(at_rest.read(folder / "identity.key"))

    def letter(
        self, kind: Kind, party: PartyId, order: str, sequence: int = 0, /, **blobs: bytes
    ) -> bytes:
        """A letter of the aggregator."""
        return self._question(kind, party, {}, order, sequence, blobs)

    def _question(
        self,
        kind: Kind,
        party: PartyId,
        body: Mapping[str, Any],
        order: str = "",
        sequence: int = 0,
        blobs: Mapping[str, bytes] | None = None,
    ) -> bytes:
        letter = Envelope(kind, AGGREGATOR, party, order, sequence, body, blobs or {})
        return seal(letter, self.key(AGGREGATOR))

    def ask(
        self, kind: Kind, party: PartyId, order: str, sequence: int = 0, /, **blobs: bytes
    ) -> Envelope:
        """What a node answers the aggregator."""
        return self.read(
            self.node(party).answer(self.letter(kind, party, order, sequence, **blobs))
        )

    def offer(self, party: PartyId, order: WorkOrder, wire: bytes | None = None) -> Envelope:
        """What a node answers to an offered order; what it sets aside is cosigned at once."""
        signed = sign(self.home, order) if wire is None else wire
        reply = self.ask(Kind.OFFER, party, order.id, order=signed)
        if reply.kind is Kind.ACCEPTED:
            blob = self.cosign(party, reply.blobs["head"])
            self.node(party).answer(self.letter(Kind.LEDGER_WITNESS, party, "", cosigned=blob))
        return reply

    def round(self, party: PartyId, order: WorkOrder, sequence: int = 0, scale: int = 0) -> bytes:
        """A letter that asks for a round from weights that are all `scale`."""
        weights = np.full(recipe().model.dimension, scale, "<f4").tobytes()
        return self.letter(Kind.TRAIN_ROUND, party, order.id, sequence, weights=weights)

    def read(self, wire: bytes) -> Envelope:
        """A reply, as the aggregator verifies it."""
        return open_envelope(wire, self.roster, AGGREGATOR).envelope

    # -- members ---------------------------------------------------------------------------------

    def suspend(self, party: PartyId) -> bytes:
        """The chain in which the aggregator has suspended a party; it lies in its folder."""
        rosters.change(load_aggregator(self.home.aggregator), Suspend(party))
        self.roster = self.home.roster()
        return (self.home.aggregator / "roster.bin").read_bytes()

    def lengthen(self, what: Change, *by: PartyId, **keys: SigningKey) -> bytes:
        """The chain with a change that these parties signed; it lies in the aggregator's folder.

        keys: of who is not in yet, by party.
        """
        settings = load_aggregator(self.home.aggregator)
        said = change_statement(settings.roster(), what)
        found = {party: keys.get(party) or self.key(party) for party in by}
        rosters.change(
            settings, what, {party: secret.sign(said) for party, secret in found.items()}
        )
        self.roster = self.home.roster()
        return settings.chain.read_bytes()

    def show_roster(self, party: PartyId) -> Envelope:
        """What a node answers when it is shown the aggregator's chain."""
        chain = (self.home.aggregator / "roster.bin").read_bytes()
        return self.read(self.started(party).answer(sealed_letter(self, party, chain)))

    # -- accounts --------------------------------------------------------------------------------

    def books(self, party: PartyId) -> Books:
        """The node's books, as on disk."""
        origin = origin_of(self.roster.federation, party)
        where = load_settings(self.folder(party)).books
        return Books(where, origin, self.key(party), self.now)

    def account(self, party: PartyId, dataset: str = "demand") -> Statement | None:
        """The statement about a dataset, or None where nothing was ever reserved."""
        found = [row for row in self.books(party).statement() if row.dataset == dataset]
        return found[0] if found else None

    def assert_charged(
        self, party: PartyId, event: Event, releases: int, dataset: str = "demand"
    ) -> None:
        """Exactly that much is charged, and nothing is pending."""
        account = self.account(party, dataset)
        assert account is not None
        assert account.releases == releases
        assert account.epsilon_pending == 0
        assert account.epsilon_spent == (price(event, releases) if releases else 0)

    @contextmanager
    def without_rows(self, party: PartyId) -> Iterator[None]:
        """The running node has no rows within the block: whatever it says is said without them."""
        self.node(party)
        data = self.folder(party) / "data"
        away = data.rename(data.with_name("away"))
        try:
            yield
        finally:
            away.rename(data)

    @contextmanager
    def nothing_happens(self, party: PartyId) -> Iterator[None]:
        """Nothing is trained on, reserved or charged at the node within the block."""
        node, before = self.node(party), self.books(party)
        held = (before.statement(), before.open_orders())
        rounds = list(self.workshops[party].rounds)
        yield
        after = self.books(party)
        assert (after.statement(), after.open_orders()) == held
        assert self.workshops[party].rounds == rounds
        assert node is self.node(party)


def sealed_letter(
    simulation: Simulation, party: PartyId, chain: bytes, sender: PartyId = AGGREGATOR
) -> bytes:
    """A letter that offers a chain of epochs."""
    newest = open_or_none(chain, simulation.home.pin)
    body: dict[str, Any] = {} if newest is None else {"digest": newest.digest}
    letter = Envelope(Kind.ROSTER_SHOW, sender, party, "", 0, body, {"roster": chain})
    return seal(letter, simulation.key(sender))


def open_or_none(chain: bytes, pin: str) -> Roster | None:
    """The last epoch of a chain, where it is one."""
    with suppress(FederationError):
        return open_roster(chain, pin)
    return None


@cache
def _template(seats: tuple[Seat, ...], limits: str) -> Path:
    """A founded federation with made-up rows, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="simulated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = found(folder, "simulated", seats, json.loads(limits), Ports(1, 2, 3))
    for number, member in enumerate(home.holders()):
        data = home.node(member.party) / "data"
        orders_table(number).to_parquet(data / "orders.parquet")
        if member.role is Role.WAREHOUSE:
            demand_table(number).to_parquet(data / "demand.parquet")
    return folder


def orders_table(seed: int) -> pd.DataFrame:
    """Made-up orders of 40 customers; the same seed gives the same table."""
    draw, count = np.random.default_rng(seed), 160
    countries = np.array(["DE", "FR", "GB", "US", "CN", "BR"])
    seconds = np.sort(draw.integers(0, 90 * 86400, count))
    ts = pd.Timestamp("2025-02-01") + pd.to_timedelta(seconds, "s")
    fraud = draw.random(count) < 0.1
    return pd.DataFrame(
        {
            "order_id": draw.integers(10**15, 10**16, count),
            "customer_id": draw.integers(1, 41, count),
            "ts": ts.astype("datetime64[us]"),
            "amount": draw.uniform(1, 400, count).round(2),
            "category": draw.choice(["books", "home", "toys"], count),
            "counterparty_id": draw.integers(1, 9, count),
            "ship_country": draw.choice(countries, count),
            "ip_country": draw.choice(countries, count),
            "card_country": draw.choice(countries, count),
            "first_order": draw.integers(0, 2, count),
            "label_fraud": fraud.astype(np.int64),
            "label_ts": (ts + pd.Timedelta(days=10)).where(fraud).astype("datetime64[us]"),
        }
    )


def demand_table(seed: int) -> pd.DataFrame:
    """Made-up weekly sales of six retailers over thirty weeks."""
    draw, weeks = np.random.default_rng(100 + seed), 30
    names = [f"retailer {seed} {number}" for number in range(6)]
    count = weeks * len(names)
    return pd.DataFrame(
        {
            "retailer": np.repeat(names, weeks),
            "week": np.tile(np.arange(weeks), len(names)),
            "volume": draw.lognormal(7, 0.4, count).round(1),
            "display": draw.random(count).round(3),
            "price": draw.uniform(1, 4, count).round(2),
        }
    )


def killed(action: Callable[[], object]) -> bool:
    """Whether the process died in `action`."""
    with suppress(Killed):
        action()
        return False
    return True
