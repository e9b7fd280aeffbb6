"""Every round's model: written whole, read with suspicion, each vouching for the one before."""

import dataclasses
import json
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator import safetensors
from aggregator.cards import Card
from aggregator.errors import BrokenLineageError, MalformedModelError
from aggregator.lineage import last_round, lineage, runs, save_round
from aggregator.registry import load_model, save_model
from aggregator.stored import LARGEST_FILE, load
from federation.errors import VersionMismatchError
from federation.tasks import TrainingTask
from policies.disclosure import clear
from secure_compute import canonical
from tests.simulator import WAREHOUSES, recipe

RECIPE = recipe()
SIZE = RECIPE.model.dimension


def card(round_: int, run: str = "a1", **changes) -> Card:
    values = {
        "run": run, "order": "0" * 64, "model": "demand", "round": round_, "rounds": 3, "seed": 1,
        "recipe": RECIPE.to_json(), "contract": "demand", "contract_version": 1,
        "unit": "commercial", "event": {"event": "made up", "count": round_},
        "epsilon": f"0.{round_}", "delta": "1e-6", "cohort": ("cn", "eu", "us"),
        "parties": ("cn", "us"), "code": "c" * 64,
    }  # fmt: skip
    return Card(**values | changes)


def released(seed: int):
    return clear(np.random.default_rng(seed).normal(size=SIZE).astype(np.float32), 3, 2)


def velocity(seed: int):
    return {"velocity": np.random.default_rng(-seed % 97).normal(size=SIZE)}


def save(folder, round_: int, run: str = "a1", **changes):
    return save_round(folder, card(round_, run, **changes), released(round_), velocity(round_))


@pytest.fixture
def three(tmp_path):
    for round_ in (1, 2, 3):
        save(tmp_path, round_)
    return tmp_path


# -- a run -----------------------------------------------------------------------------------------


def test_a_run_is_read_back_round_by_round(three):
    found = lineage(three, "a1")
    assert [stored.card.round for stored in found] == [1, 2, 3]
    for round_, stored in enumerate(found, start=1):
        assert (stored.weights == released(round_).result).all()
        assert stored.weights.dtype == np.float32
        assert (stored.state["velocity"] == velocity(round_)["velocity"]).all()
        assert stored.digest == canonical.digest_bytes(stored.path.read_bytes())
        assert dataclasses.replace(stored.card, parent="") == card(round_)
    assert [stored.card.parent for stored in found] == ["", found[0].digest, found[1].digest]
    assert last_round(three, "a1").digest == lineage(three, "a1", found[2].digest)[-1].digest
    (run,) = runs(three)
    assert (run.name, run.rounds, run.last) == ("a1", 3, found[2].path)
    assert runs(three / "nowhere") == ()


def test_people_find_the_card_beside_the_model(three):
    beside = json.loads((three / "a1" / "round-0002.json").read_text(encoding="utf-8"))
    assert beside == load(three / "a1" / "round-0002.safetensors").card.to_json()
    assert {path.suffix for path in (three / "a1").iterdir()} == {".json", ".safetensors"}


def test_saving_the_same_again_changes_nothing_and_repairs_what_lay_beside(three):
    before = {path: path.read_bytes() for path in (three / "a1").iterdir()}
    (three / "a1" / "round-0003.json").unlink()
    save(three, 3)
    assert {path: path.read_bytes() for path in (three / "a1").iterdir()} == before


def test_a_round_is_never_written_over(three):
    with pytest.raises(BrokenLineageError, match="saved once"):
        save(three, 2, epsilon="0.3")
    with pytest.raises(BrokenLineageError, match="saved once"):
        save_round(three, card(3), released(4), velocity(3))
    assert len(lineage(three, "a1")) == 3


def test_a_round_follows_the_one_before(tmp_path):
    with pytest.raises(BrokenLineageError, match="missing"):
        save(tmp_path, 2)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_crash_while_writing_leaves_no_round(three, monkeypatch):
    def lost(*_):
        raise OSError("the power went")

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(OSError, match="power"):
        save(three, 1, "b2")
    assert [run.name for run in runs(three)] == ["a1"]
    monkeypatch.undo()
    assert save(three, 1, "b2").card.run == "b2"
    assert not list(three.rglob("*.partial"))


