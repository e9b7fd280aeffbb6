"""The aggregator's side of the transport: a Flower server application that exchanges bytes.

    places = Places(settings.folder)
    flower = FlowerSettings(address="127.0.0.1:9444", places=places, capture=None)

    def main(exchange: FlowerExchange) -> None:
        replies = exchange.exchange({PartyId("warehouse-cn"): envelope}, 60.0, "train")
        for party, reply in replies.items():
            match reply:
                case Lost(reason): …
                case bytes(): …

    run_server_app(flower, main)       # blocks until `main` returns

This process is the executor and the application in one: it starts a run, takes the run's task with
the executor's secret, and calls `main` with an exchange that talks to the server as that task. The
app bundle of the run is never unpacked. When the server forgets the run (a long outage), the
exchange starts another one and goes on; requests that were under way are sent again, and a node
that has answered one before repeats its answer. `exchange` may be called from several threads.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from federation.control.quiet import QUIET

os.environ.update(QUIET)
import httpx
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.app.message.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE, SUPERLINK_NODE_ID, SubStatus
from flwr.common.serde import (
    context_from_proto,
    message_from_proto,
    message_to_proto,
    run_from_proto,
)
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    GetNodesRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    ObjectUnavailableError,
    inflate_object_from_contents,
    push_object_contents_from_iterable,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

# ----------------------------------------------------------------------------------------------
from aggregator.control_api import ControlApi, ServerUnreachableError
from aggregator.exchange import (
    AWAY,
    Exchange,
    Link,
    Lost,
    NotAnEnvelopeError,
    Reply,
    RunLostError,
    ServerSilentError,
    by_party,
    run_exchange,
)
from aggregator.places import Places
from federation.control.captures import Capture
from policies.parties import PartyId

_LOG = logging.getLogger(__name__)
_RECORD, _KEY, _ENCODING = "envelope", "bytes", "entrepot.envelope/1"
_DELETE_AFTER = 10.0
"""Seconds until the server may delete a reply; deleting one while the node's upload of it is
still being acknowledged would make the node's push fail."""
_HEARTBEAT = 10.0
_TICK = 2.0
_RETRY = 0.5
_ACQUIRE = 20.0
_PUSHES = 4
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FlowerSettings:
    """How the executor reaches the server: the control port's address, the folder's secrets.

    capture: the file to which every outbound envelope is written before it is sent.
    """

    address: str
    places: Places
    capture: Path | None = None


@dataclass(slots=True)
class _Announced:
    """A reply that the server handed out (once) while the node was still uploading its objects."""

    head: ProtoMessage
    tree: ObjectTree
    objects: dict[str, bytes] = field(default_factory=dict)


