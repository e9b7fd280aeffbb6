"""A planted row is found in whatever dress it travels; bytes without one count zero."""

import base64
import bz2
import gzip
import io
import json
import lzma
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from experiments.borders import Frame, split
from experiments.canaries import count_raw_rows, search
from experiments.needles import Canary, Form, load_canaries, needles
from experiments.outcome import Search
from federation.envelopes import Envelope
from federation.messages import Kind
from policies.parties import PartyId
from tests.seeded import SeededEntropy

PARTIES = [f"party-{number}" for number in range(8)]


def canary(party: str, number: int) -> Canary:
    chance = np.random.default_rng([number, PARTIES.index(party)])
    record, customer = (str(name) for name in chance.integers(10**15, 9 * 10**15, 2))
    amount = (int(chance.integers(500_000, 2_400_000)) * 2 + 1) / 10_000
    time = 1_700_000_000_000_000 + 2 * int(chance.integers(10**13)) + 1
    return Canary(party, record, customer, amount, time, str(pd.Timestamp(time, unit="us")))


CANARIES = [canary(party, number) for party in PARTIES for number in range(20)]
ONE, OTHER = CANARIES[37], CANARIES[90]


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def frame(blob: bytes = b"", kind: Kind = Kind.TRAIN_UPDATE, **body: str) -> Frame:
    envelope = Envelope(
        kind, PartyId("party-1"), PartyId("aggregator"), body=body, blobs={"vector": blob}
    )
    return Frame("party-1", envelope.header() + noise(64) + blob, envelope)


def found(*frames: Frame) -> Search:
    return search(frames, CANARIES)


def weights(size: int = 4000) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.2, size).astype("<f4")


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    np.savez_compressed(sink, part=np.frombuffer(data, np.uint8))
    return sink.getvalue()


