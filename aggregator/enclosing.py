"""Does in one call to the Flower server what would take one call per object.

The innermost middleware, inside the gate. The stock handler answers first, and only where it did
with success, what rides in the request (`federation.control.enclosures`) is done as the calls that
it replaces would do it, by the same functions of the server's state: a push's objects are stored,
a pull's are put into the answer, further messages are deleted. So who may do what is decided where
it always was. Whatever cannot be done here is left undone and unsaid: the client then makes the
calls one by one, and hears from the stock handlers what is wrong.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.common.constant import Status
from flwr.server.superlink.utils import check_abort
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree

# ----------------------------------------------------------------------------------------------
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from aggregator.errors import AggregatorError
from aggregator.gate import Application, Receive, Scope, Send
from federation.control.enclosures import MOST, ROOM, Enclosure, enclose, enclosure_of

_LOG = logging.getLogger(__name__)
_NOT_RUNNING: Final = [Status.PENDING, Status.STARTING, Status.FINISHED]


class NotStoredError(AggregatorError):
    """The server's state did not take an object; nothing of the batch is stored."""


class Enclosing:
    """The middleware; `state` gives the server's state for one request."""

    def __init__(self, app: Application, state: Callable[[Scope], Any] | None = None) -> None:
        self._app = app
        self._state = state or _state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application inside answers, and what was enclosed is done before it is heard."""
        request = scope.get("state", {}).get("protobuf_request")
        step = _STEPS.get(scope["path"].rpartition("/")[2]) if request is not None else None
        enclosure = enclosure_of(request) if step is not None else None
        if step is None or enclosure is None:
            await self._app(scope, receive, send)
            return

        async def add(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                response = scope["state"].get("protobuf_response")
                await run_in_threadpool(
                    _try, step, self._state(scope), request, response, enclosure
                )
            await send(message)

        await self._app(scope, receive, add)


Step = Callable[[Any, Any, Any, Enclosure], Callable[[], None]]
"""Works on the server's state and returns what tells the client so in the answer."""


def _try(step: Step, state: Any, request: Any, response: Any, enclosure: Enclosure) -> None:
    try:
        with state.session():  # one transaction: what is told was committed before
            tell = step(state, request, response, enclosure)
    except (NotStoredError, SQLAlchemyError):
        _LOG.warning("What rode in a call could not be done with it.", exc_info=True)
    else:
        tell()


def _store(state: Any, request: Any, response: Any, enclosure: Enclosure) -> Callable[[], None]:
    """The objects that the server lacks and that ride in a push are stored, all or none."""
    run_id = request.messages_list[0].metadata.run_id
    brought = [name for name in response.objects_to_push if name in enclosure.objects]
    for name in brought:
        content = enclosure.objects[name]
        if not state.store_object(run_id, response.session_id, name, content):
            raise NotStoredError("The server did not take an object that rode in a push.")
    return partial(_lack, response, [n for n in response.objects_to_push if n not in brought])


def _lack(response: Any, left: list[str]) -> None:
    del response.objects_to_push[:]
    response.objects_to_push.extend(left)


def _fetch(state: Any, request: Any, response: Any, enclosure: Enclosure) -> Callable[[], None]:
    """The objects without children of the messages in the answer ride in it, while room is left."""
    is_node = hasattr(request, "node")
    objects: dict[str, bytes] = {}
    for head, tree in zip(response.messages_list, response.message_object_trees, strict=True):
        run_id = head.metadata.run_id
        if enclosure.wanted and not (is_node and check_abort(run_id, _NOT_RUNNING, state)):
            _collect(state, run_id, _leaves(tree), objects)
    return partial(enclose, response, objects=objects)


def _leaves(tree: Any) -> Iterable[str]:
    return (item.object_id for item in iterate_object_tree(tree) if not item.children)


def _collect(state: Any, run_id: int, names: Iterable[str], objects: dict[str, bytes]) -> None:
    size = sum(map(len, objects.values()))
    for name in names:
        if size >= ROOM or len(objects) >= MOST:
            return
        content = state.get_object(run_id, name)
        if content:  # else it is unknown, or still being uploaded
            objects[name], size = content, size + len(content)


def _delete(state: Any, _request: Any, response: Any, enclosure: Enclosure) -> Callable[[], None]:
    """The further messages that a confirmation names are deleted, and the answer says so."""
    for name in enclosure.received:
        state.object_store.delete(name)
    return partial(enclose, response, received=enclosure.received)


def _state(scope: Scope) -> Any:
    return scope["app"].state.linkstate_factory.state()


_STEPS: Final[Mapping[str, Step]] = {
    "push-messages": _store,
    "pull-messages": _fetch,
    "confirm-message-received": _delete,
}
