"""A partner's columns are mapped back or asked about, and never silently wrong."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.drafts import meaning
from clients.drafts.draft import MOST_ASKED, Draft, draft, fitness, remarks
from clients.drafts.fitting import codes
from clients.drafts.profile import MOST, Profile, Seen, profile
from clients.drafts.questions import Kept, Question, numbered
from clients.errors import DraftError
from clients.sources.converting import converter, decimal_of, moment_of
from clients.sources.mapped import Way
from clients.sources.shaping import parquet
from experiments.ordering import published_contracts
from tests.simulator import demand_table, orders_table

CONTRACTS = published_contracts()
ORDERS = CONTRACTS["orders"]
SYNONYMS = {c.name: meaning.words()["columns"][c.name] for c in ORDERS.columns}
STRANGE = [f"spalte {number}" for number in range(1, 13)]


def texts(table: pd.DataFrame) -> dict[str, list[str | None]]:
    return {
        name: [None if pd.isna(value) else str(value) for value in table[name]] for name in table
    }


def seen(
    columns: Mapping[str, list[str | None]], types: Mapping[str, str] | None = None
) -> Profile:
    found = {}
    for name, values in columns.items():
        there = [value for value in values if value is not None]
        counts = {value: there.count(value) for value in sorted({*there})}
        rows = len(values)
        kind = (types or {}).get(name, "VARCHAR")
        found[name] = Seen(name, kind, rows, rows - len(there), len(counts), counts)
    return Profile("table.csv", max(map(len, columns.values())), found)


def keys(found: Draft) -> set[str]:
    return {question.key for question in found.questions}


def way(found: Draft, column: str) -> Any:
    return next(one.way for one in found.mapped if one.column.name == column)


# -- the lists of words ----------------------------------------------------------------------------


def test_no_name_could_be_two_columns_of_one_contract() -> None:
    for contract in CONTRACTS.values():
        names = [meaning.plain(n) for c in contract.columns for n in _names(c.name)]
        assert len(names) == len(set(names)), sorted({n for n in names if names.count(n) > 1})


def _names(column: str) -> set[str]:
    return {meaning.plain(name) for name in (column, *meaning.words()["columns"][column])}


def test_no_code_could_be_two_values_of_one_column() -> None:
    for contract in CONTRACTS.values():
        for column in contract.columns:
            known = codes(column)
            assert known is not None
            for value in known:
                assert meaning.code_of(column.name, known, value) == value
    for called in meaning.words()["codes"].values():
        words = [
            word
            for value, more in called.items()
            for word in {meaning.plain(w) for w in (value, *more)}
        ]
        assert len(words) == len(set(words)), sorted({w for w in words if words.count(w) > 1})


@pytest.mark.parametrize("column", SYNONYMS)
def test_every_word_says_its_column_however_it_is_spelt(column: str) -> None:
    for word in SYNONYMS[column]:
        for name in (word, word.upper(), word.replace(" ", "_"), word.replace("-", "")):
            assert meaning.is_called(column, name)
            others = [c for c in SYNONYMS if c != column and meaning.is_called(c, name)]
            assert not others


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("payment_id", ["NUMER_PLATNOSCI", "Numer płatności", "numer płatnosci"]),
        ("order_id", ["Nr zamówienia", "NR ZAMOWIENIA", "numero ordine", "bestelnummer"]),
        ("customer_id", ["Numer klienta", "KLIENT", "codice_cliente", "KlantNr"]),
    ],
)
def test_letters_that_a_keyboard_lacks_are_written_as_others(column: str, names: list[str]) -> None:
    assert all(meaning.is_called(column, name) for name in names)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("amount_eur", "EUR"),
        ("Betrag (EUR)", "EUR"),
        ("betrag_euro_cent", "EUR/100"),
        ("weight_kg", "kg"),
        ("amount_cents", None),
        ("amount_usd_cents", None),
        ("amount", None),
        ("eur", None),
        ("kg_eur", None),
        ("neural", None),
    ],
)
def test_a_unit_in_a_name(name: str, unit: str | None) -> None:
    assert meaning.unit_in(name) == unit


# -- what is decided without a question is true ----------------------------------------------------


@st.composite
def partners(draw: Any) -> tuple[dict[str, list[str | None]], dict[str, str], pd.DataFrame]:
    """A table by somebody else's names, scales, codes and ways of writing; and what is what."""
    table = orders_table(draw(st.integers(0, 5))).head(draw(st.integers(2, 40)))
    columns = texts(table)
    scale = draw(st.sampled_from([Decimal(1), Decimal(100), Decimal("0.001"), Decimal(12)]))
    mark = draw(st.sampled_from(["{:f}", "{:,f}"]))
    swap = draw(st.booleans())
    columns["amount"] = [_scaled(value, scale, mark, swap) for value in table.amount]
    for name in ("ts", "label_ts"):
        how = draw(
            st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%Y%m%d"])
        )
        there = (pd.NaT if pd.isna(v) else v.replace(second=0, microsecond=0) for v in table[name])
        columns[name] = [None if pd.isna(v) else v.strftime(how) for v in there]
    words = meaning.words()["codes"]["category"]
    spelt = {
        v: draw(st.sampled_from([v, *words[v], f"{v}?!", "9"])) for v in ("books", "home", "toys")
    }
    columns["category"] = [spelt[str(value)] for value in columns["category"]]
    for name in ("first_order", "label_fraud"):
        yes, no = draw(
            st.sampled_from([("1", "0"), ("J", "N"), ("x", "z"), ("oui", "non"), ("1.0", "0.0")])
        )
        columns[name] = [yes if value == "1" else no for value in columns[name]]
    new = {}
    for name, strange in zip(columns, draw(st.permutations(STRANGE)), strict=True):
        new[name] = draw(st.sampled_from([name, strange, *SYNONYMS[name]]))
    if len({*new.values()}) < len(new):
        new = dict(zip(columns, STRANGE, strict=True))
    order = draw(st.permutations(list(columns)))
    return {new[name]: columns[name] for name in order}, new, table


