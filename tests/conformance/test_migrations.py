"""An older state becomes the newest one whole, or stays what it was; a newer one is left alone."""

import json
import os
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import tomli_w
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from aggregator import migrations
from aggregator.database import HEAD, REVISIONS, Server, engine_of, kinds_at
from aggregator.errors import AggregatorSettingsError, ForeignDatabaseError
from aggregator.jobs import Checkpoint, Jobs
from aggregator.key_pool import KeyPool
from aggregator.migrating import migrate, shown, upgrade, upgraded
from aggregator.question_steps import QuestionSteps
from aggregator.register import Register
from aggregator.stores import Stores, load_stores
from aggregator.tables import jobs as job_table
from aggregator.tables import version
from experiments.beginning import Plan, begin
from experiments.cli import run
from experiments.forks import Say, fork, heard
from experiments.founding import Ports
from federation.engines import reading, writing
from policies.parties import Jurisdiction, PartyId
from tests import old_state
from tests.conformance.test_aggregator_stores import every_cut

CN = PartyId("cn")
SECRET = "open-sesame"
OLD = {"sqlite": "", "postgresql": "0001"}
"""The revision that an earlier state is of; files are older than the counting."""


@pytest.fixture
def old(stores: Stores) -> Stores:
    """What an earlier version left there."""
    if stores.server is None:
        old_state.write(stores.folder)
        return stores
    with writing(engine_of(stores.server)) as connection:
        migrate(connection, stores.server, "0001")
        owned = sa.Table(version.name, sa.MetaData(), comment=stores.server.owner)
        connection.execute(sa.schema.SetTableComment(owned))
        for rows in old_state.ROWS.values():
            for row in rows:
                connection.exec_driver_sql(re.sub(r"x'([0-9a-f]+)'", r"'\\x\1'", row))
    return stores


def differences(where: Path | Server) -> list[object]:
    """Return what alembic would change to make the database what the tables say."""
    wanted = sa.MetaData()
    for kind in kinds_at(where):
        for table in kind.tables:
            table.to_metadata(wanted)
    said = {"version_table": version.name, "compare_type": True, "compare_server_default": True}
    with reading(engine_of(where)) as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=said), wanted))


def assert_carried_over(stores: Stores) -> None:
    """Everything that was kept before is there, through the stores as they are now."""
    jobs, pool = Jobs(stores.jobs), KeyPool(stores.keys)
    book = Register(stores.server or stores.folder)
    (invited,) = book.invited()
    assert (invited.party, invited.wrong, invited.expires) == (CN, 2, 99)
    assert [one.certificate for one in book.enrolled()] == ["pem"]
    assert (book.founding(), book.signatures("d")) == (b"\x02", {CN: b"\x03"})
    assert [note for _, note in jobs.notes("c")] == [{"stage": "round"}]
    assert jobs.last_round("c") == Checkpoint(3, b"\x05", b"\x06", (CN,))
    assert (jobs.keys("c"), jobs.gathering("c", 3)) == (b"\x07", b"\x08")
    assert jobs.proposals("c") == {CN: {"yes": 1}}
    assert (pool.begun(), pool.step("begun", "keys.join")) == ("begun", {CN: b"\x0b"})
    assert QuestionSteps(stores.steps).kept("c", "committed") == {CN: b"\x0c"}
    assert [pool.hand("c"), pool.hand("a"), pool.hand("b")] == [b"\x09", b"\x0a", None]
    jobs.note("c", stage="more")
    jobs.add("new", b"", 1.5)
    assert jobs.start("c") == 2


def test_migrations_make_what_the_tables_say(stores: Stores) -> None:
    """From nothing, through every revision, and at once: alembic finds nothing to change."""
    for where in stores.all():
        with writing(engine_of(where)) as connection:
            migrate(connection, where, HEAD)
        assert differences(where) == []


def test_what_is_made_at_once_is_what_migrations_make(stores: Stores) -> None:
    Jobs(stores.jobs).counts()
    assert shown(stores)[0 if stores.server else 1].is_newest
    assert differences(stores.jobs) == []
    for store in (KeyPool(stores.keys), QuestionSteps(stores.steps)):
        store._store.read(sa.select(1))
    Register(stores.server or stores.folder).invited()
    assert all(one.is_newest for one in shown(stores))
    assert [differences(where) for where in stores.all()] == [[] for _ in stores.all()]
    with reading(engine_of(stores.keys)) as connection:
        query = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
            "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = 'packages'::regclass "
            "AND NOT tgisinternal ORDER BY tgname",
        }[connection.dialect.name]
        made = list(connection.exec_driver_sql(query).scalars())
    assert made == ["packages_serve_one", "packages_stay"]


def test_revisions_are_those_of_the_modules() -> None:
    folder = Path(migrations.__file__).parent / "versions"
    found = re.findall(r"r(\d{4})_", " ".join(sorted(p.name for p in folder.glob("r*.py"))))
    assert tuple(found) == REVISIONS


