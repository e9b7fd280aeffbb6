"""One child process that holds an order's rows and features, for as long as needed.

The node itself stays small: tables are loaded in a child, started when an order is accepted and
ended with it. A child that crashes takes nothing with it. It lives on a pipe, so it ends with its
parent, however the parent ends.
"""

import logging
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.errors import ComputeError
from clients.training.jobs import TrainJob

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
"""A round that takes longer than this is not worked on any more."""


class Compute:
    """Runs training jobs in a child, one at a time."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._lock = threading.Lock()
        self._child: tuple[SpawnProcess, Connection[Any, Any]] | None = None
        self._order = ""
        self._patience = patience

    def warm(self, job: Callable[[], TrainJob]) -> None:
        """Start the child and let it load what `job()` will need, without waiting.

        The rows are first looked at in a thread of its own: what it finds is told to this node's
        log alone, and fails the first round again.
        """
        threading.Thread(target=self._warm, args=(job,), daemon=True).start()

    def update(self, job: TrainJob, round_: int, weights: bytes) -> bytes:
        """Return the noised update of round `round_` by FedAvg, little-endian float32.

        Raises:
            ComputeError: the child failed; its reason is in this node's log and nowhere else.
        """
        return self._ask((job, round_, weights))

    def clipped_sum(self, job: TrainJob, round_: int, weights: bytes) -> NDArray[np.int64]:
        """Return this node's part of round `round_` of a secure sum, WITHOUT noise, [d] int64.

        Raises:
            ComputeError: as `update`.
        """
        return np.frombuffer(self._ask((job, round_, weights)), "<i8").astype(np.int64)

    def stop(self, order: str) -> None:
        """End the child if it works on `order`, even in the middle of a round."""
        child = self._child
        if child is None or self._order != order:
            return
        child[0].kill()  # whoever waits for it reads the end of its pipe
        if self._lock.acquire(blocking=False):
            try:
                if self._child is child:
                    self._end()
            finally:
                self._lock.release()

    def _warm(self, job: Callable[[], TrainJob]) -> None:
        try:
            self._ask((job(), 0, None))
        except Exception as why:  # noqa: BLE001  nobody waits for it; the first round tells
            log.warning("warming up failed: %s", why)

    def _ask(self, request: tuple[TrainJob, int, bytes | None]) -> bytes:
        with self._lock:
            self._order = request[0].order
            _, pipe = self._child = self._alive() or _start()
            try:
                pipe.send(request)
                if not pipe.poll(self._patience):
                    raise EOFError
                done, result = pipe.recv()
            except (EOFError, OSError) as why:
                self._end()
                raise ComputeError("the training process ended, or took far too long") from why
            if not done:
                raise ComputeError(result.decode())
            return bytes(result)

    def _alive(self) -> "tuple[SpawnProcess, Connection[Any, Any]] | None":
        if self._child is not None and not self._child[0].is_alive():
            self._end()
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            process, pipe = self._child
            pipe.close()
            process.kill()
            process.join()
            self._child = None


def _start() -> tuple[SpawnProcess, "Connection[Any, Any]"]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Answer (job, round, weights) until the parent is gone."""
    from clients.training.service import Trainer  # tables belong in this process alone

    trainer = Trainer()
    while True:
        try:
            job, round_, weights = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, trainer.perform(job, round_, weights))
        except Exception as why:  # noqa: BLE001  told to this node's own log, never sent on
            answer = (False, f"{type(why).__name__}: {why}".encode())
        pipe.send(answer)