def _scaled(value: float, scale: Decimal, mark: str, swap: bool) -> str:
    text = mark.format((Decimal(repr(value)) * scale).normalize())
    return text.translate(str.maketrans(",.", ".,")) if swap else text


@settings(max_examples=60, deadline=None)
@given(partners())
def test_columns_are_mapped_back_or_asked_about(
    partner: tuple[dict[str, list[str | None]], dict[str, str], pd.DataFrame],
) -> None:
    columns, new, table = partner
    found = draft(ORDERS, seen(columns), {}, "Europe/Berlin")
    asked = keys(found)
    assert {"unit:amount", "column:amount", "decimal:amount"} & asked
    for one in found.mapped:
        name = one.column.name
        if one.seen is None:
            assert f"column:{name}" in asked or one.column.optional
            continue
        assert one.seen.name == new[name]
        if one.way is None:
            assert any(key.partition(":")[2].split(":")[0] == name for key in asked)
            continue
        for source, value in zip(columns[new[name]], texts(table)[name], strict=True):
            assert _read(one.way, one.column, source) == _as(one.column, value)


def _read(how: Any, column: Any, source: str | None) -> Any:
    if source is None:
        return None
    return _as(column, converter(how, column.type)(source, None) if how.said else source)


def _as(column: Any, text: str | None) -> Any:
    if text is None:
        return None
    match column.type:
        case "integer" | "float":
            return decimal_of(text, None)
        case "timestamp":
            moment = moment_of(text, "ymd")
            assert moment is not None
            return moment.replace(second=0, microsecond=0)
        case _:
            return text


@settings(max_examples=25, deadline=None)
@given(st.permutations(STRANGE[:5]), st.sampled_from(["0.01", "1", "100", "0.5"]))
def test_demand_by_names_that_say_nothing_is_asked_column_by_column(
    names: list[str], scale: str
) -> None:
    table = demand_table(1)
    columns = texts(table)
    columns["price"] = [f"{Decimal(v or '0') * Decimal(scale):f}" for v in columns["price"]]
    new = dict(zip(columns, names, strict=True))
    found = draft(CONTRACTS["demand"], seen({new[n]: v for n, v in columns.items()}), {})
    assert keys(found) == {f"column:{name}" for name in columns}
    answers = {f"column:{name}": new[name] for name in columns}
    found = draft(CONTRACTS["demand"], seen({new[n]: v for n, v in columns.items()}), answers)
    assert {"unit:volume", "unit:display", "unit:price"} <= keys(found)


# -- each doubt ------------------------------------------------------------------------------------


def orders(**changed: list[str | None]) -> dict[str, list[str | None]]:
    return texts(orders_table(1).head(12)) | changed


def asked(columns: Mapping[str, list[str | None]], key: str, **answers: str) -> Question:
    found = draft(ORDERS, seen(columns), {k.replace("__", ":"): v for k, v in answers.items()})
    return {question.key: question for question in found.questions}[key]


