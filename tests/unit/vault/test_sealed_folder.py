"""A folder with a vault: what lies in it opens under its key, in its place, or not at all."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
import sqlcipher3.dbapi2 as sqlcipher

from experiments.crashes import crash
from federation import at_rest, vaulting
from federation.errors import LockedVaultError, SealedFileError
from federation.key_sources import Passphrase
from federation.ledger.store import Log, existing_engine, open_engine, reading, writing
from federation.sqlite_files import DATABASE_ERROR, PLAIN_HEADER, connect, copied, look
from federation.vault_file import NAME, VaultFile
from federation.vaulting import change_source, plain_files, seal_folder
from secure_compute.primitives.signature import SigningKey
from secure_compute.primitives.vault import LEAST_COST, Vault
from tests.vaults import (
    CANARY,
    CONTENTS,
    PASSPHRASE,
    TOML,
    Given,
    as_by_another_process,
    files_with,
    plain_folder,
    said,
    seal,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = plain_folder(tmp_path / "node")
    assert len(files_with(made, CANARY)) == 5  # the power of what follows
    seal(made)
    as_by_another_process(made)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", PASSPHRASE.decode())
    return made


def test_no_byte_of_what_was_plain_is_left_and_all_of_it_opens(folder):
    assert files_with(folder, CANARY) == {"keys/flower.pub"}
    assert files_with(folder, PASSPHRASE) == set()
    for name in ("identity.key", "flower"):
        assert at_rest.read(folder / "keys" / name) == CANARY + name.encode()
        assert (folder / "keys" / name).stat().st_mode & 0o777 == 0o600
    for name in CONTENTS.databases:
        assert said(folder / name) == ([(CANARY + name.encode(),)], 7)
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert (folder / "node.toml").read_text() == TOML + '\n[at_rest]\nkey = "passphrase"\n'


def test_what_is_written_from_then_on_is_sealed_too(folder):
    with closing(connect(folder / "new.sqlite")) as db:
        db.execute("CREATE TABLE said (word BLOB)")
        db.execute("INSERT INTO said VALUES (?)", (CANARY,))
        assert (folder / "new.sqlite-wal").stat().st_size > 0
        assert files_with(folder, CANARY) == {"keys/flower.pub"}  # the log beside it, as well
    at_rest.write(folder / "deep" / "er" / "file", CANARY)
    assert files_with(folder, CANARY) == {"keys/flower.pub"}
    assert at_rest.read(folder / "deep" / "er" / "file") == CANARY


def test_a_trigger_is_sealed_with_its_table(folder):
    with closing(connect(folder / "a.sqlite")) as db, pytest.raises(DATABASE_ERROR, match="no"):
        db.execute("DELETE FROM said")


def test_the_ledgers_engine_opens_it_and_looking_changes_no_byte(folder):
    key = SigningKey(bytes(32))
    engine = open_engine(folder / "log.sqlite")
    with writing(engine) as connection:
        Log(engine, "lanes/acme", key).append(connection, [CANARY])
    engine.dispose()
    before = (folder / "log.sqlite").read_bytes()
    assert b"ledger_layout" not in before and CANARY not in before
    seen = existing_engine(folder / "log.sqlite")
    assert seen is not None
    with reading(seen) as connection:
        assert Log(seen, "lanes/acme", key).size(connection) == 1
    seen.dispose()
    with closing(look(folder / "log.sqlite")) as db, pytest.raises(DATABASE_ERROR):
        db.execute("DELETE FROM ledger_layout")
    assert (folder / "log.sqlite").read_bytes() == before


def test_a_copy_in_memory_holds_the_same_and_is_another(folder):
    with closing(copied(folder / "a.sqlite")) as copy:
        assert copy.execute("SELECT word FROM said").fetchall() == said(folder / "a.sqlite")[0]
        copy.execute("INSERT INTO said VALUES (x'00')")
    assert len(said(folder / "a.sqlite")[0]) == 1
    with closing(copied(folder / "none.sqlite")) as empty:
        assert empty.execute("SELECT * FROM sqlite_master").fetchall() == []


def test_no_spend_is_lost_when_writers_of_sealed_books_are_killed(folder):
    found = crash(folder / "books.sqlite", 6, 20261)
    assert (found.injections, found.lost, found.double) == (6, 0, 0)
    assert not (folder / "books.sqlite").read_bytes().startswith(PLAIN_HEADER)


# -- what does not open ----------------------------------------------------------------------------


def test_another_passphrase_opens_nothing(folder, monkeypatch):
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "another passphrase")
    for step in (
        lambda: at_rest.read(folder / "keys" / "flower"),
        lambda: said(folder / "a.sqlite"),
    ):
        with pytest.raises(LockedVaultError, match="passphrase does not open"):
            step()


def test_without_vault_json_nothing_is_read_or_made_anew(folder):
    (folder / NAME).unlink()
    with pytest.raises(SealedFileError, match="no vault"):
        at_rest.read(folder / "keys" / "flower")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        said(folder / "a.sqlite")
    with pytest.raises(LockedVaultError, match="restore it"):
        at_rest.require_vault(folder, "passphrase")


@pytest.mark.parametrize("name", ["keys/flower", "a.sqlite"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty-ish", "plain"])
def test_bad_files_are_refused_in_a_sentence(folder, name, how):
    path = folder / name
    data = path.read_bytes()
    plain = {"keys/flower": CANARY, "a.sqlite": b"SQLite format 3\0" + bytes(4080)}[name]
    changed = {"flip": bytes([*data[:40], data[40] ^ 1, *data[41:]]), "cut": data[:-1],
               "empty-ish": data[:20], "plain": plain}[how]  # fmt: skip
    path.write_bytes(changed)
    with pytest.raises((SealedFileError, *DATABASE_ERROR)) as why:
        at_rest.read(path) if name == "keys/flower" else said(path)
    if not isinstance(why.value, sqlcipher.DatabaseError):  # each database's home says the rest
        assert "restore" in str(why.value) or "vault init" in str(why.value)


def test_a_file_in_anothers_place_is_refused(folder):
    shutil.copy(folder / "keys" / "flower", folder / "keys" / "identity.key")
    with pytest.raises(SealedFileError, match="sealed elsewhere or as something else"):
        at_rest.read(folder / "keys" / "identity.key")
    shutil.copy(folder / "a.sqlite", folder / "b.sqlite")
    with pytest.raises(SealedFileError, match="another folder"):
        said(folder / "b.sqlite")


def test_the_vault_of_another_folder_is_refused(folder, tmp_path):
    other = plain_folder(tmp_path / "other", TOML.replace("acme", "rival"))
    seal(other)
    shutil.copy(other / NAME, folder / NAME)
    with pytest.raises(LockedVaultError, match="rival @ lanes"):
        at_rest.read(folder / "keys" / "flower")
    same = plain_folder(tmp_path / "same")  # the same party's, begun anew: another master key
    seal(same)
    shutil.copy(same / NAME, folder / NAME)
    with pytest.raises(SealedFileError):
        at_rest.read(folder / "keys" / "flower")
    at_rest.forget(folder)
    with pytest.raises(SealedFileError):
        said(folder / "a.sqlite")


def test_whose_a_vault_is_cannot_be_rewritten(folder):
    value = json.loads((folder / NAME).read_bytes())
    (folder / NAME).write_text(json.dumps({**value, "whose": "rival @ lanes"}))
    (folder / "node.toml").write_text((folder / "node.toml").read_text().replace("acme", "rival"))
    with pytest.raises(LockedVaultError, match="does not open"):
        at_rest.read(folder / "keys" / "flower")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": 2}',
        b'{"version": 1, "whose": "x", "wraps": 1}',
        b'{"version": 1, "whose": "x", "converting": false, "wraps": [{"source": "a"}]}',
    ],
)
def test_bad_vault_files_are_refused(bad):
    with pytest.raises(LockedVaultError, match="restore"):
        VaultFile.from_bytes(bad)


def test_settings_that_do_not_know_of_the_vault_are_refused(folder):
    (folder / "node.toml").write_text(TOML)
    with pytest.raises(LockedVaultError, match="at_rest"):
        at_rest.read(folder / "keys" / "flower")
    (folder / "node.toml").write_text(TOML + '[at_rest]\nkey = "credential:x"\n')
    with pytest.raises(LockedVaultError, match="does not know the source 'credential:x'"):
        at_rest.read(folder / "keys" / "flower")


def test_a_key_is_lent_to_libraries_that_read_files_under_a_password_only(folder):
    from secure_compute.primitives.node_keys import create_stream_key

    pem = create_stream_key(folder / "keys" / "stream.key", at_rest.FILES)
    with at_rest.loadable(folder / "keys" / "stream.key") as (path, password):
        assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes() and password
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists() and pem.startswith(b"-----BEGIN PUBLIC KEY")


# -- sealing a folder, and opening it another way --------------------------------------------------


class Killed(BaseException):
    """As by kill -9."""


def test_sealing_that_is_killed_anywhere_goes_on(tmp_path, monkeypatch):
    """Before every wait for the disk and every file's taking its place, once."""
    template, machine = (
        plain_folder(tmp_path / "plain"),
        Given(b"m" * 32, "command:kms", weak=False),
    )
    for step in range(99):
        made = tmp_path / str(step)
        shutil.copytree(template, made)
        with monkeypatch.context() as patch:
            _dying(patch, [step])
            try:
                seal_folder(made, CONTENTS, machine, b"m" * 32)
                break
            except Killed:
                at_rest.forget(made)
        if (made / NAME).exists() and plain_files(made, CONTENTS):
            with pytest.raises(LockedVaultError, match="vault init"):
                at_rest.read(made / "keys" / "flower")
        seal_folder(made, CONTENTS, machine, b"m" * 32)
        at_rest.hold(made, at_rest.vault_file(made).unwrapped(machine, made))
        assert files_with(made, CANARY) == {"keys/flower.pub"}
        assert [said(made / name) for name in CONTENTS.databases] == [
            ([(CANARY + name.encode(),)], 7) for name in CONTENTS.databases
        ]
        assert at_rest.read(made / "keys" / "identity.key") == CANARY + b"identity.key"
    assert step >= 20


