"""How long an account lasts, against counting runs one by one and against closed forms."""

import math

import pytest

from policies.budget import accountant
from policies.budget.account import Charge, Scope, charge
from policies.budget.events import Approximate, Event, Gaussian, Repeated
from policies.budget.forecast import MOST, Forecast, TooFewRuns, forecast, runs_left, what_if
from policies.budget.planning import Wish, greedy, plan
from policies.errors import InsufficientBudgetError
from tests.scopes import scope

DAY = 86_400
START = 1_760_000_000


def one_by_one(account: Scope, held: list[Event], wanted: Event) -> int:
    """Ask the gate until it refuses."""
    count = 0
    while True:
        try:
            charge(account, held, [], wanted)
        except InsufficientBudgetError:
            return count
        held, count = [*held, wanted], count + 1


USUAL = Gaussian("10")


def days(count: int, event: Event = USUAL, gap: int = DAY) -> list[tuple[int, Event]]:
    return [(START + gap * number, event) for number in range(count)]


def known(told: Forecast | TooFewRuns) -> Forecast:
    assert isinstance(told, Forecast)
    return told


@pytest.mark.parametrize("multiplier", ["1", "5", "9", "20"])
@pytest.mark.parametrize("before", [0, 3])
def test_as_many_runs_are_left_as_the_gate_admits(multiplier: str, before: int) -> None:
    held: list[Event] = [Gaussian("8")] * before
    counted = one_by_one(scope(), held, Gaussian(multiplier))
    assert runs_left(scope(), held, Gaussian(multiplier)) == counted


def test_the_purse_of_failures_ends_the_runs_too() -> None:
    event = Approximate(Gaussian("1000"), "1e-10")
    assert runs_left(scope(failures="1e-9"), [event] * 3, event) == 7
    assert runs_left(scope(), [], event) == 0


def test_runs_without_end_are_not_counted_to_the_end() -> None:
    assert runs_left(scope(), [], Gaussian("10000000")) == MOST


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_is_no_forecast_from_fewer_than_four_runs(count: int) -> None:
    told = forecast(days(count), scope(), START + 10 * DAY)
    assert told == TooFewRuns(count)
    assert str(count) in str(told)
    assert "needs 4" in str(told)


