"""A member that changes its identity key, for several tests."""

from aggregator.introducing import Introducing
from aggregator.settings import load_aggregator
from clients.rotation import begin_identity
from clients.settings import load_settings
from experiments.founding import AGGREGATOR
from federation.envelopes import Envelope, open_envelope, seal
from federation.ledger import notes
from federation.ledger.notes import Checkpoint, NamedKey, origin_of
from federation.ledger.seen import sign_seen
from federation.messages import Kind
from federation.riding import pack
from federation.roster_chain import open_roster
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.simulator import CN, EU, Simulation


def offered(simulation: Simulation) -> None:
    """The node says what it wants, and the aggregator's folder has it."""
    coordinator = simulation.coordinator()
    coordinator._asking._present = lambda: {CN}
    Introducing(coordinator._settings, coordinator._asking, coordinator._desk.roster).tell()
    simulation.roster = simulation.home.roster()


def shown(simulation: Simulation, party: PartyId) -> None:
    """A node is shown the newest chain; its words of before are not read."""
    chain = (simulation.home.aggregator / "roster.bin").read_bytes()
    newest: dict[str, canonical.JSON] = {"digest": open_roster(chain, simulation.home.pin).digest}
    letter = Envelope(Kind.ROSTER_SHOW, AGGREGATOR, party, "", 0, newest, {"roster": chain})
    simulation.started(party).answer(seal(letter, simulation.key(AGGREGATOR)))


def rotated(simulation: Simulation) -> tuple[SigningKey, SigningKey]:
    """CN has changed its identity key; return the old one and the new one."""
    settings = load_settings(simulation.folder(CN))
    simulation.started(CN)
    old = settings.identity
    assert begin_identity(settings)
    offered(simulation)
    shown(simulation, CN)
    simulation.kill(CN)
    simulation.started(CN)
    return old, settings.identity


def covered(simulation: Simulation) -> None:
    """A quorum has put its names to the head of CN's ledger as it stands."""
    node = simulation.node(CN)
    blob = simulation.cosign(CN, node._witnessing.head()["head"])
    node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=blob))
    simulation.kill(CN)


def copied(simulation: Simulation) -> dict[str, bytes]:
    """The files of CN's books."""
    return {path.name: path.read_bytes() for path in simulation.folder(CN).glob("books.sqlite*")}


def put_back(simulation: Simulation, kept: dict[str, bytes]) -> None:
    """CN's books are those of before."""
    for path in simulation.folder(CN).glob("books.sqlite*"):
        path.unlink()
    for name, content in kept.items():
        (simulation.folder(CN) / name).write_bytes(content)


def everybody_takes(simulation: Simulation) -> None:
    """All others start with the newest chain."""
    chain = (simulation.home.aggregator / "roster.bin").read_bytes()
    for member in simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER):
        (simulation.folder(member.party) / "roster.bin").write_bytes(chain)
        if member.party != CN:
            simulation.kill(member.party)


def shows(simulation: Simulation, own: SigningKey, part: str, size: int) -> Kind:
    """What the node says to another head of that size, which it is shown; it is signed by `own`."""
    node = simulation.started(CN)
    origin = origin_of(simulation.roster.federation, CN)
    note = notes.sign(Checkpoint(origin, size, bytes(32)), own)
    head = notes.open_note(note, NamedKey(origin, own.verify_key))
    nonce, at = node._witnessing.nonce, int(simulation.now())
    word = sign_seen(origin, head, nonce, at, EU, simulation.key(EU))
    blob = pack({EU: note.encode() if part == "forked" else word})
    letter = simulation.letter(Kind.LEDGER_WITNESS, CN, "", **{part: blob})
    return simulation.read(node.answer(letter)).kind


def speaks(simulation: Simulation) -> bool:
    """Whether the aggregator, by its own roster, understands the node."""
    reply = simulation.started(CN).answer(simulation.letter(Kind.PING, CN, ""))
    roster = load_aggregator(simulation.home.aggregator).roster()
    return open_envelope(reply, roster, AGGREGATOR).envelope.kind is Kind.PONG