def test_a_run_that_went_on_from_a_model_names_it(three):
    start = last_round(three, "a1")
    save(three, 1, "b2", parent=start.digest, epsilon="0.9")
    save(three, 2, "b2", epsilon="1.1")
    found = lineage(three, "b2")
    assert [(s.card.run, s.card.round) for s in found] == [
        ("a1", 1), ("a1", 2), ("a1", 3), ("b2", 1), ("b2", 2),
    ]  # fmt: skip
    (three / "a1" / "round-0003.safetensors").unlink()
    with pytest.raises(BrokenLineageError, match="went on from a model"):
        lineage(three, "b2")


# -- chains that were touched ----------------------------------------------------------------------


def rewrite(path, **changes):
    """Put another model in a file's place, valid in itself."""
    stored = load(path)
    changed = dataclasses.replace(stored.card, **changes)
    tensors = {**stored.state, "weights": stored.weights}
    path.write_bytes(
        safetensors.encode(tensors, {"card": canonical.encode(changed.to_json()).decode()})
    )
    path.with_suffix(".json").write_bytes(canonical.encode(changed.to_json()))


def test_a_model_that_was_replaced_breaks_the_chain(three):
    rewrite(three / "a1" / "round-0002.safetensors", code="d" * 64)
    with pytest.raises(BrokenLineageError, match="was not made from"):
        lineage(three, "a1")


def test_a_last_model_that_was_replaced_is_known_by_its_digest(three):
    head = last_round(three, "a1").digest
    rewrite(three / "a1" / "round-0003.safetensors", code="d" * 64)
    assert len(lineage(three, "a1")) == 3
    with pytest.raises(BrokenLineageError, match="not the last model"):
        lineage(three, "a1", head)


def test_a_missing_round_breaks_the_chain(three):
    (three / "a1" / "round-0002.safetensors").unlink()
    with pytest.raises(BrokenLineageError, match="missing"):
        lineage(three, "a1")


@pytest.mark.parametrize(
    "change",
    [{"order": "1" * 64}, {"seed": 2}, {"contract_version": 2}, {"epsilon": "0.1"},
     {"unit": "order"}, {"rounds": 4}, {"model": "fraud"}],
)  # fmt: skip
def test_a_round_of_another_run_breaks_the_chain(tmp_path, change):
    save(tmp_path, 1)
    save(tmp_path, 2)
    save(tmp_path, 3, **change)
    with pytest.raises(BrokenLineageError, match="does not continue"):
        lineage(tmp_path, "a1")


def test_a_model_that_was_moved_is_found(three):
    (three / "b2").mkdir()
    for path in (three / "a1").iterdir():
        (three / "b2" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BrokenLineageError, match="moved"):
        lineage(three, "b2")
    with pytest.raises(BrokenLineageError, match="no model"):
        lineage(three, "c3")


def test_a_card_beside_that_says_otherwise_is_found(three):
    beside = three / "a1" / "round-0001.json"
    beside.write_text(beside.read_text(encoding="utf-8").replace("0.1", "9.9"), encoding="utf-8")
    with pytest.raises(BrokenLineageError, match="does not say"):
        lineage(three, "a1")


# -- files that are no models ----------------------------------------------------------------------