@pytest.mark.parametrize("count", [4, 8, 12])
def test_equal_runs_every_day_end_on_the_day_that_the_gate_says(count: int) -> None:
    history = days(count)
    left = one_by_one(scope(), [event for _, event in history], Gaussian("10"))
    told = known(forecast(history, scope(), history[-1][0] + DAY // 2))
    assert (told.pace, told.runs_left, told.runs) == (DAY, left, min(count, 8))
    assert told.empty_at == told.earliest == told.latest == history[-1][0] + left * DAY


def test_costs_compose_as_divergences_and_not_as_epsilon() -> None:
    # Of a Gaussian's divergence α/2σ², n runs hold n times as much; ε grows like √n at first.
    history = days(4, Gaussian("12"))
    told = known(forecast(history, scope(), history[-1][0]))
    alone = accountant.epsilon([Gaussian("12")], 1e-6)
    added = (3 - accountant.epsilon([Repeated(Gaussian("12"), 4)], 1e-6)) / alone
    slope = max(
        (3 - math.log1p(-1 / a) + math.log(1e-6 * a) / (a - 1)) / a * 2 * 144 for a in range(2, 65)
    )
    assert told.runs_left == int(slope) - 4
    assert told.runs_left > 2 * added


def test_only_the_latest_runs_make_the_rate_but_all_are_paid() -> None:
    early = [(START - 1000 * DAY + n, Gaussian("20")) for n in range(10)]
    late = [(START + n * DAY, Gaussian("10")) for n in range(8)]
    told = known(forecast([*late, *early], scope(), START + 7 * DAY))
    assert told.pace == DAY
    held = [event for _, event in [*early, *late]]
    assert told.runs_left == one_by_one(scope(), held, Gaussian("10"))


def test_what_has_no_time_is_paid_as_well() -> None:
    history = days(4)
    held = [*(event for _, event in history), Gaussian("4")]
    told = known(forecast(history, scope(), START + 4 * DAY, held))
    assert told.runs_left == one_by_one(scope(), held, Gaussian("10"))
    assert told.runs_left < known(forecast(history, scope(), START + 4 * DAY)).runs_left


def test_the_band_is_that_of_the_dear_and_the_cheap_runs() -> None:
    noises = ["6", "30", "10", "8", "12", "10", "9", "11"]
    history = [(START + n * DAY, Gaussian(noise)) for n, noise in enumerate(noises)]
    told = known(forecast(history, scope(), START + 7 * DAY))
    held = [event for _, event in history]
    left = sorted(one_by_one(scope(), held, Gaussian(noise)) for noise in noises)
    assert told.runs_left == left[3]
    last = history[-1][0]
    assert (told.earliest, told.latest) == (last + left[1] * DAY, last + left[6] * DAY)
    assert told.earliest is not None
    assert told.empty_at is not None
    assert told.latest is not None
    assert told.earliest < told.empty_at < told.latest


def test_while_no_run_comes_the_day_moves_away() -> None:
    history = days(4)
    soon = known(forecast(history, scope(), history[-1][0]))
    late = known(forecast(history, scope(), history[-1][0] + 100 * DAY))
    assert soon.empty_at is not None
    assert late.empty_at is not None
    assert late.runs_left == soon.runs_left
    assert late.empty_at > soon.empty_at


def test_an_empty_account_is_empty_now() -> None:
    history = days(4, Gaussian("4"))
    now = history[-1][0] + DAY // 4
    told = known(forecast(history, scope("1"), now))
    assert (told.runs_left, told.empty_at, told.latest) == (0, now, now)


def test_no_day_is_named_that_nobody_lives_to_see() -> None:
    rare = days(4, Gaussian("1000"), gap=365 * DAY)
    assert known(forecast(rare, scope(), rare[-1][0])).empty_at is None
    cheap = days(4, Gaussian("10000000"), gap=1)
    assert known(forecast(cheap, scope(), cheap[-1][0])).empty_at is None


def test_what_one_more_run_would_change() -> None:
    held, wanted = [Gaussian("5"), Gaussian("5")], Gaussian("6")
    told = what_if(scope(), held, wanted)
    assert told.before == accountant.epsilon(held, 1e-6)
    assert told.after == accountant.epsilon([*held, wanted], 1e-6)
    assert told.requested == accountant.epsilon([wanted], 1e-6)
    assert told.left == pytest.approx(3 - told.after)
    assert told.fits
    assert told.affordable is None
    assert told.runs_left == one_by_one(scope(), [*held], wanted)
    assert told.certificate_before is None


def test_what_the_gate_would_refuse_is_told_with_the_nearest_that_passes() -> None:
    told = what_if(scope(), [Gaussian("3")], Gaussian("1"))
    assert not told.fits
    assert told.refusal is not None
    assert told.affordable == told.refusal.affordable > 0
    assert (told.left, told.runs_left) == (0.0, 0)


def test_a_certificate_stands_beside_the_gate_and_changes_nothing() -> None:
    asked = []

    def certify(events: object, delta: float) -> float:
        asked.append((events, delta))
        return 0.5 * len(asked)

    told = what_if(scope(), [Gaussian("5")], Gaussian("6"), certify)
    assert (told.certificate_before, told.certificate_after) == (0.5, 1.0)
    assert [delta for _, delta in asked] == [1e-6, 1e-6]
    assert told.after == accountant.epsilon([Gaussian("5"), Gaussian("6")], 1e-6)


def test_what_if_tells_the_purse_of_failures() -> None:
    event = Approximate(Gaussian("50"), "4e-10")
    told = what_if(scope(failures="1e-9"), [event], event)
    assert [str(n) for n in (told.failures_before, told.failures_after, told.failures_left)] == [
        "4E-10",
        "8E-10",
        "2E-10",
    ]
    assert told.runs_left == 1
    refused = what_if(scope(failures="1e-9"), [event, event], event)
    assert refused.refusal is not None
    assert (refused.refusal.purse, refused.affordable) == ("failures", 0.0)


def test_wishes_are_taken_in_order_and_small_ones_fill_the_rest() -> None:
    wishes: list[tuple[str, Event]] = [
        ("first", Gaussian("4")),
        ("too much", Gaussian("1.5")),
        ("small", Gaussian("6")),
        ("small again", Gaussian("6")),
    ]
    told = greedy(scope(), [Gaussian("5")], wishes)
    held: list[Event] = [Gaussian("5")]
    for planned, (name, event) in zip(told, wishes, strict=True):
        total = accountant.epsilon([*held, event], 1e-6)
        assert planned.name == name
        assert planned.fits == (total <= 3)
        if planned.fits:
            held.append(event)
            assert [price.total for price in planned.prices] == [total]
    assert [planned.fits for planned in told] == [True, False, True, True]


def test_a_wish_is_taken_only_if_all_of_its_accounts_can_pay() -> None:
    people, firms = scope(), scope("1", unit="commercial", subjects="shops")
    both = Wish("both", (Charge(people, Gaussian("6"), 1), Charge(firms, Gaussian("5"), 1)))
    one = Wish("one", (Charge(people, Gaussian("6"), 1),))
    told = plan({firms.account: [Gaussian("9")]}, [both, both, one])
    assert [planned.fits for planned in told] == [False, False, True]
    assert told[0].refusal is not None
    assert told[0].refusal.scope == str(firms)
    assert told[2].prices[0].held == 0.0
