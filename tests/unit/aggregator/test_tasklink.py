"""Which failures of a call say that the server may have forgotten what it was handing out."""

from collections.abc import Callable

import httpx
import pytest

from aggregator.tasklink import TaskLink


def failing(*errors: Exception) -> Callable[[str], str]:
    left = list(errors)

    def call(request: str) -> str:
        if left:
            raise left.pop(0)
        return f"{request}!"

    return call


@pytest.mark.parametrize(
    ("error", "outages"),
    [
        (httpx.ConnectError("refused"), 1),
        (httpx.ReadError("reset"), 1),
        (httpx.RemoteProtocolError("cut"), 1),
        (httpx.ReadTimeout("slow"), 0),
        (httpx.WriteTimeout("slow"), 0),
    ],
)
def test_a_server_that_is_slow_is_not_one_that_was_away(error: Exception, outages: int) -> None:
    link = object.__new__(TaskLink)
    link.outages = 0
    assert link._call(failing(error), "asked", float("inf")) == "asked!"
    assert link.outages == outages