def test_a_number_that_two_marks_read_is_asked_about() -> None:
    columns = orders(amount=["1.234", "12"] * 6)
    question = asked(columns, "decimal:amount")
    assert question.proposed is None
    assert question.choices == ("1234.56", "1.234,56")
    for answer, meant in (("1234.56", None), ("1.234,56", ",")):
        answers = {"decimal:amount": answer, "unit:amount": "*0.1"}
        answers["bounds:amount"] = "clip"
        assert way(draft(ORDERS, seen(columns), answers), "amount").decimal == meant


def test_days_and_months_that_could_be_exchanged_are_asked_about() -> None:
    columns = orders(ts=["03/04/2025", "05/06/2025"] * 6)
    assert asked(columns, "form:ts").choices == ("dmy", "mdy")
    columns = orders(ts=["03/04/2025", "25/06/2025"] * 6)
    assert "form:ts" not in keys(draft(ORDERS, seen(columns), {}))
    found = draft(ORDERS, seen(columns), {"zone:ts": "Asia/Shanghai"})
    assert (way(found, "ts").form, way(found, "ts").zone) == ("dmy", "Asia/Shanghai")


def test_a_zone_with_summer_time_is_asked_which_hour_is_meant() -> None:
    answers = {"zone:ts": "Europe/Berlin"}
    assert "twice:ts" in keys(draft(ORDERS, seen(orders()), answers))
    assert "twice:ts" not in keys(draft(ORDERS, seen(orders()), {"zone:ts": "Asia/Shanghai"}))
    for answer, meant in (("missing", None), ("first", "first"), ("second", "second")):
        found = draft(ORDERS, seen(orders()), answers | {"twice:ts": answer})
        assert way(found, "ts").twice == meant


def test_moments_that_say_their_zone_are_not_asked_about() -> None:
    for text in ("2025-03-01T10:00:00+08:00", "1740794400", "1740794400000"):
        columns = orders(ts=[text] * 12)
        assert not {"zone:ts", "form:ts"} & keys(draft(ORDERS, seen(columns), {}))
    mixed = orders(ts=["2025-03-01 10:00:00+08:00", "2025-03-01 10:00:00"] * 6)
    assert "zone:ts" in keys(draft(ORDERS, seen(mixed), {}))


def test_numbers_too_large_for_the_contract_are_proposed_as_cents() -> None:
    large = orders(amount=["12345", "40000"] * 6)
    assert asked(large, "unit:amount").proposed == "EUR/100"
    assert asked(orders(), "unit:amount").proposed == "EUR"
    assert asked(orders(amount=["999999999"] * 12), "unit:amount").proposed is None
    found = draft(ORDERS, seen(large), {"unit:amount": "EUR/100"})
    assert way(found, "amount").times == Decimal("0.01")
    assert "bounds:amount" in keys(draft(ORDERS, seen(large), {"unit:amount": "EUR"}))
    assert way(draft(ORDERS, seen(large), {"unit:amount": "EUR"}), "amount") is None


def test_another_currency_needs_a_stated_rate() -> None:
    answers = {"unit:amount": "CNY/100"}
    found = draft(ORDERS, seen(orders()), answers)
    assert "rate:amount:CNY" in keys(found) and way(found, "amount") is None
    found = draft(ORDERS, seen(orders()), answers | {"rate:amount:CNY": "0.125"})
    assert (way(found, "amount").times, way(found, "amount").rate) == (
        Decimal("0.01"),
        Decimal("0.125"),
    )


def test_a_column_of_currencies_needs_a_rate_for_each() -> None:
    columns = orders(Währung=["EUR", "USD", "GBP"] * 4)
    assert asked(columns, "unit:amount").choices[:2] == ("Währung", "Währung/100")
    answers = {"unit:amount": "Währung"}
    assert {"rate:amount:GBP", "rate:amount:USD"} <= keys(draft(ORDERS, seen(columns), answers))
    answers |= {"rate:amount:USD": "0.92"}
    assert way(draft(ORDERS, seen(columns), answers), "amount") is None
    found = way(draft(ORDERS, seen(columns), answers | {"rate:amount:GBP": "missing"}), "amount")
    assert (found.currency, found.rates) == ("Währung", {"EUR": Decimal(1), "USD": Decimal("0.92")})


def test_a_unit_in_the_name_beside_a_column_of_currencies_is_a_doubt() -> None:
    columns = orders(currency=["USD"] * 12)
    columns["amount_eur"] = columns.pop("amount")
    assert "unit:amount" in keys(draft(ORDERS, seen(columns), {}))
    del columns["currency"]
    assert "unit:amount" not in keys(draft(ORDERS, seen(columns), {}))


