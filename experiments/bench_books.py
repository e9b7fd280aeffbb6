"""What the books cost: setting aside, surviving kills, pricing, deciding, and the log beneath.

Every number is measured here and now, on a real disk with full synchronisation. Beside it stands,
where there is one, what the obvious way of doing the same takes in the same run.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from clients.books import Books
from experiments.crashes import crash, open_at, overshoot
from federation import at_rest
from federation.ledger import notes, witness
from federation.ledger.entries import Encoded
from federation.ledger.export import Export, LogExport
from federation.ledger.sample import made_up
from federation.ledger.store import Log, open_engine, reading, writing
from federation.ledger.trust import Trust, Vouched
from federation.ledger.verify import verify
from federation.vault_file import new_vault
from policies.budget import accountant
from policies.budget.account import Charge, Scope
from policies.budget.certificate import INTERVAL, Certificate
from policies.budget.events import DiscreteLaplace, Event, Gaussian, Mixture, SampledGaussian
from policies.engine import Permit, Request, decide, load_law
from policies.law.bundle import SCHEMA_NAME, Caps, bundle
from policies.parties import Grade, Jurisdiction, PartyId, Role
from secure_compute.primitives.signature import SigningKey

Result = dict[str, Any]

CRASHES: Final = 1000
SCOPES: Final = 10
BATCH: Final = 1000
TURNS: Final = 200
ENTRIES: Final = 100_000
_SEED: Final = 20260
_DELTA: Final = 1e-6
_ORIGIN: Final = "entrepot/bench/node"
_KEY: Final = SigningKey(b"\x2b" * 32)
_EPOCH: Final = date(1970, 1, 1)


def run(full: bool) -> list[Result]:
    """Return the results; `full` measures each several times as often."""
    often = 5 if full else 1
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as name:
        folder = Path(name)
        return [
            *_reserving(folder / "reserve.sqlite", 200 * often),
            *_crashing(folder, CRASHES * often),
            *_pricing(3 * often),
            *_deciding(500 * often),
            *_logging(folder),
        ]


# -- the account -----------------------------------------------------------------------------------


def _reserving(path: Path, times: int) -> list[Result]:
    books = open_at(path)
    together = _median(times, lambda n: books.reserve(_charges(range(SCOPES)), f"together-{n}"))
    apart = _median(times, lambda n: _one_by_one(books, n))
    sealed, plain = _reserving_sealed(path.parent / "sealed", books, times)
    return [
        _result("reserve_10_scopes_ms", together, "ms", "one transaction per scope", apart),
        _result("reserve_encrypted_ms", sealed, "ms", "the same without a vault, in turns", plain),
    ]


def _reserving_sealed(folder: Path, plain: Books, times: int) -> tuple[float, float]:
    """Return what setting aside takes in a folder with a vault, and what it took without one."""
    folder.mkdir()
    at_rest.hold(folder, new_vault())
    sealed = open_at(folder / "reserve.sqlite")
    charges = _charges(range(SCOPES))
    try:
        return _in_turns(
            min(times, TURNS),
            lambda n: sealed.reserve(charges, f"turn-{n}"),
            lambda n: plain.reserve(charges, f"turn-{n}"),
        )
    finally:
        sealed.disconnect()
        at_rest.forget(folder)


def _one_by_one(books: Books, number: int) -> None:
    for place in range(SCOPES):
        books.reserve(_charges([place]), f"apart-{number}-{place}")


def _charges(places: Sequence[int]) -> list[Charge]:
    return [Charge(_scope(place), SampledGaussian("0.01", "40"), 3) for place in places]


def _scope(place: int) -> Scope:
    return Scope(
        dataset="orders",
        subjects=f"people-{place}",
        unit="customer",
        window="bench",
        epsilon=Decimal(8),
        delta=Decimal(str(_DELTA)),
    )


def _crashing(folder: Path, times: int) -> list[Result]:
    found = crash(folder / "crashes.sqlite", times, _SEED)
    over = max(overshoot(folder / f"contested-{number}.sqlite") for number in range(3))
    return [
        _result("crash_injections", found.injections, "kills"),
        _result("crash_lost", found.lost, "spends"),
        _result("crash_double", found.double, "spends"),
        _result("overshoot", over, "epsilon"),
    ]


# -- prices ----------------------------------------------------------------------------------------


def _pricing(times: int) -> list[Result]:
    accountant.epsilon(_history(0), _DELTA)  # imports are no part of a price
    Certificate.of([Gaussian(3)])
    whole = _median(times, lambda n: _certify(_history(n)))
    held = Certificate.of(_history(0))
    wish = _median(20 * times, lambda n: _what_if(held, SampledGaussian("0.02", 4 + n / 1000)))
    return [
        _result("pld_10k_events_ms", whole, "ms", *_library_alone()),
        _result("what_if_ms", wish, "ms", "compose all events again", whole),
    ]


def _history(number: int) -> list[Event]:
    """Return 10,000 events of eleven kinds; another number gives kinds never seen before."""
    noise = [Decimal(30) + Decimal(number) / 1000 + step for step in range(8)]
    kinds: list[Event] = [SampledGaussian("0.01", sigma) for sigma in noise]
    kinds.append(Gaussian(noise[0] * 10))
    kinds.append(Mixture(noise[1] * 10, ("0.9", "0.08", "0.02")))
    kinds.append(DiscreteLaplace(1, noise[2] * 100))
    return [kinds[place % len(kinds)] for place in range(10_000)]


def _certify(events: Sequence[Event]) -> None:
    found = Certificate.of(events)
    assert found is not None  # noqa: S101  otherwise nothing was measured
    assert found.epsilon(_DELTA)  # noqa: S101


def _what_if(held: Certificate | None, event: Event) -> None:
    more = held and held.with_one_more(event)
    assert more is not None and more.epsilon(_DELTA)  # noqa: S101


def _library_alone() -> tuple[str, float]:
    """Return what dp-accounting takes, one composition per event, from the first of 10,000."""
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    count, events = 20, [accountant.to_dp_event(event) for event in _history(999)[:8]]
    library = PLDAccountant(value_discretization_interval=INTERVAL)
    started = time.perf_counter()
    for place in range(count):
        library.compose(events[place % len(events)])
    seconds = time.perf_counter() - started
    return f"dp-accounting, event by event, from its first {count}", 1e7 / count * seconds


# -- decisions -------------------------------------------------------------------------------------


def _deciding(times: int) -> list[Result]:
    caps = Caps(train_epsilon=Decimal(4), query_epsilon=Decimal(1))
    texts = bundle(PartyId("payments-eu"), Jurisdiction.EU, caps)
    rules = [text for name, text in texts.items() if name != SCHEMA_NAME]
    law = load_law(rules, texts[SCHEMA_NAME])
    assert isinstance(decide(_request(), law), Permit)  # noqa: S101  a refusal takes another path
    ready = _median(times, lambda _: decide(_request(), law))
    parsing = _median(
        max(3, times // 50), lambda _: decide(_request(), load_law(rules, texts[SCHEMA_NAME]))
    )
    return [_result("decision_p50_ms", ready, "ms", "parse the texts for every decision", parsing)]


def _request() -> Request:
    return Request(
        action="train",
        proposer=PartyId("analyst"),
        proposer_role=Role.ANALYST,
        purpose="fraud_prevention",
        legal_basis="contract",
        node=PartyId("payments-eu"),
        role=Role.PAYMENT_PARTNER,
        jurisdiction=Jurisdiction.EU,
        dataset="payments",
        unit="customer",
        units=frozenset(),
        epsilon="2.0",
        delta="0.000001",
        grouped=frozenset(),
        filtered=frozenset(),
        aggregated=frozenset({Grade.S2}),
        masked=frozenset(),
        joined=frozenset(),
        recipients=frozenset({Jurisdiction.EU, Jurisdiction.UK}),
        aggregator=Jurisdiction.EU,
        keyholder=None,
        today=(date(2026, 11, 24) - _EPOCH).days,
        exported_persons=50_000,
        cohort=4,
        minimum_cohort=3,
        code_matches=True,
        expired=False,
        private=True,
    )


# -- the log ---------------------------------------------------------------------------------------


def _logging(folder: Path) -> list[Result]:
    entries = made_up(ENTRIES)
    log = Log(open_engine(folder / "log.sqlite"), _ORIGIN, _KEY)
    cpu, wall = _append(log, entries, BATCH)
    single = Log(open_engine(folder / "single.sqlite"), _ORIGIN, _KEY)
    single_cpu, single_wall = _append(single, entries[:500], 1)
    export, trust = _exported(log)
    gc.collect()
    started = time.perf_counter()
    verdict = verify(Export.from_bytes(export), trust)
    seconds = time.perf_counter() - started
    assert verdict.is_authentic and verdict.entries == ENTRIES  # noqa: S101
    peer = "one commit per entry"
    return [
        _result("append_per_cpu_s", cpu, "entries/s", peer, single_cpu),
        _result("append_wall_per_s", wall, "entries/s", peer, single_wall),
        _result("verify_100k_s", seconds, "s"),
    ]


def _append(log: Log, entries: Sequence[Encoded], batch: int) -> tuple[float, float]:
    """Return entries per second of processor, and of the wall clock."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, len(entries), batch):
        with writing(log.engine) as connection:
            log.append(connection, entries[start : start + batch])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return len(entries) / cpu, len(entries) / wall


