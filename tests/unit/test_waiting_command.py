"""What a data team sees of an order that waits for people: exit code 12, and how to go on."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from experiments.cli import run
from experiments.ordering import sign
from federation.orders import open_order
from tests.persons import ask_above, is_asked, later, says, waiting
from tests.simulator import CN, EU, SQL, UK, Simulation

THREE = (CN, EU, UK)


@pytest.fixture
def asking(simulation):
    """Three warehouses are asked, of which China's asks a person."""
    ask_above(simulation, CN)
    return simulation


@contextmanager
def working(simulation: Simulation) -> Iterator[None]:
    """The aggregator works, and time goes by, within the block."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            later(simulation, 6)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def entrepot(simulation, *words):
    return run([*map(str, words), "--federation", str(simulation.home.folder)])


def waiting_order_of(simulation, capsys):
    """The order that waits, by the id that the command told."""
    told = re.search(r"--resume ([0-9a-f]{12})", capsys.readouterr().err.split("waits")[-1])
    assert told is not None
    (job,) = simulation.jobs.named(told[1])
    assert job.status == "waiting"
    return open_order(job.wire, simulation.roster).order


def test_a_question_that_needs_a_person_is_put_again_and_waits(asking, capsys):
    parties = ",".join(THREE)
    with working(asking):
        asked = ("query", SQL, f"cohort.parties={parties}")
        assert entrepot(asking, *asked) == 12
    order = waiting_order_of(asking, capsys)
    assert order.waits_until > order.created
    assert is_asked(asking, CN, order)
    says(asking, CN, order)
    with working(asking):
        for _ in range(100):
            code = entrepot(asking, "query", "--resume", order.id[:12], "--json")
            if code != 12:
                break
    assert code == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert value["run"] == order.id and value["answer"]["rows"]
    assert set(value["parties"]) == set(THREE)


def test_nothing_was_spent_where_it_was_refused_first(asking, capsys):
    with working(asking):
        entrepot(asking, "query", SQL, f"cohort.parties={','.join(THREE)}")
    waiting_order_of(asking, capsys)
    for party in THREE:
        assert asking.books(party).open_orders() == []
        account = asking.account(party, "orders")
        assert account is None or account.epsilon_spent == 0


def test_a_training_run_that_waits_is_followed_by_its_id(asking, capsys):
    order = replace(waiting(asking.training(cohort=THREE)))
    asking.jobs.add(order.id, sign(asking.home, order), order.created)
    resume = ("train", "demand", "--resume", order.id[:12], "--json")
    with working(asking):
        assert entrepot(asking, *resume) == 12
    assert f"--resume {order.id[:12]}" in capsys.readouterr().err
    says(asking, CN, order)
    with working(asking):
        for _ in range(100):
            code = entrepot(asking, *resume)
            if code != 12:
                break
    assert code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == order.id
    assert entrepot(asking, *resume) == 0  # shown again, and nothing more is paid
    assert entrepot(asking, "train", "fraud", "--resume", order.id[:12]) == 2


def test_an_order_does_not_wait_for_more_than_a_week(asking, capsys):
    words = ("train", "demand", "approval.hours=168", "--dry-run")
    assert entrepot(asking, *words) == 2
    assert "approval.hours" in capsys.readouterr().err
