"""The node's loop: claim, answer, send, until told to stop.

    settings = ServeSettings(address="127.0.0.1:9443", ca=folder / "keys/ca.crt",
                             key=folder / "keys/flower", folder=folder,
                             capture=Capture(folder / "captures/warehouse-cn.cap"))
    once = Once(handler, Inbox(folder / "outbox.sqlite"), is_of_the_moment)
    serve(settings, once, threading.Event())        # handler: bytes -> bytes, several threads

`serve` blocks until SIGTERM or SIGINT (or the event) and then tells the server that the node
leaves. `create_node_key(folder / "keys/flower")` makes the key; the aggregator registers the line
it returns. The handler is called once per distinct request: a repeated request gets the answer
that was given before, also after a crash. What the handler raises never leaves the node.
"""

import logging
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from clients.app import Application, NotAnEnvelopeError, answer, make_app, unpack
from clients.errors import ClientError, NoSuccessorError
from clients.fleet import Claim, FleetClient
from clients.inbox import Inbox, Parcel
from clients.once import Answers
from clients.patience import RunEndedError, ServerRefusedError, StoppedError
from federation.control.captures import Capture

_LOG = logging.getLogger(__name__)
_DELETE_AFTER = 10.0
"""Seconds until the server may delete a message; deleting one while its sender is still
uploading it would make the sender's push fail."""
_KEEP_ANSWERS = 7 * 86400.0
_CLEAR_EVERY = 600.0
_FINISH = 2.0
_TIDY = 5.0


class LoopFailedError(ClientError):
    """A thread of the node ended with an error that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a node reaches the server.

    folder:            holds `node_id`.
    workers:           how many requests are answered at once.
    heartbeat_seconds: how often the node says it lives; the server misses it after twice that.
    poll_seconds:      the pause after an empty pull that the server did not hold.
    capture:           every outbound envelope is written there before it is sent.
    leaving:           whether the node has said that it leaves: refused then, it has left.
    """

    address: str
    ca: Path
    key: Path
    folder: Path
    workers: int = 2
    heartbeat_seconds: float = 10.0
    poll_seconds: float = 0.25
    capture: Capture | None = None
    leaving: Callable[[], bool] = lambda: False


