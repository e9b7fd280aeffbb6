"""Captures: whole records, in order, also after a crash in the middle of one."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.control.captures import Capture, read_capture


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(min_size=1), st.data())
def test_a_record_cut_short_is_removed_and_the_others_stand(
    tmp_path_factory: object, payloads: list[bytes], last: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("captures") / "a.cap"  # type: ignore[attr-defined]
    capture = Capture(path)
    for payload in payloads:
        capture.append(payload)
    whole = path.stat().st_size
    capture.append(last)
    capture.close()
    cut = data.draw(st.integers(whole, path.stat().st_size - 1))
    path.write_bytes(path.read_bytes()[:cut])
    assert list(read_capture(path)) == payloads
    capture = Capture(path)
    capture.append(b"next")
    capture.close()
    assert list(read_capture(path)) == [*payloads, b"next"]


def test_a_record_is_its_length_and_itself(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "folder" / "a.cap")
    capture.append(b"abc")
    assert (tmp_path / "folder" / "a.cap").read_bytes() == b"\0\0\0\0\0\0\0\x03abc"
