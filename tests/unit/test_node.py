"""The node's shell: what it refuses, what it repeats, and what a kill can never undo."""

import dataclasses
import logging
import shutil

import pytest

from clients import books_entries
from clients.errors import RefusedWorkError
from clients.node import SCRUBBED
from clients.outbox import Outbox
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.envelopes import Envelope, seal
from federation.errors import (
    FederationError,
    MalformedMessageError,
    MisdirectedMessageError,
    UnknownPartyError,
)
from federation.messages import REPLIES, Kind
from federation.orders import sign_order
from policies.parties import PartyId
from secure_compute.errors import BadSignatureError
from tests.simulator import CN, EU, KEYHOLDER, Killed, killed, recipe

EVENT = recipe().event()


@pytest.fixture
def accepted(simulation):
    """An order that the warehouse in China accepted."""
    order = simulation.training()
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    return order


def assert_failed(reply):
    assert reply.kind is Kind.FAILED
    assert reply.body == {"reason": SCRUBBED}
    assert not reply.blobs


# -- who may ask, and what ------------------------------------------------------------------------


def test_a_ping_is_answered(simulation):
    assert simulation.ask(Kind.PING, CN, "").kind is Kind.PONG


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(REPLIES)))
def test_a_reply_is_no_request(simulation, kind):
    with simulation.nothing_happens(CN):
        reply = simulation.ask(kind, CN, "")
    assert reply.kind is Kind.FAILED
    assert reply.body == {"reason": "this node does not answer that kind"}


def test_a_kind_outside_the_union_is_no_message(simulation):
    class Upload(str):
        value = "rows.upload"

    letter = Envelope(Upload("rows.upload"), AGGREGATOR, CN)
    with simulation.nothing_happens(CN), pytest.raises(MalformedMessageError):
        simulation.node(CN).answer(seal(letter, simulation.key(AGGREGATOR)))


@pytest.mark.parametrize("sender", ["analyst", EU, KEYHOLDER])
@pytest.mark.parametrize("kind", [Kind.PING, Kind.OFFER, Kind.TRAIN_ROUND, Kind.CLOSE])
def test_nobody_but_the_aggregator_may_ask(simulation, accepted, sender, kind):
    letter = Envelope(kind, PartyId(sender), CN, accepted.id)
    with simulation.nothing_happens(CN), pytest.raises(RefusedWorkError):
        simulation.node(CN).answer(seal(letter, simulation.key(PartyId(sender))))


def test_a_letter_signed_by_another_is_not_the_aggregators(simulation, accepted):
    letter = Envelope(Kind.CLOSE, AGGREGATOR, CN, accepted.id)
    with simulation.nothing_happens(CN), pytest.raises(BadSignatureError):
        simulation.node(CN).answer(seal(letter, simulation.key(EU)))


def test_a_stranger_is_not_answered(simulation):
    letter = Envelope(Kind.PING, PartyId("stranger"), CN)
    with simulation.nothing_happens(CN), pytest.raises(UnknownPartyError):
        simulation.node(CN).answer(seal(letter, simulation.key(EU)))


def test_a_letter_for_another_node_is_not_answered(simulation, accepted):
    letter = simulation.round(EU, accepted)
    with simulation.nothing_happens(CN), pytest.raises(MisdirectedMessageError):
        simulation.node(CN).answer(letter)


def test_no_byte_of_a_letter_can_be_changed(simulation, accepted):
    letter = simulation.round(CN, accepted)
    node = simulation.node(CN)
    with simulation.nothing_happens(CN):
        for place in range(0, len(letter), 7):
            altered = bytearray(letter)
            altered[place] ^= 1
            with pytest.raises((FederationError, BadSignatureError)):
                node.answer(bytes(altered))


# -- orders that are no orders --------------------------------------------------------------------


def test_an_order_that_was_altered_is_refused(simulation):
    order = simulation.training()
    wire = sign(simulation.home, order)
    altered = dataclasses.replace(order, epsilon="0.1")
    forged = wire[:64] + sign_order(altered, simulation.key(simulation.home.analyst))[64:]
    for blob, name in ((forged, altered), (wire[:-1], order), (b"", order), (b"x" * 200, order)):
        with simulation.nothing_happens(CN):
            assert_failed(simulation.offer(CN, name, blob))


