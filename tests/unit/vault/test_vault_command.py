"""`entrepot node vault` and `entrepot aggregator vault`, as an operator types them."""

import json
import os
import time

import pytest

from clients import regaining, worker
from clients.settings import load_settings
from experiments.cli import run
from experiments.unlocking import hand_on
from federation import at_rest
from federation.errors import LockedVaultError
from federation.vault_file import NAME
from secure_compute.primitives.node_keys import load_node_key
from tests.simulator import CN, Simulation
from tests.vaults import as_by_another_process, files_with

PASSPHRASE = "correct horse battery"
KEK = "command:cat kek"


@pytest.fixture
def simulation(tmp_path, monkeypatch) -> Simulation:
    for name in ("ENTREPOT_PASSPHRASE", "ENTREPOT_PASSPHRASE_FD"):
        monkeypatch.delenv(name, raising=False)
    return Simulation(tmp_path / "lanes")


@pytest.fixture
def folder(simulation):
    made = simulation.folder(CN)
    (made / "kek").write_bytes(b"k" * 44)
    return made


def told(capsys, *words):
    """The exit code and the one object that a command prints."""
    code = run([*map(str, words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if code == 0 else said.err


def test_a_node_is_sealed_shown_and_opened_with_a_passphrase(folder, capsys, monkeypatch):
    identity = (folder / "keys" / "identity.key").read_bytes()
    code, shown = told(capsys, "node", "vault", "show", folder)
    assert (code, shown["vault"], shown["key"]) == (0, False, "none") and shown["plain"]
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", PASSPHRASE)
    code, made = told(capsys, "node", "vault", "init", folder)
    assert code == 0 and set(made["sealed"]) == set(shown["plain"])
    assert "keys/identity.key" in made["sealed"]
    assert files_with(folder, identity) == files_with(folder, PASSPHRASE.encode()) == set()
    code, shown = told(capsys, "node", "vault", "show", folder)
    assert (shown["vault"], shown["plain"], shown["key"]) == (True, [], "passphrase")
    assert shown["wraps"] == [{"source": "passphrase", "scrypt": 1 << 17}]
    at_rest.forget(folder)
    assert run(["node", "check", str(folder)]) == 0
    assert "sealed with AES-256" in capsys.readouterr().out
    at_rest.forget(folder)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "another passphrase")
    code, why = told(capsys, "node", "check", folder)
    assert code == 2 and "the passphrase does not open" in why and "Traceback" not in why


def test_a_nodes_key_is_changed_and_no_file_is(folder, capsys, monkeypatch):
    assert told(capsys, "node", "vault", "init", folder, "--key", KEK)[0] == 0
    before = (folder / "keys" / "identity.key").read_bytes()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    words = ("node", "vault", "change", folder, "--key", "credential:kek")
    code, made = told(capsys, *words)
    assert (code, made["key"]) == (0, "credential:kek")
    assert (folder / "keys" / "identity.key").read_bytes() == before
    (folder / "kek").write_bytes(b"x" * 44)
    code, why = told(capsys, *words)
    assert code == 2 and "'credential:kek' gave does not open" in why
    assert load_settings(folder).at_rest == "credential:kek"


LOST = [f"lost/keys/{name}" for name in ("flower", "identity.key", "opening.key", "stream.key")]


def asked_for(folder, size=32):
    """The keys of an entry that was begun and is not through."""
    (folder / "lost" / "keys").mkdir(parents=True)
    for name in LOST:
        (folder / name).write_bytes(os.urandom(size))
    return (folder / LOST[1]).read_bytes()


def test_keys_that_a_node_asked_for_are_sealed_with_the_others(folder, capsys):
    made = asked_for(folder)
    code, found = told(capsys, "node", "vault", "init", folder, "--key", KEK)
    assert code == 0 and {*LOST} <= {*found["sealed"]}
    assert files_with(folder, made) == set()
    settings = load_settings(folder)
    assert not regaining.take_over(settings, settings.roster(), time.time)
    assert at_rest.read(folder / LOST[1]) == made


def test_keys_that_a_node_asked_for_and_that_cannot_be_read_stop_no_other(folder, caplog):
    asked_for(folder, size=5)
    settings = load_settings(folder)
    assert not regaining.take_over(settings, settings.roster(), time.time)
    assert "cannot be read, and wait" in caplog.text
    assert (folder / LOST[1]).stat().st_size == 5


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("none", "name where it comes from"),
        ("file:x", "at_rest.key is"),
        ("command:false", "ended"),
    ],
)
def test_bad_keys_seal_nothing(folder, capsys, key, why):
    code, said = told(capsys, "node", "vault", "init", folder, "--key", key)
    assert code == 2 and why in said and not (folder / NAME).exists()


