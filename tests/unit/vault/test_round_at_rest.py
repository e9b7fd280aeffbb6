"""After a round, no byte of a sealed folder shows a row's key, a weight, an answer or a key."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from aggregator import lineage
from aggregator.settings import load_aggregator
from aggregator.stored import load
from clients.checking import check
from clients.rowkeys import KEY_BYTES, row_keys
from clients.settings import load_settings
from experiments.vaults import AGGREGATOR, NODE, contents_of, show
from federation import at_rest
from federation.errors import LockedVaultError, SealedFileError
from federation.messages import Kind
from federation.vault_file import NAME
from federation.vaulting import plain_files, seal_folder
from tests.simulator import CN, EU, UK, Simulation
from tests.vaults import Given, files_with

SOURCE = Given(b"m" * 32, "command:cat ../../kek", weak=False)
"""Of the machine: what a program in the settings prints."""
ROWS = ("data/", "snapshots/")
PUBLIC = {".pub", ".crt"}


@dataclasses.dataclass
class Ended:
    """A simulated federation after one round, and what must not be seen at rest."""

    simulation: Simulation
    node: Path
    aggregator: Path
    node_canaries: dict[str, bytes]
    aggregator_canaries: dict[str, bytes]


def ended(folder: Path, sealed: bool) -> Ended:
    simulation = Simulation(folder)
    parties = (CN, EU, UK)
    keys = simulation.folder(CN) / "keys"
    pem = (keys / "flower").read_bytes().splitlines()[2]
    stream = (keys / "stream.key").read_bytes().splitlines()[1]
    identity = (keys / "identity.key").read_bytes()
    own = simulation.home.aggregator / "keys"
    theirs = {name: (own / name).read_bytes() for name in ("identity.key", "control.token")}
    theirs["ca.key"] = (own / "ca.key").read_bytes().splitlines()[1]
    if sealed:
        (folder / "kek").write_bytes(b"m" * 32)
        for party in parties:
            seal_folder(simulation.folder(party), NODE, SOURCE, b"m" * 32)
        here = Given(b"m" * 32, "command:cat ../kek", weak=False)
        seal_folder(simulation.home.aggregator, AGGREGATOR, here, b"m" * 32)
        for place in (*map(simulation.folder, parties), simulation.home.aggregator):
            at_rest.forget(place)  # from here on each opens itself, as its settings say
    job = simulation.run(simulation.training(cohort=parties, rounds=1))
    assert job.status == "done", job
    settings = load_settings(simulation.folder(CN))
    contract = settings.contracts()["demand"]
    secret = at_rest.read(keys / "ingestion.key")
    said = simulation.mail.replies(Kind.TRAIN_UPDATE)
    reply = next(frame.wire for frame in said if frame.sender == CN)
    (model,) = (simulation.home.aggregator / "models").rglob("*.safetensors")
    return Ended(
        simulation,
        simulation.folder(CN),
        simulation.home.aggregator,
        {
            "row key": row_keys(contract, settings.table(contract), secret)[:KEY_BYTES],
            "reply": reply[len(reply) // 2 :][:48],
            "secret of row keys": secret,
            "identity": identity,
            "flower": pem,
            "stream": stream,
        },
        {"weights": load(model).weights.tobytes(), "order": job.id.encode(), **theirs},
    )


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Ended:
    return ended(tmp_path_factory.mktemp("sealed") / "lanes", sealed=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Ended:
    return ended(tmp_path_factory.mktemp("plain") / "lanes", sealed=False)


def test_without_a_vault_all_of_it_is_found(plain):
    """The power of the test below."""
    for name, canary in plain.node_canaries.items():
        assert len(canary) >= 8 and files_with(plain.node, canary, ROWS), name
    for name, canary in plain.aggregator_canaries.items():
        assert len(canary) >= 8 and files_with(plain.aggregator, canary), name


def test_with_a_vault_none_of_it_is_found(sealed):
    for name, canary in sealed.node_canaries.items():
        assert files_with(sealed.node, canary, ROWS) == set(), name
    for name, canary in sealed.aggregator_canaries.items():
        assert files_with(sealed.aggregator, canary) == set(), name
    for folder in (sealed.node, sealed.aggregator):
        assert plain_files(folder, contents_of(folder)) == []
        assert show(folder)["plain"] == [] and show(folder)["vault"]


def test_every_database_and_every_key_is_sealed_or_named(sealed, plain):
    """A file that somebody adds is sealed, or this says that it is not."""
    for made in (sealed, plain):
        for folder in (made.node, made.aggregator):
            found = {path.name for path in folder.glob("*.sqlite")} - {"jobs.sqlite"}
            assert found <= set(contents_of(folder).databases)
            keys = {path for path in (folder / "keys").iterdir() if path.suffix not in PUBLIC}
            assert keys <= set(contents_of(folder).paths(folder)[1])


def test_a_sealed_node_comes_back_and_is_found_sound(sealed):
    at_rest.forget(sealed.node)
    paths = [path for path in sealed.node.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in paths if not path.name.endswith("-shm")}
    check(load_settings(sealed.node))
    assert before == {path: path.read_bytes() for path in before}
    assert sealed.simulation.restart(CN) is not None
    assert files_with(sealed.node, sealed.node_canaries["row key"], ROWS) == set()


def test_a_lineages_digests_are_of_the_plain_bytes(sealed, tmp_path):
    models = sealed.aggregator / "models"
    (run,) = lineage.runs(models)
    (stored,) = lineage.lineage(models, run.name)
    assert stored.digest == hashlib.sha256(at_rest.read(stored.path)).hexdigest()
    copy = tmp_path / stored.path.name
    copy.write_bytes(at_rest.read(stored.path))
    assert load(copy).digest == stored.digest


def test_a_sealed_model_in_anothers_place_is_refused(sealed):
    models = sealed.aggregator / "models"
    (path,) = models.rglob("*.safetensors")
    moved = path.with_name("round-0002.safetensors")
    moved.write_bytes(path.read_bytes())
    with pytest.raises(SealedFileError, match="sealed elsewhere"):
        load(moved)
    moved.unlink()


@pytest.mark.parametrize("side", ["node", "aggregator"])
def test_settings_that_speak_of_a_vault_that_is_gone_are_refused(sealed, side):
    folder = getattr(sealed, side)
    away = (folder / NAME).rename(folder / "away")
    at_rest.forget(folder)
    with pytest.raises(LockedVaultError, match="is missing"):
        (load_settings if side == "node" else load_aggregator)(folder)
    away.rename(folder / NAME)
