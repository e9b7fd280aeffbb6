"""`entrepot budget` on a federation that has worked: what was spent, what a run would change."""

import json
import math
import shlex
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
from dp_accounting.rdp import RdpAccountant

from clients.books import Books
from clients.settings import load_settings
from experiments.accounts import open_books
from experiments.cli import run
from experiments.home import Home
from experiments.words import say
from federation.ledger.notes import origin_of
from policies.budget.account import Charge, charges
from policies.budget.events import Gaussian, from_json
from policies.parties import PartyId
from tests.played import Played, played
from tests.unit.test_books_version1 import write_version_1

UK = PartyId("warehouse-uk")
DELTA = 1e-6
DAY = 86_400
AVERAGE = "SELECT AVG(amount) FROM orders"


@pytest.fixture(scope="module")
def federation() -> Played:
    return played()


def said(capsys: pytest.CaptureFixture[str], home: Home, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([*words, "--federation", str(home.folder)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def value_of(capsys: pytest.CaptureFixture[str], home: Home, *words: str) -> dict[str, Any]:
    code, out, err = said(capsys, home, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def budgets(capsys: pytest.CaptureFixture[str], home: Home) -> dict[tuple[str, str], Any]:
    rows = value_of(capsys, home, "budget", "show")["budgets"]
    return {(row["node"], row["dataset"]): row for row in rows}


# -- an accountant of our own ----------------------------------------------------------------------


def dp_event(value: Mapping[str, Any]) -> dp_accounting.DpEvent:
    match value["event"]:
        case "gaussian":
            return dp_accounting.GaussianDpEvent(float(value["noise_multiplier"]))
        case "discrete_gaussian":
            return dp_accounting.GaussianDpEvent(
                float(value["sigma"]) / float(value["sensitivity"])
            )
        case "sampled_gaussian":
            noise = dp_accounting.GaussianDpEvent(float(value["noise_multiplier"]))
            return dp_accounting.PoissonSampledDpEvent(float(value["sampling_rate"]), noise)
        case "repeated":
            return dp_accounting.SelfComposedDpEvent(dp_event(value["of"]), value["count"])
        case "composed":
            return dp_accounting.ComposedDpEvent([dp_event(part) for part in value["of"]])
    raise AssertionError(value)


def epsilon(*events: tuple[Mapping[str, Any], int]) -> float:
    """ε at δ = 1e-6 of so many of each event, by the library alone."""
    accountant = RdpAccountant(list(range(2, 257)))
    for value, count in events:
        if count:
            accountant.compose(dp_event(value), count)
    return accountant.get_epsilon(DELTA)


def near(value: float) -> Any:
    """What is rounded up to four digits, over fewer orders."""
    return pytest.approx(value, rel=0.01, abs=2e-4)


# -- show ------------------------------------------------------------------------------------------


def test_what_was_spent_is_what_ran(federation: Played, capsys: pytest.CaptureFixture[str]) -> None:
    rows = budgets(capsys, federation.home)
    assert len(rows) == 12
    trained, asked = federation.trained, federation.asked
    for (node, dataset), row in rows.items():
        of_node = {"demand": (trained.event, 2), "orders": (asked.event, 1)}[dataset]
        expected = epsilon(of_node)
        assert row["epsilon"] == near(expected)
        assert row["epsilon"] >= expected
        assert (row["pending"], row["delta"], row["releases"]) == (0, DELTA, of_node[1])
        assert row["spent"] == row["epsilon"]
        assert row["left"] == pytest.approx(row["limit"] - row["epsilon"], abs=1e-4)
        assert row["window"] == "2025"
        assert row["gate"] == {"epsilon": row["epsilon"], "kind": "rdp"}
        assert 0 < row["certificate"]["epsilon"] <= row["epsilon"]
        assert row["certificate"]["kind"] == "pld"
        assert row["lifetime"]["epsilon"] == row["epsilon"]  # one window so far
        assert row["failures"] == {"spent": "0", "limit": "0.00000001"}
        assert [step["epsilon"] for step in row["course"]] == [row["epsilon"]]
        assert abs(row["course"][0]["at"] - time.time()) < 3600
        assert node in {member.party for member in federation.home.holders()}


def test_a_run_that_ended_early_shows_what_rdp_says(
    federation: Played, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = federation.copy(tmp_path / "copy")
    before = budgets(capsys, home)[UK, "demand"]
    node = open_books(home.node(UK))
    (account,) = [each for each in node.accounts() if each.statement.dataset == "demand"]
    books = writable(home, UK)
    books.reserve([Charge(account.scope, from_json(federation.trained.event), 2)], "early")
    books.settle("early", "k")
    books.close("early")
    row = budgets(capsys, home)[UK, "demand"]
    assert (before["certificate"]["epsilon"] is None, before["plain"]["curve"]) == (False, "pld")
    assert (row["certificate"]["epsilon"], row["plain"]["curve"]) == (None, "rdp")


def test_what_is_set_aside_is_told_apart_from_what_was_spent(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation.copy(tmp_path / "copy")
    before = budgets(capsys, home)[UK, "demand"]
    spend(home, UK, [int(time.time())], left=False)
    after = budgets(capsys, home)[UK, "demand"]
    assert after["spent"] == before["spent"] > 0
    assert after["pending"] > 0
    assert after["spent"] + after["pending"] == pytest.approx(after["epsilon"], abs=1e-9)
    assert after["left"] == pytest.approx(after["limit"] - after["epsilon"], abs=1e-9)


def test_runs_left_are_as_many_as_fit(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    row = budgets(capsys, federation.home)[UK, "demand"]
    event, count = federation.trained.event, row["runs_left"]["count"]
    assert 1 <= count < 100
    assert not row["runs_left"]["more"]
    assert epsilon((event, 2 + 2 * count)) <= row["limit"]
    assert epsilon((event, 2 + 2 * (count + 1))) > row["limit"] * 0.99
    assert row["runs_left"]["like"] == near(epsilon((event, 2)))


def test_a_person_at_more_parties_has_less_and_under_shared_noise_least(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = budgets(capsys, federation.home)
    people = rows["merchant-br", "orders"]["person"]
    assert [item["parties"] for item in people] == [1, 2, 3, 8]
    event = federation.asked.event
    for item in people:
        assert item["epsilon"] == near(epsilon((event, item["parties"])))
    assert people[0]["epsilon"] == people[0]["shared"] == rows[UK, "orders"]["epsilon"]
    assert all(item["shared"] > item["epsilon"] for item in people[1:])
    # Commercial confidentiality has no persons in it.
    assert rows[UK, "demand"]["person"] == []
    assert "commercial" in rows[UK, "demand"]["unit"]


def test_plain_numbers_lie_between_luck_and_the_textbook(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in budgets(capsys, federation.home).values():
        plain = row["plain"]
        assert 1 == plain["luck"] <= plain["caught"] <= plain["textbook_caught"] <= 100
        assert 0.5 <= plain["right_guess"] < plain["textbook_right_guess"] < 1
        away = math.exp(-row["epsilon"])
        bound = 0.5 + (1 - away + 2 * DELTA * away) / (1 + away) / 2
        assert plain["textbook_right_guess"] == pytest.approx(bound, abs=1e-4)
        assert plain["curve"] == "pld"
        assert plain["false_alarms"] == 0.01


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_tables_say_which_epsilon_is_which(
    language: Any, federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, federation.home, "budget", "show", "--lang", language)
    assert code == 0
    flat = "".join(out.split())
    for note in ("which_note", "failures_note", "plain_note", "person_note", "commercial_note"):
        assert "".join(say(f"budget.{note}", language).split()) in flat
    assert all(member.party in out for member in federation.home.holders())
    assert "░" in out
    assert "█" in out


def test_the_course_falls_run_by_run(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation.copy(tmp_path / "copy")
    spend(home, UK, [int(time.time()) + place for place in range(5)])
    row = budgets(capsys, home)[UK, "demand"]
    steps = [step["epsilon"] for step in row["course"]]
    noise = {"event": "gaussian", "noise_multiplier": "20"}
    trained = (federation.trained.event, 2)
    assert steps == [near(epsilon(trained, (noise, count))) for count in range(6)]
    assert steps == sorted(steps)
    assert steps[-1] == row["epsilon"]
    assert row["releases"] == 7


def writable(home: Home, node: PartyId, now: Callable[[], float] = time.time) -> Books:
    key = load_settings(home.node(node)).identity
    return Books(home.node(node) / "books.sqlite", origin_of(home.name, node), key, now)


def spend(
    home: Home, node: PartyId, times: list[int], multiplier: str = "20", *, left: bool = True
) -> None:
    """One run of one Gaussian release at each time, in the demand account of a node.

    left: whether it left the node and is over, or is still only reserved.
    """
    own, clock = open_books(home.node(node)), [0]
    books = writable(home, node, lambda: clock[0])
    contracts = tuple(own.contracts.values())
    for place, at in enumerate(times):
        clock[0] = at
        order = f"{place:064x}"
        event = Gaussian(multiplier)
        due = charges(own.contracts["demand"], contracts, own.windows, event, 1)
        books.reserve(due, order)
        if left:
            books.settle(order, "r")
            books.close(order)


# -- what-if ---------------------------------------------------------------------------------------

RUNS = (
    ("train", "fraud", "privacy.epsilon=1"),
    ("train", "demand", "privacy.epsilon=0.5"),
    ("train", "demand", "experiment=demand_fedavg", "privacy.epsilon=0.5"),
    ("query", AVERAGE),
    ("query", AVERAGE, "privacy.epsilon=0.4", "cohort.minimum=4"),
)


@pytest.mark.parametrize("words", RUNS)
def test_what_a_run_would_change(
    words: tuple[str, ...], federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    value = value_of(capsys, federation.home, "budget", "what-if", *words)
    held = budgets(capsys, federation.home)
    asked = value["run"]
    assert value["schema"] == "entrepot.budget.what-if/1"
    assert value["fits"]
    assert {row["node"] for row in value["accounts"]} == set(asked["cohort"])
    for row in value["accounts"]:
        before = held[row["node"], row["dataset"]]
        assert row["before"] == before["epsilon"]
        assert row["left_before"] == before["left"]
        assert row["requested"] == near(float(asked["epsilon"]))
        assert max(row["before"], row["requested"]) < row["after"]
        assert row["after"] < row["before"] + row["requested"]  # runs compose, they do not add
        assert row["after"] <= row["set_aside"] <= row["limit"]
        assert (row["set_aside"] > row["after"]) == (asked["abandoned"] > 0)
        assert row["left"] == pytest.approx(row["limit"] - row["after"], abs=1e-4)
        assert row["runs_left"] == max(0, row["runs_left_before"] - 1) or row["runs_left_more"]
        caught = row["of_100_caught"]
        assert 1 == caught["luck"] <= caught["before"] <= caught["after"]
        assert row["right_guess"]["before"] < row["right_guess"]["after"]
        assert row["certificate"]["before"] is None  # two runs, one after the other, are no plan
        assert row["certificate"]["after"] is None
        assert (row["refusal"], row["affordable"]) == (None, None)


@pytest.mark.parametrize(
    "words",
    [
        *(("budget", "what-if", *run) for run in RUNS),
        ("budget", "forecast", "--wish", "train fraud", "--wish", shlex.join(RUNS[2])),
        ("budget", "show"),
        ("query", AVERAGE, "--explain"),
    ],
)
def test_it_spends_nothing_and_touches_no_row(
    words: tuple[str, ...],
    federation: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With no rows there at all it says the same, and not an entry is added to any ledger."""
    home = federation.copy(tmp_path / "copy")
    first = value_of(capsys, home, *words)
    entries = ledgers(home)
    for member in home.holders():
        shutil.rmtree(home.node(member.party) / "data")
    assert value_of(capsys, home, *words) == first
    assert ledgers(home) == entries


def ledgers(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for path in home.folder.glob("nodes/*/books.sqlite"):
        with sqlite3.connect(path) as books:
            found[path.parent.name] = [
                *books.execute("SELECT number, entry FROM leaves ORDER BY number"),
                *books.execute("SELECT * FROM tallies ORDER BY line, number"),
            ]
    assert len(found) == 11
    return found


LOOKS = (
    ("budget", "show"),
    ("budget", "what-if", *RUNS[0]),
    ("budget", "forecast", "--wish", "train fraud"),
    ("query", AVERAGE, "--explain"),
    ("audit", "show"),
)


@pytest.mark.parametrize(("words", "killed"), [*((w, False) for w in LOOKS), (LOOKS[0], True)])
def test_looking_changes_no_byte(
    words: tuple[str, ...],
    killed: bool,
    federation: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor does it fold in what a killed node left beside its books, nor leave a file."""
    home = federation.copy(tmp_path / "copy")
    if killed:
        leave_as_by_kill(home.node(UK) / "books.sqlite")
    before = contents(home.folder)
    assert said(capsys, home, *words)[0] == 0
    assert contents(home.folder) == before


def leave_as_by_kill(path: Path) -> None:
    """A last entry stands in the write-ahead file alone, as after kill -9."""
    apart = path.with_name("apart")
    apart.mkdir()
    with closing(sqlite3.connect(path)) as books:
        books.execute("INSERT INTO times VALUES (1)")
        books.commit()
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{suffix}", apart)
    for file in apart.iterdir():
        file.replace(path.with_name(file.name))
    apart.rmdir()
    assert path.with_name("books.sqlite-wal").stat().st_size


def contents(folder: Path) -> dict[str, bytes | None]:
    """What lies in a folder; of files that only say who is connected, no more than that."""
    return {
        str(path.relative_to(folder)): None if path.name.endswith("-shm") else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("words", LOOKS)
def test_books_that_are_missing_are_not_made(
    words: tuple[str, ...],
    federation: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = federation.copy(tmp_path / "copy")
    (home.node(UK) / "books.sqlite").unlink()
    before = contents(home.folder)
    code, _, err = said(capsys, home, *words)
    assert code == 0
    assert contents(home.folder) == before
    if words[0] == "budget":
        assert say("budget.no_books", "en", nodes=UK) in err


def test_a_node_that_never_ran_has_spent_nothing(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation.copy(tmp_path / "copy")
    (home.node(UK) / "books.sqlite").unlink()
    before, after = budgets(capsys, federation.home), budgets(capsys, home)
    assert after.keys() == before.keys()
    row = after[UK, "demand"]
    assert (row["epsilon"], row["pending"], row["releases"], row["course"]) == (0, 0, 0, [])
    assert row["left"] == row["limit"] == before[UK, "demand"]["limit"]
    assert row["window"] == before[UK, "demand"]["window"]


@pytest.mark.parametrize(
    ("words", "content"),
    [
        *((LOOKS[0], content) for content in (b"", b"no database at all" * 100, None)),
        *((words, b"x") for words in LOOKS),
    ],
)
def test_what_is_no_book_is_one_sentence(
    words: tuple[str, ...],
    content: bytes | None,
    federation: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = federation.copy(tmp_path / "copy")
    path = home.node(UK) / "books.sqlite"
    for kept in home.node(UK).glob("books.sqlite*"):
        kept.unlink()
    if content is None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE guests (name TEXT)")
            other.commit()
    else:
        path.write_bytes(content)
    before = contents(home.folder)
    code, out, err = said(capsys, home, *words)
    assert (code, out) == (2, "")
    assert UK in err
    assert len(err.splitlines()) == 1
    assert contents(home.folder) == before


def test_books_of_version_1_are_not_carried_over_by_looking(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation.copy(tmp_path / "copy")
    path = home.node(UK) / "books.sqlite"
    path.unlink()
    write_version_1(path)
    before = path.read_bytes()
    code, out, err = said(capsys, home, "budget", "show")
    assert (code, out) == (2, "")
    assert "run the node once" in err
    assert path.read_bytes() == before


def test_too_much_does_not_fit_and_what_is_suggested_does(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("budget", "what-if", "train", "fraud")
    value = value_of(capsys, federation.home, *words, "privacy.epsilon=7")
    assert not value["fits"]
    affordable = {row["affordable"] for row in value["accounts"]}
    assert all("cannot pay" in row["refusal"] for row in value["accounts"])
    assert 0 < min(affordable) < 3.5
    passed = value_of(capsys, federation.home, *words, f"privacy.epsilon={min(affordable)}")
    assert passed["fits"]
    code, out, _ = said(capsys, federation.home, *words, "privacy.epsilon=7")
    assert code == 0
    assert say("whatif.some_fit_not", "en", count=4, total=4) in out
    assert "privacy.epsilon=" in out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("what-if", "train", "weather"), 2),
        (("what-if", "train", "fraud", "privacy.epsilons=1"), 2),
        (("what-if", "query", "SELECT * FROM orders"), 2),
        (("what-if", "query", AVERAGE, "privacy.epsilon=-1"), 2),
        (("what-if", "dance", "fraud"), 2),
        (("what-if", "train"), 2),
        (("what-if", "train", "fraud", "privacy=none"), 10),
        (("forecast", "--wish", "train"), 2),
        (("forecast", "--wish", 'query "SELECT'), 2),
        (("forecast", "--wish", "budget show"), 2),
    ],
)
def test_what_is_no_run_is_one_sentence(
    words: tuple[str, ...], code: int, federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = said(capsys, federation.home, "budget", *words)
    assert (found, out) == (code, "")
    assert err.strip()


# -- forecast --------------------------------------------------------------------------------------


def test_fewer_than_four_runs_have_no_forecast(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    value = value_of(capsys, federation.home, "budget", "forecast")
    assert len(value["accounts"]) == 12
    for row in value["accounts"]:
        assert (row["runs"], row["needed"], row["empty_on"]) == (1, 4, None)
        assert "needs 4 runs" in row["said"]
    code, out, _ = said(capsys, federation.home, "budget", "forecast", "--lang", "zh")
    assert code == 0
    assert say("forecast.too_few", "zh", needed=4, runs=1) in out


def test_the_day_an_account_is_empty_follows_from_its_pace(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, now = federation.copy(tmp_path / "copy"), int(time.time())
    pace = 10 * DAY
    spend(home, UK, [now - pace * back for back in range(8, -1, -1)], "6")
    value = value_of(capsys, home, "budget", "forecast")
    (row,) = [r for r in value["accounts"] if (r["node"], r["dataset"]) == (UK, "demand")]
    shown = budgets(capsys, home)[UK, "demand"]
    noise, trained = {"event": "gaussian", "noise_multiplier": "6"}, (federation.trained.event, 2)
    left = next(
        count for count in range(1000) if epsilon(trained, (noise, 10 + count)) > shown["limit"]
    )
    assert row["runs"] == 10
    assert abs(row["runs_left"] - left) <= 1
    assert row["seconds_between_runs"] == pytest.approx(pace, rel=0.15)
    empty = datetime.strptime(row["empty_on"], "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    assert abs(empty - now - left * pace) <= 0.2 * left * pace + DAY
    assert row["earliest"] <= row["empty_on"] <= row["latest"]
    assert row["empty_on"] in said(capsys, home, "budget", "forecast")[1]


def test_a_greedy_list_takes_wishes_in_their_order(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    def wished(*wishes: str) -> list[dict[str, Any]]:
        words = [word for wish in wishes for word in ("--wish", wish)]
        value = value_of(capsys, federation.home, "budget", "forecast", *words)
        assert [row["wish"] for row in value["wishes"]] == list(wishes)
        return value["wishes"]

    big, small = "train fraud privacy.epsilon=2.5", "train fraud privacy.epsilon=0.3"
    other = "train demand privacy.epsilon=1"
    assert [row["fits"] for row in wished(big, small, other)] == [True, True, True]
    found = wished(big, big, small, other)
    assert [row["fits"] for row in found] == [True, False, True, True]
    assert found[1]["lacking"] == ["payments-eu", "payments-cn", "merchant-uk", "merchant-br"]
    assert "privacy.epsilon=" in found[1]["advice"]
    # A wish that was not taken spends nothing: the small one fits as often as without it.
    assert [row["fits"] for row in wished(small, big, small, big)] == [True, True, True, False]
