"""Captures become the table of what crossed each border; a torn capture is not an intruder."""

import json
from pathlib import Path

import pytest

from experiments.borders import UNREADABLE, Frame, crossings, read_captures, split
from experiments.canaries import count_raw_rows
from experiments.outcome import Border, borders
from federation.control.captures import Capture
from federation.envelopes import Envelope, seal
from federation.messages import Kind
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey

KEY = SigningKey(bytes(32))
PLACES = {"aggregator": "EU", "warehouse-cn": "CN", "warehouse-eu": "EU"}


def wire(kind: Kind, sender: str, recipient: str, blob: bytes = b"") -> bytes:
    blobs = {"vector": blob} if blob else {}
    return seal(Envelope(kind, PartyId(sender), PartyId(recipient), blobs=blobs), KEY)


def captured(*wires: bytes) -> bytes:
    return b"".join(len(wire).to_bytes(8, "big") + wire for wire in wires)


ROUND = wire(Kind.TRAIN_ROUND, "aggregator", "warehouse-cn", bytes(500))
UPDATE = wire(Kind.TRAIN_UPDATE, "warehouse-cn", "aggregator", bytes(700))
AT_HOME = wire(Kind.PONG, "warehouse-eu", "aggregator")


def test_messages_are_counted_by_border_and_kind(tmp_path: Path) -> None:
    for party, data in {
        "aggregator": captured(ROUND, ROUND),
        "nodes/warehouse-cn": captured(UPDATE),
        "nodes/warehouse-eu": captured(AT_HOME),
    }.items():
        (tmp_path / party / "captures").mkdir(parents=True)
        (tmp_path / party / "captures" / "0001").write_bytes(data)
    (tmp_path / "nodes" / "warehouse-uk").mkdir()
    traffic = crossings(read_captures(tmp_path), PLACES)
    assert borders(traffic) == (
        Border("CN", "EU", "train.update", 1, len(UPDATE), ("CN-T01",)),
        Border("EU", "CN", "train.round", 2, 2 * len(ROUND), ("EU-T05",)),
    )
    assert borders(traffic, domestic=True) == (
        Border("EU", "EU", "pong", 1, len(AT_HOME), ("EU-HOME",)),
    )


def test_the_capture_not_the_message_says_who_sent_it() -> None:
    (frame,) = split("warehouse-cn", captured(AT_HOME))
    (crossing,) = crossings([frame], PLACES)
    assert (crossing.sender, crossing.origin) == ("warehouse-cn", "CN")


@pytest.mark.parametrize("intruder", [b"hello", b"", b"ENTR\x01" + bytes(200)])
def test_a_message_of_no_kind_is_foreign(intruder: bytes) -> None:
    frames = list(split("warehouse-cn", captured(UPDATE, intruder, UPDATE)))
    assert [frame.is_foreign for frame in frames] == [False, True, False]
    assert {item.kind for item in crossings(frames, PLACES)} == {UNREADABLE, "train.update"}


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 60, 400])
def test_a_frame_cut_short_by_a_crash_is_neither_foreign_nor_in_the_way(cut: int) -> None:
    data = captured(ROUND)[:cut] + captured(UPDATE, ROUND)
    frames = list(split("aggregator", data))
    assert [frame.torn for frame in frames] == [True, False, False]
    assert not any(frame.is_foreign for frame in frames)
    assert b"".join(frame.wire for frame in frames[1:]) == UPDATE + ROUND


def test_intruders_side_by_side_are_all_foreign() -> None:
    frames = list(split("warehouse-cn", captured(b"hello", b"again", UPDATE, b"", b"bye")))
    assert [frame.is_foreign for frame in frames] == [True, True, False, True, True]


def test_a_capture_that_ends_in_mid_frame_keeps_what_there_is() -> None:
    frames = list(split("aggregator", captured(ROUND, UPDATE)[:-10]))
    assert [frame.torn for frame in frames] == [False, True]
    assert UPDATE.startswith(frames[1].wire)


def test_a_row_in_a_real_capture_counts_one(tmp_path: Path) -> None:
    row = {"id": 4711000012345678, "amount": 123.4567, "timestamp_us": 1735689600123457,
           "timestamp_text": "2025-01-01 00:00:00.123457"}  # fmt: skip
    truth = tmp_path / "canaries.json"
    truth.write_text(json.dumps({"warehouse-cn": [row]}), "utf-8")
    capture = Capture(tmp_path / "nodes" / "warehouse-cn" / "captures" / "warehouse-cn.cap")
    capture.append(UPDATE)
    assert count_raw_rows(read_captures(tmp_path), truth).raw_rows_crossed == 0
    leak = wire(Kind.TRAIN_UPDATE, "warehouse-cn", "aggregator", json.dumps(row).encode())
    capture.append(leak)
    capture.close()
    assert count_raw_rows(read_captures(tmp_path), truth).raw_rows_crossed == 1