def arrow(codec: str, data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def parquet(canary: Canary) -> bytes:
    sink = io.BytesIO()
    pd.DataFrame({"amount": [canary.amount] * 3, "id": [int(canary.record)] * 3}).to_parquet(sink)
    return sink.getvalue()


ROW = json.dumps({"id": ONE.record, "amount": ONE.amount, "at": ONE.time_text}).encode()


@pytest.mark.parametrize(
    "blob",
    [
        ONE.record.encode(),
        f"x,{ONE.amount},y".encode(),
        f"{ONE.amount:.6f}".encode(),
        ONE.customer.encode(),
        str(np.float32(ONE.amount).astype(float)).encode(),
        ONE.time_text.encode(),
        ONE.time_text.replace(" ", "T").encode() + b"Z",
        ONE.record.encode("utf-16-le"),
        struct.pack("<q", int(ONE.record)),
        struct.pack(">q", int(ONE.record)),
        struct.pack("<q", ONE.time),
        struct.pack("<d", ONE.amount),
        struct.pack(">d", ONE.amount),
        zlib.compress(ROW),
        zlib.compress(ROW, 1),
        gzip.compress(ROW, mtime=0),
        zlib.compress(gzip.compress(ROW, mtime=0)),
        zipped(ROW),
        bz2.compress(ROW),
        lzma.compress(ROW),
        arrow("zstd", ROW),
        arrow("lz4", ROW),
        base64.b64encode(ROW),
        base64.urlsafe_b64encode(struct.pack("<d", ONE.amount) * 2).rstrip(b"="),
        ROW.hex().encode(),
        parquet(ONE),
    ],
)
@pytest.mark.parametrize("shift", [0, 3], ids=["even", "odd"])
@pytest.mark.parametrize("kind", [Kind.TRAIN_UPDATE, Kind.QUERY_REVEALED])
def test_a_planted_row_counts_once_however_it_is_spelled(
    blob: bytes, shift: int, kind: Kind
) -> None:
    around = noise(3000 + shift, shift)
    seen = found(frame(around + b" " + blob + b" " + noise(1000, 9), kind), frame(noise(100)))
    assert seen.found == (ONE.name,)
    assert seen.raw_rows_crossed == 1


def test_a_row_in_the_header_counts() -> None:
    assert found(frame(kind=Kind.FAILED, why=f"no row {ONE.record}")).found == (ONE.name,)


def test_a_truncated_stream_still_tells_what_it_holds() -> None:
    rows = ROW + noise(5000)
    assert found(frame(gzip.compress(rows)[:3000])).found == (ONE.name,)


@pytest.mark.parametrize("size", [16, 400, 40_000])
def test_an_amount_hidden_among_the_weights_of_a_model_counts(size: int) -> None:
    vector = weights(size)
    vector[size // 2] = ONE.amount
    assert found(frame(vector.tobytes())).found == (ONE.name,)


def test_two_values_of_a_row_side_by_side_count_even_in_ciphertext() -> None:
    row = struct.pack(">ff", float(ONE.record), ONE.amount)
    blob = noise(70_001) + row + noise(70_000, 2)
    assert found(frame(blob, Kind.QUERY_REVEALED)).found == (ONE.name,)


def test_a_column_of_amounts_counts_even_in_ciphertext() -> None:
    hidden = CANARIES[:20]
    blob = b"".join(
        struct.pack("<f", item.amount) + noise(200, place) for place, item in enumerate(hidden)
    )
    assert len(found(frame(blob, Kind.QUERY_REVEALED)).found) == 20


def test_four_lonely_bytes_in_ciphertext_are_taken_for_chance() -> None:
    blob = noise(500_000) + struct.pack("<f", ONE.amount) + noise(500_000, 2)
    assert found(frame(blob, Kind.QUERY_REVEALED)).raw_rows_crossed == 0


def test_records_are_counted_once_and_each() -> None:
    frames = [frame(ROW), frame(ROW), frame(struct.pack("<q", int(OTHER.record)))]
    assert found(*frames).found == tuple(sorted([ONE.name, OTHER.name]))


@pytest.mark.parametrize("kind", [Kind.QUERY_REVEALED, Kind.TRAIN_UPDATE])
def test_eight_megabytes_of_chance_hold_no_row(kind: Kind) -> None:
    seen = found(frame(noise(8 << 20), kind))
    assert seen.raw_rows_crossed == 0
    assert seen.chance < 1e-3


def test_a_federation_of_models_and_ciphertexts_holds_no_row_and_expects_none_by_chance() -> None:
    models = [frame(weights(3000 + place).tobytes()) for place in range(100)]
    ciphertexts = [frame(noise(200_000, place), Kind.QUERY_REVEALED) for place in range(40)]
    seen = found(*models, *ciphertexts)
    assert seen.raw_rows_crossed == 0
    assert seen.chance < 1e-3
    assert (seen.canaries, seen.frames) == (160, 140)


@pytest.mark.parametrize(
    "text",
    [f"1{ONE.record}", f"{ONE.record}7", f"{ONE.amount}3", f"9{ONE.amount}"],
)
def test_a_number_inside_a_longer_number_is_another_number(text: str) -> None:
    assert found(frame(text.encode())).raw_rows_crossed == 0


def test_a_message_of_no_known_kind_counts_and_so_does_its_row() -> None:
    wire = b"anything"
    frames = list(split("party-1", len(wire).to_bytes(8, "big") + wire))
    assert found(*frames).raw_rows_crossed == 1
    wire = ROW
    frames = list(split("party-1", len(wire).to_bytes(8, "big") + wire))
    assert found(*frames).raw_rows_crossed == 2


def test_small_integers_are_no_needles() -> None:
    few = needles([Canary("party-1", "17", "18", 12.5, ONE.time, ONE.time_text)])
    assert not [
        item
        for item in few
        if item.form is Form.WIDE
        and item.values
        and {value.column for value in item.values} <= {"id", "customer"}
    ]


def test_the_truth_file_is_read(tmp_path: Path) -> None:
    truth = tmp_path / "canaries.json"
    record = {
        "id": int(ONE.record),
        "customer": int(ONE.customer),
        "amount": ONE.amount,
        "timestamp_us": ONE.time,
        "timestamp_text": ONE.time_text,
    }
    truth.write_text(json.dumps({ONE.party: [record]}))
    assert load_canaries(truth) == (ONE,)
    assert count_raw_rows([frame(ROW)], truth).raw_rows_crossed == 1


def test_a_seeded_source_of_noise_is_no_row() -> None:
    assert found(frame(SeededEntropy(3).bytes(4096))).raw_rows_crossed == 0
