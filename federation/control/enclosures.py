"""What rides in a call of Flower's protocol beside the fields that Flower knows.

Flower announces a message in one call and moves each of its objects in another; a call costs the
server far more than the bytes it moves. So a caller encloses what the next calls would say, in a
field that Flower's schema does not have: a stock server or client keeps such a field and takes no
notice. Whoever finds nothing enclosed makes the calls one by one, and everything still works.

    enclose(request, objects={name: content})      enclosure_of(request).objects
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

ROOM: Final = 8 * 2**20
"""Bytes of objects that one call encloses at most; what is left moves in calls of its own."""

MOST: Final = 256
"""Objects, or names of messages, that one call encloses at most."""

_FIELD: Final = 15101
_LENGTH_DELIMITED: Final = 2


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What was found in a call.

    objects:  contents by Flower's name of the object.
    wanted:   whether the caller takes objects in the answer.
    received: names of messages, of which the caller or the server says that they may be, or
              were, deleted.
    """

    objects: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    wanted: bool = False
    received: tuple[str, ...] = ()


def enclose(
    call: Message,
    *,
    objects: Mapping[str, bytes] | None = None,
    wanted: bool = False,
    received: Collection[str] = (),
) -> None:
    """Put an enclosure into a request or an answer, which must not have one yet."""
    outer = _Outer()
    for name, content in (objects or {}).items():
        outer.inner.objects.add(name=name, content=content)
    outer.inner.wanted = wanted
    outer.inner.received.extend(received)
    call.MergeFromString(outer.SerializeToString())


def enclosure_of(call: Message) -> Enclosure | None:
    """Return what is enclosed in a request or an answer; None: nothing that can be read."""
    for unknown in UnknownFieldSet(call):
        if unknown.field_number == _FIELD and unknown.wire_type == _LENGTH_DELIMITED:
            try:
                inner = _Inner.FromString(unknown.data)
            except DecodeError:
                return None
            found = {item.name: item.content for item in inner.objects[:MOST]}
            return Enclosure(fitting(found), inner.wanted, tuple(inner.received[:MOST]))
    return None


def fitting(objects: Mapping[str, bytes], room: int = ROOM) -> dict[str, bytes]:
    """Return the first objects that are no more than `room` bytes together."""
    found: dict[str, bytes] = {}
    for name, content in objects.items():
        room -= len(content)
        if room < 0:
            break
        found[name] = content
    return found


def _schema() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="entrepot/enclosures.proto", package="entrepot", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    item = file.message_type.add(name="Item")
    item.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=one)
    item.field.add(name="content", number=2, type=kinds.TYPE_BYTES, label=one)
    inner = file.message_type.add(name="Inner")
    message, of_items = kinds.TYPE_MESSAGE, ".entrepot.Item"
    inner.field.add(name="objects", number=1, type=message, label=many, type_name=of_items)
    inner.field.add(name="wanted", number=2, type=kinds.TYPE_BOOL, label=one)
    inner.field.add(name="received", number=3, type=kinds.TYPE_STRING, label=many)
    outer = file.message_type.add(name="Outer")
    of_inner = ".entrepot.Inner"
    outer.field.add(name="inner", number=_FIELD, type=message, label=one, type_name=of_inner)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_schema().SerializeToString())
_Inner: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("entrepot.Inner"))
_Outer: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("entrepot.Outer"))
