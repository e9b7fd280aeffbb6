"""This process as a task of a run at the Flower server: it posts letters and fetches replies.

It does what Flower's own grid does, with fewer calls and without its sleeps: of a message only the
one object that holds its bytes is fetched, a reply whose upload is unfinished does not hold up
the others, a broken upload is pushed again, and the server deletes a message only when the other
side must have finished with it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, TypeVar

from federation import at_rest
from federation.control.quiet import QUIET

os.environ.update(QUIET)
import httpx
from flwr.app import ConfigRecord, Message, RecordDict

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.app.message.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, SubStatus
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

# ----------------------------------------------------------------------------------------------
from aggregator.control_api import ServerRefusedError
from aggregator.exchange import (
    AWAY,
    Link,
    NotAnEnvelopeError,
    Reply,
    RunLostError,
    ServerSilentError,
)
from aggregator.places import Places
from federation.control.captures import Capture
from federation.control.enclosures import Enclosure, enclose, enclosure_of, fitting

_RECORD, _KEY = "envelope", "entrepot.envelope/2"
_DELETE_AFTER = 10.0
"""Seconds until the server may delete a reply; deleting one while the node's upload of it is
still being acknowledged would make the node's push fail."""
_HEARTBEAT = 10.0
_TICK = 2.0
_PUSHES = 4
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FlowerSettings:
    """How the executor reaches the server: the control port's address, the folder's secrets.

    capture: every outbound envelope is written there before it is sent.
    """

    address: str
    places: Places
    capture: Capture | None = None


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
        self.closed = threading.Event()
        self.outages = 0
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
        enclose(request, objects=fitting(objects))
        self._push(request, objects, until)
        return {message.metadata.message_id: node for node, message in messages.items()}

    def fetch(self, letters: Collection[str], until: float) -> Sequence[Reply]:
        """The replies to the letters that are complete."""
        with self._lock:
            waiting = [letter for letter in letters if letter not in self._announced]
        if waiting:
            request = PullAppMessagesRequest(message_ids=waiting)
            enclose(request, wanted=True)
            response = self._call(self._client.PullMessages, request, until)
            came = (enclosure_of(response) or Enclosure()).objects
            pairs = zip(response.messages_list, response.message_object_trees, strict=True)
            with self._lock:
                for head, tree in pairs:
                    announced = _Announced(head, tree, _of(tree, came))
                    self._announced[head.metadata.reply_to_message_id] = announced
        return [reply for letter in letters if (reply := self._complete(letter, until))]

    def online(self, until: float) -> Collection[int]:
        """The nodes that are there."""
        nodes = self._call(self._client.GetNodes, GetNodesRequest(), until).nodes
        return {node.node_id for node in nodes}

    def finish(self) -> None:
        """The run is not used any more; the server is told once."""
        self.closed.set()
        output = PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details="")
        with suppress(httpx.HTTPError):
            self._client.PushTaskOutput(output)

    def _message(
        self, node: int, payload: bytes, message_type: str, created: float, ttl: float
    ) -> Message:
        content = RecordDict({_RECORD: ConfigRecord({_KEY: payload})})
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
            except ObjectPushError as error:
                if attempt == _PUSHES:
                    raise RunLostError("The server does not take this run's letters.") from error
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
        record = only_record(announced.tree)
        return _bytes_in(None if record is None else self._objects(announced, record, until))

    def _objects(self, announced: _Announced, tree: ObjectTree, until: float) -> Any:
        fetch = make_pull_object_fn_protobuf(
            lambda request: self._call(self._client.PullObject, request, until),
            Node(node_id=SUPERLINK_NODE_ID),
            self.run_id,
        )
        for item in iterate_object_tree(tree):
            if item.object_id not in announced.objects:
                announced.objects[item.object_id] = fetch(item.object_id)
        try:
            return inflate_object_from_contents(
                tree.object_id, announced.objects, keep_object_contents=True
            )
        except Exception as why:  # what a node stored may break Flower's reader in any way
            raise NotAnEnvelopeError("what a node sent is no object of Flower's") from why

    def _acquire(self, until: float) -> str:
        secret = at_rest.read(self._settings.places.executor_secret)
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
        except RunLostError as error:
            message = "The server does not accept the executor's secret; restart the server."
            raise ServerRefusedError(message) from error
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
                    message = f"The Flower server refused a call with status {status}."
                    raise ServerRefusedError(message) from error
            except httpx.TimeoutException:
                pass  # who is slow has forgotten nothing
            except httpx.TransportError:
                self.outages += 1
            if time.monotonic() + wait > until:
                raise ServerSilentError("The Flower server does not answer; is it running?")
            time.sleep(wait)
            wait = min(wait * 1.5, 1.0)

    def _keep(self) -> None:
        """Says that the task lives, and lets the server delete what was received."""
        beat = 0.0
        while not self.closed.wait(_TICK):
            with suppress(httpx.HTTPError):
                if time.monotonic() - beat > _HEARTBEAT:
                    self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
                    beat = time.monotonic()
                while due := self._due():
                    for _ in range(self._confirm(due)):
                        self._confirmations.popleft()

    def _due(self) -> list[str]:
        """The messages that the server may delete now, oldest first."""
        now = time.monotonic()
        return [name for _, name in takewhile(lambda item: item[0] < now, self._confirmations)]

    def _confirm(self, names: Sequence[str]) -> int:
        """How many of the messages, from the first on, the server has deleted: one at least."""
        request = ConfirmMessageReceivedRequest(
            node=Node(node_id=SUPERLINK_NODE_ID), run_id=self.run_id, message_object_id=names[0]
        )
        enclose(request, received=names[1:])
        answer = enclosure_of(self._client.ConfirmMessageReceived(request)) or Enclosure()
        return 1 + len(list(takewhile(answer.received.__contains__, names[1:])))


def _of(tree: ObjectTree, objects: Mapping[str, bytes]) -> dict[str, bytes]:
    names = (item.object_id for item in iterate_object_tree(tree))
    return {name: objects[name] for name in names if name in objects}


def only_record(message: ObjectTree) -> ObjectTree | None:
    """The one object that holds the bytes, below the message and its record dict."""
    item = message
    for _ in range(2):
        if len(item.children) != 1:
            return None
        item = item.children[0]
    return None if item.children else item


def _bytes_in(record: object) -> bytes:
    found = dict(record) if isinstance(record, ConfigRecord) else {}
    payload = found.get(_KEY)
    if len(found) == 1 and isinstance(payload, bytes):
        return payload
    raise NotAnEnvelopeError("A node's reply does not carry one record of bytes.")