class _Loop:
    """One node's threads: one pulls, some work, one beats, one tidies."""

    def __init__(
        self, settings: ServeSettings, fleet: FleetClient, inbox: Inbox, stop: threading.Event
    ) -> None:
        self.failure: ClientError | None = None
        self.under_way: set[str] = set()
        self._settings = settings
        self._fleet = fleet
        self._inbox = inbox
        self._stop = stop
        self._capture = settings.capture
        self._claims: queue.SimpleQueue[Claim] = queue.SimpleQueue()
        self._free = threading.Semaphore(settings.workers)

    def start(self, app: Application) -> None:
        """All threads run; none of them keeps the process alive."""
        tasks = [self._pull, self._beat, self._tidy]
        tasks += [partial(self._work, app)] * self._settings.workers
        for task in tasks:
            threading.Thread(target=self._guard, args=(task,), daemon=True).start()

    def _pull(self) -> None:
        """Claims what there is to do, never more than can be started at once."""
        for parcel in self._inbox.unanswered():
            self._free.acquire()
            self._hand_out(self._fleet.reclaim(parcel.head))
        while not self._stop.is_set():
            self._free.acquire()
            asked = time.monotonic()
            claim = self._fleet.pull()
            if claim is not None:
                self._inbox.claim(Parcel(claim.message_id, claim.wire), time.time())
                self._hand_out(claim)
                continue
            self._free.release()
            if time.monotonic() - asked < self._settings.poll_seconds:
                self._stop.wait(self._settings.poll_seconds)

    def _hand_out(self, claim: Claim) -> None:
        self.under_way.add(claim.message_id)
        self._claims.put(claim)

    def _work(self, app: Application) -> None:
        """Answers claims, one after the other."""
        while not self._stop.is_set():
            claim = self._claims.get()
            try:
                self._attend(app, claim)
            except (RunEndedError, ServerRefusedError) as error:
                _LOG.info("A message was dropped: %s", error)
                self._inbox.drop(claim.message_id)
            except NoSuccessorError:
                _LOG.info("A message stays claimed; the next process answers it.")
            self.under_way.discard(claim.message_id)
            self._free.release()

    def _attend(self, app: Application, claim: Claim) -> None:
        try:
            reply = answer(app, claim.message(self._fleet.payload(claim)))
        except NotAnEnvelopeError:
            reply = claim.refusal()
        if self._capture is not None and reply.has_content():
            self._capture.append(unpack(reply.content))
        self._fleet.push(reply)
        self._inbox.sent(claim.message_id, claim.run_id, time.time() + _DELETE_AFTER)

    def _beat(self) -> None:
        """Says that the node lives."""
        interval = self._settings.heartbeat_seconds
        while not self._stop.wait(interval * random.uniform(0.6, 0.8)):  # noqa: S311 - jitter
            while not self._fleet.heartbeat() and not self._stop.wait(1.0):
                pass

    def _tidy(self) -> None:
        """Lets the server delete what is answered, and clears old answers."""
        cleared = 0.0
        while not self._stop.wait(_TIDY):
            due: dict[int, list[str]] = {}
            for confirmation in self._inbox.due(time.time()):
                due.setdefault(confirmation.run_id, []).append(confirmation.message_id)
            for run_id, message_ids in due.items():
                self._confirm(run_id, message_ids)
            if not self.under_way and time.time() - cleared > _CLEAR_EVERY:
                cleared = time.time()
                self._inbox.clear(cleared - _KEEP_ANSWERS)

    def _confirm(self, run_id: int, message_ids: list[str]) -> None:
        """Every message of a run is deleted at the server, or its run is over."""
        while message_ids:
            told: Collection[str] = message_ids
            with suppress(RunEndedError, ServerRefusedError):
                told = self._fleet.confirm(message_ids, run_id)
            self._inbox.confirmed(told)
            message_ids = [name for name in message_ids if name not in told]

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except StoppedError:
            pass
        except ClientError as error:
            self.failure = self.failure or error
        except Exception:  # noqa: BLE001 - logged, and the node starts again
            _LOG.exception("A thread of this node failed.")
            self.failure = self.failure or LoopFailedError("The node failed; its log says where.")
        finally:
            self._stop.set()


def serve(settings: ServeSettings, once: Answers, stop: threading.Event) -> None:
    """The node has answered requests until it was told to stop, and has left.

    Args:
        settings: see there.
        once: gives the answers; what is claimed stands in its inbox.
        stop: set it to end.

    Raises:
        NotRegisteredError: the server does not know this node's key any more; while it joins it
            waits for that, unless it has said that it leaves.
        WrongCertificateError: the server is not the one this node was sent to.
        LocalProtocolError: the node's key cannot be read.
        LoopFailedError: something broke that nobody foresaw; start the node again.
    """
    _on_signals(stop)
    ca, id_file = settings.ca.read_bytes(), settings.folder / "node_id"
    fleet = FleetClient(
        settings.address,
        ca,
        settings.key,
        settings.heartbeat_seconds,
        id_file,
        stop,
        settings.leaving,
    )
    loop = _Loop(settings, fleet, once.inbox, stop)
    try:
        node_id = fleet.join()
    except StoppedError:
        return
    _LOG.info("Joined as node %d.", node_id)
    loop.start(make_app(once))
    stop.wait()
    if loop.failure is not None:
        raise loop.failure
    _finish(loop)
    fleet.leave()


def _finish(loop: _Loop) -> None:
    """Answers on their way out have had a moment; the rest is resumed at the next start."""
    deadline = time.monotonic() + _FINISH
    while loop.under_way and time.monotonic() < deadline:
        time.sleep(0.05)


def _on_signals(stop: threading.Event) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)