def test_an_older_state_is_carried_over_whole(old: Stores) -> None:
    dialect = engine_of(old.jobs).dialect.name
    assert {one.revision for one in shown(old)} == {OLD[dialect]}
    with pytest.raises(ForeignDatabaseError, match="entrepot aggregator database upgrade"):
        Jobs(old.jobs).counts()
    assert {one.revision for one in upgraded(old)} == {OLD[dialect]}
    assert all(one.is_newest for one in shown(old))
    with reading(engine_of(old.jobs)) as connection:
        came = connection.execute(sa.select(job_table.c.arrived, job_table.c.id)).fetchall()
        # PostgreSQL has kept no order among those of one moment: there it is by name.
        assert sorted(came) == [*enumerate("cab" if dialect == "sqlite" else "abc", 1)]
    assert_carried_over(old)
    assert {one.revision for one in upgraded(old)} == {HEAD}


def test_files_carried_over_differ_in_nothing_that_matters(tmp_path: Path) -> None:
    """Keys that were declared without NOT NULL, and references that nobody was held to, stay so."""
    old_state.write(tmp_path)
    stores = Stores(tmp_path)
    upgraded(stores)
    for where in stores.all():
        for found in differences(where):
            change = found[0] if isinstance(found, list) else found
            assert change[0] in {"modify_nullable", "remove_fk"}
            if change[0] == "modify_nullable":
                assert change[3] in {"id", "invitation", "job", "number", "only"}


