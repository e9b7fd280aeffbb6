"""`entrepot node check` finds the column that a source does not have, and looks at no row."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clients import snapshots
from clients.errors import SourceError, UnreachableSourceError
from clients.settings import NodeSettings
from clients.snapshots import columns, refresh
from clients.sources.reading import Found
from experiments.cli import run
from experiments.health_line import Line
from experiments.node_sources import sources
from tests import sourced
from tests.simulator import SHOP, Simulation
from tests.sourced import COLUMNS, TABLE

MAPPED = f'[sources."{TABLE}".columns]\n'
DATABASE = 'url = "postgresql://reader@db.example/shop"\nrelation = "sales.orders"\n'


def laid(tmp_path: Path, mapping: str) -> NodeSettings:
    source = sourced.in_csv(tmp_path / "export.csv", sourced.rows(20))
    return sourced.folder(tmp_path / "node", f"{source}\n{MAPPED}{mapping}")


def said(settings: NodeSettings, *, connect: bool = False) -> list[Line]:
    return list(sources(settings, connect=connect))


def test_a_mapping_that_names_no_column_of_the_source(tmp_path: Path) -> None:
    settings = laid(tmp_path, 'note = "Further"\namount = { from = "Betrag", times = "0.01" }')
    amount, note = said(settings)
    assert {line.state for line in (amount, note)} == {"fail"}
    assert {(line.area, line.name) for line in (amount, note)} == {("sources", TABLE)}
    assert note.said == (
        "columns.note of [sources] names Further, which export.csv does not have: did you mean "
        "'further'?"
    )
    assert "names Betrag, which export.csv does not have: it has amount, category, " in amount.said
    assert f'name one that it has in [sources."{TABLE}"] of node.toml' in note.fix
    assert note.fix.endswith(f"`entrepot node refresh {settings.folder}`")


def test_a_column_that_a_contract_promises_and_nobody_says_where_it_is(tmp_path: Path) -> None:
    settings = laid(tmp_path, 'note = "further"')
    text = (tmp_path / "export.csv").read_text(encoding="utf-8")
    (tmp_path / "export.csv").write_text(text.replace("weight", "Weights", 1), encoding="utf-8")
    (line,) = said(settings)
    assert (line.state, line.fix.partition(",")[0]) == (
        "fail",
        f'say in [sources."{TABLE}"] of node.toml which column it is',
    )
    assert line.said.endswith("which export.csv does not have: did you mean 'Weights'?")


def test_a_source_that_has_what_is_read_of_it(tmp_path: Path) -> None:
    (line,) = said(laid(tmp_path, 'note = "further"'))
    assert (line.state, line.fix) == ("ok", "")


def test_what_nobody_promises_is_told_and_not_raised(tmp_path: Path) -> None:
    (line,) = said(laid(tmp_path, 'notes = "further"'))
    assert line.state == "fail" and "did you mean 'note'?" in line.said and line.fix


def test_a_file_that_is_not_there_now_is_no_failure(tmp_path: Path) -> None:
    """The snapshot before goes on; who brings a file for each refresh takes it away again."""
    settings = laid(tmp_path, "")
    (tmp_path / "export.csv").unlink()
    (line,) = said(settings)
    assert line.state == "warn" and "there is no file" in line.said and line.fix


def test_a_file_that_is_there_and_cannot_be_read_fails(tmp_path: Path) -> None:
    settings = laid(tmp_path, "")
    for rubbish in (b"", b"amount,amount\n1,2\n", "größe\n".encode("utf-16")):
        (tmp_path / "export.csv").write_bytes(rubbish)
        with pytest.raises(SourceError):
            refresh(settings, settings.sources[TABLE])
        (line,) = said(settings)
        assert line.state == "fail" and line.said.startswith("export.csv") and line.fix


def test_a_file_that_is_cut_by_another_delimiter(tmp_path: Path) -> None:
    """One line and the likely cause, not one line for each column that is in the only one."""
    source = sourced.in_csv(tmp_path / "export.csv", sourced.rows(20))
    settings = sourced.folder(tmp_path / "node", f'{source}\ndelimiter = ";"')
    (line,) = said(settings)
    assert (line.area, line.state) == ("sources", "fail")
    assert line.said.startswith("export.csv has one column alone, 'order_id,customer_id,ts,")
    assert line.said.endswith(": is the delimiter right?") and "weight" in line.said
    assert f'let delimiter in [sources."{TABLE}"] of node.toml be what stands' in line.fix
    (right,) = said(sourced.folder(tmp_path / "node", source))
    assert right.state == "ok"


def test_no_row_is_looked_at(tmp_path: Path) -> None:
    """The file is rubbish but for what says its columns, and reading it would fail."""
    place = tmp_path / "export.parquet"
    source = sourced.in_parquet(place, sourced.rows(300))
    whole = place.read_bytes()
    foot = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    place.write_bytes(whole[:4] + b"\xff" * (foot - 4) + whole[foot:])
    settings = sourced.folder(tmp_path / "node", source)
    with pytest.raises(SourceError, match="to its end"):
        refresh(settings, settings.sources[TABLE])
    assert {*columns(settings.sources[TABLE].place, settings.folder)} == {*COLUMNS}
    (tmp_path / "export.csv").write_text(f"{','.join(COLUMNS)}\n1,2\n")
    other = sourced.folder(tmp_path / "other", f'file = "{tmp_path}/export.csv"')
    with pytest.raises(SourceError, match="to its end"):
        refresh(other, other.sources[TABLE])
    assert columns(other.sources[TABLE].place, other.folder) == tuple(COLUMNS)


# -- databases -------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What catalogues were asked for; the database has no note, and its rows are out of reach."""
    heard: list[str] = []

    def described(place: Any, _password: Any) -> list[Found]:
        heard.append(place.spoken)
        return [Found(name, "text") for name in COLUMNS if name != "note"]

    def reading(*_: Any) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(snapshots, "_DESCRIBERS", {"postgresql": described})
    monkeypatch.setattr(snapshots, "_READERS", {"postgresql": reading})
    return heard