def test_an_empty_capture_has_no_frames() -> None:
    assert list(split("aggregator", b"")) == []
    assert crossings([], PLACES) == ()


def test_an_unknown_party_is_shown_as_unknown() -> None:
    stranger = Frame("warehouse-xx", b"", None)
    (crossing,) = crossings([stranger], PLACES)
    assert (crossing.origin, crossing.destination) == ("?", "?")


# -- under which rule ------------------------------------------------------------------------------

MEMBERS = {
    "aggregator": "EU",
    "warehouse-cn": "CN",
    "warehouse-us": "US",
    "merchant-uk": "UK",
    "keyholder-ch": "CH",
    "india": "IN",
}


def offered(order: str, unit: str, *cohort: str) -> Frame:
    """An order as the aggregator's capture holds it."""
    body = json.dumps({"unit": unit, "cohort": cohort}).encode()
    return letter(Kind.OFFER, "aggregator", "warehouse-cn", order, bytes(64) + body)


def letter(kind: Kind, sender: str, to: str, order: str, wire: bytes = b"") -> Frame:
    blobs = {"order": wire} if wire else {}
    return Frame(sender, b"", Envelope(kind, PartyId(sender), PartyId(to), order, blobs=blobs))


def rules(*frames: Frame) -> list[str]:
    """The rule of each frame but the offers'."""
    return [i.rule for i in crossings(frames, MEMBERS) if i.kind != Kind.OFFER.value]


@pytest.mark.parametrize(
    ("unit", "rule"), [("customer", "CN-T01"), ("order", "CN-T01"), ("commercial", "CN-FREE")]
)
@pytest.mark.parametrize("kind", [Kind.TRAIN_UPDATE, Kind.SUM_UPLOAD])
def test_the_orders_unit_decides_whether_a_mechanism_is_needed(
    kind: Kind, unit: str, rule: str
) -> None:
    update = letter(kind, "warehouse-cn", "aggregator", "o")
    assert rules(offered("o", unit, "warehouse-cn"), update) == [rule]


def test_shares_that_open_a_sum_are_nobodys_data() -> None:
    order = offered("o", "customer", "warehouse-cn", "merchant-uk")
    assert rules(order, letter(Kind.SUM_ANSWER, "warehouse-cn", "aggregator", "o")) == ["CN-FREE"]


def test_an_order_that_nobody_captured_is_taken_to_be_about_persons() -> None:
    assert rules(letter(Kind.TRAIN_UPDATE, "warehouse-cn", "aggregator", "o")) == ["CN-T01"]
    broken = letter(Kind.OFFER, "aggregator", "warehouse-cn", "o", bytes(80))
    update = letter(Kind.TRAIN_UPDATE, "warehouse-cn", "aggregator", "o")
    assert rules(broken, update) == ["CN-T01"]


@pytest.mark.parametrize("kind", [Kind.TRAIN_ROUND, Kind.SUM_ROUND])
def test_what_is_passed_on_needs_a_rule_of_every_origin(kind: Kind) -> None:
    order = offered("o", "customer", "warehouse-cn", "merchant-uk")
    to_uk = letter(kind, "aggregator", "merchant-uk", "o")
    to_key = letter(Kind.QUERY_OPEN, "aggregator", "keyholder-ch", "o")
    assert rules(order, to_uk) == ["CN-T01 UK-HOME"]
    assert rules(order, to_key) == ["CN-T01 UK-T01"]
    assert rules(order, letter(Kind.QUERY_OPENED, "keyholder-ch", "aggregator", "o")) == [
        "CN-T01 UK-T01"
    ]


def test_a_model_of_chinese_customers_has_no_rule_into_the_us() -> None:
    order = offered("o", "customer", "warehouse-cn", "warehouse-us")
    assert rules(order, letter(Kind.TRAIN_ROUND, "aggregator", "warehouse-us", "o")) == ["none"]
    firms = offered("o", "commercial", "warehouse-cn", "warehouse-us")
    model = letter(Kind.TRAIN_ROUND, "aggregator", "warehouse-us", "o")
    assert rules(firms, model) == ["CN-FREE US-HOME"]


def test_words_about_work_are_nobodys_data_and_unknown_places_have_no_rule() -> None:
    assert rules(letter(Kind.PONG, "warehouse-cn", "aggregator", "o")) == ["CN-FREE"]
    assert rules(letter(Kind.PONG, "india", "aggregator", "o")) == ["none"]
    assert rules(letter(Kind.PONG, "stranger", "aggregator", "o")) == ["none"]
