"""One spelling per value."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_compute import canonical
from secure_compute.errors import LocalProtocolError, NotCanonicalError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_decode_undoes_encode(value: canonical.JSON) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@given(st.text())
def test_whatever_is_accepted_is_spelled_that_way(text: str) -> None:
    try:
        value = canonical.decode(text.encode())
    except NotCanonicalError:
        return
    assert canonical.encode(value) == text.encode()


@given(st.recursive(VALUES | st.floats() | st.integers(), st.lists, max_leaves=6))
def test_what_nobody_may_write_is_not_read_either(value: Any) -> None:
    wire = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    try:
        assert canonical.encode(value) == wire
    except LocalProtocolError:
        with pytest.raises(NotCanonicalError):
            canonical.decode(wire)
    else:
        assert canonical.decode(wire) == value


@pytest.mark.parametrize(
    "bad",
    [
        *(b'{"b":1,"a":2}', b"1.0", b" 1", b'{"a":1,"a":1}', b"[1, 2]", b"NaN", b"\xff", b"1e3"),
        *(b"1.5", b"[0.5]", b"9223372036854775808", b'{"a":-9223372036854775808}', b"-Infinity"),
    ],
)
def test_bad_second_spellings(bad: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        canonical.decode(bad)


@pytest.mark.parametrize("bad", [1.5, {1: 2}, b"x", 2**63])
def test_bad_values(bad: object) -> None:
    with pytest.raises(LocalProtocolError):
        canonical.encode(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("opened", "closed"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_bad_what_is_too_deep_to_be_written_is_not_read(opened: bytes, closed: bytes) -> None:
    """Wherever it is asked: how much of the stack is in use decides nothing."""

    def nested(times: int) -> bytes:
        return opened * times + b"1" + closed * times

    def below(frames: int) -> None:
        if frames:
            below(frames - 1)
            return
        deepest = nested(canonical.DEEPEST)
        assert canonical.encode(canonical.decode(deepest)) == deepest
        for times in (canonical.DEEPEST + 1, 600):
            with pytest.raises(NotCanonicalError):
                canonical.decode(nested(times))
            with pytest.raises(LocalProtocolError, match="nested so deep"):
                canonical.encode(json.loads(nested(times)))

    below(0)
    below(200)
