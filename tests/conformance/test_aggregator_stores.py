"""What the aggregator's stores keep to, in SQLite and in PostgreSQL alike."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from aggregator.database import Server, engine_of
from aggregator.errors import ForeignDatabaseError, SilentDatabaseError
from aggregator.jobs import Checkpoint, Jobs
from aggregator.key_pool import KeyPool
from aggregator.question_steps import QuestionSteps
from aggregator.register import Enrolled, Invitation, Register
from aggregator.stores import Stores
from aggregator.tables import JOBS, notes, packages
from aggregator.tables import jobs as job_table
from experiments.forks import Say, fork, heard
from federation.engines import reading, writing
from federation.errors import ForeignLedgerError
from federation.ledger.store import open_engine
from policies.parties import Jurisdiction, PartyId, Role

CN, EU = PartyId("cn"), PartyId("eu")
MADE = {"key-a": b"a", "key-b": b"b"}


def register(stores: Stores) -> Register:
    return Register(stores.server or stores.folder)


@pytest.fixture
def jobs(stores: Stores) -> Jobs:
    return Jobs(stores.jobs)


@pytest.fixture
def pool(stores: Stores) -> KeyPool:
    pool = KeyPool(stores.keys)
    pool.begin("batch")
    pool.keep("batch", MADE)
    return pool


def test_every_commit_waits_for_the_disk(stores: Stores) -> None:
    Jobs(stores.jobs).counts()
    for mode in (reading, writing):
        with mode(engine_of(stores.jobs)) as connection:
            if connection.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
            else:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


# -- held open -------------------------------------------------------------------------------------


def test_what_is_written_while_a_store_is_held_is_there_for_everybody(jobs: Jobs, stores: Stores):
    other = Jobs(stores.jobs)
    with jobs.held(), jobs.held():
        jobs.note("a", stage="ours")
        other.note("a", stage="theirs")
        thread = threading.Thread(target=lambda: jobs.note("a", stage="beside"))
        thread.start()
        thread.join()
        stages = [note["stage"] for _, note in jobs.notes("a")]
        assert stages == ["ours", "theirs", "beside"]
        assert [note["stage"] for _, note in other.notes("a")] == stages
    assert [note["stage"] for _, note in jobs.notes("a")] == stages


def test_a_transaction_within_another_is_one_of_its_own_while_a_store_is_held(jobs: Jobs):
    with jobs.held():
        jobs.note("a", stage="first")
        with pytest.raises(RuntimeError), jobs._store.writing() as db:
            db.execute(sa.insert(notes).values(job="a", note='{"stage": "half"}'))
            assert [note["stage"] for _, note in jobs.notes("a")] == ["first"]
            raise RuntimeError
        jobs.note("a", stage="second")
        assert [note["stage"] for _, note in jobs.notes("a")] == ["first", "second"]


def test_who_holds_a_store_and_has_written_looks_without_waiting(jobs: Jobs, stores: Stores):
    other = Jobs(stores.jobs)
    with jobs.held():
        jobs.note("a", stage="first")
        with other._store.writing() as db:
            db.execute(sa.insert(notes).values(job="a", note='{"stage": "under way"}'))
            assert [note["stage"] for _, note in jobs.notes("a")] == ["first"]
        assert len(jobs.notes("a")) == 2


def test_every_commit_waits_for_the_disk_while_a_store_is_held(jobs: Jobs, stores: Stores) -> None:
    with jobs.held(), jobs._store.writing() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_two_that_hold_a_store_write_one_after_the_other(jobs: Jobs, stores: Stores) -> None:
    """Nobody's first look stays open: a write after another's write is not refused as stale."""
    other = Jobs(stores.jobs)
    with jobs.held(), other.held():
        for number in range(4):
            one, two = (jobs, other) if number % 2 else (other, jobs)
            assert len(one.notes("a")) == len(two.notes("a")) == number
            one.note("a", stage="next")


# -- the register ----------------------------------------------------------------------------------


def invitation(name: str, party: PartyId, role: Role = Role.WAREHOUSE) -> Invitation:
    return Invitation(name, "secret", party, f"{party} Ltd", role, Jurisdiction.CN, 2**40)


def test_an_invitation_takes_the_place_of_an_earlier_one(stores: Stores) -> None:
    book = register(stores)
    for one in (invitation("1", EU), invitation("2", CN), invitation("3", EU, Role.KEYHOLDER)):
        book.invite(one)
    assert register(stores).invited() == [invitation("2", CN), invitation("3", EU, Role.KEYHOLDER)]
    assert book.find("1") is None and book.find("2") == invitation("2", CN)
    book.count_wrong("2")
    book.count_wrong("2")
    assert [one.wrong for one in book.invited()] == [2, 0]


def test_a_seat_is_taken_once_and_a_key_sits_once(stores: Stores) -> None:
    book = register(stores)
    for name, party in (("1", CN), ("2", EU)):
        book.invite(invitation(name, party))
    first = Enrolled("1", CN, "key", b"\x00wire", "pem")
    assert book.enrol(first) == first
    assert book.enrol(Enrolled("1", CN, "other", b"", "")) == first
    assert book.enrol(Enrolled("2", EU, "key", b"", "")) is None
    second = Enrolled("2", EU, "other", b"", "")
    assert book.enrol(second) == second
    assert register(stores).enrolled() == [first, second]
    book.invite(invitation("3", CN))
    assert book.taken("1") is None and book.enrolled() == [second]


def test_a_founding_and_its_signatures_are_the_last_ones(stores: Stores) -> None:
    book = register(stores)
    assert book.founding() == b"" and book.signatures("d") == {}
    for statement in (b"one", b"two"):
        book.propose(statement)
    for party, signature in ((EU, b"x"), (CN, b"y"), (EU, b"z")):
        book.sign("d", party, signature)
    assert register(stores).founding() == b"two"
    assert list(register(stores).signatures("d").items()) == [(CN, b"y"), (EU, b"z")]
    assert book.signatures("e") == {}


def test_names_are_in_the_order_of_their_bytes(stores: Stores) -> None:
    """Whatever language a server was told to sort in."""
    book, names = register(stores), [PartyId(name) for name in ("b", "B", "a-b", "aa", "é", "Z")]
    for number, name in enumerate(names):
        book.invite(invitation(str(number), name))
    assert [one.party for one in book.invited()] == sorted(names, key=str.encode)


# -- the table of work -----------------------------------------------------------------------------


def test_an_order_stands_on_the_table_once(stores: Stores, jobs: Jobs) -> None:
    jobs.add("one", b"first", 1.0)
    jobs.end("one", "done", {"model": "m"})
    jobs.add("one", b"second", 2.0)
    job = Jobs(stores.jobs).find("one")
    assert job is not None
    assert (job.wire, job.status, job.result) == (b"first", "done", {"model": "m"})
    assert jobs.next() is None and jobs.counts() == {"done": 1}
    assert jobs.countersign("one", b"first", b"third")
    assert not jobs.countersign("one", b"first", b"fourth")
    assert [job.wire for job in jobs.done()] == [b"third"]


def test_whose_turn_it_is(jobs: Jobs) -> None:
    for name, created in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        jobs.add(name, b"", created)
    assert turn(jobs) == "early"
    jobs.start("late")
    assert turn(jobs) == "late"
    jobs.wait("late", 10.0)
    jobs.end("early", "abandoned", {})
    assert (turn(jobs), turn(jobs, 10.0)) == ("middle", "middle")
    jobs.end("middle", "failed", {})
    assert (turn(jobs), turn(jobs, 9.9), turn(jobs, 10.0)) == (None, None, "late")


def turn(jobs: Jobs, now: float = 0.0) -> str | None:
    job = jobs.next(now)
    return None if job is None else job.id


def test_of_one_moment_the_first_comes_first(jobs: Jobs) -> None:
    names = ["m", "z", "a", "k"]
    for name in names:
        jobs.add(name, b"", 1.0)
    jobs.add("z", b"", 1.0)
    for name in names:
        assert turn(jobs) == name
        jobs.end(name, "done", {})
    assert [job.id for job in jobs.done()] == names == jobs.unwitnessed()
    jobs.note("z", stage="witnessed")
    assert jobs.unwitnessed() == ["m", "a", "k"]


def test_starts_are_counted_since_the_last_step(jobs: Jobs) -> None:
    jobs.add("one", b"", 1.0)
    assert [jobs.start("one"), jobs.start("one")] == [1, 2]
    jobs.commit_round("one", Checkpoint(0, b"w", b"v", (CN,)))
    assert jobs.start("one") == 1
    jobs.wait("one", 2.0)
    assert jobs.start("one") == 1
    assert not jobs.again("one")
    jobs.end("one", "refused", {"error": "no"})
    assert jobs.again("one") and turn(jobs) == "one" and jobs.start("one") == 1
    found = jobs.find("one")
    assert found is not None and found.result is None


def test_a_job_is_found_by_how_its_id_begins_as_it_stands(jobs: Jobs) -> None:
    for name in ("4711ab", "4711cd", "48", "4_11", "4%"):
        jobs.add(name, b"", 1.0)
    assert [job.id for job in jobs.named("4711")] == ["4711ab", "4711cd"]
    assert [job.id for job in jobs.named("4_")] == ["4_11"]
    assert [job.id for job in jobs.named("4%")] == ["4%"]
    assert [job.id for job in jobs.named("[4]*")] == []
    found = jobs.find("4711")
    assert found is not None and found.id == "4711ab"
    assert jobs.find("4712") is None and len(jobs.named("")) == 5


def test_notes_are_read_from_where_one_stopped(jobs: Jobs) -> None:
    for name in ("one", "two"):
        jobs.add(name, b"", 1.0)
    for number in range(3):
        jobs.note("one", stage="round", round=number, said="\x00 \ud800 é")
        jobs.note("two", round=-1)
    notes = jobs.notes("one")
    assert [note["round"] for _, note in notes] == [0, 1, 2]
    assert {note["said"] for _, note in notes} == {"\x00 \ud800 é"}
    assert jobs.notes("one", notes[0][0]) == notes[1:]
    assert jobs.notes("other") == []


def test_the_last_word_and_the_newest_state_count(jobs: Jobs) -> None:
    jobs.add("one", b"", 1.0)
    assert (jobs.keys("one"), jobs.gathering("one", 1), jobs.last_round("one")) == (
        None,
        None,
        None,
    )
    for number in (0, 1, 10, 2):
        jobs.commit_round("one", Checkpoint(number, b"w%d" % number, b"", (CN,), (EU,)))
    jobs.commit_round("one", Checkpoint(10, b"again", b"v", (CN, EU)))
    assert jobs.last_round("one") == Checkpoint(10, b"again", b"v", (CN, EU))
    for round_, state in ((1, b"a"), (1, b"b"), (2, b"c")):
        jobs.keep_gathering("one", round_, state)
    assert (jobs.gathering("one", 1), jobs.gathering("one", 2)) == (None, b"c")
    for keys in (b"first", b"\x00second"):
        jobs.keep_keys("one", keys)
    assert jobs.keys("one") == b"\x00second"
    for party, said in ((EU, {"a": 1}), (CN, {}), (EU, {"a": 2})):
        jobs.propose("one", party, said)
    assert jobs.proposals("one") == {CN: {}, EU: {"a": 2}}


def test_an_answer_is_noted_once_and_only_where_one_is_sealed(jobs: Jobs) -> None:
    results: dict[str, dict[str, Any]] = {
        "sealed": {"answer": None, "sealed": True},
        "open": {"answer": None, "sealed": False},
        "model": {"model": "m"},
        "repeated": {"answer": {"rows": [1]}, "sealed": True},
    }
    for name, result in results.items():
        jobs.add(name, b"", 1.0)
        jobs.end(name, "done", result)
        jobs.keep_answer(name, {"rows": ["first"]})
        jobs.keep_answer(name, {"rows": ["second"]})
    jobs.add("begun", b"", 2.0)
    jobs.keep_answer("begun", {"rows": []})
    expected = results | {"sealed": {"answer": {"rows": ["first"]}, "sealed": True}, "begun": None}
    assert {job.id: job.result for job in jobs.named("")} == expected


def test_a_note_may_be_about_a_batch_of_keys_which_is_no_job(jobs: Jobs) -> None:
    jobs.note("batch", stage="silence")
    assert [note for _, note in jobs.notes("batch")] == [{"stage": "silence"}]
    assert jobs.next() is None and jobs.unwitnessed() == []


# -- the key pool ----------------------------------------------------------------------------------


def test_a_key_is_handed_to_one_order_and_no_other(stores: Stores, pool: KeyPool) -> None:
    assert (pool.ready, pool.has("one")) == (2, True)
    assert [pool.hand("one"), pool.hand("two"), pool.hand("three")] == [b"a", b"b", None]
    assert (pool.ready, pool.has("one"), pool.has("three")) == (0, True, False)
    assert KeyPool(stores.keys).hand("one") == b"a"  # another process, after a crash


def test_a_key_that_is_made_again_is_not_handed_out_again(pool: KeyPool) -> None:
    pool.hand("one")
    pool.drop("one")
    pool.begin("again")
    pool.keep("again", {**MADE, "key-c": b"c"})
    assert [pool.hand("two"), pool.hand("three"), pool.hand("four")] == [b"b", b"c", None]
    assert pool.hand("one") == b""


def test_the_database_itself_lets_no_key_serve_two(stores: Stores, pool: KeyPool) -> None:
    pool.hand("one")
    served, engine = packages.c.job == "one", engine_of(stores.keys)
    for statement, words in (
        (sa.update(packages).where(served).values(job="two"), "one order"),
        (sa.update(packages).where(served).values(job=None), "one order"),
        (sa.delete(packages).where(served), "never forgotten"),
        (sa.delete(packages), "never forgotten"),
    ):
        with pytest.raises(sa.exc.IntegrityError, match=words), writing(engine) as connection:
            connection.execute(statement)
    assert pool.hand("one") == b"a" and pool.ready == 1


def test_a_batch_goes_on_where_it_was_and_leaves_no_letters(stores: Stores, pool: KeyPool) -> None:
    assert pool.begun() is None
    pool.begin("next")
    with pytest.raises(sa.exc.IntegrityError):
        pool.begin("next")
    pool.keep_step("next", "keys.join", {EU: b"2", CN: b"1"})
    pool.keep_step("next", "keys.join", {CN: b"other"})
    pool.keep_step("next", "keys.join", {})
    again = KeyPool(stores.keys)
    assert again.begun() == "next"
    assert list(again.step("next", "keys.join").items()) == [(CN, b"1"), (EU, b"2")]
    again.give_up("next")
    assert again.begun() is None and again.step("next", "keys.join") == {}


def test_keys_of_another_roster_are_retired(pool: KeyPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.key_pool._roster_of", lambda package: package.decode())
    pool.begin("more")
    pool.keep("more", {"key-c": b"a"})
    pool.hand("one")
    assert pool.retire_others("a") == 1
    assert pool.retire_others("a") == 0
    assert [pool.hand("one"), pool.hand("two"), pool.hand("three")] == [b"a", b"a", None]


# -- the steps of a question -----------------------------------------------------------------------


def test_a_step_is_there_as_a_whole_and_forgotten_at_the_end(stores: Stores) -> None:
    steps = QuestionSteps(stores.steps)
    steps.keep("one", "committed", {"eu": b"2", "cn": b"1"})
    steps.keep("one", "committed", {"cn": b"other", "us": b"3"})
    steps.keep("two", "committed", {"cn": b"3"})
    steps.keep("two", "endorsed", {})
    again = QuestionSteps(stores.steps)
    assert list(again.kept("one", "committed").values()) == [b"1", b"2", b"3"]
    assert again.kept("one", "endorsed") == {}
    again.forget_all_but(["two"])
    assert again.kept("one", "committed") == {} and again.kept("two", "committed") == {"cn": b"3"}
    again.forget_all_but([])
    assert again.kept("two", "committed") == {}


# -- several at once, and crashes ------------------------------------------------------------------


def test_two_processes_write_at_once(stores: Stores) -> None:
    """From the first moment on: the tables are made by whoever comes first."""
    release, gate = os.pipe()

    def work(say: Say) -> None:
        os.close(gate)
        os.read(release, 1)  # both start when the parent closes the gate
        jobs, pool = Jobs(stores.jobs), KeyPool(stores.keys)
        for number in range(10):
            name = f"{os.getpid()}.{number}"
            jobs.add(name, b"", 1.0)
            pool.begin(name)
            pool.keep(name, {f"key-{name}": name.encode()})
            say(str(pool.hand(name), "ascii"))  # type: ignore[arg-type]

    children = [fork(work) for _ in range(2)]
    os.close(gate)
    os.close(release)
    ended = [heard(*child) for child in children]
    assert [status for _, status in ended] == [0, 0]
    handed = [word for words, _ in ended for word in words]
    assert len(handed) == len(set(handed)) == 20
    with reading(engine_of(stores.jobs)) as connection:
        arrived = connection.execute(sa.select(job_table.c.arrived)).scalars()
        assert sorted(arrived) == list(range(1, 21))


def killed_at(where: Path | Server, statement: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed before that statement; return whether it came so far."""

    def child(_: Say) -> None:
        left = iter(range(statement))

        @event.listens_for(engine_of(where), "before_cursor_execute")
        def count(*_: Any) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        work()

    _, status = heard(*fork(child))
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert status == 0
    return False