def test_an_order_under_another_name_is_refused(simulation):
    order, other = simulation.training(), simulation.training()
    with simulation.nothing_happens(CN):
        assert_failed(simulation.offer(CN, order, sign(simulation.home, other)))


@pytest.mark.parametrize("proposer", [EU, AGGREGATOR, KEYHOLDER])
def test_an_order_by_somebody_who_is_no_analyst_is_refused(simulation, proposer):
    order = dataclasses.replace(simulation.training(), proposer=proposer)
    with simulation.nothing_happens(CN):
        assert_failed(simulation.offer(CN, order, sign_order(order, simulation.key(proposer))))


def test_an_order_of_another_federation_is_refused(simulation):
    order = dataclasses.replace(simulation.training(), federation="elsewhere")
    with simulation.nothing_happens(CN):
        assert_failed(simulation.offer(CN, order))


def test_an_order_that_was_never_accepted_is_not_worked_on(simulation):
    order = simulation.training()
    with simulation.nothing_happens(CN):
        for kind in (Kind.TRAIN_ROUND, Kind.QUERY_COMMIT, Kind.QUERY_OPEN):
            assert_failed(simulation.ask(kind, CN, order.id, weights=b"", public_key=b""))


def test_a_refused_order_is_not_worked_on(simulation):
    order = dataclasses.replace(simulation.training(), code="0" * 64)
    with simulation.nothing_happens(CN):
        assert simulation.offer(CN, order).kind is Kind.REFUSED
        assert_failed(simulation.read(simulation.node(CN).answer(simulation.round(CN, order))))


def test_a_round_beyond_the_reserved_ones_is_refused(simulation, accepted):
    letter = simulation.round(CN, accepted, accepted.releases)
    with simulation.nothing_happens(CN):
        assert_failed(simulation.read(simulation.node(CN).answer(letter)))


def test_an_order_for_one_kind_of_work_serves_no_other(simulation, accepted):
    with simulation.nothing_happens(CN):
        assert_failed(simulation.ask(Kind.QUERY_COMMIT, CN, accepted.id, key=b""))


def test_weights_of_another_model_are_not_trained_from(simulation, accepted):
    reply = simulation.ask(Kind.TRAIN_ROUND, CN, accepted.id, weights=b"\0" * 16)
    assert_failed(reply)
    account = simulation.account(CN)
    assert account is not None and account.releases == 0


def test_what_goes_wrong_is_told_to_the_own_log_alone(simulation, accepted, caplog):
    simulation.crash(CN, "compute", "update", "before")
    secret = "retailer 0 3 sold 4711.5"

    def broken(*_):
        raise ValueError(secret)

    simulation.node(CN)._compute.update = broken
    letter = simulation.round(CN, accepted)
    with caplog.at_level(logging.WARNING):
        reply = simulation.node(CN).answer(letter)
    assert_failed(simulation.read(reply))
    assert secret.encode() not in reply
    assert secret in caplog.text


def test_a_missing_key_inside_the_work_is_no_unknown_kind(simulation, accepted, caplog):
    def broken(*_):
        raise KeyError("retailer 0 3")

    simulation.node(CN)._compute.update = broken
    with caplog.at_level(logging.WARNING):
        reply = simulation.node(CN).answer(simulation.round(CN, accepted))
    assert_failed(simulation.read(reply))
    assert "retailer 0 3" in caplog.text


# -- replays --------------------------------------------------------------------------------------


def test_the_same_letter_gives_the_same_bytes_and_one_charge(simulation, accepted):
    letter = simulation.round(CN, accepted)
    first = simulation.node(CN).answer(letter)
    assert simulation.read(first).kind is Kind.TRAIN_UPDATE
    assert simulation.node(CN).answer(letter) == first
    account = simulation.account(CN)
    assert account is not None and account.releases == 1
    assert simulation.restart(CN).answer(letter) == first


def test_a_replay_after_the_end_costs_nothing(simulation, accepted):
    letters = [simulation.round(CN, accepted, number) for number in range(3)]
    replies = [simulation.node(CN).answer(letter) for letter in letters]
    simulation.assert_charged(CN, EVENT, 3)
    assert [simulation.node(CN).answer(letter) for letter in letters] == replies
    assert simulation.ask(Kind.CLOSE, CN, accepted.id).kind is Kind.CLOSED
    assert [simulation.restart(CN).answer(letter) for letter in letters] == replies
    simulation.assert_charged(CN, EVENT, 3)
    assert simulation.workshops[CN].rounds == []  # nothing was computed anew


