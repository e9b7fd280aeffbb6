"""What rides beside Flower's fields: it arrives, and Flower's fields are what they were."""

import pytest
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.node_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from federation.control.enclosures import (
    MOST,
    ROOM,
    Enclosure,
    enclose,
    enclosure_of,
    fitting,
)

NAMES = st.text(max_size=80)
OBJECTS = st.dictionaries(NAMES, st.binary(max_size=200), max_size=5)


@given(OBJECTS, st.booleans(), st.lists(NAMES, max_size=4))
def test_what_is_enclosed_is_found_after_the_journey(
    objects: dict[str, bytes], wanted: bool, received: list[str]
) -> None:
    sent = PushMessagesRequest(node=Node(node_id=7))
    enclose(sent, objects=objects, wanted=wanted, received=received)
    arrived = PushMessagesRequest.FromString(sent.SerializeToString())
    assert arrived.node.node_id == 7
    assert enclosure_of(arrived) == Enclosure(objects, wanted, tuple(received))


def test_an_empty_enclosure_is_not_no_enclosure() -> None:
    call = PushMessagesRequest()
    assert enclosure_of(call) is None
    enclose(call)
    assert enclosure_of(call) == Enclosure()


@pytest.mark.parametrize("inner", [b"\x0a\xff", b"\x1a\x01\xff"])
def test_what_cannot_be_read_is_nothing(inner: bytes) -> None:
    call = PushMessagesResponse.FromString(_tag(15101) + bytes([len(inner)]) + inner)
    assert enclosure_of(call) is None


def test_the_first_objects_that_fit_are_taken() -> None:
    objects = {"a": b"123", "b": b"45", "c": b"6"}
    assert list(fitting(objects, 6)) == ["a", "b", "c"]
    assert list(fitting(objects, 5)) == ["a", "b"]
    assert list(fitting(objects, 4)) == ["a"]
    assert fitting(objects, 2) == {}


def _tag(field: int) -> bytes:
    key, out = field << 3 | 2, b""
    while key > 0x7F:
        out, key = out + bytes([key & 0x7F | 0x80]), key >> 7
    return out + bytes([key])


def test_no_more_is_taken_than_an_honest_caller_encloses() -> None:
    call = PushMessagesRequest()
    many = {str(number): b"x" for number in range(MOST + 5)}
    enclose(call, objects=many, received=[*many])
    taken = enclosure_of(call)
    assert taken is not None and [*taken.objects] == [*many][:MOST]
    assert taken.received == tuple(many)[:MOST]
    large = PushMessagesRequest()
    enclose(large, objects={"a": bytes(ROOM), "b": b"1"})
    taken = enclosure_of(large)
    assert taken is not None and [*taken.objects] == ["a"]