def file_of(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TEXT = canonical.encode(card(1).to_json()).decode()
HELD = {"weights": np.zeros(SIZE, np.float32)}

BAD = {
    "bad_empty": b"",
    "bad_short": b"\x08\0\0",
    "bad_pickle": pickle.dumps({"weights": [1.0] * 50}),
    "bad_zip": b"PK\x03\x04" + bytes(200),
    "bad_length": file_of({"a": TENSOR}, bytes(8), length=1 << 40),
    "bad_length_of_all": file_of({"a": TENSOR}, bytes(8), length=(1 << 64) - 1),
    "bad_header_not_json": file_of(b"{nonsense}"),
    "bad_header_list": file_of([1]),
    "bad_header_space_first": file_of(b' {"a":1}'),
    "bad_header_not_text": file_of(b"{\xff}"),
    "bad_header_deep": file_of(b'{"a":' + b"[" * 200_000),
    "bad_name_twice": file_of(
        b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    ),
    "bad_metadata": file_of({"__metadata__": {"card": 1}, "a": TENSOR}, bytes(8)),
    "bad_metadata_list": file_of({"__metadata__": [], "a": TENSOR}, bytes(8)),
    "bad_dtype": file_of({"a": TENSOR | {"dtype": "BF16"}}, bytes(8)),
    "bad_field": file_of({"a": TENSOR | {"more": 1}}, bytes(8)),
    "bad_shape": file_of({"a": TENSOR | {"shape": [3]}}, bytes(8)),
    "bad_shape_negative": file_of({"a": TENSOR | {"shape": [-2]}}, bytes(8)),
    "bad_shape_bool": file_of({"a": TENSOR | {"shape": [True, 2]}}, bytes(8)),
    "bad_shape_float": file_of({"a": TENSOR | {"shape": [2.0]}}, bytes(8)),
    "bad_shape_huge": file_of({"a": TENSOR | {"shape": [1 << 39, 1 << 39]}}, bytes(8)),
    "bad_offsets_beyond": file_of({"a": TENSOR}, bytes(7)),
    "bad_offsets_hole": file_of({"a": TENSOR | {"data_offsets": [4, 12]}}, bytes(12)),
    "bad_offsets_shared": file_of({"a": TENSOR, "b": TENSOR}, bytes(8)),
    "bad_offsets_unused": file_of({"a": TENSOR | {"data_offsets": [8, 16]}}, bytes(16)),
    "bad_bytes_after": file_of({"a": TENSOR}, bytes(9)),
    "bad_no_card": safetensors.encode(HELD, {}),
    "bad_other_metadata": safetensors.encode(HELD, {"format": "pt"}),
    "bad_card": safetensors.encode(HELD, {"card": "{}"}),
    "bad_card_spelling": safetensors.encode(HELD, {"card": TEXT.replace(":", ": ", 1)}),
    "bad_no_weights": safetensors.encode({"other": HELD["weights"]}, {"card": TEXT}),
    "bad_weights_kind": safetensors.encode({"weights": np.zeros(SIZE)}, {"card": TEXT}),
    "bad_weights_axes": safetensors.encode(
        {"weights": np.zeros((SIZE, 1), np.float32)}, {"card": TEXT}
    ),
    "bad_weights_more": safetensors.encode(
        {"weights": np.zeros(SIZE + 1, np.float32)}, {"card": TEXT}
    ),
    "bad_weights_nan": safetensors.encode(
        {"weights": np.full(SIZE, np.nan, np.float32)}, {"card": TEXT}
    ),
    "bad_state_infinite": safetensors.encode(HELD | {"v": np.array([np.inf])}, {"card": TEXT}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_model_is_refused_with_one_sentence(name, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(BAD[name])
    with pytest.raises(MalformedModelError) as why:
        load_model(path)
    said = str(why.value)
    assert said.startswith(str(path)) and said.endswith("train again") and "\n" not in said
    assert len(said) < len(str(path)) + 160


FORMAT = tuple(BAD)[: tuple(BAD).index("bad_no_card")]


@pytest.mark.parametrize("name", FORMAT)
def test_bytes_that_break_the_format_are_refused_by_it(name):
    """Not only because no card is in them."""
    with pytest.raises(MalformedModelError):
        safetensors.decode(BAD[name])


def test_what_is_no_file_or_too_large_is_refused(tmp_path):
    large = tmp_path / "large.safetensors"
    with large.open("wb") as handle:
        handle.truncate(LARGEST_FILE + 1)
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((large, "larger"), (tmp_path, "no file"), (tmp_path / "pipe", "no file"),
                       (tmp_path / "x", "no file")):  # fmt: skip
        with pytest.raises(MalformedModelError, match=said):
            load(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_is_another_whole_model(data):
    """No byte can be changed without the digest's changing, and none makes another error."""
    whole = safetensors.encode(HELD | velocity(1), {"card": TEXT})
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(MalformedModelError):
        safetensors.decode(cut)
    try:
        tensors, metadata = safetensors.decode(bytes(damaged))
    except MalformedModelError:
        return
    size = sum(array.nbytes for array in tensors.values())
    assert size == len(whole) - 8 - int.from_bytes(damaged[:8], "little")
    assert all(isinstance(text, str) for text in metadata.values())


# -- the format ------------------------------------------------------------------------------------


def test_the_format_is_the_published_one():
    """Bytes written by hand after the specification, and the bytes that we write."""
    body = struct.pack("<2f", 1.5, -2.0) + struct.pack("<2q", 7, -1)
    header = {
        "b": {"dtype": "I64", "shape": [1, 2], "data_offsets": [8, 24]},
        "__metadata__": {"k": "ü"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    tensors, metadata = safetensors.decode(file_of(header, body))
    assert metadata == {"k": "ü"}
    assert tensors["a"].tolist() == [1.5, -2.0] and tensors["b"].tolist() == [[7, -1]]
    ours = safetensors.encode(tensors, metadata)
    length = int.from_bytes(ours[:8], "little")
    assert length % 8 == 0 and ours[8:9] == b"{"
    assert json.loads(ours[8 : 8 + length]) == header and ours[8 + length :] == body


@pytest.mark.parametrize("length", range(9))
def test_a_header_is_a_multiple_of_eight_bytes(length):
    """So that arrays lie aligned, and readers that map the file can use them as they are."""
    written = safetensors.encode({"x": np.zeros(3)}, {"k": "ü" * length})
    assert int.from_bytes(written[:8], "little") % 8 == 0
    assert safetensors.decode(written)[1] == {"k": "ü" * length}


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.array(2.0), np.arange(6).reshape(2, 3).T,
                                   np.zeros(3, ">f4")])  # fmt: skip
def test_arrays_of_any_layout_come_back(array):
    (found, _) = safetensors.decode(safetensors.encode({"x": array}, {}))
    assert found["x"].shape == array.shape and (found["x"] == array).all()
    assert found["x"].flags.writeable


@pytest.mark.parametrize("array", [np.zeros(2, np.float16), np.array([object()]), np.array(["a"])])
def test_arrays_that_no_model_has_are_not_written(array):
    with pytest.raises(MalformedModelError):
        safetensors.encode({"x": array}, {})


# -- cards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"run": "../x"}, {"run": ""}, {"run": "a/b"}, {"run": "."}, {"round": 0}, {"round": 4},
     {"parties": ()}, {"parties": ("uk",)}, {"parent": "x"}, {"epsilon": "-1"}, {"epsilon": "nan"},
     {"delta": ""}],
)  # fmt: skip
def test_a_card_that_cannot_be_is_refused(change):
    with pytest.raises(MalformedModelError):
        card(
            **{"round_": 1}
            | {name if name != "round" else "round_": v for name, v in change.items()}
        )


def test_a_card_reads_back_what_it_prints_and_nothing_else():
    value = card(2, metrics={"roc_area": {"value": "0.9"}}).to_json()
    assert Card.from_json(value).to_json() == value
    for name in value:
        with pytest.raises(MalformedModelError):
            Card.from_json({key: part for key, part in value.items() if key != name})
        with pytest.raises(MalformedModelError):
            Card.from_json(value | {name: 1.5})
    for other in (
        {**value, "more": 1},
        {**value, "seed": True},
        {**value, "cohort": [1]},
        [],
        None,
    ):
        with pytest.raises(MalformedModelError):
            Card.from_json(other)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    for result in (np.full(SIZE, np.inf, np.float32), np.zeros(SIZE), np.zeros(3, np.float32)):
        with pytest.raises(MalformedModelError):
            save_round(tmp_path, card(1), clear(result, 3, 2), {})
    with pytest.raises(MalformedModelError, match="of its own"):
        save_round(tmp_path, card(1), released(1), {"weights": np.zeros(2)})
    assert not list(tmp_path.iterdir())


# -- both versions ---------------------------------------------------------------------------------


def test_load_model_reads_both_versions(three, simulation):
    weights, told = load_model(three / "a1" / "round-0003.safetensors")
    assert (weights == released(3).result).all()
    assert (told["run"], told["epsilon"], told["cohort"]) == ("a1", "0.3", ["cn", "eu", "us"])
    order = simulation.training()
    task = TrainingTask.from_json(order.parameters)
    old = save_model(three, "r", order, task, released(1))
    weights, told = load_model(old)
    assert old.suffix == ".npz" and (weights == released(1).result).all()
    assert told["cohort"] == list(WAREHOUSES)
    old.write_bytes(old.read_bytes()[:-100])
    with pytest.raises(VersionMismatchError):
        load_model(old)
