"""A gate in front of the Flower server's two pull routes that turns polling into waiting.

Flower's pull calls answer at once, so a client that wants to be quick must ask often, and many
clients that ask often keep the server busy with asking. Behind this gate a pull waits until
there is something to fetch, or until it has been held long enough. Correctness never depends on
the gate: what it remembers are hints, every held call reaches the stock handler in the end, and
without the gate everything still works, more slowly.

The gate must be the innermost middleware: behind node authentication, so that only a node itself
can hold or supersede its own pull, and behind the translation of the request's body, whose parsed
message it reads. A held call whose client is gone never reaches the handler: the handler hands
each message out once, and would hand it to nobody.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse

# ----------------------------------------------------------------------------------------------

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

NODE_HOLD = 8.0
"""Seconds a node's pull is held; the HTTP client gives up after 30."""
REPLY_HOLD = 1.0
"""Seconds the coordinator's pull is held: the stock handler notices dead nodes only when asked."""
_REMEMBERED = 300.0
"""Seconds after which a hint about a reply or an unfinished upload is forgotten."""


@dataclass(slots=True)
class _Held:
    """One pull that waits; `superseded` when a newer pull of the same node took its place."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class _Upload:
    """What is still missing of a pushed batch, and whom its completion wakes."""

    missing: set[str]
    nodes: tuple[int, ...]
    replies: tuple[str, ...]
    since: float


class Hints:
    """What is known to be waiting, and who waits for it. Lives in one event loop."""

    def __init__(self) -> None:
        self._messages: Counter[int] = Counter()  # uploaded for a node, not yet pulled
        self._held: dict[int, _Held] = {}  # the newest pull of each node seen
        self._replies: dict[str, float] = {}  # answered request, when the answer was complete
        self._waiting: list[tuple[frozenset[str], asyncio.Event]] = []
        self._uploads: dict[str, _Upload] = {}  # by push session

    def node_pull(self, node: int) -> _Held | None:
        """The wait of a node's new pull, which supersedes an older one; None: do not wait.

        A node's first pull since this server started does not wait: the database may hold
        messages from before.
        """
        older, held = self._held.get(node), _Held()
        self._held[node] = held
        if older is None:
            return None
        older.superseded = True
        older.woken.set()
        return None if self._messages[node] else held

    def node_pulled(self, node: int, found: int) -> None:
        """A node's pull came back with `found` messages."""
        self._messages[node] = max(0, self._messages[node] - found) if found else 0

    def reply_wait(self, requests: frozenset[str]) -> asyncio.Event | None:
        """The event that a reply to one of the requests is complete; None: one already is."""
        if requests & self._replies.keys():
            return None
        event = asyncio.Event()
        self._waiting.append((requests, event))
        return event

    def reply_pull(self, requests: frozenset[str]) -> None:
        """The requests' replies are about to be read from the database: their hints are spent."""
        self._waiting = [waiting for waiting in self._waiting if waiting[0] is not requests]
        for request in requests:
            self._replies.pop(request, None)

    def pushed(self, session: str, upload: _Upload) -> None:
        """A batch was announced; once its objects are uploaded its recipients are woken."""
        stale = [
            key for key, old in self._uploads.items() if upload.since - old.since > _REMEMBERED
        ]
        for key in stale:
            del self._uploads[key]
        if upload.missing:
            self._uploads[session] = upload
        else:
            self._complete(upload)

    def uploaded(self, session: str, object_id: str) -> None:
        """One object of a batch arrived."""
        upload = self._uploads.get(session)
        if upload is None:
            return
        upload.missing.discard(object_id)
        if not upload.missing:
            self._complete(self._uploads.pop(session))

    def _complete(self, upload: _Upload) -> None:
        for node in upload.nodes:
            self._messages[node] += 1
            if node in self._held:
                self._held[node].woken.set()
        now = time.monotonic()
        self._replies = {key: at for key, at in self._replies.items() if now - at < _REMEMBERED}
        self._replies.update(dict.fromkeys(upload.replies, now))
        for requests, event in self._waiting:
            if not requests.isdisjoint(upload.replies):
                event.set()


class Gate:
    """The middleware. `calls` counts every request by (API, operation): a metric, and a test."""

    def __init__(
        self, app: Application, *, node_hold: float = NODE_HOLD, reply_hold: float = REPLY_HOLD
    ) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._app = app
        self._node_hold = node_hold
        self._reply_hold = reply_hold
        self._hints = Hints()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request is answered, later perhaps, as the application inside would answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api, _, operation = scope["path"].removeprefix("/v1/").partition("/")
        self.calls[api, operation] += 1
        state = scope.setdefault("state", {})
        request = state.get("protobuf_request")
        if request is None or api not in ("fleet", "runtime"):
            await self._app(scope, receive, send)
        elif operation == "pull-messages":
            await self._pull(api, request, scope, receive, send)
        elif (response := await self._answer(scope, receive, send)) is not None:
            self._note(api, operation, request, response)

    async def _pull(
        self, api: str, request: Any, scope: Scope, receive: Receive, send: Send
    ) -> None:
        go = await (self._hold_node if api == "fleet" else self._hold_reply)(request, receive)
        if not go:
            empty = PullMessagesResponse() if api == "fleet" else PullAppMessagesResponse()
            scope["state"]["protobuf_response"] = empty
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        response = await self._answer(scope, receive, send)
        if response is not None and api == "fleet":
            self._hints.node_pulled(
                request.node.node_id, len(getattr(response, "messages_list", ()))
            )

    async def _hold_node(self, request: Any, receive: Receive) -> bool:
        held = self._hints.node_pull(request.node.node_id)
        if held is None:
            return True
        return await _wait(held.woken, receive, self._node_hold) and not held.superseded

    async def _hold_reply(self, request: Any, receive: Receive) -> bool:
        requests = frozenset(request.message_ids)
        if not requests:
            return True
        event = self._hints.reply_wait(requests)
        try:
            return event is None or await _wait(event, receive, self._reply_hold)
        finally:
            self._hints.reply_pull(requests)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """What the application inside answered; None unless it did with status 200.

        The middleware outside takes the answer away as soon as it hears of it.
        """
        answers: list[Any] = []

        async def watch(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                answers.append(scope["state"].get("protobuf_response"))
            await send(message)

        await self._app(scope, receive, watch)
        return answers[0] if answers else None

    def _note(self, api: str, operation: str, request: Any, response: Any) -> None:
        if operation == "push-messages":
            heads = [message.metadata for message in request.messages_list]
            nodes = [head.dst_node_id for head in heads] if api == "runtime" else []
            replies = [head.reply_to_message_id for head in heads] if api == "fleet" else []
            missing = set(response.objects_to_push)
            upload = _Upload(missing, tuple(nodes), tuple(replies), time.monotonic())
            self._hints.pushed(response.session_id, upload)
        elif operation == "push-object":
            self._hints.uploaded(request.session_id, request.object_id)


async def _wait(event: asyncio.Event, receive: Receive, seconds: float) -> bool:
    """True: the event came, or the time is over. False: the client hung up."""
    woken = asyncio.ensure_future(event.wait())
    gone = asyncio.ensure_future(_hang_up(receive))
    futures: Iterable[asyncio.Future[Any]] = (woken, gone)
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hung_up = gone.done()
    woken.cancel()
    gone.cancel()
    return not hung_up


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the request's body, which has been parsed already, comes first
