"""How the benchmark of joint questions chooses a slot: from what nodes say, never below it."""

import pytest

from experiments.bench_asking import WARM_SLOT, left_in, slot_for

ORDER, OTHER = "ab" * 32, "cd" * 32
SAID = "2026-01-01 00:00:00,000 INFO clients.slots the answer to order {} took 0.4 s, by {} s"
LATE = "2026-01-01 00:00:00,000 WARNING clients.slots the answer to order {} was not there"


def log(*lines: str) -> str:
    return "\n".join(("another line", *lines))


def test_a_log_says_how_long_before_its_slot_ended_an_answer_was_there() -> None:
    said = log(SAID.format(OTHER[:12], "+2.000"), SAID.format(ORDER[:12], "+0.250"))
    assert left_in(said, ORDER) == 0.25
    assert left_in(log(SAID.format(ORDER[:12], "-0.125")), ORDER) == -0.125


def test_an_answer_that_no_log_names_was_not_there_in_time() -> None:
    assert left_in(log(SAID.format(OTHER[:12], "+2.000")), ORDER) < 0
    assert left_in(log(LATE.format(ORDER[:12])), ORDER) < 0


@pytest.mark.parametrize(
    ("ready", "slot"),
    [(0.1, 500), (0.26, 550), (0.54, 1100), (0.56, 1150), (1.0, 2000), (9.0, WARM_SLOT)],
)
def test_a_slot_is_twice_as_long_as_the_slowest_answer_took(ready: float, slot: int) -> None:
    assert slot_for(ready) == slot