def _dying(patch, left):
    import os
    from pathlib import Path

    def before(real):
        def step(*words):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*words)

        return step

    patch.setattr(os, "fsync", before(os.fsync))
    patch.setattr(Path, "replace", before(Path.replace))


def test_a_half_written_draft_is_begun_anew(tmp_path):
    made = plain_folder(tmp_path / "node")
    (made / ".a.sqlite.sealing").write_bytes(b"half")
    (made / ".a.sqlite.sealing-journal").write_bytes(b"half")
    seal(made)
    assert said(made / "a.sqlite")[1] == 7
    assert not list(made.glob(".*"))


def test_a_folder_in_use_is_left_as_it_is(tmp_path):
    made = plain_folder(tmp_path / "node")
    with closing(connect(made / "b.sqlite")) as held:
        held.execute("SELECT * FROM said").fetchall()
        with pytest.raises(LockedVaultError, match=r"b\.sqlite cannot be sealed"):
            seal(made)
    assert not (made / NAME).exists() and (made / "node.toml").read_text() == TOML
    assert said(made / "a.sqlite")[1] == 7


def test_a_program_that_slips_in_while_the_vault_is_made_loses_no_row(tmp_path, monkeypatch):
    made = plain_folder(tmp_path / "node")
    real = vaulting._vault
    slipped = []

    def slips_in(*words):
        slipped.append(connect(made / "b.sqlite"))
        slipped[0].execute("INSERT INTO said VALUES (x'ab')")
        return real(*words)

    with monkeypatch.context() as patch:
        patch.setattr(vaulting, "_vault", slips_in)
        with pytest.raises(LockedVaultError, match=r"b\.sqlite cannot be sealed"):
            seal(made)
    slipped[0].execute("INSERT INTO said VALUES (x'cd')")
    slipped[0].close()
    seal(made)
    assert said(made / "b.sqlite")[0][1:] == [(b"\xab",), (b"\xcd",)]