def test_weights_are_converted_exactly() -> None:
    shipments = CONTRACTS["shipments"]
    values: list[str | None] = ["250", "69000"]
    columns: dict[str, list[str | None]] = {"weight": values}
    found = draft(shipments, seen(columns), {})
    (question,) = [q for q in found.questions if q.key == "unit:weight"]
    assert question.proposed == "g"
    for answer, times in (("g", "0.001"), ("lb", "0.45359237"), ("*2.5", "2.5")):
        answers = {"unit:weight": answer, "bounds:weight": "clip"}
        assert way(draft(shipments, seen(columns), answers), "weight").times == Decimal(times)


def test_an_unknown_code_is_asked_about_each() -> None:
    columns = orders(category=["boooks", "17", "toys", None] * 3)
    assert asked(columns, "code:category:boooks").proposed == "books"
    assert asked(columns, "code:category:17").proposed is None
    answers = {"code:category:boooks": "books", "code:category:17": "missing"}
    found = draft(ORDERS, seen(columns), answers)
    assert way(found, "category").codes == {"boooks": "books", "toys": "toys"}
    many: list[str | None] = [f"group {number}" for number in range(MOST_ASKED + 1)]
    question = asked(orders(category=many), "codes:category")
    with pytest.raises(DraftError, match="nothing"):
        question.checked("books")


def test_whole_numbers_and_days_that_a_database_has_as_others_are_read_as_texts() -> None:
    """Natively it would give neither a decimal as a whole number nor a moment as a day."""
    columns = orders()
    for kind, mark in (("numeric", "."), ("double", "."), ("int8", None), ("bigint", None)):
        found = draft(ORDERS, seen(columns, {"customer_id": kind}), {})
        assert way(found, "customer_id").decimal == mark
    shipments = CONTRACTS["shipments"]
    days = {"shipped": ["2025-03-01 00:00:00"], "promised": ["2025-03-01"]}
    found = draft(shipments, seen({name: list(values) for name, values in days.items()}), {})
    assert (way(found, "shipped").form, way(found, "promised").form) == ("ymd", None)
    found = draft(ORDERS, seen(orders(ts=["2025-03-01"] * 12)), {"zone:ts": "Asia/Shanghai"})
    assert (way(found, "ts").form, way(found, "ts").zone) == ("ymd", "Asia/Shanghai")


@pytest.mark.parametrize("named", ["A-{}", "10{}x", "{}@example.com", "9f86d081-884c-7d65-{}"])
def test_ids_that_are_names_are_taken_as_names(named: str) -> None:
    columns = orders(customer_id=[named.format(number) for number in range(12)])
    found = draft(ORDERS, seen(columns), {"zone:ts": "UTC"})
    assert way(found, "customer_id") == Way(source="customer_id", ids="text")
    assert not {key for key in keys(found) if "customer_id" in key}
    columns["Geburtsort"] = columns["ort"] = ["Halle"] * 12
    columns["x"] = columns.pop("customer_id")
    question = asked(columns, "column:customer_id")
    assert "x" in question.choices and not {"Geburtsort", "ort"} & {*question.choices}


def test_two_columns_of_one_name_are_asked_about() -> None:
    columns = orders()
    columns["Betrag"] = columns.pop("amount")
    columns["total"] = columns["Betrag"]
    question = asked(columns, "column:amount")
    assert "Betrag and total are called so" in question.asks
    assert {"Betrag", "total"} <= {*question.choices}


def test_a_column_that_cannot_be_read_so_is_asked_about() -> None:
    columns = orders(order_id=[f"note {letter}" for letter in "abcdefghijkl"])
    question = asked(columns, "column:order_id")
    assert "values cannot be read so" in question.asks
    assert "order_id" not in question.choices
    assert question.choices and question.asks.endswith("add one in a view or another export")
    nothing: dict[str, list[str | None]] = {"note": ["a", "b"]}
    question = asked(nothing, "column:order_id")
    assert question.choices == () and "no column of this source" in question.asks


def test_a_column_of_no_name_is_asked_about_even_where_the_contract_could_do_without() -> None:
    columns = orders()
    columns["x"] = columns.pop("ip_country")
    question = asked(columns, "column:ip_country")
    assert question.proposed == "none" and {"x", "none"} <= {*question.choices}
    del columns["x"]
    assert "column:ip_country" not in keys(draft(ORDERS, seen(columns), {}))


def test_the_same_rows_and_answers_give_the_same_draft() -> None:
    columns = orders(category=["a", "b"] * 6)
    backwards = dict(reversed(columns.items()))
    one, other = (draft(ORDERS, seen(table), {}) for table in (columns, backwards))
    assert one.questions == other.questions and one.ways == other.ways


