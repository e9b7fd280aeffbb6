"""How long a node waits for its server: as long as it lives.

Every transport failure and every 5xx (a stopping server answers 500) is tried again within two
seconds, for ever; a refusal is an error with a name.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from clients.errors import ClientError

_LOG = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
R = TypeVar("R")


class NotRegisteredError(ClientError):
    """The server does not know this node's key; the aggregator has to register it."""


class RunEndedError(ClientError):
    """The run a message belongs to is over; the message needs no answer."""


class ServerRefusedError(ClientError):
    """The server refused a call for another reason; its log says why."""


class StoppedError(ClientError):
    """The node was told to stop while it waited for the server."""


class Patience:
    """Calls that outlive the server; threads may share it.

    Args:
        stop: set it to make every waiting call raise `StoppedError`.
        returned: called when the server answers again after it did not.
    """

    def __init__(self, stop: threading.Event, returned: Callable[[], object]) -> None:
        self._stop = stop
        self._returned = returned
        self._down = threading.Event()

    def call(self, call: Callable[[Any], R], request: Any) -> R:
        """The server's answer, whenever it comes.

        Raises:
            NotRegisteredError: status 401.
            RunEndedError: status 403.
            ServerRefusedError: any other status below 500.
            StoppedError: the node was told to stop.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                response = call(request)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise _refusal(error.response.status_code) from error
                self._went_down(f"status {error.response.status_code}")
            except httpx.TransportError as error:
                self._went_down(type(error).__name__)
            else:
                self._came_back()
                return response
            self.wait(wait * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not secrecy
            wait = min(wait * 1.5, _LONGEST_WAIT)

    def wait(self, seconds: float) -> None:
        """The time is over.

        Raises:
            StoppedError: the node was told to stop.
        """
        if self._stop.wait(seconds):
            raise StoppedError("The node was told to stop.")

    def _went_down(self, why: str) -> None:
        if not self._down.is_set():
            self._down.set()
            _LOG.warning("The server does not answer (%s); trying again until it does.", why)

    def _came_back(self) -> None:
        if self._down.is_set():
            self._down.clear()
            _LOG.warning("The server answers again.")
            self._returned()


def _refusal(status: int) -> ClientError:
    if status == httpx.codes.UNAUTHORIZED:
        return NotRegisteredError(
            "The aggregator does not know this node's key; ask it to register it."
        )
    if status == httpx.codes.FORBIDDEN:
        return RunEndedError("The run is over.")
    return ServerRefusedError(f"The server refused a call with status {status}; see its log.")
