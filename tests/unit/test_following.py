"""Watching an order: patient behind another one, clear where nobody works at all."""

import pytest

from aggregator.jobs import Jobs
from experiments.errors import UnreachableError
from experiments.following import follow


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs.sqlite")


def test_an_order_that_nobody_takes_up_is_told(jobs):
    jobs.add("mine", b"", 1.0)
    with pytest.raises(UnreachableError, match="is it running"):
        follow(jobs, "mine", lambda _: None, patience=0.0)


def test_an_order_waits_behind_another(jobs, monkeypatch):
    jobs.add("first", b"", 1.0)
    jobs.start("first")
    jobs.add("mine", b"", 2.0)

    def work(_: float) -> None:
        jobs.end("first", "done", {})
        jobs.end("mine", "done", {"answer": 1})

    monkeypatch.setattr("experiments.following.time.sleep", work)
    assert follow(jobs, "mine", lambda _: None, patience=0.0).result == {"answer": 1}
