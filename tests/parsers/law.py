"""What policies are read from: contracts, packs of law, price events."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from policies import cases, contracts, engine
from policies.budget import events
from policies.law import packs
from policies.parties import Jurisdiction
from tests.parsers.making import CASES_AT, Parser, a_federation, of_text, of_value
from tests.simulator import CN


def parsers() -> Iterator[Parser]:
    made = (
        events.Composed((events.Gaussian(10), events.Repeated(events.Gaussian(Decimal("1.5")), 3))),
        events.Approximate(events.Skellam(1, 10**9, 300, 40), Decimal("1e-9")),
        events.Grouped(events.SampledGaussian(Decimal("0.1"), 2), 3),
        events.Mixture(2, (Decimal("0.75"), Decimal("0.25"))),
        events.Grouped(events.DiscreteLaplace(2, 3), 2),
    )
    texts = [events.dumps(event).encode() for event in made]
    yield Parser(
        ("policies.budget.events.from_json",), of_value(events.from_json), lambda: list(texts)
    )
    yield Parser(("policies.budget.events.loads",), of_text(events.loads), lambda: list(texts))
    yield Parser(
        ("policies.contracts.load_contract",),
        of_text(contracts.load_contract),
        lambda: [(a_federation().folder(CN) / "contract" / "orders.toml").read_bytes()],
        text=True,
    )
    yield Parser(
        ("policies.cases.load_cases",),
        of_text(lambda text: cases.load_cases(text, Jurisdiction.CN, CASES_AT)),
        lambda: [cases.default_table().encode()],
        text=True,
    )
    yield Parser(
        ("policies.law.packs.load_pack",),
        of_text(packs.load_pack),
        lambda: _law_files("toml"),
        True,
    )
    yield Parser(
        ("policies.engine.load_law",),
        of_text(lambda text: engine.load_law([text], _schema())),
        lambda: [(a_federation().folder(CN) / "policy" / "base.cedar").read_bytes()],
        text=True,
    )


def _law_files(kind: str) -> list[bytes]:
    folder = Path(packs.__file__).parent
    found = sorted(path for path in folder.rglob(f"*.{kind}") if path.name != cases.NAME)
    return [path.read_bytes() for path in found]


def _schema() -> str:
    return next(Path(packs.__file__).parent.rglob("*.cedarschema")).read_text()
