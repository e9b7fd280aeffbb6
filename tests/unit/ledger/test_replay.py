"""The accounts follow from the entries, and an entry that does not follow is named."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import LedgerMismatchError
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.replay import Accounts, replay
from policies.budget import accountant
from policies.budget.events import Approximate, Gaussian, Repeated, dumps
from tests.ledgers import EVENT, NOW, closed, limit, ordinary, reserved, settled

ACCOUNT = limit()["account"]


def given_back(order: str, release: str, statements: str = "ab") -> Entry:
    body = {"release": release, "statements": [sign * 64 for sign in statements]}
    return Entry(EntryKind.GIVEN_BACK, NOW, order, body)


def opened(window: str, sequence: int) -> Entry:
    body = {"subjects": "customers", "window": window, "sequence": sequence}
    return Entry(EntryKind.WINDOW_OPENED, NOW, "", body)


def test_an_open_reservation_counts_as_pending() -> None:
    found = replay([reserved("o", 3), settled("o", "a")])
    assert found.held(ACCOUNT).spent == {EVENT: 1}
    assert found.held(ACCOUNT).pending == {EVENT: 2}
    assert found.open_orders == ("o",)
    assert found.accounts == (ACCOUNT,)
    assert found.held("another") == replay([]).held(ACCOUNT)


def test_closing_leaves_what_left() -> None:
    found = replay(ordinary())
    assert (found.held(ACCOUNT).spent, found.held(ACCOUNT).pending) == ({EVENT: 1}, {})
    assert found.open_orders == ()


def test_what_is_given_back_may_be_made_again_while_the_order_is_open() -> None:
    found = replay([reserved("o"), settled("o", "a", masked=1), given_back("o", "a")])
    assert (found.held(ACCOUNT).spent, found.held(ACCOUNT).pending) == ({}, {EVENT: 2})
    late = replay([reserved("o"), settled("o", "a", masked=1), closed("o"), given_back("o", "a")])
    assert (late.held(ACCOUNT).spent, late.held(ACCOUNT).pending) == ({}, {})


def test_windows_come_in_order() -> None:
    assert replay([opened("2025", 1), opened("2026", 2)]).windows == {"customers": ("2025", "2026")}


WRONG = {
    "reserves an order that was reserved before": [reserved("o"), reserved("o")],
    "reserved before": [*ordinary("o"), reserved("o")],
    "never reserved": [reserved("o"), settled("p", "a")],
    "order that was never reserved": [closed("o")],
    "settles a release a second time": [reserved("o"), settled("o", "a"), settled("o", "a")],
    "a second time": [
        reserved("o"),
        settled("o", "a", masked=1),
        given_back("o", "a"),
        settled("o", "a"),
    ],
    "more than the 1 releases": [reserved("o", 1), settled("o", "a"), settled("o", "b")],
    "after its order was closed": [reserved("o"), closed("o"), settled("o", "a")],
    "comes after its order": [reserved("o"), closed("o"), closed("o")],
    "that is not spent": [reserved("o"), given_back("o", "a")],
    "is not spent": [
        reserved("o"),
        settled("o", "a", masked=1),
        given_back("o", "a"),
        given_back("o", "a"),
    ],
    "on fewer than 2 statements": [
        reserved("o"),
        settled("o", "a", masked=1),
        given_back("o", "a", ""),
    ],
    "fewer than 2": [reserved("o"), settled("o", "a", masked=1), given_back("o", "a", "aa")],
    "could be read as it left": [reserved("o"), settled("o", "a"), given_back("o", "a")],
    "for no release": [reserved("o", 0)],
    "charges an account twice": [
        Entry(
            EntryKind.RESERVED,
            NOW,
            "o",
            {"charges": list(reserved("o").body["charges"]) * 2},
        )
    ],
    "window out of order": [opened("2025", 1), opened("2026", 1)],
    "out of order": [opened("2025", 2)],
    "opens a window": [opened("2025", 1), opened("2025", 2)],
    "no probability": [reserved("o", delta="0")],
    "that is no probability": [reserved("o", delta="0." + "9" * 30)],
    "states a delta": [Entry(EntryKind.LIMIT_SET, NOW, "", limit(delta="1"))],
    "overdraws the account": [
        reserved("o", (1 << 63) - 1, event=dumps(Gaussian("0.0000001")), epsilon="9" * 20)
    ],
    "charges what has no price": [
        reserved(
            "o",
            (1 << 63) - 1,
            event=dumps(Approximate(Gaussian(10), "0.000000001")),
            epsilon="9" * 20,
        )
    ],
    "overdraws the account of customers, customer, 2026-H1": [reserved("o", 2, epsilon="0.1")],
}


@pytest.mark.parametrize("message", WRONG)
def test_an_entry_that_does_not_follow_is_named(message: str) -> None:
    entries = WRONG[message]
    replay(entries[:-1])
    with pytest.raises(LedgerMismatchError, match=message) as caught:
        replay(entries)
    assert str(caught.value).startswith(f"entry {len(entries) - 1} ({entries[-1].kind}")


def test_the_limit_is_the_smallest_that_was_stated_last() -> None:
    one = accountant.epsilon([Gaussian(10)], 1e-6)
    two = accountant.epsilon([Repeated(Gaussian(10), 2)], 1e-6)
    little, enough = f"{(one + two) / 2:.4f}", f"{two:.4f}"
    narrow = Entry(EntryKind.LIMIT_SET, NOW, "", limit(little, dataset="views"))
    widened = Entry(EntryKind.LIMIT_SET, NOW, "", limit(enough, dataset="views"))
    replay([reserved("o", 1), reserved("p", 1, epsilon=enough)])
    replay([narrow, widened, reserved("o", 2)])
    replay([reserved("o", 2), closed("o"), narrow, reserved("p", 1)])
    for entries in (
        [narrow, reserved("o", 2)],
        [reserved("o", 1), narrow, reserved("p", 1)],
        [reserved("o", 1), settled("o", "a"), closed("o"), reserved("p", 1, epsilon=little)],
    ):
        with pytest.raises(LedgerMismatchError, match="overdraws"):
            replay(entries)


def test_the_second_purse_is_checked_too() -> None:
    event = dumps(Approximate(Gaussian(10), "0.000000001"))
    purse = {"event": event, "failures": "0.000000002"}
    replay([reserved("o", 2, **purse)])
    replay([reserved("o", 2, **purse), closed("o"), reserved("p", 1, failures="0.000000002")])
    with pytest.raises(LedgerMismatchError, match="overdraws"):
        replay([reserved("o", 3, event=event, failures="0.000000002")])


def test_a_reservation_that_raises_its_own_limit_is_named() -> None:
    stated = Entry(EntryKind.LIMIT_SET, NOW, "", limit("10"))
    assert replay([reserved("o"), stated, reserved("p", epsilon="10")]).raised == []
    assert replay([reserved("o"), reserved("p", epsilon="7"), stated]).raised == []
    assert replay([reserved("o"), reserved("p", epsilon="9"), reserved("q")]).raised == [1]
    assert replay([reserved("o"), reserved("p", failures="0.1")]).raised == [1]
    assert replay([reserved("o"), reserved("p", delta="0.00001")]).raised == [1]
    assert replay([reserved("o"), reserved("p", epsilon="9", dataset="views")]).raised == []


def test_what_was_given_back_is_counted() -> None:
    entries = [reserved("o"), settled("o", "a", masked=1), given_back("o", "a")]
    assert replay(entries).given_back == 1
    assert replay(entries[:2]).given_back == 0


# -- against a model that only lists what happened -------------------------------------------------

STEP = st.tuples(
    st.sampled_from(["reserve", "settle", "give", "close"]),
    st.integers(0, 3),
    st.integers(0, 4),
)


@settings(max_examples=300)
@given(st.lists(STEP, max_size=30))
def test_any_history_adds_up(steps: list[tuple[str, int, int]]) -> None:
    accounts, told = Accounts(), []
    for verb, order, number in steps:
        entry = {
            "reserve": reserved(f"o{order}", number),
            "settle": settled(f"o{order}", f"r{number}"),
            "give": given_back(f"o{order}", f"r{number}"),
            "close": closed(f"o{order}"),
        }[verb]
        expected = allowed(told, verb, order, number)
        try:
            accounts.take(entry)
        except LedgerMismatchError:
            assert not expected
            break
        assert expected
        told.append((verb, order, number))
        spent, pending = totals(told)
        held = accounts.held(ACCOUNT)
        assert (held.spent.get(EVENT, 0), held.pending.get(EVENT, 0)) == (spent, pending)


def allowed(told: list, verb: str, order: int, number: int) -> bool:
    own = [(v, n) for v, o, n in told if o == order]
    room = next((n for v, n in own if v == "reserve"), None)
    made = Counter(n for v, n in own if v == "settle")
    back = Counter(n for v, n in own if v == "give")
    is_closed = ("close", 0) in [(v, 0) for v, _ in own if v == "close"]
    if verb == "reserve":
        return room is None and number > 0
    if room is None:
        return False
    if verb == "settle":
        return not is_closed and made[number] == 0 and made.total() - back.total() < room
    if verb == "give":
        return made[number] == 1 and back[number] == 0
    return not is_closed


def totals(told: list) -> tuple[int, int]:
    spent = pending = 0
    for order in {o for _, o, _ in told}:
        own = [(v, n) for v, o, n in told if o == order]
        left = sum(v == "settle" for v, _ in own) - sum(v == "give" for v, _ in own)
        spent += left
        if not any(v == "close" for v, _ in own):
            pending += own[0][1] - left
    return spent, pending
