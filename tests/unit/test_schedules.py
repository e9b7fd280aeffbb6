"""The same work again and again: signed at once, priced as one, begun when the time has come."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aggregator import jobs as tables
from aggregator.jobs import Jobs
from aggregator.proposing import ASK_SECONDS
from experiments.cli import run
from experiments.deciding import overview
from experiments.deciding_view import listed, spoken
from experiments.door_asking import put
from experiments.errors import BudgetExhaustedError, UsageError
from experiments.kept_questions import file_of
from experiments.opening import key_of
from experiments.ordering import Terms, drafted_query
from experiments.schedules import Schedule, asked_anew, read_schedule, turns
from experiments.scheduling import lay, on_table, priced
from federation.messages import Kind
from federation.orders import Turn, WorkOrder, open_order
from federation.tasks import QueryTask
from policies.budget import accountant
from policies.budget.events import Repeated, from_json
from tests.persons import ask_above, is_asked, look, says
from tests.simulator import CN, SQL, UK, WAREHOUSES, Killed, Simulation

HOUR, DAY = 3600, 24 * 3600
TERMS = Terms(purpose="market_statistics", cohort=WAREHOUSES)
NOW = 1_900_000_000.0


@pytest.fixture
def ready(simulation: Simulation) -> Simulation:
    """Every node's folder lies here."""
    for member in simulation.home.holders():
        simulation.folder(member.party)
    return simulation


def at(simulation: Simulation, moment: float) -> None:
    """It is that time now, and whatever is due is worked on by a freshly started aggregator."""
    simulation.later += moment - simulation.now()
    simulation.work()


def schedule(simulation: Simulation, every: int = DAY, times: int = 3) -> Schedule:
    return Schedule(int(simulation.now()) + 2 * HOUR, every, times)


def question(simulation: Simulation, epsilon: str = "0.4") -> WorkOrder:
    return drafted_query(simulation.home, SQL, epsilon, asked_anew(TERMS))


def training(simulation: Simulation) -> WorkOrder:
    """One short round, cheap enough for three of them."""
    return simulation.training(
        noise_multiplier=Decimal(40), rounds=1, steps=1, abandoned=1, cohort=WAREHOUSES
    )


def laid(simulation: Simulation, draft: WorkOrder, when: Schedule) -> list[WorkOrder]:
    """Lay a schedule on the table; return its orders."""
    told = lay(simulation.home, draft, when, on_table(simulation.home, simulation.now()))
    wires = [simulation.jobs.find(one["run"]).wire for one in told["orders"]]
    return [open_order(wire, simulation.roster).order for wire in wires]


def statuses(simulation: Simulation, orders: list[WorkOrder]) -> list[str]:
    return [simulation.job(order).status for order in orders]


# -- what the options say --------------------------------------------------------------------------


def test_three_options_make_a_schedule() -> None:
    start = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    found = read_schedule(start, "12h", 4, TERMS, NOW - 60)
    assert found == Schedule(int(NOW), 12 * HOUR, 4)
    assert read_schedule(f"{start}+00:00", "12h", 4, TERMS, NOW - 60) == found
    ahead = read_schedule(f"{start}+01:00", "12h", 4, TERMS, NOW - 2 * HOUR)
    assert ahead is not None and ahead.start == NOW - HOUR
    assert read_schedule(None, None, None, TERMS, NOW) is None


