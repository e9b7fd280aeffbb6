"""What rides in a call is done with it, by the server's own functions, or left to be asked for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.common.constant import Status
from flwr.proto.fleet_pb2 import (
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    Message,
    Metadata,
    ObjectTree,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from sqlalchemy.exc import OperationalError

from aggregator.enclosing import Enclosing
from federation.control.enclosures import ROOM, enclose, enclosure_of

RUN = 5


class State:
    """A stand-in for the server's state: whatever a failed transaction did is undone."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.status = Status.RUNNING
        self.breaks = False
        self.object_store = SimpleNamespace(delete=lambda name: self.objects.pop(name, None))

    @contextmanager
    def session(self) -> Iterator[None]:
        before = dict(self.objects)
        try:
            yield
            if self.breaks:
                raise OperationalError("COMMIT", {}, Exception("database is locked"))
        except BaseException:
            self.objects = before
            raise

    def store_object(self, run_id: int, session_id: str, name: str, content: bytes) -> bool:
        assert (run_id, session_id) == (RUN, "session")
        if name not in self.refused:
            self.objects[name] = content
        return name not in self.refused

    def get_object(self, run_id: int, name: str) -> bytes | None:
        assert run_id == RUN
        return self.objects.get(name)

    def get_run_status(self, run_ids: set[int]) -> dict[int, Any]:
        return {run: SimpleNamespace(status=self.status, sub_status="") for run in run_ids}

    def cleanup_run(self, run_id: int) -> None:
        """Nothing: this state keeps no runs."""


def call(state: State, path: str, request: Any, response: Any, status: int = 200) -> Any:
    """The answer as the middlewares outside hear of it."""
    heard: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["state"]["protobuf_response"] = response
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heard.append(type(response).FromString(response.SerializeToString()))

    scope = {"type": "http", "path": path, "state": {"protobuf_request": request}}
    asyncio.run(Enclosing(app, lambda _: state)(scope, None, send))  # type: ignore[arg-type]
    return heard[0]


def push(state: State, objects: dict[str, bytes], lacking: list[str], status: int = 200) -> Any:
    request = PushMessagesRequest(messages_list=[Message(metadata=Metadata(run_id=RUN))])
    enclose(request, objects=objects)
    response = PushMessagesResponse(session_id="session", objects_to_push=lacking)
    return call(state, "/v1/fleet/push-messages", request, response, status)


def pull(state: State, *names: str, wanted: bool = True) -> Any:
    """A node's pull of one message whose objects hang below one another, the last the leaf."""
    request = PullMessagesRequest(node=Node(node_id=7))
    enclose(request, wanted=wanted)
    tree = ObjectTree(object_id="top", children=[ObjectTree(object_id=name) for name in names])
    head = Message(metadata=Metadata(run_id=RUN))
    response = PullMessagesResponse(messages_list=[head], message_object_trees=[tree])
    return call(state, "/v1/fleet/pull-messages", request, response)


def test_what_the_server_lacks_is_stored_and_not_asked_for() -> None:
    state = State()
    answer = push(state, {"a": b"1", "b": b"2", "known": b"3"}, ["a", "b", "large"])
    assert state.objects == {"a": b"1", "b": b"2"}
    assert list(answer.objects_to_push) == ["large"]


def test_one_object_that_is_not_taken_leaves_the_push_as_the_server_left_it() -> None:
    state = State()
    state.refused = {"b"}
    answer = push(state, {"a": b"1", "b": b"2"}, ["a", "b"])
    assert state.objects == {}
    assert list(answer.objects_to_push) == ["a", "b"]


def test_nothing_is_said_to_be_stored_that_was_not_committed() -> None:
    state = State()
    state.breaks = True
    answer = push(state, {"a": b"1"}, ["a"])
    assert state.objects == {}
    assert list(answer.objects_to_push) == ["a"]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_push_that_is_refused_stores_nothing(status: int) -> None:
    state = State()
    push(state, {"a": b"1"}, ["a"], status)
    assert state.objects == {}


def test_the_leaves_of_a_message_come_with_it_to_whoever_wants_them() -> None:
    state = State()
    state.objects = {"top": b"t", "a": b"1", "b": b"2"}
    answer = enclosure_of(pull(state, "a", "b"))
    assert answer is not None
    assert answer.objects == {"a": b"1", "b": b"2"}
    answer = enclosure_of(pull(state, "a", "b", wanted=False))
    assert answer is not None
    assert answer.objects == {}


def test_what_is_still_being_uploaded_does_not_come() -> None:
    state = State()
    state.objects = {"a": b""}
    answer = enclosure_of(pull(state, "a", "unknown"))
    assert answer is not None
    assert answer.objects == {}


@pytest.mark.parametrize("status", [Status.PENDING, Status.STARTING, Status.FINISHED])
def test_a_node_gets_nothing_of_a_run_that_does_not_run(status: str) -> None:
    state = State()
    state.objects, state.status = {"a": b"1"}, status
    answer = enclosure_of(pull(state, "a"))
    assert answer is not None
    assert answer.objects == {}


def test_an_answer_has_little_more_than_its_room() -> None:
    state = State()
    state.objects = {name: bytes(ROOM // 2) for name in "abc"}
    response = pull(state, "a", "b", "c")
    assert response.ByteSize() < ROOM + ROOM // 4
    answer = enclosure_of(response)
    assert answer is not None
    assert sorted(answer.objects) == ["a", "b"]


def test_the_executor_gets_the_objects_of_all_replies() -> None:
    state = State()
    state.objects = {"a": b"1", "b": b"2"}
    request = PullAppMessagesRequest(message_ids=["x", "y"])
    enclose(request, wanted=True)
    heads = [Message(metadata=Metadata(run_id=RUN))] * 2
    trees = [ObjectTree(object_id=name) for name in "ab"]
    response = PullAppMessagesResponse(messages_list=heads, message_object_trees=trees)
    answer = enclosure_of(call(state, "/v1/runtime/pull-messages", request, response))
    assert answer is not None
    assert answer.objects == {"a": b"1", "b": b"2"}


def test_further_messages_are_deleted_and_named() -> None:
    state = State()
    state.objects = {"b": b"", "c": b"", "d": b""}
    request = ConfirmMessageReceivedRequest(run_id=RUN, message_object_id="a")
    enclose(request, received=["b", "c"])
    path, response = "/v1/fleet/confirm-message-received", ConfirmMessageReceivedResponse()
    answer = enclosure_of(call(state, path, request, response))
    assert answer is not None
    assert answer.received == ("b", "c")
    assert state.objects == {"d": b""}


def test_deletions_that_were_not_committed_are_not_named() -> None:
    state = State()
    state.objects, state.breaks = {"b": b""}, True
    request = ConfirmMessageReceivedRequest(run_id=RUN, message_object_id="a")
    enclose(request, received=["b"])
    path, response = "/v1/fleet/confirm-message-received", ConfirmMessageReceivedResponse()
    assert enclosure_of(call(state, path, request, response)) is None
    assert state.objects == {"b": b""}


def test_a_call_without_an_enclosure_is_the_stock_servers() -> None:
    state = State()
    request = PushMessagesRequest(messages_list=[Message(metadata=Metadata(run_id=RUN))])
    response = PushMessagesResponse(session_id="session", objects_to_push=["a"])
    answer = call(state, "/v1/fleet/push-messages", request, response)
    assert answer == response
