"""The durable inbox: what is claimed is never forgotten, what is answered is never recomputed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from clients.errors import BusyError
from clients.inbox import Answer, Confirmation, Inbox, Parcel, request_key
from clients.once import ForgottenAnswerError, Once, is_of_the_moment
from clients.turns import Turns
from federation.envelopes import Envelope, seal
from federation.messages import Kind
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def test_what_was_claimed_is_there_after_a_crash(path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from clients.inbox import Inbox, Parcel
inbox = Inbox(Path(sys.argv[1]))
inbox.claim(Parcel("m1", b"head"), 1.0)
inbox.keep("r1", b"answer", 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=environment)
    assert done.returncode == -signal.SIGKILL
    inbox = Inbox(path)
    assert inbox.unanswered() == [Parcel("m1", b"head")]
    assert inbox.answer("r1") == Answer(b"answer")


def test_the_oldest_claim_comes_first_and_a_repeated_claim_changes_nothing(path: Path) -> None:
    inbox = Inbox(path)
    inbox.claim(Parcel("late", b"2"), 2.0)
    inbox.claim(Parcel("early", b"1"), 1.0)
    inbox.claim(Parcel("late", b"other"), 0.0)
    assert inbox.unanswered() == [Parcel("early", b"1"), Parcel("late", b"2")]


def test_a_sent_message_is_not_resumed_and_waits_for_its_confirmation(path: Path) -> None:
    inbox = Inbox(path)
    inbox.claim(Parcel("m", b""), 1.0)
    inbox.sent("m", 2**64 - 1, due_at=12.0)
    assert inbox.unanswered() == []
    assert inbox.due(11.0) == []
    assert Inbox(path).due(12.0) == [Confirmation("m", 2**64 - 1, 12.0)]
    inbox.confirmed("m")
    assert inbox.due(99.0) == []


def test_a_dropped_message_is_not_resumed(path: Path) -> None:
    inbox = Inbox(path)
    inbox.claim(Parcel("m", b""), 1.0)
    inbox.drop("m")
    assert inbox.unanswered() == []


def test_the_first_answer_stands(path: Path) -> None:
    inbox = Inbox(path)
    assert inbox.keep("r", b"first", 1.0) == b"first"
    assert inbox.keep("r", b"second", 2.0) == b"first"


def test_every_commit_reaches_the_disk(path: Path) -> None:
    inbox = Inbox(path)
    connection = inbox._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_mode & 0o077 == 0


def test_nothing_in_the_file_is_a_pickle(path: Path) -> None:
    inbox = Inbox(path)
    inbox.keep("r", b"answer", 1.0)
    rows = sqlite3.connect(path).execute("SELECT payload FROM answers").fetchall()
    assert rows == [(b"answer",)]


def test_a_request_is_computed_once(path: Path) -> None:
    asked: list[bytes] = []
    once = Once(lambda payload: asked.append(payload) or b"answer", Inbox(path))  # type: ignore[func-returns-value]
    assert [once(b"r"), once(b"r")] == [b"answer", b"answer"]
    assert Once(lambda _: b"another", Inbox(path))(b"r") == b"answer"
    assert asked == [b"r"]


def test_a_cleared_answer_is_refused_not_recomputed(path: Path) -> None:
    inbox = Inbox(path)
    inbox.keep(request_key(b"r"), b"answer", 1.0)
    inbox.clear(before=2.0)
    with pytest.raises(ForgottenAnswerError):
        Once(lambda _: b"fresh noise", inbox)(b"r")


def test_an_answer_that_failed_may_be_computed_again(path: Path) -> None:
    def fail(_: bytes) -> bytes:
        raise ValueError

    with pytest.raises(ValueError, match=""):
        Once(fail, Inbox(path))(b"r")
    assert Once(lambda _: b"answer", Inbox(path))(b"r") == b"answer"


def test_an_answer_of_the_moment_is_not_remembered(path: Path) -> None:
    """A node that lacks a word of its witnesses may have it when it is asked again."""
    answers = iter([b"unsure", b"answer", b"another"])
    once = Once(lambda _: next(answers), Inbox(path), lambda answer: answer == b"unsure")
    assert [once(b"r") for _ in range(3)] == [b"unsure", b"answer", b"answer"]


def test_only_what_others_may_still_change_is_answered_for_the_moment() -> None:
    """A word of witnesses that is lacking, a roster; what is said before anything is set aside."""
    key = SigningKey(b"k" * 32)
    passing = {Kind.LEDGER_UNSURE, Kind.WAITING, Kind.WILLING, Kind.ROSTER_KNOWN}
    for kind in Kind:
        reply = seal(Envelope(kind, PartyId("node"), PartyId("aggregator")), key)
        assert is_of_the_moment(reply) == (kind in passing)
    assert not is_of_the_moment(b"no envelope at all")


def test_requests_that_were_answered_are_not_kept_in_mind(path: Path) -> None:
    once = Once(lambda payload: payload, Inbox(path))
    for number in range(20):
        once(b"%d" % number)
    assert len(once._turns) == 0


def test_one_at_a_time_for_each_name_alone() -> None:
    turns, inside = Turns(), []
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.of("a"):
            entered.set()
            leave.wait(10)
            inside.append("first")

    def follow() -> None:
        with turns.of("a"):
            inside.append("second")

    first, second = threading.Thread(target=hold), threading.Thread(target=follow)
    first.start()
    entered.wait(10)
    second.start()
    with turns.of("b"):
        inside.append("another")
    leave.set()
    first.join()
    second.join()
    assert inside == ["another", "first", "second"]
    assert len(turns) == 0


def test_a_file_that_another_program_holds_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Inbox(path).close()
    monkeypatch.setattr("federation.sqlite_files.WAIT", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as held:
        for words in ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT"):
            held.execute(words)
        with pytest.raises(BusyError):
            Inbox(path)
