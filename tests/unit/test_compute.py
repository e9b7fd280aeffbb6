"""The child that holds rows: ended with its order, and never with another's."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from clients import compute as module
from clients.compute import Compute
from clients.errors import ComputeError


class Process:
    """A child that works for ever until it is killed."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def is_alive(self) -> bool:
        return not self.killed.is_set()

    def kill(self) -> None:
        self.killed.set()

    def join(self) -> None:
        assert self.killed.is_set()


class Pipe:
    """The pipe to it: readable when it answers, or when it is dead."""

    def __init__(self, process: Process, answer: bytes | None) -> None:
        self._process, self._answer = process, answer

    def send(self, request: object) -> None:
        assert request

    def poll(self, patience: float) -> bool:
        return self._answer is not None or self._process.killed.wait(patience)

    def recv(self) -> tuple[bool, bytes]:
        if self._answer is None:
            raise EOFError
        return True, self._answer

    def close(self) -> None:
        pass


@pytest.fixture
def children(monkeypatch):
    started: list[Process] = []

    def start(answer: bytes | None = b"update"):
        def begin():
            started.append(Process())
            return started[-1], Pipe(started[-1], answer)

        monkeypatch.setattr(module, "_start", begin)
        return started

    return start


def job(order: str):
    return SimpleNamespace(order=order)


def test_the_child_ends_with_its_order_and_is_reaped(children):
    started = children()
    compute = Compute()
    assert compute.update(job("one"), 0, b"") == b"update"
    compute.stop("one")
    assert started[0].killed.is_set()
    assert compute._child is None


def test_another_orders_end_does_not_end_it(children):
    started = children()
    compute = Compute()
    compute.update(job("one"), 0, b"")
    compute.stop("two")
    assert not started[0].killed.is_set()


def test_a_stuck_round_can_be_ended_by_its_orders_close(children):
    children(answer=None)
    compute, failures = Compute(), []

    def work() -> None:
        try:
            compute.update(job("one"), 0, b"")
        except ComputeError as why:
            failures.append(str(why))

    thread = threading.Thread(target=work)
    thread.start()
    while compute._child is None:
        assert thread.is_alive()
    compute.stop("one")
    thread.join(10)
    assert failures and not thread.is_alive()


def test_a_round_that_takes_far_too_long_is_given_up(children):
    started = children(answer=None)
    with pytest.raises(ComputeError):
        Compute(patience=0.01).update(job("one"), 0, b"")
    assert started[0].killed.is_set()


def test_after_a_dead_child_a_new_one_is_started(children):
    started = children()
    compute = Compute()
    compute.update(job("one"), 0, b"")
    started[0].kill()
    assert compute.update(job("one"), 1, b"") == b"update"
    assert len(started) == 2


def test_a_child_of_the_node_does_not_load_the_whole_node_again():
    code = """if True:
        import runpy
        from multiprocessing.spawn import get_preparation_data
        import clients.worker
        clients.worker.main = lambda: print(get_preparation_data("child")["init_main_from_name"])
        runpy.run_module("clients", run_name="__main__", alter_sys=True)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip().endswith(".__main__")  # which spawn leaves alone