BAD = {
    "no span": ("2031-01-01", None, 3, TERMS, "together"),
    "no number": ("2031-01-01", "1d", None, TERMS, "together"),
    "no start": (None, "1d", 3, TERMS, "together"),
    "one": ("2031-01-01", "1d", 1, TERMS, "--times"),
    "none": ("2031-01-01", "1d", 0, TERMS, "--times"),
    "too many": ("2031-01-01", "1h", 367, TERMS, "--times"),
    "no time": ("tomorrow", "1d", 3, TERMS, "not 'tomorrow'"),
    "weeks": ("2031-01-01", "1w", 3, TERMS, "not '1w'"),
    "at once": ("2031-01-01", "0h", 3, TERMS, "an hour"),
    "behind": ("2029-01-01", "1d", 3, TERMS, "ahead"),
    "beyond": ("2031-01-01", "7d", 60, TERMS, "a year"),
    "waits for longer": ("2031-01-01", "1h", 3, replace(TERMS, hours=1), "approval.hours"),
    "two starts": ("2031-01-01", "1d", 3, replace(TERMS, not_before=5), "schedule.not_before"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_schedules(name: str) -> None:
    start, every, times, terms, said = BAD[name]
    with pytest.raises(UsageError, match=said):
        read_schedule(start, every, times, terms, datetime(2030, 12, 1, tzinfo=UTC).timestamp())


def test_a_schedule_wants_no_past_answer() -> None:
    assert asked_anew(TERMS).source == "fresh"
    with pytest.raises(UsageError, match="--past"):
        asked_anew(replace(TERMS, source="past"))


DRAFT = WorkOrder(
    **{
        **dict.fromkeys(("federation", "purpose", "legal_basis", "code", "contract"), "x"),
        "kind": "train",
        "proposer": "a",
        "contract_version": 1,
        "columns": ("c",),
        "recipients": ("a",),
        "parameters": {"rounds": 1},
        "unit": "customer",
        "epsilon": "1",
        "delta": "1e-6",
        "event": {"e": 1},
        "releases": 1,
        "abandoned": 0,
        "windows": (),
        "cohort": ("n",),
        "minimum": 1,
        "created": 1000,
        "expires": 2000,
        "nonce": "n",
    }
)


@given(
    start=st.integers(1001, 10**9),
    every=st.integers(HOUR, 60 * DAY),
    times=st.integers(2, 40),
    hours=st.integers(0, 3),
)
def test_each_order_is_over_before_the_next(start: int, every: int, times: int, hours: int) -> None:
    made = turns(DRAFT, Schedule(start, every, times, hours if hours * HOUR < every - 1 else 0))
    assert [order.not_before for order in made] == [start + n * every for n in range(times)]
    assert [order.schedule for order in made] == [Turn(n + 1, times, every) for n in range(times)]
    for order, later in pairwise(made):
        assert order.not_before < order.waits_until < order.expires < later.not_before
    assert all(order.expires - order.not_before <= 7 * DAY for order in made)
    assert len({order.id for order in made}) == times
    assert {order.nonce for order in made} == {DRAFT.nonce}


# -- on the table ----------------------------------------------------------------------------------


def test_each_begins_when_its_time_has_come(simulation: Simulation) -> None:
    when = schedule(simulation)
    orders = laid(simulation, training(simulation), when)
    simulation.work()
    assert statuses(simulation, orders) == ["waiting"] * 3
    at(simulation, when.starts[0] - HOUR)
    assert statuses(simulation, orders) == ["waiting"] * 3
    assert simulation.mail.letters == []
    for done in (1, 2, 3):
        at(simulation, when.starts[done - 1] + 1)
        assert statuses(simulation, orders) == ["done"] * done + ["waiting"] * (3 - done)
        event = Repeated(from_json(orders[0].event), done * orders[0].releases)
        spent = accountant.epsilon([event], float(orders[0].delta))
        assert simulation.account(CN).epsilon_spent == pytest.approx(spent, abs=1e-3)


def test_a_question_is_asked_anew_under_a_key_of_its_own(simulation: Simulation) -> None:
    orders = laid(simulation, question(simulation), schedule(simulation))
    tasks = [QueryTask.from_json(order.parameters) for order in orders]
    assert {task.source for task in tasks} == {"fresh"}
    keys = [key_of(simulation.home, order.id) for order in orders]
    assert [task.sealing for task in tasks] == [key.public.hex() for key in keys]
    assert len({task.sealing for task in tasks}) == 3


def test_questions_are_laid_through_the_peoples_door(simulation: Simulation) -> None:
    """Each lies in the data team's folder before any is sent: `--resume` takes up every one."""
    home, sent = simulation.home, []

    class Door:
        def propose(self, wires: Mapping[str, bytes]) -> None:
            kept = [file_of(home, order, "order").read_bytes() for order in wires]
            assert kept == list(wires.values())
            sent.extend(wires)

    told = lay(home, question(simulation), schedule(simulation), put(Door(), home))
    assert [one["run"] for one in told["orders"]] == sent
    assert all(key_of(home, order) for order in sent)


def test_one_that_fails_or_is_missed_stops_none_of_the_later_ones(simulation: Simulation) -> None:
    """The aggregator is down when the second could begin: it is refused and costs nothing."""
    when = schedule(simulation, 9 * DAY)
    orders = laid(simulation, training(simulation), when)
    simulation.mail.drop(Kind.TRAIN_ROUND)
    at(simulation, when.starts[0] + 1)
    before = simulation.account(CN).epsilon_spent
    simulation.mail.repair()
    at(simulation, when.starts[2] - HOUR)
    assert statuses(simulation, orders) == ["abandoned", "refused", "waiting"]
    assert simulation.account(CN).epsilon_spent == before
    at(simulation, when.starts[2] + 1)
    assert statuses(simulation, orders) == ["abandoned", "refused", "done"]


def test_a_crash_while_they_are_laid_leaves_none(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tables.keep_first

    def killed(db, table, rows):
        kept(db, table, rows[:2])
        raise Killed

    monkeypatch.setattr(tables, "keep_first", killed)
    with pytest.raises(Killed):
        lay(
            simulation.home,
            question(simulation),
            schedule(simulation),
            on_table(simulation.home, 0),
        )
    assert Jobs(simulation.home.jobs).counts() == {}


def test_a_node_takes_none_before_its_time_and_none_signed_for_ever(simulation: Simulation) -> None:
    when = schedule(simulation)
    first, *_ = laid(simulation, training(simulation), when)
    assert simulation.offer(CN, first).kind is Kind.REFUSED
    beyond = int(simulation.now()) + 370 * DAY
    late = replace(first, not_before=beyond, waits_until=0, expires=beyond + HOUR, nonce="late")
    held = replace(first, waits_until=0, expires=first.not_before + 8 * DAY, schedule=None)
    for order, said in ((late, "more than a year before"), (held, "more than a week")):
        refused = simulation.offer(CN, order)
        assert refused.kind is Kind.REFUSED
        assert said in refused.body["reasons"][0]["en"]


# -- the price of all ------------------------------------------------------------------------------


def test_all_of_them_are_priced_together(ready: Simulation) -> None:
    draft = question(ready)
    event, delta = from_json(draft.event), float(draft.delta)
    found = priced(ready.home, draft, 5)
    assert (found.affordable, found.unseen) == (5, ())
    assert [one["node"] for one in found.accounts] == list(WAREHOUSES)
    for one in found.accounts:
        assert one["cost"] == pytest.approx(accountant.epsilon([Repeated(event, 5)], delta))


def test_what_does_not_fit_in_all_is_not_begun(ready: Simulation) -> None:
    draft, when = question(ready, "1.5"), schedule(ready, times=9)
    found = priced(ready.home, draft, 9)
    assert 1 < found.affordable < 9
    assert all(one["fits"] for one in priced(ready.home, draft, found.affordable).accounts)
    more = priced(ready.home, draft, found.affordable + 1).accounts
    assert not all(one["fits"] for one in more)
    with pytest.raises(BudgetExhaustedError, match=f"--times {found.affordable} would pass"):
        lay(ready.home, draft, when, on_table(ready.home, 0))
    assert ready.jobs.counts() == {}
    assert not list((ready.home.people / "answers").glob("*.key"))


def test_what_lies_elsewhere_is_theirs_to_say(ready: Simulation) -> None:
    folder = ready.home.node(UK)
    folder.rename(folder.with_name("elsewhere"))
    found = priced(ready.home, question(ready), 2)
    assert found.unseen == (UK,)
    assert UK not in {one["node"] for one in found.accounts}


def test_a_node_that_lacks_what_is_read_is_named(ready: Simulation) -> None:
    """Priced as if it were not asked, its order would fail at every turn."""
    newer = replace(question(ready), contract_version=9)
    with pytest.raises(UsageError, match=f"{CN} does not offer .* version 9"):
        priced(ready.home, newer, 2)


# -- what people see -------------------------------------------------------------------------------


def test_people_are_waited_for_from_the_time_at_which_an_order_begins(
    simulation: Simulation,
) -> None:
    ask_above(simulation, CN)
    when = schedule(simulation)
    order = laid(simulation, training(simulation), when)[0]
    at(simulation, when.starts[0] + 1)
    due = sa.select(tables.waits.c.due).where(tables.waits.c.job == order.id)
    ((asked_again,),) = simulation.jobs._store.read(due)
    now = simulation.now()
    assert asked_again - now <= max(ASK_SECONDS, (now - when.starts[0]) / 10)


def test_a_person_is_told_which_one_of_a_schedule_it_is(simulation: Simulation) -> None:
    ask_above(simulation, CN)
    when = schedule(simulation)
    orders = laid(simulation, training(simulation), when)
    at(simulation, when.starts[0] + 1)
    assert is_asked(simulation, CN, orders[0]) and not is_asked(simulation, CN, orders[1])
    shown = look(simulation, CN, orders[0]).shown()
    assert shown["schedule"] == {"number": 1, "of": 3, "every": DAY}
    assert "order 1 of 3 of one schedule, one every 1d" in spoken(shown)
    assert "1 个任务单（共 3 个" in spoken(shown, "zh")
    (row,) = overview(simulation.folder(CN))["waiting"]
    assert row["schedule"] == shown["schedule"]
    assert "1 of 3, one every 1d" in listed({"waiting": [row], "standing": []})
    says(simulation, CN, orders[0])
    at(simulation, when.starts[0] + HOUR)
    assert simulation.job(orders[0]).result["parties"] == list(WAREHOUSES)
    at(simulation, when.starts[1] + 1)
    assert look(simulation, CN, orders[1]).shown()["changes"] == []  # but for its time, the same


# -- the commands ----------------------------------------------------------------------------------


def entrepot(simulation: Simulation, *words: str) -> int:
    return run([*words, "--federation", str(simulation.home.folder)])


def options(simulation: Simulation, times: int = 3) -> list[str]:
    start = datetime.fromtimestamp(simulation.now() + HOUR, UTC).isoformat()
    return ["--start", start, "--every", "1d", "--times", str(times)]


def test_the_command_lays_a_schedule_on_the_table(
    ready: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = f"cohort.parties={','.join(WAREHOUSES)}"
    asked = ["query", SQL, cohort, *options(ready)]
    assert entrepot(ready, *asked, "--explain", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedule"]["times"] == 3 and ready.jobs.counts() == {}
    assert entrepot(ready, *asked, "--explain") == 0
    assert "3 times, one every 1d from" in capsys.readouterr().out
    assert entrepot(ready, *asked, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["schema"] == "entrepot.schedule/1"
    assert value["accounts"] == told["accounts"]
    assert ready.jobs.counts() == {"queued": 3}
    assert entrepot(ready, *asked) == 0
    assert "2 of 3  " in capsys.readouterr().out
    assert entrepot(ready, *asked[:-1], "300") == 11
    assert "none of them was signed" in capsys.readouterr().err
    assert entrepot(ready, *asked, "--past") == 2
    assert entrepot(ready, *asked, "--format", "csv") == 2
    assert ready.jobs.counts() == {"queued": 6}


def test_training_is_laid_on_the_table(
    ready: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["train", "demand", "privacy.epsilon=1", *options(ready, 2)]
    assert entrepot(ready, *asked, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedule"]["times"] == 2 and told["affordable"] == 2
    assert entrepot(ready, *asked, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["accounts"]) == ("train", told["accounts"])
    assert len(value["orders"]) == ready.jobs.counts()["queued"] == 2
    assert entrepot(ready, *asked, "--resume", "0" * 8) == 2