def in_database(tmp_path: Path, mapping: str) -> NodeSettings:
    """A node whose newest snapshot has no note."""
    settings = sourced.folder(tmp_path / "node", f"{DATABASE}{MAPPED}{mapping}")
    found = sourced.arrow(sourced.rows(20))
    place = settings.snapshot(TABLE)
    (place.parent / "next").mkdir(parents=True)
    pq.write_table(found, place)
    pq.write_table(found.drop_columns(["note"]), place.parent / "next" / TABLE)
    return settings


def test_a_database_is_asked_for_its_catalogue_where_its_operator_asks(
    tmp_path: Path, asked: list[str]
) -> None:
    settings = in_database(tmp_path, 'note = "days"')
    (line,) = said(settings, connect=True)
    assert asked == ["sales.orders"]
    assert line.state == "fail"
    assert line.said.endswith("names days, which sales.orders does not have: did you mean 'day'?")


def test_unasked_the_newest_snapshot_says_what_did_not_come(
    tmp_path: Path, asked: list[str]
) -> None:
    settings = in_database(tmp_path, 'note = "days"')
    (line,) = said(settings)
    assert line.state == "fail" and "columns.note of [sources] names days, and nothing" in line.said
    assert f"`entrepot node check {settings.folder} --connect`" in line.fix
    (line,) = said(in_database(tmp_path / "other", 'day = "Tag"'))
    assert line.state == "ok"
    assert asked == []


def test_a_database_that_does_not_answer_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise SourceError("the server does not accept reader with this password")

    def unreachable(*_: Any) -> None:
        raise UnreachableSourceError("the server cannot be reached")

    settings = in_database(tmp_path, "")
    for describer, area in ((refused, "sources"), (unreachable, "reach")):
        monkeypatch.setattr(snapshots, "_DESCRIBERS", {"postgresql": describer})
        (line,) = said(settings, connect=True)
        assert (line.area, line.state) == (area, "fail")


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_that_the_node_is_not_ready(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the mapping is right: reading the table let an optional column go, and said nothing."""
    folder = simulation.folder(SHOP)
    pq.read_table(folder / "data" / TABLE).to_pandas().to_csv(folder / "export.csv", index=False)
    (folder / "data" / TABLE).unlink()
    whole = (folder / "node.toml").read_text()
    source = f'\n[sources."{TABLE}"]\nfile = "export.csv"\n{MAPPED}'
    (folder / "node.toml").write_text(f'{whole}{source}ip_country = "ip_land"\n')
    assert run(["node", "check", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "was never read from export.csv" in err
    assert err.startswith("fail sources: orders.parquet: columns.ip_country of [sources] names ip_")
    assert run(["node", "refresh", str(folder)]) == 0
    capsys.readouterr()
    assert run(["node", "check", str(folder)]) == 2
    out = capsys.readouterr().out
    assert "is not ready: see what fails below" in out
    assert "fail sources: orders.parquet: columns.ip_country of [sources] names ip_land" in out
    assert run(["node", "check", str(folder), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ready"] is False
    (folder / "node.toml").write_text(f'{whole}{source}ip_country = "ship_country"\n')
    assert run(["node", "refresh", str(folder)]) == 0
    capsys.readouterr()
    assert run(["node", "check", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ready"] is True