def _exported(log: Log) -> tuple[bytes, Trust]:
    """Return the log as a file, cosigned by two witnesses, and the keys to check it with."""
    keys = {_ORIGIN: _KEY}
    keys |= {f"entrepot/bench/{n}": SigningKey(n.encode() * 8) for n in ("eye1", "eye2")}
    with writing(log.engine) as connection:
        head = log.checkpoint(connection)
    with reading(log.engine) as connection:
        entries = log.entries(connection)
    at = int(time.time())
    lines = [witness.cosign(head, n, key, at) for n, key in keys.items() if n != _ORIGIN]
    parties = (Vouched(notes.NamedKey(n, key.verify_key), n) for n, key in keys.items())
    one = LogExport.of(_ORIGIN, entries, head, head + "".join(lines))
    return Export("bench", (one,)).to_bytes(), Trust("bench", tuple(parties))


# -- measuring -------------------------------------------------------------------------------------


def _median(times: int, step: Callable[[int], object]) -> float:
    """Return the median of so many steps, in milliseconds; the first is not counted."""
    taken = []
    for number in range(times + 1):
        started = time.perf_counter()
        step(number)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken[1:])


def _in_turns(
    times: int, one: Callable[[int], object], other: Callable[[int], object]
) -> tuple[float, float]:
    """Return the medians of two steps, in milliseconds; they are taken in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(times + 1):
        for place, step in enumerate((one, other)):
            started = time.perf_counter()
            step(number)
            taken[place].append(time.perf_counter() - started)
    return 1000 * statistics.median(taken[0][1:]), 1000 * statistics.median(taken[1][1:])


def _result(
    name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None
) -> Result:
    return {
        "name": name,
        "value": _rounded(value),
        "unit": unit,
        "peer": peer,
        "peer_value": None if peer_value is None else _rounded(peer_value),
    }


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")
