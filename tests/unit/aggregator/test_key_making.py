"""When keys are made ahead: as soon as it can be done, and not for ever in vain."""

from types import SimpleNamespace

import pytest

from aggregator import key_making
from aggregator.key_making import PAUSE_SECONDS, KeyMaking

HOLDERS = ("keyholder-ch", "keyholder-eu", "keyholder-uk")


class Table:
    """A table on which nothing lies, for `seconds`; batches come to something where `works`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.works, self.tried = 0.0, False, []
        monkeypatch.setattr(key_making.joint_keys, "require_holders", lambda *_: None)
        monkeypatch.setattr(KeyMaking, "_make", self.make)
        members = [SimpleNamespace(party=party) for party in HOLDERS]
        self.making = KeyMaking(
            SimpleNamespace(are_there=lambda parties: parties == HOLDERS),
            SimpleNamespace(ready=0),
            SimpleNamespace(active=lambda _: members),
            2,
            lambda: False,
            lambda: self.now,
        )

    def make(self, *_: object) -> None:
        self.tried.append(self.now)
        if not self.works:
            raise key_making._StoppedError("too few witnesses")

    def wait(self, seconds: float) -> list[float]:
        """Look every half second, and return when batches were begun."""
        self.tried, end = [], self.now + seconds
        while self.now < end:
            self.making.refill()
            self.now += 0.5
        return self.tried


def test_a_batch_that_comes_to_nothing_is_tried_soon_and_then_seldom(monkeypatch):
    """Where a federation starts the first batch comes too early; a demo waits for a minute."""
    table = Table(monkeypatch)
    assert table.wait(300) == [
        0,
        1,
        3,
        7,
        15,
        31,
        63,
        63 + PAUSE_SECONDS,
        63 + 2 * PAUSE_SECONDS,
        243,
    ]
    table.works = True
    assert table.wait(60)
    table.works, began = False, table.now
    first, second, third, *_ = table.wait(10)
    assert first - began <= 1 and (second - first, third - second) == (1, 2)
