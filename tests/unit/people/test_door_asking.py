"""A question through the people's door: made and opened on the data team's machine alone."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aggregator import handing_out
from aggregator.access import DeniedError
from aggregator.answer_files import fetch_answer
from aggregator.people_views import NotTakenError, OrderBook
from aggregator.rosters import change
from aggregator.settings import load_aggregator
from clients.calling import NotAllowedError
from experiments import cli, door_asking
from experiments.door_asking import ask, renew, resume
from experiments.errors import IntegrityError, PolicyRefusalError, UsageError, WaitingError
from experiments.fetching import LARGEST, fetched
from experiments.following import AbandonedRunError
from experiments.home import Home
from experiments.kept_questions import file_of, tidy
from experiments.opening import UnopenedError
from experiments.ordering import Terms, drafted_query, query_order, sign
from experiments.peoples_door import Me, Place
from federation.errors import ForkedRosterError, MalformedMessageError, OlderRosterError
from federation.orders import WorkOrder
from federation.queries.answers import read_answer
from federation.roster_chain import Suspend
from federation.whole_files import keep_file
from secure_compute import canonical
from tests.people import Clock, Desk, Someone
from tests.simulator import CN, EU, SQL, UK, US, Simulation

TERMS = Terms(purpose="market_statistics", cohort=(CN, EU, UK))


class Now(Clock):
    """The simulation's own time."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.now())


class Behind(Me):
    """Somebody whose calls go through the door of a simulated federation, which works at once."""

    desk: Desk
    who: Someone
    simulation: Simulation
    asked: list[str]

    def ask(self, method: str, **body: Any) -> dict[str, Any]:
        self.asked.append(method)
        answer = self.desk.ask(method, self.who.session, **body)
        if method == "Propose":
            self.simulation.work()
        return answer


def person(simulation: Simulation, desk: Desk, organisation: str, name: str = "dan") -> Behind:
    me = Behind(desk.home, name, simulation.home.name, Place("127.0.0.1", 1, b""))
    who = desk.member(name, "data_team", organisation)
    for field, value in {"desk": desk, "who": who, "simulation": simulation, "asked": []}.items():
        object.__setattr__(me, field, value)
    return me


@dataclass
class World:
    """A federation that was asked one question through its door, and has answered."""

    simulation: Simulation
    desk: Desk
    dan: Behind
    home: Home
    order: WorkOrder


def data_team(simulation: Simulation, folder: Path) -> Home:
    """Return the data team's own folder, which holds nothing of the aggregator's."""
    home = simulation.home
    shutil.copytree(home.people, folder / "people" / home.analyst)
    for name in ("roster.bin", "federation.toml"):
        shutil.copy(home.folder / name, folder / name)
    return Home(folder, home.name, home.pin, home.analyst)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One question is asked for all tests: the mathematics behind it takes seconds."""
    folder = tmp_path_factory.mktemp("asked")
    simulation = Simulation(folder / "federation")
    desk = Desk.over(simulation.home.folder, simulation.home.name, Now(simulation))
    own = simulation.roster.find(simulation.home.analyst).organisation
    dan = person(simulation, desk, own)
    home = data_team(simulation, folder / "team")
    order = query_order(home, SQL, "0.3", TERMS)
    dan.ask("Propose", order=sign(home, order).hex())
    assert simulation.job(order).status == "done"
    return World(simulation, desk, dan, home, order)


@pytest.fixture
def team(world: World, tmp_path: Path) -> Home:
    """The data team's folder, as it is while the question is under way."""
    world.dan.asked.clear()
    shutil.copytree(world.home.folder, tmp_path / "team")
    return Home(tmp_path / "team", world.home.name, world.home.pin, world.home.analyst)


def files(team: Home, order: WorkOrder) -> set[str]:
    return {path.suffix for path in (team.people / "answers").glob(f"{order.id}.*")}


def test_the_answer_is_opened_here_and_the_aggregator_never_learns_it(
    world: World, team: Home
) -> None:
    order, said = world.order, []
    key = (team.people / "answers" / f"{order.id}.key").read_bytes()
    value = ask(world.dan, team, order, said.append)
    assert (value["run"], value["charged"]) == (order.id, order.epsilon)
    assert sorted(value["parties"]) == sorted(order.cohort)
    assert read_answer(value["answer"]).rows
    assert said == ["done: sealed"]
    assert files(team, order) == {".order", ".json"}
    job = world.simulation.job(order)
    assert job.result is not None
    assert (job.result["sealed"], job.result["answer"]) == (True, None)
    held = [path for path in world.simulation.home.folder.rglob("*") if path.is_file()]
    assert not [path for path in held if key in path.read_bytes()]


