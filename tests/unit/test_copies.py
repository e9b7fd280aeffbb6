"""A node's copies: begun beside its work, whole or none, of the state that a file is in."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from clients import copies
from clients.copies import Copies
from clients.ingestion import stamp_of
from clients.queries import preparing
from clients.queries.prepared import FILES, found, name_of
from tests.orders_table import contract
from tests.unit.test_prepared import CONTRACT, some, written


class Later:
    """Work that waits until it is done here."""

    def __init__(self):
        self.waiting = []

    def __call__(self, work):
        self.waiting.append(work)

    def done(self):
        for work in self.waiting:
            work()
        self.waiting.clear()


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def kept(tmp_path, later):
    return Copies(tmp_path, small=1, do=later, prepare=preparing.prepare)


@pytest.fixture
def path(tmp_path):
    return written(some(), tmp_path / "data")


def names(folder):
    return {path.name for path in (folder / "prepared").iterdir()}


def test_a_question_waits_for_no_copy_and_the_next_has_it(kept, later, path, tmp_path):
    state = stamp_of(path)
    assert kept.of(CONTRACT, path, state) is None
    assert kept.of(CONTRACT, path, state) is None and len(later.waiting) == 1
    later.done()
    copy = kept.of(CONTRACT, path, state)
    assert copy is not None and (copy.light, copy.heavy) == (3, 11)
    assert names(tmp_path) == {name_of(CONTRACT, state)}
    assert (tmp_path / "prepared").stat().st_mode & 0o777 == 0o700
    assert Copies(tmp_path, small=1, do=later).of(CONTRACT, path, state) == copy
    assert not later.waiting


def test_a_copy_of_another_state_is_none_and_goes_before_there_is_one_of_this(
    kept, later, path, tmp_path
):
    kept.of(CONTRACT, path, stamp_of(path))
    later.done()
    path.write_bytes(path.read_bytes())  # the same bytes, in another state
    assert kept.of(CONTRACT, path, stamp_of(path)) is None
    assert names(tmp_path) == set()
    later.done()
    assert kept.of(CONTRACT, path, stamp_of(path)) is not None
    assert names(tmp_path) == {name_of(CONTRACT, stamp_of(path))}


def test_copies_for_contracts_that_are_gone_go_at_the_next_start(kept, later, path, tmp_path):
    other = replace(CONTRACT, name="returns")
    for one in (CONTRACT, other):
        kept.of(one, path, stamp_of(path))
    later.done()
    assert len(names(tmp_path)) == 2
    Copies(tmp_path).begin([CONTRACT])
    assert names(tmp_path) == {name_of(CONTRACT, stamp_of(path))}


def test_a_table_that_became_small_leaves_no_copy(kept, later, path, tmp_path):
    kept.of(CONTRACT, path, stamp_of(path))
    later.done()
    path.write_bytes(path.read_bytes())
    Copies(tmp_path, small=1000, do=later).of(CONTRACT, path, stamp_of(path))
    assert names(tmp_path) == set()


def test_what_a_contract_says_of_rows_names_another_copy(path):
    state = stamp_of(path)
    assert name_of(CONTRACT, state) != name_of(contract(4), state)
    assert name_of(CONTRACT, state) == name_of(contract(3), state)


def test_a_damaged_copy_is_made_again(kept, later, path):
    state = stamp_of(path)
    kept.of(CONTRACT, path, state)
    later.done()
    whole = kept.of(CONTRACT, path, state)
    whole.paths[0].write_bytes(b"damaged")
    assert kept.of(CONTRACT, path, state) is None
    later.done()
    assert kept.of(CONTRACT, path, state) == whole
    assert whole.paths[0].read_bytes() != b"damaged"


@pytest.mark.parametrize(("small", "begun"), [(19, 1), (20, 0)])
def test_a_small_table_has_no_copy(tmp_path, later, path, small, begun):
    assert len(some()) == 19
    Copies(tmp_path, small=small, do=later).of(CONTRACT, path, stamp_of(path))
    assert len(later.waiting) == begun


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", range(len(FILES)))
def test_a_crash_leaves_no_copy_and_the_next_start_clears_up(
    kept, later, path, tmp_path, monkeypatch, after
):
    settled, real = [], preparing._settled

    def dies(file):
        if len(settled) == after:
            raise Crash
        settled.append(file)
        return real(file)

    monkeypatch.setattr(preparing, "_settled", dies)
    monkeypatch.setattr(copies.tempfile, "TemporaryDirectory", Left)
    kept.of(CONTRACT, path, stamp_of(path))
    with pytest.raises(Crash):
        later.done()
    assert len(names(tmp_path)) == 1 and kept.of(CONTRACT, path, stamp_of(path)) is None
    Copies(tmp_path).begin([CONTRACT])
    assert names(tmp_path) == set()


class Left:
    """A folder that a killed process leaves behind."""

    def __init__(self, prefix, dir):  # noqa: A002  as the library's
        self._path = dir / f"{prefix}left"

    def __enter__(self):
        self._path.mkdir()
        return str(self._path)

    def __exit__(self, *_):
        pass


def test_what_fails_is_told_and_not_tried_again(tmp_path, later, path, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    kept = Copies(tmp_path, small=1, do=later, prepare=full)
    for _ in range(2):
        assert kept.of(CONTRACT, path, stamp_of(path)) is None
        later.done()
    (record,) = caplog.records
    assert "No space left on device; questions read its rows" in record.message


def test_where_there_is_too_little_room_no_copy_is_begun(kept, later, path, tmp_path, monkeypatch):
    free = SimpleNamespace(free=copies.ROOM * path.stat().st_size - 1)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: free)
    kept.of(CONTRACT, path, stamp_of(path))
    later.done()
    assert names(tmp_path) == set()
    free.free += 1
    again = Copies(tmp_path, small=1, do=later, prepare=preparing.prepare)
    again.of(CONTRACT, path, stamp_of(path))
    later.done()
    assert len(names(tmp_path)) == 1


def test_a_file_that_changes_while_it_is_copied_has_no_copy(tmp_path, later, path, caplog):
    caplog.set_level("INFO", copies.__name__)

    def while_it_is_exported(*what):
        preparing.prepare(*what)
        path.write_bytes(path.read_bytes())

    Copies(tmp_path, small=1, do=later, prepare=while_it_is_exported).of(
        CONTRACT, path, stamp_of(path)
    )
    later.done()
    assert names(tmp_path) == set()
    assert not caplog.records


def test_a_process_of_its_own_makes_the_copy(tmp_path, path):
    copies.aside(CONTRACT, path, tmp_path)
    assert found(tmp_path) is not None


def test_bad_a_table_that_fails_there_shows_no_value_of_a_row(tmp_path, path, capfd, monkeypatch):
    monkeypatch.setattr(copies, "_end_with", lambda _: None)
    monkeypatch.setattr(copies.os, "nice", lambda _: None)  # the tests after this one go on
    path.write_bytes(b"secret 12345")
    with pytest.raises(SystemExit) as ended:
        copies._alone(None, CONTRACT, path, tmp_path)
    assert ended.value.code == 1
    assert "12345" not in "".join(capfd.readouterr())


def test_bad_a_table_that_is_none_has_no_copy(kept, later, path):
    path.write_bytes(b"PAR1 and nothing else")
    assert kept.of(CONTRACT, path, stamp_of(path)) is None and not later.waiting
