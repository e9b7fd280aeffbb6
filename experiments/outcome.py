"""What a demo found out, as one value: the terminal, the report and `--json` all read this."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

SCHEMA: Final = "entrepot.demo/1"

Language = Literal["en", "zh"]
Cell = str | int | float | None
Row = Mapping[str, Cell]


class Unit(StrEnum):
    """Whose presence is hidden. Only the first two are about people."""

    CUSTOMER = "customer"
    ORDER = "order"
    RETAILER_WEEK = "retailer-week (commercial confidentiality)"
    COMMERCIAL = "commercial confidentiality"

    @classmethod
    def of_contract(cls, kind: str) -> "Unit":
        """Return the unit that a contract's `[unit] kind` names.

        Raises:
            ValueError: no contract may name this kind.
        """
        return cls.COMMERCIAL if kind == "commercial" else cls(kind)


@dataclass(frozen=True, slots=True)
class Text:
    """The same sentence in both languages."""

    en: str
    zh: str

    def spoken(self, language: Language) -> str:
        """Return the sentence in `language`."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Scores:
    """One measure under five ways of working. None: that way was not measured.

    baseline: what costs nothing: last year's week (naive), or the base rate.
    """

    baseline: float | None
    local: float | None
    federated_dp: float | None
    federated: float | None
    pooled: float | None


@dataclass(frozen=True, slots=True)
class PartyScores:
    """The scores on one party's own test rows."""

    party: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class Training:
    """One model: what it is worth, to whom, and what it cost the nodes.

    newcomer: the party whose row is the story, or None.
    rounds:   rounds asked for; survivors: nodes whose part entered each finished round.
    colluding: other nodes that may collude with the aggregator without raising ε.
    """

    overall: Scores
    parties: tuple[PartyScores, ...]
    epsilon: float
    delta: float
    unit: Unit
    data: Text
    newcomer: str | None = None
    rounds: int = 0
    survivors: tuple[int, ...] = ()
    colluding: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A joint question and its answer.

    rows:  the released answer.
    error: per row, half the width of the 95 % interval of each measured column; None: unbounded.
    low, high: per row, the ends of those intervals; empty: value - error, value + error.
    exact_for_demo: the rows without noise. Computed beside the federation; no node would give it.
    """

    sql: str
    rows: tuple[Row, ...]
    error: tuple[Row, ...]
    exact_for_demo: tuple[Row, ...]
    epsilon: float
    low: tuple[Row, ...] = ()
    high: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """How one question came to its answer.

    by:         the keyholders that helped to open it.
    exchanges:  how often letters went out for it; seconds: from the order to the sealed answer.
    opening_ms: what it took to check and open it at who asked.
    """

    by: tuple[str, ...]
    exchanges: int
    seconds: float
    opening_ms: float


@dataclass(frozen=True, slots=True)
class Opening:
    """Who could open the questions, and who did.

    threshold: keyholders that open together; killed: the one that was killed before any question.
    keys:      how many keys had been made by then.
    """

    threshold: int
    keyholders: tuple[str, ...]
    killed: str
    keys: int
    questions: tuple[Opened, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that said no."""

    rule: str
    said: Text
    law: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node said no: why, what would help, and what became of that.

    asked:  the question or run that was refused.
    passed: the changed question or run that was accepted after the fix, or "".
    """

    node: str
    kind: Literal["policy", "budget"]
    reasons: tuple[Reason, ...]
    fix: Text
    asked: str = ""
    passed: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """What an attacker gains who sees all that left, knows everybody else, and errs at 1 %.

    caught:      of 100 members, from the privacy curve; luck: by guessing alone.
    right_guess: rate of right guesses between "is in the data" and "is not", at even odds.
    textbook_…:  the same from (ε, δ) alone: valid for every mechanism, and loose.
    curve:       "pld" where the whole curve is known, "rdp" where it is bounded order by order.
    """

    caught: int
    right_guess: float
    textbook_caught: int
    textbook_right_guess: float
    curve: str
    luck: int = 1
    false_alarms: float = 0.01


@dataclass(frozen=True, slots=True)
class PersonAt:
    """ε for one person who is at `parties` parties; None: it has no finite price.

    epsilon: with every party's own noise, as runs are made today.
    shared:  with one noise shared by all, which is worse for such a person.
    """

    parties: int
    epsilon: float | None
    shared: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """What the gate's ε was after one release, or one run; at: seconds since 1970."""

    at: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What one account of one node has spent. `limit` is on epsilon, at `delta`.

    epsilon:     the gate's (RDP), spent and pending together; certificate: the PLD figure or None.
    lifetime:    ε over all windows of the same subjects and unit.
    failures_…:  the second purse: the sum of the mechanisms' own δ, exact decimal text.
    runs_left:   how many more runs like `runs_of`, None where nothing has run; runs_more: at least.
    course:      the gate's ε after each run, oldest first.
    """

    node: str
    dataset: str
    unit: Unit
    epsilon: float
    delta: float
    limit: float
    releases: int = 0
    pending: float = 0.0
    subjects: str = ""
    window: str = ""
    certificate: float | None = None
    lifetime: float = 0.0
    failures_spent: str = "0"
    failures_limit: str = "0"
    runs_left: int | None = None
    runs_more: bool = False
    plain: Plain | None = None
    person: tuple[PersonAt, ...] = ()
    course: tuple[Step, ...] = ()

    @property
    def left(self) -> float:
        """The distance to the limit. Never add runs to it: runs compose, they do not add."""
        return max(0.0, self.limit - self.epsilon)


@dataclass(frozen=True, slots=True)
class LogKept:
    """One party's log in the export. signers: other organisations that cosigned its head."""

    party: str
    entries: int
    signers: tuple[str, ...] = ()
    booked: bool = False