def test_what_was_opened_is_shown_again_and_asks_nobody(world: World, team: Home) -> None:
    value = ask(world.dan, team, world.order, print)
    world.dan.asked.clear()
    assert resume(world.dan, team, world.order.id[:8], print) == value
    assert world.dan.asked == []
    for run in (world.order.id[:7], "0" * 8, ""):
        with pytest.raises(UsageError, match="no one question"):
            resume(world.dan, team, run, print)


def test_who_was_cut_off_opens_the_answer_later_and_pays_nothing_more(
    world: World, team: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise OSError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(door_asking, "fetched", lost)
        with pytest.raises(OSError, match="cut off"):
            ask(world.dan, team, world.order, print)
    assert files(team, world.order) == {".key", ".order"}
    assert read_answer(resume(world.dan, team, world.order.id, print)["answer"]).rows
    assert len(world.simulation.jobs.named("")) == 1
    assert files(team, world.order) == {".order", ".json"}


def test_a_question_that_was_lost_on_its_way_is_put_on_the_table_then(
    world: World, team: Home
) -> None:
    class Lost(Behind):
        def ask(self, method: str, **body: Any) -> dict[str, Any]:
            world.dan.asked.append(method)
            if world.dan.asked == ["Order"]:
                raise NotAllowedError("there is no such order")
            return world.dan.ask(method, **body)

    wire = sign(team, world.order)
    keep_file(team.people / "answers" / f"{world.order.id}.order", wire)
    me = Lost(team.folder, "dan", world.home.name, world.dan.place)
    assert read_answer(resume(me, team, world.order.id, print)["answer"]).rows
    assert world.dan.asked[:2] == ["Order", "Propose"]


def test_it_comes_in_pieces(world: World, team: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.simulation.home.aggregator / "answers" / f"{world.order.id}.bin"
    monkeypatch.setattr(handing_out, "PIECE", (path.stat().st_size - 1) // 2)
    ask(world.dan, team, world.order, print)
    assert world.dan.asked.count("Answer") == 3


@pytest.mark.parametrize("how", ["without its boxes", "cut off", "another sum"])
def test_bad_answers_are_not_opened_and_the_key_stays(
    how: str, world: World, team: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = fetch_answer(world.simulation.home.aggregator / "answers", world.order.id)
    bad = {
        "without its boxes": replace(kept, boxes=()).to_bytes(),
        "cut off": kept.to_bytes()[:-9],
        "another sum": replace(kept, totals=kept.totals[::-1] + kept.totals[:1]).to_bytes(),
    }[how]
    monkeypatch.setattr(door_asking, "fetched", lambda *_, **__: (bad, {}))
    with pytest.raises(UnopenedError):
        ask(world.dan, team, world.order, print)
    assert files(team, world.order) == {".key", ".order"}


class Says(Me):
    """An aggregator that answers whatever it likes."""

    words: dict[str, Any]

    def ask(self, method: str, **body: Any) -> dict[str, Any]:
        return dict(self.words.get(method, {}))


def says(world: World, **words: Any) -> Says:
    me = Says(world.home.folder, "dan", world.home.name, world.dan.place)
    object.__setattr__(me, "words", words)
    return me


@pytest.mark.parametrize(
    ("status", "error", "ended"),
    [
        ("refused", PolicyRefusalError, True),
        ("abandoned", AbandonedRunError, True),
        ("waiting", WaitingError, False),
    ],
)
def test_what_the_aggregator_says_came_to_nothing_is_opened_until_the_order_is_over(
    status: str, error: type[Exception], ended: bool, world: World, team: Home
) -> None:
    me, order = says(world, Order={"status": status, "declined": 3}), world.order
    with pytest.raises(error):
        ask(me, team, order, print)
    tidy(team, order.expires - 1)
    assert {".key", ".order"} <= files(team, order)
    wire = file_of(team, order.id, "order").read_bytes()
    tidy(team, order.expires)
    assert files(team, order) == (set() if ended else {".key", ".order"})
    file_of(team, order.id, "over").touch()
    file_of(team, order.id, "order").write_bytes(wire[:-1])  # whose end nobody knows
    tidy(team, order.expires)
    assert file_of(team, order.id, "order").exists()


def test_an_answer_that_was_said_to_be_none_is_opened_after_all(world: World, team: Home) -> None:
    me, order = says(world, Order={"status": "refused", "declined": 3}), world.order
    with pytest.raises(PolicyRefusalError):
        ask(me, team, order, print)
    assert read_answer(resume(world.dan, team, order.id, print)["answer"]).rows
    assert files(team, order) == {".order", ".json"}
    tidy(team, order.expires)
    assert files(team, order) == {".order", ".json"}


FORGED = {"parties": ["cn"], "late": [], "answer": json.dumps({"columns": [], "rows": ["made up"]})}


def again(team: Home, **changed: Any) -> WorkOrder:
    return query_order(team, changed.pop("sql", SQL), "0.3", replace(TERMS, **changed))


def handed(world: World, reused: object) -> Says:
    return says(world, Order={"status": "done"}, Answer={**FORGED, "reused": reused})


def told_of(order: WorkOrder) -> dict[str, Any]:
    return {"run": order.id, "asked_at": 1, "epsilon": "9"}


def test_a_past_release_is_the_one_that_was_opened_here(world: World, team: Home) -> None:
    """Its rows, price and parties are this folder's, whatever the aggregator says."""
    first, order = ask(world.dan, team, world.order, print), again(team)
    value = ask(handed(world, told_of(world.order)), team, order, print)
    for name in ("answer", "parties", "late", "epsilon"):
        assert value[name] == first[name]
    at = world.order.created
    assert (value["charged"], value["reused"]) == ("0", {"run": first["run"], "asked_at": at})
    assert files(team, order) == {".order", ".json"}


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ("asked anew", IntegrityError, "asked to be answered anew"),
        ("not here", UsageError, "--fresh"),
        ("no answer here", UsageError, "--fresh"),
        ("another question", IntegrityError, "another thing"),
        ("under another name", IntegrityError, "another thing"),
        ("damaged", UsageError, "damaged"),
        ("a copy of a copy", IntegrityError, "another thing"),
    ],
)
def test_bad_past_releases_make_no_rows(
    how: str, error: type[Exception], match: str, world: World, team: Home
) -> None:
    past, changes = world.order, {}
    kept = ask(world.dan, team, past, print)
    file = file_of(team, past.id, "json")
    if how == "asked anew":
        changes = {"source": "fresh"}
    elif how == "not here":
        past = again(team)
    elif how == "no answer here":
        file.unlink()
    elif how == "another question":
        changes = {"cohort": (CN, EU, UK, US)}
    elif how == "under another name":
        file.write_text(json.dumps({**kept, "run": "0" * 64}))
    elif how == "damaged":
        file.write_text("{")
    else:
        file.write_text(json.dumps({**kept, "reused": {"run": "0" * 64}}))
    order = again(team, **changes)
    with pytest.raises(error, match=match):
        ask(handed(world, told_of(past)), team, order, print)
    assert files(team, order) == {".key", ".order"}


def test_a_noisier_release_answers_nothing_finer(world: World, team: Home) -> None:
    ask(world.dan, team, world.order, print)
    finer = query_order(team, SQL, "0.6", TERMS)
    with pytest.raises(IntegrityError, match="another thing"):
        ask(handed(world, told_of(world.order)), team, finer, print)


@pytest.mark.parametrize(
    "reused", [None, "yes", 7, True, [], {}, {"run": 1}, {"run": "../x"}, {"run": "A" * 64}]
)
def test_bad_words_of_a_past_release(reused: object, world: World, team: Home) -> None:
    order = again(team)
    with pytest.raises(IntegrityError, match="names no past release"):
        ask(handed(world, reused), team, order, print)
    assert files(team, order) == {".key", ".order"}


def test_a_sealed_answer_is_no_past_one(
    world: World, team: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_asking, "fetched", lambda *_, **__: (b"x", {"reused": {"run": "0"}}))
    with pytest.raises(IntegrityError, match="past one"):
        ask(world.dan, team, world.order, print)


def test_a_question_without_a_key_of_its_own_is_not_proposed(world: World, team: Home) -> None:
    order = drafted_query(team, SQL, "0.3", TERMS)
    with pytest.raises(NotTakenError, match="no key"):
        world.dan.ask("Propose", order=sign(team, order).hex())
    assert len(world.simulation.jobs.named("")) == 1


@pytest.mark.parametrize("role", ["data_team", "officer", "regulator"])
def test_another_organisations_answer_is_not_handed_out(world: World, role: str) -> None:
    who = world.desk.member(role, role, "Institute")
    with pytest.raises(DeniedError):
        world.desk.ask("Answer", who.session, order=world.order.id)


@pytest.mark.parametrize("begin", [-1, 1 << 40, True, "0"])
def test_bad_pieces_are_not_handed_out(begin: object, world: World) -> None:
    with pytest.raises(MalformedMessageError):
        world.dan.ask("Answer", order=world.order.id, begin=begin)


def test_a_past_release_comes_as_it_was_given(
    world: World, team: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened at the aggregator before, by who asked there; its proposer may see it."""
    past = {"run": "1" * 64, "asked_at": 7, "epsilon": "0.2"}
    rows = ask(world.dan, team, world.order, print)["answer"]
    result = {"answer": rows, "parties": ["cn"], "reused": past}
    job = replace(world.simulation.job(world.order), result=result)
    own = load_aggregator(world.simulation.home.aggregator)
    (known,) = OrderBook(own.folder).all()
    told = handing_out.answer_json(own, replace(known, job=job), 0)
    assert (json.loads(str(told["answer"])), told["reused"]) == (rows, past)
    assert "part" not in told


def test_an_order_without_an_answer_says_so(world: World) -> None:
    own = load_aggregator(world.simulation.home.aggregator)
    (known,) = OrderBook(own.folder).all()
    running = replace(known, job=replace(known.job, status="running"))
    with pytest.raises(NotTakenError, match="no answer"):
        handing_out.answer_json(own, running, 0)


def test_a_roster_that_goes_on_is_taken_and_a_forked_one_is_not(
    simulation: Simulation, tmp_path: Path
) -> None:
    desk = Desk.over(simulation.home.folder, simulation.home.name, Now(simulation))
    dan, team = person(simulation, desk, "Analytics"), data_team(simulation, tmp_path / "team")
    chain, own = simulation.home.aggregator / "roster.bin", team.folder / "roster.bin"
    before, settings = own.read_bytes(), load_aggregator(simulation.home.aggregator)
    change(settings, Suspend(EU))
    renew(dan, team)
    ahead = own.read_bytes()
    assert ahead == chain.read_bytes() != before
    chain.write_bytes(before)
    with pytest.raises(OlderRosterError):
        renew(dan, team)
    change(settings, Suspend(UK))
    with pytest.raises(ForkedRosterError):
        renew(dan, team)
    assert own.read_bytes() == ahead


def test_another_federations_folder_asks_nothing(world: World, team: Home) -> None:
    foreign = Home(team.folder, "other", team.pin, team.analyst)
    with pytest.raises(UsageError, match="is of other"):
        renew(world.dan, foreign)
    assert world.dan.asked == []


def pieces(data: bytes, size: int, claims: Any = None, digest: str | None = None) -> Any:
    """Return what hands `data` out in pieces of a size."""

    def answer(_: str, begin: int) -> dict[str, Any]:
        part = data[begin : begin + size].hex()
        whole = len(data) if claims is None else claims
        return {"part": part, "size": whole, "digest": digest or canonical.digest_bytes(data)}

    return answer


def test_pieces_make_a_whole_and_nothing_else_does() -> None:
    data = bytes(range(256))
    assert fetched(pieces(data, 100), "x") == (data, {"digest": canonical.digest_bytes(data)})
    assert fetched(lambda _, begin: {"answer": begin}, "x") == (b"", {"answer": 0})
    for bad in (
        pieces(data, 100, digest="0" * 64),
        pieces(data, 100, claims=300),  # it ends early
        pieces(data, 100, claims=LARGEST + 1),
        pieces(data, 100, claims="9"),
        lambda _, begin: {"part": "zz", "size": 1},
        lambda _, begin: {"part": "00"},
        lambda _, begin: {"part": "00" * 9, "size": 1},
    ):
        with pytest.raises(IntegrityError):
            fetched(bad, "x")


def test_by_the_command(
    world: World, team: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.peoples_door.open_me", lambda _: world.dan)
    monkeypatch.setattr("experiments.ordering.query_order", lambda *_: world.order)
    where = ("--federation", str(team.folder))
    words = ["person", "ask", SQL, "privacy.epsilon=0.3", f"cohort.parties={CN},{EU},{UK}", *where]
    assert cli.run([*words, "--explain"]) == 0
    assert float(json.loads(capsys.readouterr().out)["epsilon"]) <= 0.3
    assert world.dan.asked == []
    assert cli.run([*words, "--json"]) == 0
    told = capsys.readouterr()
    value = json.loads(told.out)
    assert value["schema"] == "entrepot.person.ask/1"
    assert "done: sealed" in told.err
    run = value["run"][:12]
    assert cli.run(["person", "ask", "--resume", run, *where]) == 0
    assert "ε = " in capsys.readouterr().out
    assert cli.run(["person", "ask", SQL, "--resume", run, *where]) == 2
    assert cli.run(["person", "ask", *where]) == 2