def every_cut(where: Path | Server, work: Callable[[], object]) -> Iterator[bool]:
    """Cut `work` off before each of its statements; give whether it was, after each."""
    statement, cut = 0, True
    while cut:
        cut = killed_at(where, statement, work)
        statement += 1
        yield cut
    assert statement > 2


def test_a_kill_between_writes_leaves_all_or_nothing(stores: Stores) -> None:
    jobs, pool = Jobs(stores.jobs), KeyPool(stores.keys)
    jobs.add("one", b"", 1.0)
    jobs.start("one")
    before = jobs.find("one")
    for cut in every_cut(stores.jobs, lambda: jobs.wait("one", 5.0)):
        assert (jobs.find("one") == before) is cut
        assert turn(jobs, 9.0) == "one"
    assert jobs.start("one") == 1  # the count was forgotten with the wait, not before

    pool.begin("batch")
    pool.keep_step("batch", "join", {CN: b"1"})
    for cut in every_cut(stores.keys, lambda: pool.keep("batch", MADE)):
        assert (pool.ready, pool.begun()) == ((0, "batch") if cut else (2, None))
    for cut in every_cut(stores.keys, lambda: pool.hand("one")):
        assert pool.ready == (2 if cut else 1)
    assert [pool.hand("two"), pool.hand("one")] == [b"b", b"a"]