def test_a_still_older_file_is_completed(tmp_path: Path) -> None:
    old_state.write(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db, db:
        db.execute("DROP TABLE proposals")
    upgraded(Stores(tmp_path))
    jobs = Jobs(tmp_path / "jobs.sqlite")
    assert jobs.proposals("c") == {}
    jobs.propose("c", CN, {})
    assert jobs.proposals("c") == {CN: {}}


def test_a_kill_leaves_the_old_state_or_the_new(old: Stores) -> None:
    for where in dict.fromkeys((old.jobs, old.keys)):
        for cut in every_cut(where, lambda where=where: upgrade(where)):  # type: ignore[misc]
            with reading(engine_of(where)) as connection:
                columns = sa.inspect(connection).get_columns
                if where == old.jobs:
                    arrived = "arrived" in {one["name"] for one in columns("jobs")}
                    assert arrived is not cut
            name = where.name if isinstance(where, Path) else ""
            (found,) = [one for one in shown(old) if one.name == name or old.server]
            assert found.revision == (OLD[engine_of(where).dialect.name] if cut else HEAD)
    upgraded(old)
    assert_carried_over(old)


def test_two_that_start_at_once_carry_over_once(old: Stores) -> None:
    release, gate = os.pipe()

    def work(say: Say) -> None:
        os.close(gate)
        os.read(release, 1)  # both start when the parent closes the gate
        for one in upgraded(old):
            say(one.revision or "old")

    children = [fork(work) for _ in range(2)]
    os.close(gate)
    os.close(release)
    ended = [heard(*child) for child in children]
    assert [status for _, status in ended] == [0, 0]
    did = sorted(word == HEAD for words, _ in ended for word in words)
    assert did == [False] * len(old.all()) + [True] * len(old.all())
    assert_carried_over(old)


def test_what_a_newer_version_wrote_is_left_alone(stores: Stores) -> None:
    Jobs(stores.jobs).add("one", b"", 1.0)
    with writing(engine_of(stores.jobs)) as connection:
        connection.execute(sa.update(version).values(version_num="9999"))
    for attempt in (lambda: Jobs(stores.jobs).counts(), lambda: upgraded(stores)):
        with pytest.raises(ForeignDatabaseError, match="install the version that wrote it"):
            attempt()
    with reading(engine_of(stores.jobs)) as connection:
        assert connection.scalar(sa.select(version.c.version_num)) == "9999"


def test_other_tables_are_left_alone(stores: Stores) -> None:
    with writing(engine_of(stores.jobs)) as connection:
        connection.exec_driver_sql("CREATE TABLE others (number INTEGER)")
    for attempt in (lambda: Jobs(stores.jobs).counts(), lambda: upgrade(stores.jobs)):
        with pytest.raises(ForeignDatabaseError, match="not the aggregator's"):
            attempt()
    with reading(engine_of(stores.jobs)) as connection:
        assert sa.inspect(connection).get_table_names() == ["others"]


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A federation that was begun, and nothing kept yet."""
    plan = Plan(name="demo", organisation="Ops", jurisdiction=Jurisdiction.EU, analyst="Desk")
    begin(tmp_path / "home", plan, Ports(1, 2, 3, 4))
    return tmp_path / "home"


def said(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["aggregator", *words, "--federation", str(home)])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "Traceback" not in err
    return code, out, err


def name(home: Path, url: str) -> None:
    path = home / "aggregator" / "aggregator.toml"
    path.write_text(tomli_w.dumps({"database": url}) + path.read_text())


def test_the_state_is_shown_and_carried_over(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begun / "aggregator"
    before = sorted(folder.iterdir())
    code, out, _ = said(capsys, begun, "database", "show", "--json")
    assert code == 0 and {row["revision"] for row in json.loads(out)["databases"]} == {None}
    assert sorted(folder.iterdir()) == before
    old_state.write(folder)
    code, out, _ = said(capsys, begun, "database", "show", "--json")
    value = json.loads(out)
    assert (code, value["schema"]) == (0, "entrepot.aggregator.database.show/1")
    assert value["newest"] == HEAD and {row["revision"] for row in value["databases"]} == {""}
    assert "to be carried over" in said(capsys, begun, "database", "show")[1]
    code, out, err = said(capsys, begun, "database", "upgrade", "--json")
    assert code == 0 and f"jobs.sqlite was carried over to {HEAD}" in err
    assert {row["revision"] for row in json.loads(out)["databases"]} == {HEAD}
    assert said(capsys, begun, "database", "upgrade")[2] == ""
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.sqlite")} == {0o600}
    assert_carried_over(load_stores(folder))


def test_an_aggregator_that_starts_carries_its_state_over_first(
    begun: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = begun / "aggregator", list[bool]()

    def supervise(*_: object, **__: object) -> int:
        found.extend(one.is_newest for one in shown(load_stores(folder)))
        return 0

    monkeypatch.setattr("experiments.commands.keeping.supervise", supervise)
    old_state.write(folder)
    assert said(capsys, begun, "run")[0] == 0
    assert found == [True] * 4
    assert_carried_over(load_stores(folder))


def test_what_another_aggregator_works_with_is_not_carried_over_under_it(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old_state.write(begun / "aggregator")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = begun / "aggregator" / "aggregator.toml"
        port = f"fleet_port = {taken.getsockname()[1]}"
        path.write_text(re.sub(r"fleet_port = \d+", port, path.read_text()))
        assert said(capsys, begun, "run")[0] == 2
    assert {one.revision for one in shown(load_stores(begun / "aggregator"))} == {""}


def test_one_of_a_newer_version_does_not_start(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = begun / "aggregator" / "jobs.sqlite"
    Jobs(path).add("one", b"", 1.0)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {version.name} SET version_num = '9999'")
    for words in (("run",), ("database", "upgrade")):
        code, _, err = said(capsys, begun, *words)
        assert code == 2 and "install the version that wrote it" in err
    assert "9999" in said(capsys, begun, "database", "show")[1]


def test_a_database_on_a_server_is_shown_without_its_password(
    begun: Path, database: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = database().replace("test@", f"test:{SECRET}@")
    name(begun, url)
    code, out, _ = said(capsys, begun, "database", "upgrade")
    assert code == 0
    assert " ".join(out.split()) == f"the database postgres revision {HEAD}, the newest"
    stores = load_stores(begun / "aggregator")
    assert SECRET not in repr(stores)
    Register(begun / "aggregator").propose(b"statement")
    assert Register(Server(url, "entrepot/demo/aggregator")).founding() == b"statement"
    assert not list((begun / "aggregator").glob("*.sqlite"))
    engine_of(stores.jobs).dispose()


def test_a_password_may_stay_in_the_environment_or_a_file(
    begun: Path, database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq finds it: `~/.pgpass`, PGPASSFILE, PGPASSWORD."""
    name(begun, database())
    kept = tmp_path / "pass"
    kept.write_text(f"*:*:*:*:{SECRET}\n")
    kept.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(kept))
    stores = load_stores(begun / "aggregator")
    shown_to = list[str]()
    event.listen(
        engine_of(stores.jobs), "connect", lambda dbapi, _: shown_to.append(dbapi.info.password)
    )
    Jobs(stores.jobs).counts()
    engine_of(stores.jobs).dispose()
    assert shown_to == [SECRET]


@pytest.mark.parametrize("file", old_state.SCHEMAS)
def test_state_in_the_folder_is_not_left_behind(begun: Path, file: str) -> None:
    pytest.importorskip("psycopg")
    name(begun, "postgresql://test@host/ours")
    (begun / "aggregator" / file).touch()
    with pytest.raises(AggregatorSettingsError, match=rf"{re.escape(file)} lies in the folder"):
        load_stores(begun / "aggregator")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"state of {SECRET}", "not the URL of a database"),
        (f"mysql://test:{SECRET}@host/ours", "SQLite or PostgreSQL"),
    ],
)
def test_what_is_no_url_of_ours_is_one_sentence(
    begun: Path, url: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name(begun, url)
    for command in (("run",), ("database", "show"), ("pending",)):
        code, _, err = said(capsys, begun, *command)
        assert code == 2 and words in err and len(err.splitlines()) == 1


def test_a_server_that_does_not_answer_is_unreachable(
    begun: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("psycopg")
    name(begun, f"postgresql://test:{SECRET}@/ours?host={tmp_path}")
    for command in (("run",), ("database", "show"), ("pending",)):
        code, _, err = said(capsys, begun, *command)
        assert code == 20 and "the database ours does not answer" in err