@dataclass(frozen=True, slots=True)
class LastEntry:
    """One entry of a log, in words."""

    party: str
    number: int
    at: int
    kind: str
    said: Text


@dataclass(frozen=True, slots=True)
class Registered:
    """What the logs say crossed a border, added up. rule: what allowed it; size: bytes."""

    origin: str
    destination: str
    kind: str
    rule: str
    messages: int
    size: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The logs of a run, exported and verified; code is the exit code of the verification."""

    logs: tuple[LogKept, ...]
    verdict: Text
    code: int
    export: str
    trust: str
    last: tuple[LastEntry, ...] = ()
    register: tuple[Registered, ...] = ()

    @property
    def entries(self) -> int:
        """How many entries all logs hold together."""
        return sum(log.entries for log in self.logs)

    @property
    def booked(self) -> int:
        """How many logs have heads that enough other organisations cosigned."""
        return sum(log.booked for log in self.logs)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Messages of one kind from one party to another, counted in the sender's captures.

    rule: ids of the rules under which they went, with spaces between, such as `CN-T01`.
    """

    sender: str
    recipient: str
    origin: str
    destination: str
    kind: str
    messages: int
    size: int
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Border:
    """Messages of one kind from one jurisdiction to another. size: bytes; rules: sorted ids."""

    origin: str
    destination: str
    kind: str
    messages: int
    size: int
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A party that held a process of its own."""

    party: str
    role: str
    jurisdiction: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked for in the captures, so that a zero can be believed.

    canaries:  records planted; frames, size: messages and bytes searched.
    foreign:   messages of a kind outside the closed union, or that cannot be read.
    found:     records that were seen, as (party, id).
    chance:    expected number of records that pure chance would report.
    """

    canaries: int
    frames: int
    size: int
    foreign: int
    found: tuple[tuple[str, str], ...]
    chance: float

    @property
    def raw_rows_crossed(self) -> int:
        """Return the number of the report: records seen, and messages that have no kind."""
        return len(self.found) + self.foreign


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a demo shows."""

    demand: Training
    fraud: Training
    queries: tuple[Query, ...]
    refusals: tuple[Refusal, ...]
    budgets: tuple[Budget, ...]
    nodes: tuple[Node, ...]
    traffic: tuple[Crossing, ...]
    search: Search
    seconds: float
    notes: tuple[Text, ...] = ()
    faults: tuple[Text, ...] = ()
    version: str = ""
    ledger: Ledger | None = None
    opening: Opening | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def raw_rows_crossed(self) -> int:
        """Return how many raw rows were seen in what the nodes sent."""
        return self.search.raw_rows_crossed


def borders(traffic: Sequence[Crossing], *, domestic: bool = False) -> tuple[Border, ...]:
    """Return what crossed each border, or with `domestic` what stayed inside one, sorted."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    rules: dict[tuple[str, str, str], set[str]] = {}
    for item in traffic:
        if (item.origin == item.destination) is domestic:
            key = (item.origin, item.destination, item.kind)
            messages, size = sums.get(key, (0, 0))
            sums[key] = (messages + item.messages, size + item.size)
            rules.setdefault(key, set()).update(item.rule.split())
    return tuple(Border(*key, *sums[key], tuple(sorted(rules[key]))) for key in sorted(sums))


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the object that `entrepot demo --json` prints."""
    return {
        "schema": SCHEMA,
        "demand": _demand(outcome.demand),
        "fraud": _fraud(outcome.fraud),
        "queries": [_query(query) for query in outcome.queries],
        "refusals": [_refusal(refusal) for refusal in outcome.refusals],
        "budgets": [asdict(budget) for budget in outcome.budgets],
        "borders": [_border(border) for border in borders(outcome.traffic)],
        "raw_rows_crossed": outcome.raw_rows_crossed,
        "seconds": round(outcome.seconds, 1),
        "domestic": [_border(border) for border in borders(outcome.traffic, domestic=True)],
        "register": [_crossing(item) for item in outcome.traffic],
        "search": _search(outcome.search),
        "processes": [asdict(node) for node in outcome.nodes],
        "notes": [_text(note) for note in outcome.notes],
        "faults": [_text(fault) for fault in outcome.faults],
        "version": outcome.version,
        "ledger": None if outcome.ledger is None else _ledger(outcome.ledger),
        "keyholders": None if outcome.opening is None else asdict(outcome.opening),
        **outcome.extra,
    }


def _demand(training: Training) -> dict[str, Any]:
    return {
        "wape": _scores(training.overall, "naive"),
        "warehouses": [
            {"party": row.party, **_scores(row.scores, "naive")} for row in training.parties
        ],
        "newcomer": training.newcomer,
        **_price(training),
    }


def _fraud(training: Training) -> dict[str, Any]:
    return {
        "ap": _scores(training.overall, "base_rate"),
        "parties": [
            {"party": row.party, **_scores(row.scores, "base_rate")} for row in training.parties
        ],
        **_price(training),
    }


def _price(training: Training) -> dict[str, Any]:
    return {
        "epsilon": training.epsilon,
        "delta": training.delta,
        "unit": training.unit.value,
        "data": _text(training.data),
        "rounds": training.rounds,
        "survivors": list(training.survivors),
        "colluding": training.colluding,
    }


def _scores(scores: Scores, baseline: str) -> dict[str, float | None]:
    values = {
        baseline: scores.baseline,
        "local": scores.local,
        "federated_dp": scores.federated_dp,
        "federated": scores.federated,
        "pooled": scores.pooled,
    }
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _query(query: Query) -> dict[str, Any]:
    return {
        "sql": query.sql,
        "rows": [dict(row) for row in query.rows],
        "error": [dict(row) for row in query.error],
        "exact_for_demo": [dict(row) for row in query.exact_for_demo],
        "low": [dict(row) for row in query.low],
        "high": [dict(row) for row in query.high],
        "epsilon": query.epsilon,
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "node": refusal.node,
        "kind": refusal.kind,
        "reasons": [
            {"rule": item.rule, **_text(item.said), "law": item.law} for item in refusal.reasons
        ],
        "fix": _text(refusal.fix),
        "asked": refusal.asked,
        "passed": refusal.passed,
    }


def _crossing(item: Crossing) -> dict[str, Any]:
    return {
        "sender": item.sender,
        "recipient": item.recipient,
        "origin": item.origin,
        "destination": item.destination,
        "kind": item.kind,
        "messages": item.messages,
        "bytes": item.size,
        "rules": item.rule.split(),
    }


def _border(border: Border) -> dict[str, Any]:
    return {
        "origin": border.origin,
        "destination": border.destination,
        "kind": border.kind,
        "messages": border.messages,
        "bytes": border.size,
    }


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "logs": [asdict(log) for log in ledger.logs],
        "entries": ledger.entries,
        "booked": ledger.booked,
        "verified": _text(ledger.verdict),
        "code": ledger.code,
        "export": ledger.export,
        "trust": ledger.trust,
        "last": [{**asdict(entry), "said": _text(entry.said)} for entry in ledger.last],
        "register": [{**asdict(item), "bytes": item.size} for item in ledger.register],
    }


def _search(search: Search) -> dict[str, Any]:
    return {
        "canaries": search.canaries,
        "messages": search.frames,
        "bytes": search.size,
        "foreign_messages": search.foreign,
        "found": [{"party": party, "id": record} for party, record in search.found],
        "expected_by_chance": search.chance,
    }


def _text(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}