class TaskLink(Link):
    """One run at the server, held by this process as its task; threads may share it."""

    def __init__(self, settings: FlowerSettings, run_id: int, until: float) -> None:
        self._ca = settings.places.ca.read_bytes()
        self._settings = settings
        self._announced: dict[str, _Announced] = {}
        self._lock = threading.Lock()
        self._confirmations: deque[tuple[float, str]] = deque()
        self._closed = threading.Event()
        self.run_id = run_id
        self.token = self._acquire(until)
        self._client = self._connect(RuntimeTokenHttpInterceptor(self.token))
        task = self._call(self._client.PullTaskInput, PullTaskInputRequest(), until)
        self.run, self.context = run_from_proto(task.run), context_from_proto(task.context)
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, run_id
        TaskIdentity.node_id = self.context.node_id
        self._task_id = task.task_id
        threading.Thread(target=self._keep, daemon=True, name=f"run-{run_id}").start()

    def post(
        self, payloads: Mapping[int, bytes], message_type: str, ttl: float, until: float
    ) -> Mapping[str, int]:
        """The letters are at the server, whole; a broken upload is pushed again."""
        created = time.time()
        messages = {
            node: self._message(node, payload, message_type, created, ttl)
            for node, payload in payloads.items()
        }
        objects: dict[str, bytes] = {}
        with no_object_id_recompute():
            for message in messages.values():
                message.metadata.__dict__["_message_id"] = message.object_id
                nested = get_all_nested_objects(message)
                objects.update({name: item.deflate() for name, item in nested.items()})
            request = PushAppMessagesRequest(
                messages_list=[
                    message_to_proto(remove_content_from_message(m)) for m in messages.values()
                ],
                message_object_trees=[get_object_tree(m) for m in messages.values()],
            )
        self._push(request, objects, until)
        return {message.metadata.message_id: node for node, message in messages.items()}

    def fetch(self, letters: Collection[str], until: float) -> Sequence[Reply]:
        """The replies to the letters that are complete."""
        with self._lock:
            waiting = [letter for letter in letters if letter not in self._announced]
        if waiting:
            request = PullAppMessagesRequest(message_ids=waiting)
            response = self._call(self._client.PullMessages, request, until)
            pairs = zip(response.messages_list, response.message_object_trees, strict=True)
            with self._lock:
                for head, tree in pairs:
                    self._announced[head.metadata.reply_to_message_id] = _Announced(head, tree)
        return [reply for letter in letters if (reply := self._complete(letter, until))]

    def online(self, until: float) -> Collection[int]:
        """The nodes that are there."""
        nodes = self._call(self._client.GetNodes, GetNodesRequest(), until).nodes
        return {node.node_id for node in nodes}

    def finish(self) -> None:
        """The run is over at the server, which is told once, and the connection is closed."""
        self._closed.set()
        output = PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details="")
        with suppress(httpx.HTTPError):
            self._client.PushTaskOutput(output)
        self._client.close()

    def drop(self) -> None:
        """This run is not used any more."""
        self._closed.set()

    def _message(
        self, node: int, payload: bytes, message_type: str, created: float, ttl: float
    ) -> Message:
        array = Array("uint8", (len(payload),), _ENCODING, payload)
        content = RecordDict({_RECORD: ArrayRecord({_KEY: array})})
        metadata = Metadata(
            run_id=self.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node,
            reply_to_message_id="",
            group_id="",
            created_at=created,
            ttl=ttl,
            message_type=message_type,
            src_task_id=self._task_id,
        )
        return make_message(metadata, content)

    def _push(
        self, request: PushAppMessagesRequest, objects: Mapping[str, bytes], until: float
    ) -> None:
        for attempt in range(1, _PUSHES + 1):
            session = self._call(self._client.PushMessages, request, until)
            wanted = set(session.objects_to_push)
            send = make_push_object_fn_protobuf(
                lambda request: self._call(self._client.PushObject, request, until),
                Node(node_id=SUPERLINK_NODE_ID),
                self.run_id,
                session.session_id,
            )
            try:
                push_object_contents_from_iterable(
                    ((name, data) for name, data in objects.items() if name in wanted), send
                )
            except ObjectPushError:
                if attempt == _PUSHES:
                    raise
                time.sleep(0.2)
            else:
                return

    def _complete(self, letter: str, until: float) -> Reply | None:
        with self._lock:
            announced = self._announced.get(letter)
        if announced is None:
            return None
        head = message_from_proto(announced.head)
        reply = Reply(letter, b"", head.error.code) if head.has_error() else None
        if reply is None:
            try:
                reply = Reply(letter, self._payload(announced, until))
            except ObjectUnavailableError:
                return None  # still being uploaded: look again at the next fetch
            except ObjectPullError:
                reply = Reply(letter, b"", min(AWAY))
            except NotAnEnvelopeError:
                reply = Reply(letter, b"", 403)
        with self._lock:
            del self._announced[letter]
        self._confirmations.append((time.monotonic() + _DELETE_AFTER, head.metadata.message_id))
        return reply

    def _payload(self, announced: _Announced, until: float) -> bytes:
        content = announced.tree.children[0] if announced.tree.children else ObjectTree()
        chunk = only_chunk(content)
        if chunk is not None:
            data = self._objects(announced, chunk, until).data
            if len(data) < FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE:
                return bytes(data)  # else it may stand for several equal chunks
        return _unpack(self._objects(announced, content, until))

    def _objects(self, announced: _Announced, tree: ObjectTree, until: float) -> Any:
        fetch = make_pull_object_fn_protobuf(
            lambda request: self._call(self._client.PullObject, request, until),
            Node(node_id=SUPERLINK_NODE_ID),
            self.run_id,
        )
        for item in iterate_object_tree(tree):
            if item.object_id not in announced.objects:
                announced.objects[item.object_id] = fetch(item.object_id)
        return inflate_object_from_contents(
            tree.object_id, announced.objects, keep_object_contents=True
        )

    def _acquire(self, until: float) -> str:
        secret = self._settings.places.executor_secret.read_bytes()
        protected = frozenset({"/flwr.proto.Runtime/AcquireTask"})
        client = self._connect(
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=protected)
        )
        request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
        try:
            while time.monotonic() < until:
                response = self._call(client.AcquireTask, request, until)
                if response.token and response.task.run_id == self.run_id:
                    return str(response.token)
                time.sleep(0.02)
        finally:
            client.close()
        raise ServerSilentError("The server did not hand out the task of a fresh run.")

    def _connect(self, interceptor: Any) -> RuntimeHttpClient:
        version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
        return RuntimeHttpClient.from_server_address(
            self._settings.address, False, self._ca, [version, interceptor]
        )

    def _call(self, call: Callable[[Any], R], request: Any, until: float) -> R:
        wait = 0.1
        while True:
            try:
                return call(request)
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                    raise RunLostError("The server has forgotten this run.") from error
                if status < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
            except httpx.TransportError:
                pass
            if time.monotonic() + wait > until:
                message = "The Flower server does not answer; is it running?"
                raise ServerSilentError(message)
            time.sleep(wait)
            wait = min(wait * 1.5, 1.0)

    def _keep(self) -> None:
        """Says that the task lives, and lets the server delete what was received."""
        beat = 0.0
        while not self._closed.wait(_TICK):
            with suppress(httpx.HTTPError):
                if time.monotonic() - beat > _HEARTBEAT:
                    self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
                    beat = time.monotonic()
                while self._confirmations and self._confirmations[0][0] < time.monotonic():
                    self._client.ConfirmMessageReceived(
                        ConfirmMessageReceivedRequest(
                            node=Node(node_id=SUPERLINK_NODE_ID),
                            run_id=self.run_id,
                            message_object_id=self._confirmations[0][1],
                        )
                    )
                    self._confirmations.popleft()


