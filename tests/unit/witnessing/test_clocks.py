"""A clock that leaps stops spending."""

import pytest

from federation.messages import Kind
from federation.riding import pack
from tests.simulator import (
    CN,
    EU,
    KEYHOLDER,
    OTHER_SHOP,
    SHOP,
    UK,
    US,
)
from tests.witnessing import ENOUGH, offered, words

DAY, YEAR = 86400.0, 365 * 86400.0


@pytest.mark.parametrize("leap", [DAY, -DAY, 5 * YEAR, -5 * YEAR, 310, -310])
def test_a_clock_that_leaps_stops_spending(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    held = simulation.account(CN)
    simulation.wrong[CN] = leap
    order = simulation.training(seed=2)
    assert offered(simulation, order).kind is Kind.LEDGER_UNSURE
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["kind"] == "clock"
    (reason,) = reply.body["reasons"]
    assert reason["id"] == "CLOCK-001" and reason["en"] and reason["zh"]
    assert simulation.account(CN) == held
    # Nor do orders come back to life, or windows open: the order is refused for the clock alone.
    simulation.wrong[CN] = 0
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.ACCEPTED


@pytest.mark.parametrize("leap", [DAY, -DAY, 5 * YEAR, -5 * YEAR])
def test_a_clock_that_was_set_while_the_node_was_down_stops_spending(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.kill(CN)
    simulation.wrong[CN] = leap
    order = simulation.training(seed=2)
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["reasons"][0]["id"] == "CLOCK-001"


@pytest.mark.parametrize("leap", [200, -200])
def test_a_clock_that_is_a_little_off_is_none_that_leapt(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.wrong[CN] = leap
    assert offered(simulation, simulation.training(seed=2)).kind is Kind.ACCEPTED


def test_time_never_goes_back_behind_what_was_witnessed(simulation):
    before = int(simulation.now())  # witnesses name whole seconds
    node = simulation.node(CN)
    simulation.wrong[CN] = -DAY
    assert node._judge.now() >= before
    simulation.kill(CN)
    assert simulation.started(CN)._judge.now() >= before


def test_all_clocks_set_back_together_stop_spending(simulation):
    """The witnesses agree; what was witnessed before does not."""
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.kill(CN)
    simulation.later = -DAY
    reply = offered(simulation, simulation.training(seed=2), seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["reasons"][0]["id"] == "CLOCK-001"


def test_a_round_is_not_worked_on_while_the_clock_is_in_doubt(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    simulation.wrong[CN] = -DAY
    node = simulation.node(CN)
    assert simulation.read(node.answer(simulation.round(CN, order))).kind is Kind.LEDGER_UNSURE
    assert simulation.workshops[CN].rounds == []


def test_a_cosignature_of_another_time_makes_a_node_ask_again(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    request = simulation.node(CN)._witnessing.head()["head"]
    simulation.later += 2 * 3600  # the witnesses' time, and this node's too
    late = simulation.cosign(CN, request)
    simulation.later -= 2 * 3600
    simulation.node(CN).answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=late))
    other = simulation.training(seed=2)
    assert offered(simulation, other).kind is Kind.LEDGER_UNSURE
    assert offered(simulation, other, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED


@pytest.mark.parametrize("liars", [1, 2])
def test_one_wrong_clock_stops_nobody_and_two_do(simulation, order, liars):
    """In their words and in their cosignatures."""
    words_of = dict.fromkeys((EU, US, KEYHOLDER, SHOP, OTHER_SHOP, UK))
    node = simulation.started(CN)
    for number, witness_ in enumerate(words_of):
        simulation.later = 360 if number < liars else 0
        words_of[witness_] = simulation.word(witness_, CN, node._witnessing.nonce)
    simulation.later = 0
    reply = offered(simulation, order, seen=pack(words_of))
    assert reply.kind is (Kind.ACCEPTED if liars == 1 else Kind.REFUSED)
    if liars == 2:
        assert offered(simulation, order, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED
    head = node._witnessing.head()["head"]
    simulation.later = 360
    for liar in ENOUGH[:liars]:
        late = simulation.cosign(CN, head, (liar,))
        simulation.later = 0
        node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=late))
        simulation.later = 360
    simulation.later = 0
    assert node._witnessing._is_sure() == (liars == 1)
    assert node._judge.now() < simulation.now() + 300


def test_a_word_to_a_clock_that_was_right_does_not_vouch_for_one_that_leapt(simulation):
    """Statements of an hour ago, shown again to a clock that was set an hour back."""
    old = words(simulation, *ENOUGH)
    first, second = simulation.training(), simulation.training(seed=2)
    assert offered(simulation, first, seen=old).kind is Kind.ACCEPTED
    simulation.later += 3600
    simulation.wrong[CN] = -3600
    assert offered(simulation, second).kind is Kind.LEDGER_UNSURE
    assert offered(simulation, second, seen=old).kind is Kind.LEDGER_UNSURE