def test_links_are_sealed_where_they_stand_or_not_at_all(tmp_path):
    made = plain_folder(tmp_path / "node")
    (made / "keys").rename(tmp_path / "elsewhere")
    (made / "keys").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    seal(made)
    assert files_with(tmp_path / "elsewhere", CANARY) == {"flower.pub"}
    assert at_rest.read(made / "keys" / "flower") == CANARY + b"flower"
    other = plain_folder(tmp_path / "other")
    (other / "a.sqlite").rename(tmp_path / "a.sqlite")
    (other / "a.sqlite").symlink_to(tmp_path / "a.sqlite")
    with pytest.raises(LockedVaultError, match="is a link"):
        seal(other)
    assert not (other / NAME).exists()


def test_sealing_again_seals_what_was_put_back_plain(folder):
    (folder / "keys" / "flower").write_bytes(CANARY)
    assert [path.name for path in plain_files(folder, CONTENTS)] == ["flower"]
    with pytest.raises(SealedFileError, match="vault init"):
        at_rest.read(folder / "keys" / "flower")
    assert [path.name for path in seal(folder)] == ["flower"]
    assert at_rest.read(folder / "keys" / "flower") == CANARY
    with pytest.raises(LockedVaultError, match="does not open"):
        seal(folder, b"another passphrase")