class FlowerExchange:
    """Requests to parties and their replies, over whichever run is alive; threads may share it."""

    def __init__(self, settings: FlowerSettings, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._stop = stop or threading.Event()
        self._control = ControlApi(settings.address, settings.places)
        self._capture = None if settings.capture is None else Capture(settings.capture)
        self._lock = threading.Lock()
        self._nodes: dict[PartyId, int] = {}
        self.link: TaskLink | None = None

    def exchange(
        self,
        requests: Mapping[PartyId, bytes],
        timeout: float,
        message_type: str = "query.exchange",
    ) -> Mapping[PartyId, bytes | Lost]:
        """What each party replied within `timeout` seconds, or why nothing came.

        Args:
            requests: the envelope for each party. The same bytes get the same reply, always.
            timeout: seconds, after which whoever has not replied is lost.
            message_type: `train` or `query.…`; the server's books show it.
        """
        deadline = time.monotonic() + timeout
        nodes = self._find(requests, deadline)
        payloads = {nodes[party]: requests[party] for party in requests if party in nodes}
        if self._capture is not None:
            for payload in payloads.values():
                self._capture.append(payload)
        state = Exchange(payloads, message_type, deadline)
        run_exchange(state, lambda lost: self._alive(lost, deadline), time.monotonic)
        return by_party(state.replies, nodes, requests)

    def open(self, until: float) -> TaskLink:
        """A run is under way and this process holds its task."""
        return self._alive(None, until)

    def close(self) -> None:
        """The run is over."""
        if self.link is not None:
            self.link.finish()
        self._control.close()

    def online(self) -> frozenset[PartyId]:
        """The registered parties whose nodes are there."""
        return frozenset(node.party for node in self._control.nodes() if node.online)

    def _alive(self, lost: Link | None, until: float) -> TaskLink:
        with self._lock:
            if self.link is None or self.link is lost:
                if self.link is not None:
                    self.link.drop()
                self.link = None
                self.link = self._start(until)
            return self.link

    def _start(self, until: float) -> TaskLink:
        while True:
            try:
                self._control.stop_runs()
                run_id = self._control.start_run()
                return TaskLink(self._settings, run_id, min(until, time.monotonic() + _ACQUIRE))
            except (ServerUnreachableError, RunLostError, ServerSilentError) as error:
                if time.monotonic() + _RETRY > until or self._stop.wait(_RETRY):
                    raise ServerSilentError("The Flower server does not answer.") from error

    def _find(self, parties: Collection[PartyId], until: float) -> dict[PartyId, int]:
        if not all(party in self._nodes for party in parties):
            while True:
                try:
                    self._nodes = {node.party: node.node_id for node in self._control.nodes()}
                    break
                except ServerUnreachableError:
                    if time.monotonic() > until or self._stop.wait(_RETRY):
                        break
        return self._nodes


def run_server_app(
    settings: FlowerSettings,
    main: Callable[[FlowerExchange], None],
    stop: threading.Event | None = None,
) -> None:
    """`main` has returned; while it ran, this process was the server application of a run.

    Args:
        settings: how the server is reached; it is waited for.
        main: the application; it is given the exchange, and runs once.
        stop: set it to stop waiting for a server that is not there.

    Raises:
        ServerSilentError: `stop` was set before the server answered.
        ServerRefusedError: the control token or the executor secret is not the server's.
    """
    exchange = FlowerExchange(settings, stop)
    app = ServerApp()

    @app.main()
    def _main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        main(exchange)

    link = exchange.open(float("inf"))
    grid = HttpGrid(settings.address, False, settings.places.ca.read_bytes(), token=link.token)
    grid.set_run(link.run)
    try:
        app(grid, link.context)
    finally:
        exchange.close()


def only_chunk(content: ObjectTree) -> ObjectTree | None:
    """The one object that holds the bytes: record dict, array record, array, chunk."""
    item = content
    for _ in range(3):
        if len(item.children) != 1:
            return None
        item = item.children[0]
    return None if item.children else item


def _unpack(content: RecordDict) -> bytes:
    records = list(content.values())
    arrays = list(records[0].values()) if len(records) == 1 else []
    array = arrays[0] if len(arrays) == 1 else None
    if not isinstance(array, Array) or (array.dtype, array.stype) != ("uint8", _ENCODING):
        raise NotAnEnvelopeError("A node's reply does not carry one array of bytes.")
    return array.data
