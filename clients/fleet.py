"""A node's client of the Flower server: join, pull, push, confirm, heartbeat, leave.

It speaks the fleet API of the pinned Flower version and nothing else: it never fetches an app
bundle, and it has no port of its own. Flower's own loop sleeps for seconds, ends the process when
it is refused, and backs off for a minute; how this one waits is said in `clients.patience`.
"""

import logging
import os
import ssl
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from federation.control.quiet import QUIET

os.environ.update(QUIET)
import httpx
from flwr.app import Error, Message

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.app.message.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node
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
    inflate_object_from_contents,
    pull_objects,
    push_object_contents_from_iterable,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

# ----------------------------------------------------------------------------------------------
from clients import turned_away
from clients.app import FOREIGN, REFUSED, bytes_in, pack
from clients.errors import WrongCertificateError
from clients.patience import (
    NotRegisteredError,
    Patience,
    RunEndedError,
    ServerRefusedError,
)
from federation import at_rest
from federation.control.enclosures import Enclosure, enclose, enclosure_of, fitting
from secure_compute.primitives.node_keys import load_node_key

_LOG = logging.getLogger(__name__)
_OBJECTS_WITHIN = 120.0
"""Seconds a sender may take to finish uploading a message it has announced."""
_PUSHES = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """A message the server handed to this node; `objects` are those that came with it."""

    head: Message
    wire: bytes  # survives a restart: `FleetClient.reclaim`
    tree: ObjectTree
    objects: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def message_id(self) -> str:
        """The server's name of the message."""
        return self.head.metadata.message_id

    @property
    def run_id(self) -> int:
        """The run the message belongs to."""
        return self.head.metadata.run_id

    def message(self, payload: bytes) -> Message:
        """The claimed message as an application sees it."""
        return make_message(self.head.metadata, pack(payload))

    def refusal(self) -> Message:
        """The reply to a message that is no envelope."""
        return Message(Error(REFUSED, FOREIGN), reply_to=self.head)


