"""Released models through the people's door: listed, described, and handed to recipients alone."""

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aggregator import handing_out, shelf_files
from aggregator.access import DeniedError
from aggregator.cards import Card
from aggregator.errors import BrokenLineageError
from aggregator.model_shelf import ModelShelf
from aggregator.people_views import NotTakenError, OrderBook
from aggregator.record import Record
from aggregator.settings import load_aggregator
from aggregator.shelf_files import ShelfFiles
from aggregator.stored import load
from experiments import cli
from experiments.errors import IntegrityError, UsageError
from experiments.model_fetching import fetch
from experiments.peoples_door import Me, Place
from federation.control.logs import JsonLines
from federation.errors import MalformedMessageError
from federation.ledger.entries import EntryKind, encode
from federation.ledger.merkle import leaf_hash
from federation.orders import WorkOrder
from tests.people import Clock, Desk, Someone
from tests.simulator import CN, Simulation


class Behind(Me):
    """Somebody whose calls go through the door of a simulated federation."""

    desk: Desk
    who: Someone

    def ask(self, method: str, **body: Any) -> dict[str, Any]:
        return self.desk.ask(method, self.who.session, **body)


@dataclass
class World:
    """A federation that has trained one model, and somebody of its data team."""

    simulation: Simulation
    desk: Desk
    order: WorkOrder
    path: Path
    dan: Behind

    def anybody(self, role: str, organisation: str, place: str = "EU") -> Someone:
        return self.desk.member(
            f"{role}-{len(self.desk.people.persons())}", role, organisation, place
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("trained") / "federation"
    simulation = Simulation(folder)
    order = simulation.training()
    job = simulation.run(order)
    assert job.result is not None
    desk = Desk.over(folder, simulation.home.name, Clock(simulation.now()))
    dan = Behind(folder, "dan", simulation.home.name, Place("127.0.0.1", 1, b""))
    own = simulation.roster.find(simulation.home.analyst).organisation
    object.__setattr__(dan, "desk", desk)
    object.__setattr__(dan, "who", desk.member("dan", "data_team", own))
    return World(simulation, desk, order, Path(job.result["model"]), dan)


def test_a_recipient_fetches_the_model_that_was_released(world: World, tmp_path: Path) -> None:
    (row,) = world.dan.ask("Models")["models"]
    stored = load(world.path)
    assert (row["order"], row["digest"]) == (world.order.id, stored.digest)
    assert row["rounds"] == stored.card.round
    out = tmp_path / "model.safetensors"
    found = fetch(world.dan, world.order.id[:12], out)
    assert out.read_bytes() == world.path.read_bytes()
    assert out.stat().st_mode & 0o777 == 0o600
    assert Card.from_json(found["card"]) == stored.card
    with pytest.raises(UsageError, match="already"):
        fetch(world.dan, world.order.id[:12], out)


def test_a_card_names_the_entry_of_the_ledger_that_released_it(world: World) -> None:
    told = world.dan.ask("Card", order=world.order.id)["ledger"]
    own, roster = load_aggregator(world.desk.folder), world.simulation.roster
    record = Record(own.ledger, own.party, own.identity, roster, world.simulation.now)
    entry = record.entries()[told["entry"]]
    assert (entry.kind, entry.order) == (EntryKind.RELEASED, world.order.id)
    assert told["leaf"] == leaf_hash(encode(entry)).hex()
    assert told["log"].endswith("aggregator")


def test_it_comes_in_pieces(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing_out, "PIECE", world.path.stat().st_size // 3)
    fetch(world.dan, world.order.id, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == world.path.read_bytes()


# Written by hand: who sees the card, and who is handed the file; the order names its data team.
@pytest.mark.parametrize(
    ("role", "of", "place", "card", "file"),
    [
        ("data_team", "analyst", "EU", True, True),
        ("data_team", "nobody", "EU", False, False),
        ("officer", "analyst", "EU", True, True),
        ("officer", "cn", "CN", True, False),
        ("partner_operator", "cn", "CN", True, False),
        ("officer", "nobody", "EU", False, False),
        ("officer", "aggregator", "EU", True, True),
        ("aggregator_operator", "aggregator", "EU", True, True),
        ("regulator", "nobody", "CN", True, False),
        ("regulator", "nobody", "CH", False, False),
    ],
)
def test_every_role_sees_and_is_handed_what_the_table_says(
    role: str, of: str, place: str, card: bool, file: bool, world: World
) -> None:
    home = world.simulation.home
    party = {"analyst": home.analyst, "cn": CN}.get(of, of)
    known = {one.party: one.organisation for one in world.simulation.roster.members}
    who = world.anybody(role, known.get(party, "Nobody"), place)
    assert bool(world.desk.ask("Models", who.session)["models"]) is card
    for method, is_allowed in (("Card", card), ("Model", file)):
        try:
            world.desk.ask(method, who.session, order=world.order.id)
        except DeniedError as why:
            assert not is_allowed
            is_partner = method == "Model" and of == "cn"
            assert ("ACCESS-106" if is_partner else "LAW-001") in str(why)
        else:
            assert is_allowed


@pytest.mark.parametrize("begin", [0, 1])
def test_who_is_handed_any_piece_of_a_model_is_in_the_log(
    begin: int, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        told = world.dan.ask("Model", order=world.order.id, begin=begin)
        world.dan.ask("Model", order=world.order.id, begin=told["size"])
    lines = [json.loads(JsonLines().format(one)) for one in caplog.records]
    (line,) = (one for one in lines if one.get("event") == "model.handed_out")
    assert (line["by"], line["order"], line["digest"]) == ("dan", world.order.id, told["digest"])
    assert line["begin"] == str(begin)


@pytest.mark.parametrize("status", ["running", "abandoned", "failed", "refused"])
def test_what_was_not_released_is_not_on_the_shelf(status: Any, world: World) -> None:
    (known,) = OrderBook(world.desk.folder).all()
    left = replace(known, job=replace(known.job, status=status))
    shelf = ModelShelf(load_aggregator(world.desk.folder))
    assert shelf.row(left) is None
    for asked in (shelf.card, lambda one: shelf.piece(one, 0)):
        with pytest.raises(NotTakenError, match="released no model"):
            asked(left)


@pytest.mark.parametrize("how", ["gone", "another", "cut off"])
def test_bad_files_are_not_handed_out_and_no_path_is_told(
    how: str, world: World, tmp_path: Path
) -> None:
    own = load_aggregator(world.desk.folder)
    (known,) = OrderBook(world.desk.folder).all()
    shelf = ModelShelf(own)
    shutil.copytree(own.folder / "models", tmp_path / "models")
    shelf._folder = tmp_path / "models"
    path = tmp_path / "models" / world.order.id / world.path.name
    assert shelf.card(known)["digest"] == shelf.piece(known, 0)["digest"]
    if how == "gone":
        path.unlink()
    elif how == "another":
        path.write_bytes(path.with_name("round-0001.safetensors").read_bytes())
    else:
        path.write_bytes(path.read_bytes()[:-4])
    for asked in (shelf.card, lambda one: shelf.piece(one, 0)):
        with pytest.raises(BrokenLineageError, match="not the one") as why:
            asked(known)
        assert str(tmp_path) not in str(why.value)


@pytest.mark.parametrize("how", ["as it was", "written anew", "replaced", "sealed"])
def test_a_file_is_read_whole_again_where_something_of_it_changed(
    how: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = shutil.copy2(world.path, tmp_path / "m"), []
    data, digest, files = path.read_bytes(), load(world.path).digest, ShelfFiles()
    whole = shelf_files.read_bytes
    monkeypatch.setattr(shelf_files, "read_bytes", lambda path: read.append(path) or whole(path))
    monkeypatch.setattr(handing_out, "PIECE", 1 + len(data) // 3)
    assert files.piece(path, digest, 0) == handing_out.piece(data, 0)
    if how == "written anew":
        path.write_bytes(data)
    elif how == "replaced":
        shutil.copy2(path, tmp_path / "new").rename(path)
    elif how == "sealed":
        monkeypatch.setattr(shelf_files.at_rest, "vault_of", lambda _: (None, ""))
        monkeypatch.setattr("aggregator.stored.at_rest.opened", lambda _, data: data)
    for begin in (0, 7, len(data) - 1, len(data)):
        assert files.piece(path, digest, begin) == handing_out.piece(data, begin)
    assert len(read) == {"as it was": 1, "sealed": 5}.get(how, 2)
    for begin in (-1, len(data) + 1):
        with pytest.raises(MalformedMessageError):
            files.piece(path, digest, begin)
    with pytest.raises(BrokenLineageError):
        files.piece(path, "0" * 64, 0)


def test_an_order_that_cannot_be_meant_is_not_verified(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    known = OrderBook._known
    monkeypatch.setattr(
        OrderBook, "_known", lambda self, job: verified.append(job.id) or known(self, job)
    )
    officer = world.anybody("officer", "Analytics")
    world.desk.ask("Waiting", officer.session)
    assert verified == []
    assert world.dan.ask("Models")["models"]
    assert verified == [world.order.id]


@pytest.mark.parametrize("what", ["card", "file", "another run"])
def test_bad_aggregators_hand_out_another_model(what: str, world: World, tmp_path: Path) -> None:
    earlier = world.path.with_name("round-0001.safetensors")
    assert earlier != world.path

    class Lies(Behind):
        def ask(self, method: str, **body: Any) -> dict[str, Any]:
            if what == "another run":
                body["order"] = world.order.id
            if method == "Card" and what == "card":
                return {**world.dan.ask(method, **body), "card": load(earlier).card.to_json()}
            if method == "Model" and what == "file":
                return handing_out.piece(earlier.read_bytes(), int(body["begin"]))
            return world.dan.ask(method, **body)

    me = Lies(tmp_path, "dan", world.dan.federation, world.dan.place)
    named = "0" * 12 if what == "another run" else world.order.id
    with pytest.raises(IntegrityError):
        fetch(me, named, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_by_the_command(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("experiments.peoples_door.open_me", lambda _: world.dan)
    digest = load(world.path).digest
    assert cli.run(["person", "models"]) == 0
    assert digest in capsys.readouterr().out
    assert cli.run(["person", "models", world.order.id[:12], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
    out = str(tmp_path / "m")
    assert cli.run(["person", "models", world.order.id[:12], "--out", out]) == 0
    assert capsys.readouterr().out == f"{out} {digest}\n"
    assert cli.run(["person", "models", "--out", out]) == 2