# -- whose database it is --------------------------------------------------------------------------


def test_a_ledger_is_no_aggregators_state_and_the_other_way_round(
    stores: Stores, where: str
) -> None:
    taken = open_engine(where)
    taken.dispose()
    place = Server(where, "entrepot/demo/aggregator") if "://" in where else Path(where)
    with pytest.raises(ForeignDatabaseError, match="not the aggregator's"):
        Jobs(place).counts()
    engine_of(place).dispose()
    Jobs(stores.jobs).counts()
    with pytest.raises(ForeignLedgerError, match="no ledger's"):
        open_engine(stores.server.url if stores.server else stores.folder / JOBS.file)


def test_a_database_on_a_server_belongs_to_who_opened_it_first(
    database: Callable[[], str],
) -> None:
    url = database()
    first, second = (Server(url, f"entrepot/{name}/aggregator") for name in ("demo", "other"))
    Jobs(first).add("one", b"", 1.0)
    for open_it in (Jobs, KeyPool, QuestionSteps, Register):
        with pytest.raises(ForeignDatabaseError, match=r"state of entrepot/demo/aggregator"):
            store = open_it(second)  # type: ignore[operator]
            store._store.read(sa.select(1))
    assert Jobs(first).counts() == {"queued": 1}
    engine_of(first).dispose()


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    server = Server(f"postgresql://test:open-sesame@/ours?host={tmp_path}", "entrepot/demo/a")
    with pytest.raises(SilentDatabaseError, match="the database ours does not answer") as silence:
        Jobs(server).counts()
    assert "open-sesame" not in str(silence.value) + repr(server) + repr(Stores(tmp_path, server))


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"no database at all, but long enough for a header to be looked for in it")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabaseError, match="cannot be used"):
        Jobs(path).counts()
    assert path.read_bytes() == before