def test_the_same_round_from_other_weights_is_another_release(simulation):
    order = simulation.training(abandoned=1)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    first = simulation.node(CN).answer(simulation.round(CN, order))
    second = simulation.node(CN).answer(simulation.round(CN, order, scale=1))
    assert simulation.read(second).kind is Kind.TRAIN_UPDATE and second != first
    assert simulation.account(CN).releases == 2
    assert simulation.node(CN).answer(simulation.round(CN, order)) == first


def test_an_aggregator_that_abandons_every_round_is_stopped_at_the_cap(simulation):
    """It asks one round from ever new weights: each answer is a release, and nothing is made."""
    order = simulation.training(abandoned=2)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    node = simulation.node(CN)
    letters = [simulation.round(CN, order, scale=scale) for scale in range(6)]
    replies = [simulation.read(node.answer(letter)) for letter in letters]
    kinds = [reply.kind for reply in replies]
    assert kinds == [Kind.TRAIN_UPDATE] * 3 + [Kind.FAILED] * 3
    assert simulation.account(CN).releases == 3
    # What was of use goes on, and the cap holds in the rounds to come.
    for letter in (simulation.round(CN, order, 1), simulation.round(CN, order, 2)):
        assert simulation.read(simulation.node(CN).answer(letter)).kind is Kind.TRAIN_UPDATE
    simulation.assert_charged(CN, EVENT, 5)


def test_the_cap_counts_every_round_of_the_order(simulation):
    order = simulation.training(abandoned=2)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    kinds = [
        simulation.read(simulation.node(CN).answer(letter)).kind
        for letter in (
            simulation.round(CN, order, 0, 0),
            simulation.round(CN, order, 0, 1),
            simulation.round(CN, order, 1, 0),
            simulation.round(CN, order, 1, 1),
            simulation.round(CN, order, 1, 2),
        )
    ]
    assert kinds == [Kind.TRAIN_UPDATE] * 4 + [Kind.FAILED]


def test_what_was_reserved_is_the_cap_where_the_outbox_forgot_the_rounds(simulation):
    order = simulation.training(abandoned=1)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    kinds = []
    for scale in range(6):
        forget_releases(simulation)
        letter = simulation.round(CN, order, scale=scale)
        kinds.append(simulation.read(simulation.node(CN).answer(letter)).kind)
    assert kinds == [Kind.TRAIN_UPDATE] * 4 + [Kind.FAILED] * 2


def test_fresh_noise_is_not_free_when_the_bytes_of_a_release_are_gone(simulation, accepted):
    letter = simulation.round(CN, accepted)
    simulation.node(CN).answer(letter)
    forget_releases(simulation)
    assert_failed(simulation.read(simulation.node(CN).answer(letter)))
    assert simulation.account(CN).releases == 1


def forget_releases(simulation):
    """The outbox knows nothing of what was made; an older one was put back under the process."""
    with simulation.node(CN)._outbox._kept.connected() as db:
        db.execute("DELETE FROM replies")
        db.execute("DELETE FROM rounds")


def test_an_order_that_was_open_at_a_start_is_over_and_paid_whole(simulation, accepted):
    letter = simulation.round(CN, accepted)
    first = simulation.node(CN).answer(letter)
    simulation.kill(CN)
    whole = accepted.releases + accepted.abandoned
    simulation.started(CN)
    simulation.assert_charged(CN, EVENT, whole)
    with simulation.nothing_happens(CN):
        assert simulation.node(CN).answer(letter) == first  # what left is said again
        for number in range(3):
            again = simulation.round(CN, accepted, number, scale=7)
            assert_failed(simulation.read(simulation.node(CN).answer(again)))
        assert simulation.offer(CN, accepted).kind is Kind.REFUSED
        assert simulation.ask(Kind.CLOSE, CN, accepted.id).kind is Kind.CLOSED
    simulation.later += accepted.expires - accepted.created + 60
    simulation.restart(CN)
    simulation.offer(CN, accepted)  # whatever expired would be given back now
    simulation.assert_charged(CN, EVENT, whole)