def test_a_weak_passphrase_seals_nothing(folder, capsys, monkeypatch):
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "short")
    code, said = told(capsys, "node", "vault", "init", folder)
    assert code == 2 and "12 characters" in said and not (folder / NAME).exists()


def test_a_damaged_file_is_an_exit_code_of_its_own(folder, capsys):
    assert told(capsys, "node", "vault", "init", folder, "--key", KEK)[0] == 0
    path = folder / "keys" / "identity.key"
    path.write_bytes(path.read_bytes()[:-1])
    code, said = told(capsys, "node", "check", folder)
    assert code == 30 and "identity.key was damaged" in said


@pytest.mark.parametrize(("changed", "code"), [("kek", 2), ("keys/flower", 30)])
def test_a_node_that_does_not_open_ends_in_a_sentence(folder, capfd, monkeypatch, changed, code):
    def connected(flower, *_):
        load_node_key(flower.key, at_rest.FILES)
        pytest.fail("went on to connect")

    assert told(capfd, "node", "vault", "init", folder, "--key", KEK)[0] == 0
    at_rest.forget(folder)
    path = folder / changed
    path.write_bytes(b"x" + path.read_bytes()[1:-1] + b"y")
    monkeypatch.setattr("clients.worker.serve_both", connected)
    assert worker.run(folder) == code
    said = capfd.readouterr()
    assert said.out.startswith("entrepot node: ") and "Traceback" not in said.out + said.err


def test_a_node_in_use_is_not_sealed(simulation, folder, capsys):
    from clients.inbox import Inbox

    inbox = Inbox(folder / "outbox.sqlite")
    code, said = told(capsys, "node", "vault", "init", folder, "--key", KEK)
    assert code == 2 and "end every program" in said and not (folder / NAME).exists()
    inbox.close()
    assert told(capsys, "node", "vault", "init", folder, "--key", KEK)[0] == 0


def test_the_aggregators_folder_is_sealed_and_a_model_handed_over(simulation, tmp_path, capsys):
    home = simulation.home
    (home.aggregator / "kek").write_bytes(b"k" * 44)
    where = ("--federation", home.folder)
    assert told(capsys, "aggregator", "vault", "init", *where, "--key", KEK)[0] == 0
    assert told(capsys, "aggregator", "vault", "show", *where)[1]["plain"] == []
    model, out = home.aggregator / "models" / "run" / "round-0001.safetensors", tmp_path / "out"
    at_rest.write(model, b"weights")
    assert b"weights" not in model.read_bytes()
    assert run(["aggregator", "vault", "export", str(model), str(out)]) == 0
    assert out.read_bytes() == b"weights" and out.stat().st_mode & 0o777 == 0o600
    assert run(["aggregator", "vault", "export", str(model), str(out)]) == 2
    assert run(["aggregator", "roster", *map(str, where)]) == 0


def test_doctor_says_what_is_sealed(simulation, folder, capsys):
    assert told(capsys, "node", "vault", "init", folder, "--key", KEK)[0] == 0
    capsys.readouterr()
    run(["doctor", "--federation", str(simulation.home.folder)])
    said = capsys.readouterr().out
    assert f"{CN}: sealed with AES-256; the key comes from {KEK}" in said
    assert "aggregator: no vault" in said


def test_children_open_the_vault_without_anybody_being_asked(folder, capsys, monkeypatch):
    hand_on(folder)
    assert "ENTREPOT_PASSPHRASE" not in os.environ
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", PASSPHRASE)
    assert told(capsys, "node", "vault", "init", folder)[0] == 0
    as_by_another_process(folder)
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode() + b"\n")
    os.close(writing)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE_FD", str(reading))
    hand_on(folder)
    os.close(reading)
    assert "ENTREPOT_PASSPHRASE_FD" not in os.environ
    at_rest.forget(folder)
    assert at_rest.read(folder / "keys" / "identity.key")  # as the child does
    at_rest.forget(folder)
    monkeypatch.setenv("ENTREPOT_PASSPHRASE", "another passphrase")
    with pytest.raises(LockedVaultError):
        hand_on(folder)
