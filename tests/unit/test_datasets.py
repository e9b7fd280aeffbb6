"""Finding and reading real tables: the folder, the columns, the rows, and who gets which."""

import numpy as np
import pandas as pd
import pytest

from experiments.cli import run
from experiments.datasets import cdnow, files, payments, retail
from experiments.errors import UsageError
from tests.tables import real

SMALL = files.Table(
    "small.parquet",
    2,
    {"n": "integer", "x": "number", "name": "text", "at": "moment", "yes": "truth"},
    gaps=frozenset({"name"}),
)
FRAME = pd.DataFrame(
    {
        "n": np.array([1, 2], np.int32),
        "x": np.array([0.5, 1.5], np.float32),
        "name": ["a", None],
        "at": pd.to_datetime(["2019-01-01", "2019-01-02"]),
        "yes": [True, False],
        "more": [0, 0],
    }
)


@pytest.fixture(autouse=True)
def _nobody_named_a_folder(request, monkeypatch):
    if "real" not in request.node.name:
        monkeypatch.delenv(files.VARIABLE, raising=False)


def test_the_named_folder_comes_before_the_variable_before_the_sibling(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (tmp_path / "shared" / "data").mkdir(parents=True)
    checkout.mkdir()
    assert files.folder_of(root=checkout) is None  # not a checkout: nothing beside it is looked at
    (checkout / "pyproject.toml").touch()
    assert files.folder_of(root=checkout) == tmp_path / "shared" / "data"
    monkeypatch.setenv(files.VARIABLE, "/of/the/variable")
    assert str(files.folder_of(root=checkout)) == "/of/the/variable"
    assert str(files.folder_of("/named", root=checkout)) == "/named"


def test_a_table_comes_in_its_declared_kinds(tmp_path):
    FRAME.to_parquet(tmp_path / SMALL.file)
    table = files.read(SMALL, str(tmp_path))
    kinds = [str(kind) for kind in table.dtypes]
    assert kinds == ["int64", "float64", "object", "datetime64[us]", "bool"]
    assert table["name"].tolist() == ["a", None]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (FRAME.iloc[:1], "small.parquet has 1 rows; the published table has 2"),
        (FRAME.drop(columns=["x", "at"]), "lacks the column x, at"),
        (FRAME.assign(n=["1", "2"]), "column n is not of kind integer"),
        (FRAME.assign(at=[1, 2]), "column at is not of kind moment"),
        (FRAME.assign(x=[1.0, np.nan]), "column x has gaps"),
    ],
)
def test_another_table_of_that_name_is_refused(tmp_path, frame, says):
    frame.to_parquet(tmp_path / SMALL.file)
    with pytest.raises(UsageError, match=says):
        files.read(SMALL, str(tmp_path))


def test_a_file_that_is_no_parquet_is_one_sentence(tmp_path):
    (tmp_path / SMALL.file).write_text("nothing of the kind")
    with pytest.raises(UsageError, match=r"small\.parquet is not a Parquet file"):
        files.read(SMALL, str(tmp_path))


@pytest.mark.parametrize(
    ("experiment", "file"), [("stallion", "stallion.parquet"), ("handbook", "handbook_raw.parquet")]
)
def test_without_the_file_simulate_ends_with_two_and_says_which_and_how(
    tmp_path, capsys, experiment, file
):
    assert run(["simulate", experiment, f"data.folder={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert file in said and files.VARIABLE in said and "data.folder=DIR" in said
    assert len(said.strip().splitlines()) == 1


def test_without_any_folder_the_sentence_names_the_variable(monkeypatch):
    monkeypatch.setattr(files, "folder_of", lambda _: None)
    with pytest.raises(UsageError, match=r"small\.parquet is needed.*ENTREPOT_DATA"):
        files.path_of(SMALL)


def test_names_of_parties_are_words_and_dashes():
    assert files.party_name("Diners Club / Carte Blanche") == "diners-club-carte-blanche"
    assert files.party_name("Agency_01") == "agency-01"


def test_shops_share_no_customer():
    table = pd.DataFrame({"customer_id": ["00001", "00051", "00002", "00001"], "n_cds": 1})
    shops = cdnow.by_shop(table)
    assert list(shops) == ["shop-01", "shop-02"]
    assert list(shops["shop-01"]["customer_id"]) == ["00001", "00051", "00001"]


def test_a_card_is_at_one_provider_and_all_rows_are_somewhere():
    table = pd.DataFrame(
        {"provider": ["VISA 13 digit", "Maestro", "Maestro"], "card_id": [1, 2, 2]}
    )
    parties = payments.by_provider(table)
    assert {party: list(rows.index) for party, rows in parties.items()} == {
        "maestro": [1, 2],
        "visa-13-digit": [0],
    }


def test_lines_tell_cancellations_and_nameless_customers_apart():
    table = pd.DataFrame(
        {
            "InvoiceNo": ["536365", "C536379", "A563185"],
            "CustomerID": [17850.0, np.nan, np.nan],
            "Country": ["United Kingdom", "EIRE", "United Kingdom"],
        }
    )
    lines = retail.order_lines(table)
    assert lines["cancelled"].tolist() == [False, True, False]
    assert lines["CustomerID"].isna().tolist() == [False, True, True]
    assert lines["CustomerID"].iloc[0] == 17850
    assert {str(party): len(rows) for party, rows in retail.by_country(lines).items()} == {
        "eire": 1,
        "united-kingdom": 2,
    }


@real(cdnow.TABLE)
def test_real_cdnow():
    table = files.read(cdnow.TABLE)
    assert table["customer_id"].nunique() == 23_570
    assert table["date"].between("1997-01-01", "1998-06-30").all()
    shops = cdnow.by_shop(table)
    assert len(shops) == 50 and sum(map(len, shops.values())) == len(table)
    assert all(rows["customer_id"].nunique() >= 471 for rows in shops.values())


@real(payments.TABLE)
def test_real_payments():
    table = files.read(payments.TABLE)
    assert (table["card_id"].nunique(), table["store_id"].nunique()) == (33_333, 10_000)
    assert table["country"].nunique() == 133 and table["country"].isna().sum() == 87
    assert table["fraud"].mean() == pytest.approx(0.152, abs=1e-3)
    parties = payments.by_provider(table)
    assert len(parties) == 10 and sum(map(len, parties.values())) == len(table)
    cards = [set(rows["card_id"]) for rows in parties.values()]
    assert sum(map(len, cards)) == len(set().union(*cards))


@real(retail.TABLE)
def test_real_retail():
    lines = retail.order_lines(files.read(retail.TABLE))
    assert lines["CustomerID"].isna().sum() == 135_080 and lines["cancelled"].sum() == 9_288
    countries = retail.by_country(lines)
    assert len(countries) == 38 and sum(map(len, countries.values())) == len(lines)
    named = {
        party: set(rows["StockCode"][rows["CustomerID"].notna()])
        for party, rows in countries.items()
    }
    kingdom, germany = named["united-kingdom"], named["germany"]
    assert (len(kingdom), len(germany), len(kingdom & germany)) == (3_661, 1_671, 1_668)
