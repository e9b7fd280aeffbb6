"""Keys made ahead: each for one order, for ever, whatever crashes between."""

import sqlite3
import threading

import pytest

from aggregator.key_pool import KeyPool
from aggregator.question_steps import QuestionSteps

MADE = {"key-a": b"a", "key-b": b"b"}


@pytest.fixture
def path(tmp_path):
    pool = KeyPool(tmp_path / "keys.sqlite")
    pool.begin("batch")
    pool.keep("batch", MADE)
    return tmp_path / "keys.sqlite"


def test_a_key_is_handed_to_one_order_and_no_other(path):
    pool = KeyPool(path)
    assert (pool.ready, pool.has("one")) == (2, True)
    assert [pool.hand("one"), pool.hand("two"), pool.hand("three")] == [b"a", b"b", None]
    assert (pool.ready, pool.has("one"), pool.has("three")) == (0, True, False)


def test_an_order_that_asks_again_gets_the_key_it_had(path):
    assert KeyPool(path).hand("one") == b"a"
    assert KeyPool(path).hand("one") == b"a"  # another process, after a crash
    assert KeyPool(path).hand("two") == b"b"


def test_a_key_that_is_made_again_is_not_handed_out_again(path):
    pool = KeyPool(path)
    pool.hand("one")
    pool.begin("again")
    pool.keep("again", MADE)
    assert [pool.hand("two"), pool.hand("three")] == [b"b", None]


def test_a_dropped_key_stays_known(path):
    pool = KeyPool(path)
    pool.hand("one")
    pool.drop("one")
    pool.begin("again")
    pool.keep("again", MADE)
    assert pool.hand("one") == b"" and pool.ready == 1


def test_the_table_itself_lets_no_key_serve_two(path):
    KeyPool(path).hand("one")
    with sqlite3.connect(path) as db:
        for change in ("UPDATE packages SET job = 'two'", "UPDATE packages SET job = NULL"):
            with pytest.raises(sqlite3.IntegrityError, match="one order"):
                db.execute(f"{change} WHERE job = 'one'")
        with pytest.raises(sqlite3.IntegrityError, match="never forgotten"):
            db.execute("DELETE FROM packages WHERE job = 'one'")


def test_many_at_once_get_one_key_each(path):
    found, pool = [], KeyPool(path)
    pool.begin("more")
    pool.keep("more", {f"key-{n}": b"%d" % n for n in range(6)})
    threads = [
        threading.Thread(target=lambda n=n: found.append(KeyPool(path).hand(f"order {n}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8 and None not in found


def test_a_batch_goes_on_where_it_was_and_leaves_no_letters(path):
    pool = KeyPool(path)
    assert pool.begun() is None
    pool.begin("next")
    pool.keep_step("next", "keys.join", {"ch": b"1", "eu": b"2"})
    pool.keep_step("next", "keys.join", {"ch": b"other"})  # what was said first stays
    again = KeyPool(path)
    assert again.begun() == "next"
    assert again.step("next", "keys.join") == {"ch": b"1", "eu": b"2"}
    assert again.step("next", "keys.begin") == {}
    again.give_up("next")
    assert again.begun() is None and again.step("next", "keys.join") == {}


def test_keys_and_letters_are_their_owners_alone(path, tmp_path):
    QuestionSteps(tmp_path / "questions.sqlite").keep("one", "committed", {"cn": b"1"})
    assert KeyPool(path).ready >= 0
    for name in ("keys.sqlite", "questions.sqlite"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_step_is_there_as_a_whole_and_forgotten_at_the_end(tmp_path):
    steps = QuestionSteps(tmp_path / "questions.sqlite")
    steps.keep("one", "committed", {"cn": b"1", "eu": b"2"})
    steps.keep("two", "committed", {"cn": b"3"})
    again = QuestionSteps(tmp_path / "questions.sqlite")
    assert again.kept("one", "committed") == {"cn": b"1", "eu": b"2"}
    assert again.kept("one", "endorsed") == {}
    again.forget_all_but(["two"])
    assert again.kept("one", "committed") == {} and again.kept("two", "committed") == {"cn": b"3"}
    again.forget_all_but([])
    assert again.kept("two", "committed") == {}