def test_a_copy_between_acceptance_and_release_gives_nothing_back(simulation, accepted, tmp_path):
    """No witness saw what left after the copy was made, so none can tell it from the original."""
    copy = shutil.copytree(simulation.folder(CN), tmp_path / "copy")
    for number in range(3):
        update = simulation.node(CN).answer(simulation.round(CN, accepted, number, number))
        assert simulation.read(update).kind is Kind.TRAIN_UPDATE
    simulation.kill(CN)
    shutil.rmtree(simulation.folder(CN))
    shutil.copytree(copy, simulation.home.node(CN))
    assert simulation.restart(CN)._witnessing._is_sure()
    simulation.assert_charged(CN, EVENT, accepted.releases + accepted.abandoned)
    assert_failed(simulation.read(simulation.node(CN).answer(simulation.round(CN, accepted, 0, 9))))
    assert simulation.workshops[CN].rounds == []
    assert simulation.ask(Kind.CLOSE, CN, accepted.id).kind is Kind.CLOSED
    simulation.assert_charged(CN, EVENT, accepted.releases + accepted.abandoned)


def test_what_a_crash_cut_off_before_it_was_accepted_counts_as_spent(simulation):
    order = simulation.training()
    simulation.crash(CN, "outbox", "accept", "before")
    assert killed(lambda: simulation.offer(CN, order))
    assert simulation.account(CN).epsilon_pending > 0
    simulation.restart(CN)
    simulation.assert_charged(CN, EVENT, order.releases + order.abandoned)


def test_the_end_of_an_open_order_is_written_whole_or_not_at_all(simulation, accepted):
    simulation.kill(CN)
    held = simulation.account(CN)
    books = simulation.books(CN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books_entries, "enter_closed", raise_killed)
        assert killed(lambda: books.doubt(accepted.id))
    assert simulation.account(CN) == held
    assert books.doubt(accepted.id) == accepted.releases + accepted.abandoned
    assert books.doubt(accepted.id) == 0
    books.reconcile()


def raise_killed(*_):
    raise Killed


def test_two_processes_never_give_back_what_the_other_may_have_released(simulation, accepted):
    """Whoever did not set an order aside does not know what left for it."""
    simulation.node(CN)._endings._own.clear()
    assert simulation.ask(Kind.CLOSE, CN, accepted.id).kind is Kind.CLOSED
    simulation.assert_charged(CN, EVENT, accepted.releases + accepted.abandoned)


def test_a_closed_order_releases_nothing_more(simulation, accepted):
    first = simulation.node(CN).answer(simulation.round(CN, accepted))
    assert simulation.ask(Kind.CLOSE, CN, accepted.id).kind is Kind.CLOSED
    simulation.assert_charged(CN, EVENT, 1)
    assert_failed(simulation.read(simulation.node(CN).answer(simulation.round(CN, accepted, 1))))
    assert simulation.node(CN).answer(simulation.round(CN, accepted)) == first
    simulation.assert_charged(CN, EVENT, 1)


def test_closing_an_unknown_order_is_harmless(simulation):
    with simulation.nothing_happens(CN):
        assert simulation.ask(Kind.CLOSE, CN, "0" * 64).kind is Kind.CLOSED


def test_a_release_whose_bytes_are_lost_is_not_drawn_anew(simulation, accepted):
    """An outbox put back from yesterday knows nothing of it; the books do."""
    letter = simulation.round(CN, accepted)
    first = simulation.node(CN).answer(letter)
    simulation.workshops[CN].rounds.clear()
    forget_releases(simulation)
    again = simulation.node(CN).answer(letter)
    assert_failed(simulation.read(again))
    assert again != first
    assert simulation.workshops[CN].rounds == []


def test_what_an_expired_order_never_released_is_given_back(simulation, accepted):
    simulation.node(CN).answer(simulation.round(CN, accepted))
    simulation.later = 7200
    simulation.offer(CN, simulation.training())
    simulation.assert_charged(CN, EVENT, 1)
    assert simulation.books(CN).open_orders() == []


def test_the_law_is_asked_again_for_every_release(simulation, accepted):
    first = simulation.node(CN).answer(simulation.round(CN, accepted))
    simulation.later = 7200
    assert_failed(simulation.read(simulation.node(CN).answer(simulation.round(CN, accepted, 1))))
    account = simulation.account(CN)
    assert account is not None and account.releases == 1
    # What left already is the same bytes, not another release.
    assert simulation.node(CN).answer(simulation.round(CN, accepted)) == first


