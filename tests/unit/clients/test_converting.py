"""Values of a partner's are converted exactly, or are missing; nothing raises."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients.errors import NodeSettingsError, SourceError
from clients.settings import load_settings
from clients.snapshots import refresh
from clients.sources.converting import converter, decimal_of, instants, moment_of
from clients.sources.declared import sources_of
from clients.sources.mapped import FORMS, Way, ways_of
from clients.sources.wanted import wanted_of
from tests import sourced
from tests.sourced import TABLE

BERLIN = ZoneInfo("Europe/Berlin")
CENTS = st.integers(-(10**12), 10**12)
KINDS = ("float", "integer", "string", "boolean", "date", "timestamp")


def made(way: Way, kind: Any, text: str, currency: str | None = None) -> str | None:
    return converter(way, kind)(text, currency)


@given(cents=CENTS)
def test_cents_are_euros_exactly(cents: int) -> None:
    way = Way(source="x", times=Decimal("0.01"))
    found = made(way, "float", str(cents))
    assert found is not None and Fraction(found) == Fraction(cents, 100)


@given(cents=CENTS, rate=st.decimals("0.0001", "9999", places=4))
@example(cents=25, rate=Decimal("0.5"))
@example(cents=-75, rate=Decimal("0.5"))
def test_a_rate_rounds_once_to_cents_half_to_even(cents: int, rate: Decimal) -> None:
    exact = Fraction(cents, 100) * Fraction(rate)
    found = made(Way(source="x", rate=rate), "float", f"{Decimal(cents) / 100:f}")
    assert found is not None
    if rate == 1:
        assert Fraction(found) == exact
        return
    assert Fraction(found) * 100 == round(exact * 100)
    assert abs(Fraction(found) - exact) <= Fraction(1, 200)


@given(cents=CENTS)
def test_commas_before_cents_and_points_between_thousands(cents: int) -> None:
    whole = Decimal(cents) / 100
    text = f"{whole:,.2f}".translate(str.maketrans(",.", ".,"))
    assert decimal_of(text, ",") == whole
    assert decimal_of(f"{whole:,.2f}", ".") == whole


def test_thousands_are_groups_of_three() -> None:
    for text in ("1.23", "1.2345", "12.34.567", "1.234.56", ".123", "1,2,3"):
        assert decimal_of(text, ",") is None
    assert decimal_of("1.234", ",") == 1234
    assert decimal_of("1.234", ".") == decimal_of("1.234", None) == Decimal("1.234")
    assert decimal_of("1,234", None) is None
    assert decimal_of("1\u202f234,5", ",") == Decimal("1234.5")


def test_each_row_in_its_own_currency() -> None:
    rates = {"EUR": Decimal(1), "USD": Decimal("0.92")}
    way = Way(source="x", currency="ccy", rates=rates)
    assert made(way, "float", "10.005", "EUR") == "10.005"
    assert made(way, "float", "10.05", " USD ") == "9.25"
    assert made(way, "float", "10.05", "GBP") is None
    assert made(way, "float", "10.05", None) is None


@given(seconds=st.integers(946_684_800, 4_000_000_000), micro=st.integers(0, 999_999))
@example(seconds=1_761_440_400, micro=0)  # the first 03:00 of the last Sunday of October 2025
@example(seconds=1_761_444_000, micro=1)
def test_local_clocks_are_one_moment_or_none(seconds: int, micro: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micro)
    shown = moment.astimezone(BERLIN).replace(tzinfo=None)
    found = instants(shown, BERLIN)
    assert moment in found and len(found) in {1, 2}
    utc = moment.replace(tzinfo=None).isoformat(" ")
    for form, text in (("ymd", shown.isoformat()), ("dmy", f"{shown:%d.%m.%Y %H:%M:%S.%f}")):
        way = Way(source="x", zone="Europe/Berlin", form=form)  # type: ignore[arg-type]
        assert made(way, "timestamp", text) == (utc if len(found) == 1 else None)
        for at, twice in ((0, "first"), (-1, "second")):
            told = Way(source="x", zone="Europe/Berlin", form=form, twice=twice)  # type: ignore[arg-type]
            assert made(told, "timestamp", text) == found[at].replace(tzinfo=None).isoformat(" ")


def test_an_hour_that_no_clock_showed_is_missing() -> None:
    way = Way(source="x", zone="Europe/Berlin", twice="first")
    assert made(way, "timestamp", "2025-03-30 02:30:00") is None
    assert made(way, "timestamp", "2025-03-30 03:30:00") == "2025-03-30 01:30:00"


def test_what_a_text_says_of_its_zone_counts() -> None:
    way = Way(source="x", zone="Europe/Berlin")
    for text in ("2025-01-01T08:00:00+08:00", "2025-01-01 00:00:00Z", "2025-01-01 00:00:00 UTC"):
        assert made(way, "timestamp", text) == "2025-01-01 00:00:00"


@given(seconds=st.integers(0, 4_000_000_000))
def test_ticks_since_1970(seconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    utc = moment.replace(tzinfo=None).isoformat(" ")
    for form, unit in (("epoch-s", 1), ("epoch-ms", 1000), ("epoch-us", 10**6)):
        way = Way(source="x", form=form, zone="Asia/Shanghai")  # type: ignore[arg-type]
        assert made(way, "timestamp", str(seconds * unit)) == utc
        assert made(way, "timestamp", f"{seconds * unit}.0") == utc


def test_days_and_months_are_never_exchanged() -> None:
    for form, text in (("dmy", "03/04/2025"), ("mdy", "04/03/2025"), ("ymd", "2025年4月3日")):
        assert made(Way(source="x", form=form), "date", text) == "2025-04-03"  # type: ignore[arg-type]
    assert made(Way(source="x", form="mdy"), "date", "13/04/2025") is None
    assert made(Way(source="x", form="dmy"), "date", "03.04.25") is None
    assert made(Way(source="x", form="dmy"), "date", "03.04.2025 10:00") is None
    assert made(Way(source="x", form="ymd"), "date", "20250403") == "2025-04-03"


def test_codes_are_taken_as_they_are_written() -> None:
    way = Way(source="x", codes={"J": "true", "N": "false"})
    assert [made(way, "boolean", text) for text in ("J", " N ", "j", "")] == [
        "true",
        "false",
        None,
        None,
    ]


@given(names=st.sets(st.text(min_size=1).map(str.strip).filter(bool), min_size=2, max_size=8))
def test_names_are_whole_numbers_of_their_own(names: set[str]) -> None:
    way = Way(source="x", ids="text")
    found = {made(way, "integer", f" {name} ") for name in names}
    assert len(found) == len(names)
    for text in found:
        assert text is not None and 0 <= int(text) < 2**53 and int(float(text)) == int(text)


def test_a_name_is_the_same_number_for_ever() -> None:
    """The first 53 bits of SHA-256; a number among names is a name."""
    way = Way(source="x", ids="text")
    first = {"DE-10023": "8a11db684b52732f", "10023": "717795fa2f74a066"}
    for name, digits in first.items():
        assert made(way, "integer", name) == str(int(digits, 16) >> 11)
    assert made(way, "integer", "  ") is None


@given(
    text=st.text(max_size=80) | st.from_regex(r"[0-9./:,+ eE-]{1,24}", fullmatch=True),
    kind=st.sampled_from(KINDS),
    form=st.sampled_from((None, *FORMS)),
    decimal=st.sampled_from((None, ".", ",")),
)
@example(text="1e99999", kind="float", form=None, decimal=None)
@example(text="9" * 64, kind="timestamp", form="epoch-s", decimal=None)
@example(text="9999-12-31 23:59:59-14:00", kind="timestamp", form="ymd", decimal=None)
@example(text="0001-01-01 00:00:00+14:00", kind="timestamp", form="ymd", decimal=None)
@example(text="00:00", kind="timestamp", form=None, decimal=None)
@example(text="٣", kind="integer", form=None, decimal=None)
def test_no_value_stops_it(text: str, kind: Any, form: Any, decimal: Any) -> None:
    way = Way(source="x", form=form, decimal=decimal, rate=Decimal("0.5"), zone="Europe/Berlin")
    found = made(way, kind, text)
    if found is not None and kind in {"float", "integer"}:
        assert Decimal(found).is_finite()
    moment_of(text, form or "ymd")


# -- what is declared ------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "no table": ([], "a table of the contract's columns"),
    "no name": ({"amount": ""}, "the name of a column in quotes"),
    "another word": ({"amount": {"from": "x", "scale": "2"}}, "the name of a column in quotes"),
    "a number without quotes": ({"amount": {"times": 0.01}}, "a number above 0 in quotes"),
    "nothing": ({"amount": {"times": "0"}}, "a number above 0 in quotes"),
    "below nothing": ({"amount": {"times": "-1"}}, "a number above 0 in quotes"),
    "infinite": ({"amount": {"times": "inf"}}, "a number above 0 in quotes"),
    "no zone": ({"ts": {"zone": "Europe/Entenhausen"}}, "knows no time zone"),
    "a zone that is a path": ({"ts": {"zone": "../../etc/passwd"}}, "knows no time zone"),
    "a zone of nothing": ({"ts": {"zone": ""}}, "knows no time zone"),
    "no form": ({"ts": {"form": "ydm"}}, "form is one of"),
    "no mark": ({"amount": {"decimal": ";"}}, "decimal is one of"),
    "no rates": ({"amount": {"currency": "ccy"}}, "rates what each is worth"),
    "no currency": ({"amount": {"rates": {"EUR": "1"}}}, "rates what each is worth"),
    "rates of nothing": ({"amount": {"currency": "c", "rates": {}}}, "not an empty one"),
    "two rates": (
        {"amount": {"rate": "1", "currency": "c", "rates": {"EUR": "1"}}},
        "either one rate",
    ),
    "twice of nowhere": ({"ts": {"twice": "first"}}, "needs their zone"),
    "which of both": ({"ts": {"zone": "UTC", "twice": "third"}}, "twice is one of"),
    "codes of numbers": ({"category": {"codes": {"1": 2}}}, "texts in quotes"),
    "codes and a factor": ({"amount": {"codes": {"a": "b"}, "times": "2"}}, "one alone"),
    "a moment and a factor": ({"ts": {"zone": "UTC", "times": "2"}}, "one alone"),
    "ids and a factor": ({"order_id": {"ids": "text", "times": "2"}}, "one alone"),
    "ids of no kind": ({"order_id": {"ids": "number"}}, "ids is one of text"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_declared(fault: str) -> None:
    raw, words = REFUSED[fault]
    with pytest.raises(NodeSettingsError, match=words):
        ways_of(raw, "here")


UNFIT = {
    "times of text": ({"category": {"times": "2"}}, "multiplied"),
    "a zone of a day": ({"day": {"zone": "UTC"}}, "have a zone"),
    "codes of a number": ({"amount": {"codes": {"a": "1"}}}, "have codes"),
    "a form of a number": ({"order_id": {"form": "dmy"}}, "have a zone"),
    "ids of money": ({"amount": {"ids": "text"}}, "ids become"),
    "a column of none": ({"amuont": "x"}, "did you mean 'amount'"),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_what_does_not_fit_the_contract(fault: str, tmp_path: Path) -> None:
    columns, words = UNFIT[fault]
    source = sources_of({TABLE: {"file": "x.csv", "columns": columns}}, tmp_path)[TABLE]
    with pytest.raises(SourceError, match=words):
        wanted_of(source, [sourced.contract()])


DELIMITERS = {
    "of a Parquet file": {"file": "x.parquet", "delimiter": ";"},
    "of two signs": {"file": "x.csv", "delimiter": "::"},
    "of a database": {"url": "mysql://r@db/shop", "relation": "a", "delimiter": ";"},
}


@pytest.mark.parametrize("fault", DELIMITERS)
def test_a_delimiter_is_of_a_csv_file(fault: str, tmp_path: Path) -> None:
    with pytest.raises(NodeSettingsError, match="delimiter"):
        sources_of({TABLE: DELIMITERS[fault]}, tmp_path)


def test_what_is_declared_is_what_is_written() -> None:
    raw = {
        "order_id": "nr",
        "customer_id": {"from": "k", "ids": "text"},
        "amount": {"from": "b", "decimal": ",", "times": "0.01", "rate": "0.125"},
        "weight": {"from": "g", "currency": "c", "rates": {"EUR": "1"}},
        "ts": {"from": "t", "form": "dmy", "zone": "Europe/Berlin", "twice": "second"},
        "category": {"from": "w", "codes": {"Bücher": "books"}},
    }
    found = ways_of(raw, "here")
    assert {name: way.to_toml() for name, way in found.items()} == raw


def test_values_that_cannot_be_converted_are_counted(tmp_path: Path) -> None:
    """And rows are chosen by what the contract's values are, not by the operator's."""
    found = sourced.rows(40)
    table = sourced.arrow(found)
    bad = [f"{row['amount']:.2f}".replace(".", ",") if row["amount"] else None for row in found]
    known = sum(text is not None for text in bad)
    bad[0], lost = "12,5,0", int(bad[0] is not None)
    table = table.drop_columns(["amount", "category"])
    order = sorted(found, key=lambda row: (row["customer_id"], row["order_id"]))
    at = {row["order_id"]: number for number, row in enumerate(found)}
    table = table.append_column("Betrag", pa.array([bad[at[row["order_id"]]] for row in order]))
    kinds = {"home": "H", "toys": "T", "garden": "G", "elsewhere": "X", None: None}
    table = table.append_column("Gruppe", pa.array([kinds[row["category"]] for row in order]))
    pq.write_table(table, tmp_path / "export.parquet")
    source = f"""file = "{tmp_path / "export.parquet"}"
    [sources."{TABLE}".columns]
    amount = {{ from = "Betrag", decimal = "," }}
    category = {{ from = "Gruppe", codes = {{ H = "home", T = "toys", G = "garden" }} }}
    """
    settings = sourced.folder(tmp_path / "node", source)
    snapshot = refresh(settings, settings.sources[TABLE])
    strange = sum(row["category"] == "elsewhere" for row in found)
    assert snapshot.shaped.lost == {"amount": 1, "category": strange}
    read = pq.read_table(settings.snapshot(TABLE))
    assert read.num_rows == 40
    assert read["amount"].null_count == 40 - known + lost
    chosen = source + f'[sources."{TABLE}".rows]\ncategory = ["toys"]'
    settings = sourced.folder(tmp_path / "other", chosen)
    refresh(settings, load_settings(settings.folder).sources[TABLE])
    only = pq.read_table(settings.snapshot(TABLE))["category"].to_pylist()
    assert only == ["toys"] * sum(row["category"] == "toys" for row in found)


def test_what_is_named_by_text_is_as_many_as_by_number(tmp_path: Path) -> None:
    table = sourced.arrow(sourced.rows(40))
    known = table["order_id"].to_pylist()
    at = table.schema.get_field_index("order_id")
    names = pa.array([f"B-{number}" for number in known])
    pq.write_table(table.set_column(at, "Nr", names), tmp_path / "export.parquet")
    source = f"""file = "{tmp_path / "export.parquet"}"
    [sources."{TABLE}".columns]
    order_id = {{ from = "Nr", ids = "text" }}
    """
    settings = sourced.folder(tmp_path / "node", source)
    assert refresh(settings, settings.sources[TABLE]).shaped.lost == {}
    read = pq.read_table(settings.snapshot(TABLE))["order_id"].to_pylist()
    assert len({*read}) == len({*known}) == 40 and not {*read} & {*known}