def test_another_passphrase_opens_the_same_files(folder, monkeypatch):
    before = {name: (folder / name).read_bytes() for name in ("a.sqlite", "keys/flower")}
    vault = at_rest.unlock(folder)
    change_source(folder, vault, Passphrase(), b"a new passphrase", LEAST_COST)
    as_by_another_process(folder)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", PASSPHRASE.decode())
    with pytest.raises(LockedVaultError):
        at_rest.unlock(folder)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "a new passphrase")
    assert at_rest.unlock(folder) == vault
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_another_source_that_is_cut_off_still_opens(folder, monkeypatch, tmp_path):
    vault, text = at_rest.unlock(folder), (folder / "node.toml").read_text()
    machine = Given(b"m" * 32, "credential:vault", weak=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "vault").write_bytes(b"m" * 32)
    for step in range(20):
        (folder / "node.toml").write_text(text)
        change_source(folder, vault, Passphrase(), PASSPHRASE, LEAST_COST)
        with monkeypatch.context() as patch:
            _dying(patch, [step])
            try:
                change_source(folder, vault, machine, b"m" * 32)
                break
            except Killed:
                pass
        at_rest.forget(folder)
        assert at_rest.unlock(folder) == vault
    assert step >= 6
    assert 'key = "credential:vault"' in (folder / "node.toml").read_text()
    assert [w["source"] for w in json.loads((folder / NAME).read_bytes())["wraps"]] == [
        "credential:vault"
    ]


@pytest.mark.parametrize("bad", ["at_rest = 1\n", 'at_rest = {key = "none"}\n'])
def test_settings_written_in_a_way_of_their_own_are_left_to_their_writer(tmp_path, bad):
    made = plain_folder(tmp_path / "node", bad + TOML)
    with pytest.raises(LockedVaultError, match="by hand"):
        seal(made)
    assert (made / "node.toml").read_text() == bad + TOML


def test_a_held_vault_seals_a_folder_without_settings(tmp_path):
    at_rest.hold(tmp_path, Vault(bytes(32)))
    at_rest.write(tmp_path / "file", CANARY)
    assert CANARY not in (tmp_path / "file").read_bytes()
    at_rest.forget(tmp_path)
    with pytest.raises(SealedFileError):
        at_rest.read(tmp_path / "file")


def test_a_secret_of_a_machine_is_long(tmp_path):
    made = plain_folder(tmp_path / "node")
    with pytest.raises(LockedVaultError, match="31 bytes"):
        seal_folder(made, CONTENTS, Given(b"", "credential:x", weak=False), b"x" * 31)
    assert not (made / NAME).exists()
