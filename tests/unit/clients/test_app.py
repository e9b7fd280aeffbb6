"""The node's Flower application, and the loops that ask it and its like."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.clientapp import ClientApp

from clients import stream
from clients.app import FOREIGN, SCRUBBED, NotAnEnvelopeError, answer, make_app, pack, unpack
from clients.errors import NoSuccessorError
from clients.inbox import Inbox, Parcel
from clients.serve import ServeSettings, _Loop
from clients.stream_tls import StreamSettings

NOWHERE = Path("nowhere")


def message(kind: str, content: RecordDict) -> Message:
    return make_message(Metadata(1, "m", 1, 2, "", "", 1.8e9, 60.0, kind), content)


@pytest.mark.parametrize("kind", ["train", "train.round", "query", "query.partial"])
def test_bytes_go_in_and_bytes_come_out(kind: str) -> None:
    app = make_app(lambda payload: payload[::-1])
    assert isinstance(app, ClientApp)
    reply = answer(app, message(kind, pack(b"\0abc")))
    assert unpack(reply.content) == b"cba\0"
    assert reply.metadata.reply_to_message_id == "m"


def test_the_text_of_an_exception_does_not_leave() -> None:
    def boom(_: bytes) -> bytes:
        raise ValueError("customer 4711 paid 12.50")

    reply = answer(make_app(boom), message("train", pack(b"")))
    assert reply.error.reason == SCRUBBED
    assert "4711" not in repr(reply.error)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"a": ConfigRecord({"x": b"bytes"})}),
        RecordDict({"a": ConfigRecord({"entrepot.envelope/2": "text"})}),
        RecordDict({"a": ConfigRecord({"entrepot.envelope/2": b"bytes", "x": 1})}),
        RecordDict({name: ConfigRecord({"entrepot.envelope/2": b"bytes"}) for name in "ab"}),
        RecordDict({"a": ArrayRecord(), "b": ArrayRecord()}),
        RecordDict({"a": ArrayRecord({"x": Array("float32", (1,), "numpy.ndarray", b"1234")})}),
        RecordDict({"a": ArrayRecord({"x": Array("uint8", (1,), "entrepot.envelope/1", b"1")})}),
    ],
)
def test_anything_else_is_refused(content: RecordDict) -> None:
    with pytest.raises(NotAnEnvelopeError):
        unpack(content)
    reply = answer(make_app(lambda payload: payload), message("train", content))
    assert reply.error.reason == FOREIGN


def test_other_message_types_are_refused() -> None:
    reply = answer(make_app(lambda payload: payload), message("evaluate", pack(b"")))
    assert reply.error.reason == FOREIGN


def test_what_a_process_that_ends_does_not_answer_stays_claimed(tmp_path: Path) -> None:
    inbox, stop = Inbox(tmp_path / "outbox.sqlite"), threading.Event()
    inbox.claim(Parcel("m", b"head"), 1.0)

    def ending(_: bytes) -> bytes:
        stop.set()
        raise NoSuccessorError("nobody answers here any more")

    said: list[Message] = []
    fleet = SimpleNamespace(payload=lambda _: b"", push=said.append)
    settings = ServeSettings("127.0.0.1:1", NOWHERE, NOWHERE, NOWHERE)
    loop = _Loop(settings, fleet, inbox, stop)  # type: ignore[arg-type]
    asked = message("train", pack(b"a letter"))
    loop._hand_out(SimpleNamespace(message_id="m", run_id=1, message=lambda _: asked))  # type: ignore[arg-type]
    loop._work(make_app(ending))
    assert inbox.unanswered() == [Parcel("m", b"head")]
    assert (said, loop.failure, loop.under_way) == ([], None, set())


def test_what_a_process_that_ends_does_not_answer_is_not_said_to_have_failed() -> None:
    said: list[object] = []

    def ending(_: bytes) -> bytes:
        node._desk.close()
        raise NoSuccessorError("nobody answers here any more")

    settings = StreamSettings("127.0.0.1:2", NOWHERE, NOWHERE, NOWHERE)
    node = stream._Node(settings, ending, threading.Event(), bytes.hex)
    asker = SimpleNamespace(send=lambda *answer: said.append(answer))
    node._desk.bring(b"a letter", asker, 1)
    node._work()
    assert said == []
