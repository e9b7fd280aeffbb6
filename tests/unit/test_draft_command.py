"""`entrepot node contract draft`: what it refuses, keeps, writes, and what it never does."""

import json
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest

from clients.settings import load_settings
from experiments.cli import run
from tests import foreign
from tests.simulator import CN, SHOP, Simulation, orders_table

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(simulation: Simulation) -> Path:
    """A merchant's node that has no rows yet."""
    folder = simulation.folder(SHOP)
    (folder / "data" / "orders.parquet").unlink()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> str:
    return foreign.in_csv(tmp_path, orders_table(5)).words[0]


def draft(*words: str) -> int:
    return run(["node", "contract", "draft", *map(str, words)])


def shown(capsys: Capture, *words: str, code: int = 0) -> Any:
    assert draft(*words, "--json") == code
    return json.loads(capsys.readouterr().out)


ANSWERS = ("1=Europe/Berlin", "2=EUR", "3=home", "4=Europe/Berlin")
"""To what is asked of the German table first; two questions follow from them."""


def given(*answers: str) -> list[str]:
    return [word for answer in answers for word in ("--answer", answer)]


def test_nothing_is_sent(source: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    assert draft(source) == 0
    assert "orders" in capsys.readouterr().out


def test_it_says_what_it_asks_and_that_it_cannot_be_used(source: str, capsys: Capture) -> None:
    assert draft(source) == 0
    out, err = capsys.readouterr()
    assert "1. Bestellzeit: in which time zone" in err
    assert "2. Betrag: in which unit" in err
    assert "cannot be used yet" in err
    assert "not taken: Bemerkung" in out
    assert "[sources" not in out


def test_questions_keep_their_numbers_while_answers_are_added(
    source: str, folder: Path, capsys: Capture
) -> None:
    words = [source, "--node", str(folder)]
    before = shown(capsys, *words)["questions"]
    assert [q["number"] for q in before] == [1, 2, 3, 4]
    after = shown(capsys, *words, *given(ANSWERS[3], ANSWERS[0]))["questions"]
    assert {q["number"]: q["key"] for q in after[:4]} == {q["number"]: q["key"] for q in before}
    assert [(q["number"], q["key"]) for q in after[4:]] == [(5, "twice:label_ts"), (6, "twice:ts")]
    assert shown(capsys, *words)["questions"] == before


def test_an_open_draft_is_answered_in_its_file(source: str, folder: Path, capsys: Capture) -> None:
    words = [source, "--node", str(folder), "--write"]
    kept = folder / "drafts" / "orders.toml"
    assert shown(capsys, *words, *given("2=EUR"), code=12)["open"] == 3
    text = kept.read_text(encoding="utf-8")
    asked = tomllib.loads(text)["questions"]
    assert [one["answer"] for one in asked] == ["", "EUR", "", ""]
    for key, answer in (("zone:ts", "UTC"), ("code:category:Haus & Hof", "home")):
        at = text.index('answer = ""', text.index(f'"{key}"'))
        text = text[:at] + f'answer = "{answer}"' + text[at + len('answer = ""') :]
    kept.write_text(text, encoding="utf-8")
    found = shown(capsys, *words, *given("4=yes"))
    assert found["usable"] and found["written"] == [str(folder / "node.toml")]
    assert not kept.exists()
    declared = load_settings(folder).sources["orders.parquet"]
    assert declared.ways["ts"].zone == ""
    assert declared.ways["label_ts"].zone == "America/Sao_Paulo"


def test_a_draft_of_another_source_is_begun_anew(
    source: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    shown(capsys, source, "--node", str(folder), "--write", *given("2=EUR"), code=12)
    other = tmp_path / "other.csv"
    other.write_bytes(Path(source).read_bytes())
    answers = [q["answer"] for q in shown(capsys, str(other), "--node", str(folder))["questions"]]
    assert answers == [None] * 4


def test_what_is_written_leaves_the_rest_as_it_was(
    source: str, folder: Path, capsys: Capture
) -> None:
    node = folder / "node.toml"
    node.write_text("# by hand\n" + node.read_text(encoding="utf-8"), encoding="utf-8")
    node.chmod(0o640)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    words = [source, "--node", str(folder), "--write", *given(*ANSWERS, "5=yes", "6=first")]
    assert shown(capsys, *words)["rows"] == 160
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {p: b for p, b in after.items() if p != node} == {
        p: b for p, b in before.items() if p != node
    }
    assert after[node].startswith(before[node].rstrip())
    assert node.stat().st_mode & 0o777 == 0o640
    assert draft(*words) == 2
    assert "says already where orders.parquet lies" in capsys.readouterr().err


def test_what_comes_next_is_said_once_the_draft_is_written(
    source: str, folder: Path, capsys: Capture
) -> None:
    words = [source, "--node", str(folder), "--write", *given(*ANSWERS)]
    assert draft(*words) == 12
    assert "next: " not in capsys.readouterr().err
    assert draft(*words, *given("5=yes", "6=first")) == 0
    said = capsys.readouterr().err
    assert f"next: entrepot node refresh {folder}, then entrepot node check {folder};" in said
    assert "from its next start on" in said


def test_a_table_of_sources_gets_its_columns(source: str, folder: Path, capsys: Capture) -> None:
    with (folder / "node.toml").open("a", encoding="utf-8") as node:
        node.write(f'[sources."orders.parquet"]\nfile = "{source}"\ndelimiter = ";"\n')
    words = ["orders.parquet", "--node", str(folder), *given(*ANSWERS, "5=yes", "6=first")]
    found = shown(capsys, *words, "--write")
    assert "file" not in tomllib.loads(found["node_toml"])["sources"]["orders.parquet"]
    declared = load_settings(folder).sources["orders.parquet"]
    assert declared.place.spoken == "Bestellungen.csv"
    assert declared.ways["amount"].decimal == ","
    assert draft(*words) == 2
    assert "says already how orders.parquet is read" in capsys.readouterr().err


def test_people_of_a_known_account_share_its_limit(
    simulation: Simulation, tmp_path: Path, capsys: Capture
) -> None:
    """Two limits over the same people would be the smaller of both."""
    folder = simulation.folder(SHOP)
    rows = orders_table(1).rename(columns={"order_id": "payment_id"})[["payment_id", "customer_id"]]
    rows.to_csv(tmp_path / "paid.csv", index=False)
    found = shown(capsys, str(tmp_path / "paid.csv"), "--for", "payments", "--node", str(folder))
    limit = tomllib.loads(found["contract_toml"])["limit"]
    assert (limit["epsilon"], limit["delta"]) == ("3.5", "0.000001")
    assert not any(q["key"].startswith("limit:") for q in found["questions"])


def test_rows_that_a_type_cannot_hold_are_told(source: str, folder: Path, capsys: Capture) -> None:
    text = Path(source).read_text(encoding="utf-8").replace("Lieferland", "Lieferland", 1)
    head, first, *rest = text.splitlines()
    fields = first.split(";")
    fields[head.split(";").index("Bestell-Nr")] = ""
    Path(source).write_text("\n".join([head, ";".join(fields), *rest]), encoding="utf-8")
    found = shown(capsys, source, "--node", str(folder))
    assert found["remarks"] == ["Bestell-Nr: 1 of 160 rows have no order_id"]


@pytest.mark.parametrize("name", ["shop.csv", "shop.parquet"])
def test_bad_a_source_that_is_gone_is_said_to_be_gone(
    name: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    with (folder / "node.toml").open("a", encoding="utf-8") as node:
        node.write(f'\n[sources."orders.parquet"]\nfile = "{tmp_path / name}"\n')
    assert run(["node", "refresh", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"entrepot: there is no file {tmp_path / name}; bring it back, or say where it lies now\n"
    )


def csv(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_text(text, encoding=encoding)
    return str(path)


BAD: dict[str, tuple[list[str], str]] = {
    "no such file": (["nowhere.csv"], "is no file and no table of"),
    "no name in it": (["{tmp}/empty.csv"], "does not name each of its columns once"),
    "not UTF-8": (["{tmp}/latin.csv"], "cannot be read as CSV in UTF-8"),
    "not Parquet": (["{tmp}/broken.parquet"], "cannot be read to its end"),
    "another ending": (["{tmp}/table.xlsx"], "ends in .csv or .parquet"),
    "no contract": (["{source}", "--for", "ordres"], "did you mean 'orders'"),
    "names that say nothing": (["{tmp}/strange.csv"], "say --for"),
    "no answer": (["{source}", "--answer", "one"], "write N=VALUE"),
    "no such question": (["{source}", "--answer", "99=yes"], "there is no question 99"),
    "no such zone": (["{source}", "--answer", "1=Bonn"], "the IANA name of a zone"),
    "no node to write into": (["{source}", "--write"], "--node FOLDER"),
    "a password in the url": (["mysql://r:hidden-word@db/shop", "--relation", "o"], "take it out"),
    "a password in clear": (
        ["mysql://r@db/shop", "--relation", "o", "--password", "hidden-word"],
        "never itself",
    ),
    "no relation": (["mysql://r@db/shop"], "name of a table or view"),
    "no database": (["oracle://r@db/shop", "--relation", "o"], "no URL of a database"),
    "nobody there": (
        ["mysql://r@localhost:1/shop?unix_socket=/nowhere", "--relation", "o"],
        "cannot be reached",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_sentence(
    fault: str, source: str, tmp_path: Path, capsys: Capture
) -> None:
    csv(tmp_path / "empty.csv", "")
    csv(tmp_path / "latin.csv", "größe;x\n1;2\n", "latin-1")
    csv(tmp_path / "strange.csv", "a,b\n1,2\n")
    csv(tmp_path / "broken.parquet", "PAR1")
    csv(tmp_path / "table.xlsx", "x")
    words, said = BAD[fault]
    code = draft(*(w.replace("{tmp}", str(tmp_path)).replace("{source}", source) for w in words))
    assert code == (20 if fault == "nobody there" else 2)
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert "hidden-word" not in err and "Traceback" not in err


def test_a_role_offers_its_own_contracts(
    simulation: Simulation, source: str, capsys: Capture
) -> None:
    assert draft(source, "--for", "payments", "--node", str(simulation.folder(CN))) == 2
    assert "no contract payments that a warehouse offers" in capsys.readouterr().err


def test_rows_that_lie_in_the_folder_are_not_hidden_by_a_source(
    simulation: Simulation, source: str, capsys: Capture
) -> None:
    folder = simulation.folder(SHOP)
    before = (folder / "node.toml").read_bytes()
    words = [source, "--node", str(folder), *given(*ANSWERS, "5=yes", "6=yes"), "--write"]
    assert draft(*words) == 2
    assert "data/orders.parquet lies in the folder too" in capsys.readouterr().err
    assert (folder / "node.toml").read_bytes() == before


def test_a_draft_that_is_none_any_more(source: str, folder: Path, capsys: Capture) -> None:
    (folder / "drafts").mkdir()
    (folder / "drafts" / "orders.toml").write_text("source = 3\n")
    assert draft(source, "--node", str(folder)) == 0
    (folder / "drafts" / "orders.toml").write_text("[[[")
    assert draft(source, "--node", str(folder)) == 2
    assert "is no draft any more" in capsys.readouterr().err