def test_what_an_operator_should_know_of_the_rows() -> None:
    columns = orders(order_id=["1", "1", None, "4"], customer_id=["1", None, "3", "4"])
    said = list(remarks(draft(ORDERS, seen(columns), {})))
    assert said == [
        "customer_id: 1 of 4 rows have no customer_id",
        "order_id: 1 of 4 rows have no order_id",
        "order_id: 1 rows bear a order_id that another row bears",
    ]


def test_which_contract_a_table_is_for() -> None:
    assert fitness(ORDERS, seen(orders())) == (10, 10)
    assert fitness(CONTRACTS["demand"], seen(orders()))[0] == 0


# -- answers ---------------------------------------------------------------------------------------


def listed(answers: Mapping[str, str]) -> list[Question]:
    """A first question, whose answer brings others."""
    found = [Question("a", "first?", "x", ("x", "y")), Question("b", "second?", None, ("z",))]
    return [*([Question("c", "more?", None, ("1",))] if answers.get("a") == "y" else []), *found]


def test_questions_keep_their_numbers() -> None:
    assert [(n.number, n.question.key) for n in numbered(listed, [])] == [(1, "a"), (2, "b")]
    found = numbered(listed, [(1, "y"), (3, "1")])
    assert [(n.number, n.question.key, n.answer) for n in found] == [
        (1, "a", "y"),
        (2, "b", None),
        (3, "c", "1"),
    ]
    assert [n.number for n in numbered(listed, [(1, "y"), (1, "yes")])] == [1, 2]


def test_an_earlier_draft_keeps_its_numbers_and_answers() -> None:
    kept = {"c": Kept(7, "1"), "a": Kept(4, "y"), "b": Kept(2)}
    found = numbered(listed, [(2, "z")], kept)
    assert [(n.number, n.question.key, n.answer) for n in found] == [
        (2, "b", "z"),
        (4, "a", "y"),
        (7, "c", "1"),
    ]


WRONG = {
    "no such number": ([(9, "x")], "there is no question 9; there are 1, 2"),
    "not yet": ([(3, "1"), (1, "y")], "there is no question 3"),
    "no such choice": ([(1, "w")], "'w' is no answer; answer x, y"),
    "nothing proposed": ([(2, "yes")], "nothing is proposed; answer z"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_answer(fault: str) -> None:
    given_answers, words = WRONG[fault]
    with pytest.raises(DraftError, match=words):
        numbered(listed, given_answers)


KINDS: dict[str, tuple[str, list[str], list[str]]] = {
    "zone": ("Europe/Berlin", ["UTC", "Asia/Shanghai"], ["Berlin", "", "../x", "CEST!"]),
    "unit": ("EUR", ["EUR", "*0.01", "*12"], ["*", "*-1", "*0", "pound", "0.01", "*1e3"]),
    "rate": ("missing", ["0.125", "missing", "7"], ["0", "-1", "1/7", "a", "nan"]),
    "number": ("1", ["3.5", "1"], ["0", "-2", "inf", "lots"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_open_answers_are_held_to_their_kind(kind: Any) -> None:
    choice, good, bad = KINDS[kind]
    question = Question("q", "?", None, (choice,), kind)
    assert [question.checked(value) for value in good] == good
    for value in bad:
        with pytest.raises(DraftError):
            question.checked(value)


# -- what is looked at -----------------------------------------------------------------------------


def test_a_profile_is_of_all_rows(tmp_path: Path) -> None:
    count = MOST + 500
    table = pa.table(
        {
            "few": pa.array(["a", "b", "", "n/a", None] * (count // 5)),
            "many": pa.array(range(count)),
            "v": pa.array([float(number) / 2 for number in range(count)]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = profile(parquet(tmp_path / "t.parquet", "t"), tmp_path)
    few, many, half = found.columns.values()
    assert found.rows == few.rows == count
    assert (few.values, few.missing) == ({"a": count // 5, "b": count // 5}, 3 * count // 5)
    assert few.is_whole and not many.is_whole
    assert MOST <= len(many.values) <= MOST + 2 and {"0", str(count - 1)} <= many.values.keys()
    assert many.is_number and half.is_number and not few.is_number
    again = pa.table(
        {name: table[name].take(pa.array(range(count))[::-1]) for name in table.column_names}
    )
    pq.write_table(again, tmp_path / "u.parquet")
    assert profile(parquet(tmp_path / "u.parquet", "t"), tmp_path) == found
