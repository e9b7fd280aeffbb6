"""What every transport keeps to: in memory, over streams, and over Flower."""

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggregator.transport import FAILED, LATE, UNREACHABLE, UNREGISTERED
from experiments.local_fleet import wait_until
from policies.parties import PartyId
from tests.transports import MAKERS, NOBODY, A, B, Carried

LONG = 240.0
"""Seconds that no test needs: an exchange that waits so long hangs."""


@pytest.fixture(
    scope="module", params=["played", "stream", pytest.param("flower", marks=pytest.mark.slow)]
)
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Carried]:
    running = MAKERS[request.param](tmp_path_factory.mktemp(request.param))
    ask(running, both("warm"))
    yield running
    running.close()


def both(text: str) -> dict[PartyId, bytes]:
    return {party: f"{text} {party}".encode() for party in (A, B)}


def ask(
    fleet: Carried, requests: Mapping[PartyId, bytes], sooner: Mapping[PartyId, float] | None = None
) -> Mapping[PartyId, bytes | str]:
    return fleet.carry(requests, LONG, sooner or {})


class Asking(threading.Thread):
    """An exchange that goes on while the test does something else."""

    def __init__(self, fleet: Carried, requests: Mapping[PartyId, bytes]) -> None:
        super().__init__(daemon=True)
        self._fleet, self._requests = fleet, requests
        self._replies: Mapping[PartyId, bytes | str] = {}
        self.start()

    def run(self) -> None:
        self._replies = ask(self._fleet, self._requests)

    def replies(self) -> Mapping[PartyId, bytes | str]:
        self.join(LONG)
        return self._replies


def computed(fleet: Carried, party: PartyId, request: bytes) -> int:
    log = fleet.node_folder(party) / "computed.log"
    return log.read_bytes().splitlines().count(request) if log.exists() else 0


def release(fleet: Carried, name: str, *parties: PartyId) -> None:
    """Requests that begin with `hold NAME` are answered from now on."""
    for party in parties or (A, B):
        (fleet.node_folder(party) / name).touch()


def test_every_party_answers_for_itself(fleet: Carried) -> None:
    assert ask(fleet, both("hello")) == both("hello")
    assert fleet.online() == {A, B}


def test_nothing_asked_is_nothing_answered(fleet: Carried) -> None:
    assert ask(fleet, {}) == {}


def test_who_is_not_registered_is_lost_and_the_others_are_not(fleet: Carried) -> None:
    replies = ask(fleet, {A: b"there", NOBODY: b"there"})
    assert replies == {A: b"there", NOBODY: UNREGISTERED}


def test_large_letters_arrive_whole_both_ways(fleet: Carried) -> None:
    requests = {party: b"large\0" + os.urandom(20_000_000) for party in (A, B)}
    assert ask(fleet, requests) == requests


def test_a_repeated_request_is_answered_from_memory(fleet: Carried) -> None:
    request = b"once more"
    assert ask(fleet, {A: request}) == ask(fleet, {A: request}) == {A: request}
    assert computed(fleet, A, request) == 1


def test_the_text_of_an_exception_stays_at_the_node(fleet: Carried) -> None:
    assert ask(fleet, {A: b"boom", B: b"well"}) == {A: FAILED, B: b"well"}


def test_exchanges_at_the_same_time_are_not_mixed_up(fleet: Carried) -> None:
    asked = [both(f"at once {number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda requests: ask(fleet, requests), asked)) == asked


def test_who_is_late_is_lost_at_its_own_time_and_nobody_else_is(fleet: Carried) -> None:
    asking = Asking(fleet, {A: b"hold slow"})
    replies = ask(fleet, {A: b"quick", B: b"hold late"}, {B: 1.0})
    assert replies == {A: b"quick", B: LATE}
    release(fleet, "slow", A)
    assert asking.replies() == {A: b"hold slow"}
    release(fleet, "late", B)
    assert ask(fleet, {B: b"hold late"}) == {B: b"hold late"}  # what was late is not made again
    assert computed(fleet, B, b"hold late") == 1


def test_who_is_waited_for_longer_is_waited_for(fleet: Carried) -> None:
    threading.Timer(1.0, release, (fleet, "longer", A)).start()
    replies = ask(fleet, {A: b"hold longer", B: b"hold never"}, {B: 0.2})
    assert replies == {A: b"hold longer", B: LATE}
    release(fleet, "never", B)


def test_who_is_away_is_lost_and_the_others_are_not(fleet: Carried) -> None:
    fleet.kill(B)
    wait_until(lambda: B not in fleet.online())
    assert ask(fleet, both("alone"), {B: 0.5}) == {A: both("alone")[A], B: UNREACHABLE}
    fleet.start_node(B)
    assert ask(fleet, both("together again")) == both("together again")


def test_who_comes_back_in_time_is_asked_then(fleet: Carried) -> None:
    fleet.kill(B)
    wait_until(lambda: B not in fleet.online())
    asking = Asking(fleet, both("welcome"))
    wait_until(lambda: computed(fleet, A, both("welcome")[A]) == 1)
    fleet.start_node(B)
    assert asking.replies() == both("welcome")


def test_a_node_that_was_killed_gives_the_answers_that_it_gave(fleet: Carried) -> None:
    requests = both("before and after")
    assert ask(fleet, requests) == requests
    fleet.kill(A)
    fleet.start_node(A)
    assert ask(fleet, requests) == requests
    assert computed(fleet, A, requests[A]) == 1


def test_a_node_that_is_killed_at_work_resumes_when_it_is_back(fleet: Carried) -> None:
    requests = both("hold resume")
    asking = Asking(fleet, requests)
    wait_until(lambda: computed(fleet, A, requests[A]) == 1)
    fleet.kill(A)
    release(fleet, "resume")
    fleet.start_node(A)
    assert asking.replies() == requests


def test_an_exchange_outlives_what_carries_it(fleet: Carried) -> None:
    requests = both("hold outlive")
    asking = Asking(fleet, requests)
    wait_until(lambda: all(computed(fleet, party, requests[party]) == 1 for party in (A, B)))
    fleet.restart_server()
    release(fleet, "outlive")
    assert asking.replies() == requests
    assert all(computed(fleet, party, requests[party]) == 1 for party in (A, B))