def test_an_order_is_offered_twice_and_reserved_once(simulation, accepted):
    before = simulation.account(CN)
    assert simulation.offer(CN, accepted).kind is Kind.ACCEPTED
    assert simulation.account(CN) == before


def test_noise_is_not_seeded_by_the_order(simulation):
    """The seed is of the initial weights alone: equal orders, equal weights, other updates."""
    updates = []
    for _ in range(2):
        order = simulation.training(seed=7, noise_multiplier=recipe().noise_multiplier)
        assert simulation.offer(CN, order).kind is Kind.ACCEPTED
        updates.append(simulation.read(simulation.node(CN).answer(simulation.round(CN, order))))
    assert updates[0].blobs["update"] != updates[1].blobs["update"]


# -- kills ----------------------------------------------------------------------------------------

KILLS = [
    ("compute", "update", "after", False, False),
    ("outbox", "keep", "before", False, False),
    ("outbox", "keep", "after", True, False),
    ("books", "settle", "before", True, False),
    ("books", "settle", "after", True, True),
    ("books", "close", "before", True, True),
    ("books", "close", "after", True, True),
]


@pytest.mark.parametrize(("part", "step", "moment", "kept", "settled"), KILLS)
def test_a_kill_never_costs_less_nor_sends_other_bytes(
    simulation, part, step, moment, kept, settled
):
    """What was kept and charged is said again; of anything else nobody knows, so it is paid."""
    order = simulation.training(rounds=1, abandoned=1)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    letter = simulation.round(CN, order)
    simulation.crash(CN, part, step, moment)
    assert killed(lambda: simulation.node(CN).answer(letter))
    waiting = stored(simulation)
    assert len(waiting) == (1 if kept else 0)

    over = part == "books" and step == "close" and moment == "after"
    reply = simulation.restart(CN).answer(letter)
    if settled:
        assert waiting == [reply]
    else:
        assert_failed(simulation.read(reply))
    assert simulation.workshops[CN].rounds == []
    assert stored(simulation) == waiting
    simulation.assert_charged(CN, EVENT, 1 if over else 2)


def test_a_reply_that_was_kept_and_never_charged_waits_for_the_law(simulation, accepted):
    """The same process: the disk was full between the two. The operator forbids it meanwhile."""
    node, letter = simulation.node(CN), simulation.round(CN, accepted)

    def full(*_, **__):
        raise OSError("no space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node._books, "settle", full)
        assert_failed(simulation.read(node.answer(letter)))
    (kept,) = stored(simulation)
    simulation.later += accepted.expires - accepted.created + 60
    assert_failed(simulation.read(node.answer(letter)))
    assert simulation.account(CN).releases == 0
    simulation.later = 0
    assert node.answer(letter) == kept
    assert simulation.account(CN).releases == 1


@pytest.mark.parametrize(("part", "step"), [("books", "settle"), ("outbox", "keep")])
def test_nothing_is_sent_that_could_not_be_written_down(simulation, accepted, part, step):
    def full(*_, **__):
        raise OSError("no space left on device")

    node = simulation.node(CN)
    setattr(getattr(node, f"_{part}"), step, full)
    assert_failed(simulation.read(node.answer(simulation.round(CN, accepted))))
    account = simulation.account(CN)
    assert account is not None and account.releases == 0


def test_a_reply_is_settled_before_it_is_returned(simulation, accepted):
    """The order of the steps, seen from outside."""
    seen = []
    node = simulation.node(CN)
    for part, step in (("compute", "update"), ("outbox", "keep"), ("books", "settle")):
        owner = getattr(node, f"_{part}")

        real = getattr(owner, step)

        def spy(*arguments, real=real, step=step, **named):
            seen.append(step)
            return real(*arguments, **named)

        setattr(owner, step, spy)
    node.answer(simulation.round(CN, accepted))
    assert seen == ["update", "keep", "settle"]


def stored(simulation):
    """The replies in the outbox, as on disk."""
    outbox = Outbox(simulation.folder(CN) / "outbox.sqlite")
    with outbox._kept.connected() as db:
        return [bytes(row[0]) for row in db.execute("SELECT wire FROM replies")]
