"""The gate: a pull waits for what it pulls, and nothing is claimed for a client that is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flwr.proto.fleet_pb2 import (
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import Message, Metadata, PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)

from aggregator.gate import Gate


class Server:
    """A stand-in for the application inside: it answers what it is given, and counts."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.handled: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.handled.append(scope["path"])
        scope["state"]["protobuf_response"] = self.answers[scope["path"]]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        del scope["state"]["protobuf_response"]  # as the middleware outside does
        await send({"type": "http.response.body", "body": b""})


class Fleet:
    """A gate, the server behind it, and calls to it."""

    def __init__(self, hold: float = 5.0) -> None:
        self.server = Server()
        self.gate = Gate(self.server, node_hold=hold, reply_hold=hold)

    async def call(
        self, path: str, request: Any, answer: Any, hang_up: asyncio.Event | None = None
    ) -> int:
        path = f"/v1/{path}"
        self.server.answers[path] = answer
        sent: list[Any] = []
        bodies = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            for body in bodies:
                return body
            await (hang_up or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(item: Any) -> None:
            sent.append(item)

        state = {"protobuf_request": request}
        await self.gate({"type": "http", "path": path, "state": state}, receive, send)
        return int(sent[0]["status"])

    def pull(self, hang_up: asyncio.Event | None = None) -> Awaitable[int]:
        request = PullMessagesRequest(node=Node(node_id=7))
        return self.call("fleet/pull-messages", request, PullMessagesResponse(), hang_up)

    def push(self, *objects: str) -> Awaitable[int]:
        request = PushAppMessagesRequest(messages_list=[Message(metadata=Metadata(dst_node_id=7))])
        answer = PushAppMessagesResponse(session_id="s", objects_to_push=objects)
        return self.call("runtime/push-messages", request, answer)

    def push_object(self, name: str, api: str = "runtime") -> Awaitable[int]:
        request = PushObjectRequest(session_id="s", object_id=name)
        return self.call(f"{api}/push-object", request, PushObjectResponse(stored=True))

    def reply(self, *objects: str) -> Awaitable[int]:
        head = Metadata(reply_to_message_id="asked")
        request = PushMessagesRequest(messages_list=[Message(metadata=head)])
        answer = PushMessagesResponse(session_id="s", objects_to_push=objects)
        return self.call("fleet/push-messages", request, answer)

    def fetch(self) -> Awaitable[int]:
        request = PullAppMessagesRequest(message_ids=["asked", "other"])
        return self.call("runtime/pull-messages", request, PullAppMessagesResponse())

    def pulls(self) -> int:
        return sum(path.endswith("pull-messages") for path in self.server.handled)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 20.0)

    asyncio.run(bounded())


async def held(call: Awaitable[int], fleet: Fleet) -> "asyncio.Task[int]":
    """The call, once it is seen to wait."""
    before = sum(fleet.gate.calls.values())
    task = asyncio.ensure_future(call)
    while sum(fleet.gate.calls.values()) == before:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


def test_the_first_pull_of_a_node_does_not_wait_and_the_second_does() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        second = await held(fleet.pull(), fleet)
        assert fleet.pulls() == 1
        await fleet.push()
        assert await second == 200
        assert fleet.pulls() == 2

    run(scenario)


def test_a_pull_is_woken_when_the_last_object_is_uploaded_not_before() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        pull = await held(fleet.pull(), fleet)
        await fleet.push("a", "b")
        await fleet.push_object("a")
        assert not pull.done()
        await fleet.push_object("b")
        await pull

    run(scenario)


def test_a_message_pushed_while_nobody_pulls_is_not_waited_for() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        await fleet.push()
        await fleet.pull()
        assert fleet.pulls() == 2

    run(scenario)


def test_a_pull_that_is_held_long_enough_goes_through() -> None:
    async def scenario() -> None:
        fleet = Fleet(hold=0.01)
        await fleet.pull()
        await fleet.pull()
        await fleet.fetch()
        assert fleet.pulls() == 3

    run(scenario)


def test_a_client_that_hung_up_claims_nothing() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        gone = asyncio.Event()
        pull = await held(fleet.pull(gone), fleet)
        gone.set()
        assert await pull == 200
        await fleet.push()
        assert fleet.pulls() == 1

    run(scenario)


def test_a_newer_pull_of_the_same_node_supersedes_the_older() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        older = await held(fleet.pull(), fleet)
        newer = await held(fleet.pull(), fleet)
        await older
        assert fleet.pulls() == 1
        await fleet.push()
        await newer
        assert fleet.pulls() == 2

    run(scenario)


def test_a_fetch_waits_for_a_complete_reply() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        fetch = await held(fleet.fetch(), fleet)
        await fleet.reply("object")
        assert not fetch.done()
        await fleet.push_object("object", "fleet")
        assert await fetch == 200

    run(scenario)


def test_a_reply_that_is_there_is_not_waited_for_and_only_once() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.reply()
        await fleet.fetch()
        again = await held(fleet.fetch(), fleet)
        await fleet.reply()
        await again

    run(scenario)


def test_a_request_that_flower_did_not_parse_passes_untouched() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        assert await fleet.call("fleet/pull-messages", None, PullMessagesResponse()) == 200

    run(scenario)


def test_every_call_is_counted() -> None:
    async def scenario() -> None:
        fleet = Fleet()
        await fleet.pull()
        await fleet.push()
        assert fleet.gate.calls == {("fleet", "pull-messages"): 1, ("runtime", "push-messages"): 1}

    run(scenario)