class FleetClient:
    """One node's connection. Threads may share it; every call waits for the server to be there.

    Args:
        address: `host:port` of the fleet port.
        ca: the PEM of the only authority that is believed.
        key: the node's private key (OpenSSH file).
        heartbeat_seconds: how often the node says that it lives, 10 to 1800.
        id_file: where the server's number of this node is kept, so that a node that died can
            come back at once instead of waiting to be forgotten.
        stop: set it to make every waiting call raise `StoppedError`.
        leaving: whether the node has said that it leaves; refused then, it waits no longer.
    """

    def __init__(
        self,
        address: str,
        ca: bytes,
        key: Path,
        heartbeat_seconds: float,
        id_file: Path,
        stop: threading.Event,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        private_key = load_node_key(key, at_rest.FILES)
        self._public_key = public_key_to_bytes(private_key.public_key())
        self._client = FleetHttpClient.from_server_address(
            address,
            False,
            ca,
            [
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private_key, private_key.public_key()),
            ],
        )
        self._address = address
        self._heartbeat_seconds = heartbeat_seconds
        self._id_file = id_file
        self._leaving = leaving
        self._node = Node()
        self._patience = Patience(stop, self._announce)

    def join(self) -> int:
        """The node is online at the server, under the number that is returned.

        A node that has been here before only sends a heartbeat: that brings it back from any
        state at once, while activation is refused as long as the server believes it is online.

        Raises:
            WrongCertificateError: the server is not the one this node was sent to.
            NotRegisteredError: the node has said that it leaves, and is not let in.
            StoppedError: the node was told to stop.
        """
        self._refuse_wrong_certificate()
        if not (self._id_file.exists() and self._rejoin(int(self._id_file.read_text()))):
            request = ActivateNodeRequest(
                public_key=self._public_key, heartbeat_interval=self._heartbeat_seconds
            )
            self._node = Node(node_id=self._activate(request))
            self._id_file.write_text(str(self._node.node_id))
        turned_away.forget(self._id_file.parent, "flower")
        return int(self._node.node_id)

    def heartbeat(self) -> bool:
        """Whether the server heard that this node lives."""
        request = SendNodeHeartbeatRequest(
            node=self._node, heartbeat_interval=self._heartbeat_seconds
        )
        try:
            return bool(self._client.SendNodeHeartbeat(request).success)
        except httpx.HTTPError:
            return False

    def leave(self) -> bool:
        """Whether the server heard that this node is gone; it is asked once."""
        try:
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))
        except httpx.HTTPError:
            return False
        return True

    def pull(self) -> Claim | None:
        """The next message for this node, or None; the server may hold the call for a while.

        Raises:
            NotRegisteredError: the node's key is not registered any more.
            StoppedError: the node was told to stop.
        """
        request = PullMessagesRequest(node=self._node)
        enclose(request, wanted=True)
        response = self._patience.call(self._client.PullMessages, request)
        if not response.messages_list:
            return None
        came = enclosure_of(response) or Enclosure()
        return _claim(response.messages_list[0], response.message_object_trees[0], came.objects)

    def reclaim(self, wire: bytes) -> Claim:
        """The claim whose `wire` was kept through a restart."""
        length = int.from_bytes(wire[:8], "big")
        tree = ObjectTree.FromString(wire[8 + length :])
        return _claim(ProtoMessage.FromString(wire[8 : 8 + length]), tree)

    def payload(self, claim: Claim) -> bytes:
        """The bytes the claimed message carries.

        Raises:
            RunEndedError: its run is over, or its content was never uploaded.
            NotAnEnvelopeError: it carries something else.
        """
        record = only_record(claim.tree)
        return bytes_in(None if record is None else self._objects(claim, record))

    def _objects(self, claim: Claim, tree: ObjectTree) -> Any:
        fetch = make_pull_object_fn_protobuf(
            lambda request: self._patience.call(self._client.PullObject, request),
            self._node,
            claim.head.metadata.run_id,
        )
        names = [item.object_id for item in iterate_object_tree(tree)]
        objects = {name: claim.objects[name] for name in names if name in claim.objects}
        lacking = [name for name in names if name not in objects]
        try:
            objects |= pull_objects(
                lacking, fetch, max_time=_OBJECTS_WITHIN, initial_backoff=0.05, backoff_cap=0.5
            )
        except ObjectPullError as error:
            raise RunEndedError("The message's content is not at the server any more.") from error
        try:
            return inflate_object_from_contents(tree.object_id, objects)
        except Exception as error:  # what stands at the server may break Flower's reader in any way
            raise RunEndedError("The message's content is no object of Flower's.") from error

    def push(self, reply: Message) -> None:
        """The reply is at the server, whole.

        A reply whose upload was broken off is pushed again: the same message opens a new upload.

        Raises:
            RunEndedError: its run is over.
        """
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree, nested = get_object_tree(reply), get_all_nested_objects(reply)
            objects = {name: item.deflate() for name, item in nested.items()}
            head = message_to_proto(remove_content_from_message(reply))
        request = PushMessagesRequest(
            node=self._node, messages_list=[head], message_object_trees=[tree]
        )
        enclose(request, objects=fitting(objects))
        for attempt in range(1, _PUSHES + 1):
            session = self._patience.call(self._client.PushMessages, request)
            wanted = set(session.objects_to_push)
            send = make_push_object_fn_protobuf(
                lambda request: self._patience.call(self._client.PushObject, request),
                self._node,
                reply.metadata.run_id,
                session.session_id,
            )
            try:
                push_object_contents_from_iterable(
                    ((name, data) for name, data in objects.items() if name in wanted), send
                )
            except ObjectPushError as error:
                if attempt == _PUSHES:
                    raise RunEndedError("The server does not take the reply any more.") from error
                self._patience.wait(0.2)
            else:
                return

    def confirm(self, message_ids: Sequence[str], run_id: int) -> Collection[str]:
        """The messages of one run, one or more, that the server has deleted, the first always.

        Raises:
            RunEndedError: their run is over, and the messages with it.
        """
        first, *others = message_ids
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=run_id, message_object_id=first
        )
        enclose(request, received=others)
        response = self._patience.call(self._client.ConfirmMessageReceived, request)
        return {first, *(enclosure_of(response) or Enclosure()).received}

    def _activate(self, request: ActivateNodeRequest) -> int:
        refusals = 0
        while True:
            try:
                return int(self._patience.call(self._client.ActivateNode, request).node_id)
            except (ServerRefusedError, NotRegisteredError) as why:
                if self._leaving():
                    raise NotRegisteredError("This node has left, and is not let in.") from why
                if refusals % 30 == 0:
                    _LOG.warning("Not admitted: is this node's key registered at the aggregator?")
                    turned_away.note(self._id_file.parent, "flower")
                refusals += 1
                self._patience.wait(1.0)

    def _rejoin(self, node_id: int) -> bool:
        self._node = Node(node_id=node_id)
        request = SendNodeHeartbeatRequest(
            node=self._node, heartbeat_interval=self._heartbeat_seconds
        )
        try:
            return bool(self._patience.call(self._client.SendNodeHeartbeat, request).success)
        except (NotRegisteredError, ServerRefusedError):
            return False  # registered anew, with another number

    def _announce(self) -> None:
        if self._node.node_id:
            self.heartbeat()

    def _refuse_wrong_certificate(self) -> None:
        try:
            self._client._client.get(f"https://{self._address}/health")  # noqa: SLF001
        except httpx.TransportError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
                cause = cause.__cause__ or cause.__context__
            if cause is not None:
                message = (
                    f"The server at {self._address} shows a certificate that this federation's "
                    "authority did not sign; check the address, or ask for a new `ca.crt`."
                )
                raise WrongCertificateError(message) from error


def only_record(message: ObjectTree) -> ObjectTree | None:
    """The one object that holds the bytes, below the message and its record dict."""
    item = message
    for _ in range(2):
        if len(item.children) != 1:
            return None
        item = item.children[0]
    return None if item.children else item


def _claim(
    head: ProtoMessage, tree: ObjectTree, objects: Mapping[str, bytes] = MappingProxyType({})
) -> Claim:
    raw = head.SerializeToString()
    wire = len(raw).to_bytes(8, "big") + raw + tree.SerializeToString()
    return Claim(message_from_proto(head), wire, tree, objects)
