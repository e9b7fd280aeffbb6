"""The keyholder through a whole node: what its log names binds what it opens."""

import shutil

from clients.keyholding import Keyholding
from federation.envelopes import parse
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.riding import RIDING
from tests.simulator import CN, EU, KEYHOLDER, UK, US

COHORT = (CN, EU, UK, US)


def named(simulation):
    return [
        (entry.order, entry.body["listing"])
        for entry in simulation.books(KEYHOLDER).entries()
        if entry.kind is EntryKind.OPENED
    ]


def keyring_files(simulation):
    return [*simulation.folder(KEYHOLDER).glob("keyring*")]


def keep(simulation, into):
    into.mkdir()
    for path in keyring_files(simulation):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, into / path.name)


def put_back(simulation, copy):
    for path in keyring_files(simulation):
        (shutil.rmtree if path.is_dir() else type(path).unlink)(path)
    for path in copy.iterdir():
        target = simulation.folder(KEYHOLDER) / path.name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)


def test_the_log_names_the_list_that_was_opened(simulation):
    order = simulation.query(cohort=COHORT, minimum=3)
    assert simulation.run(order).status == "done"
    (reply,) = simulation.mail.replies(Kind.QUERY_OPENED)
    assert named(simulation) == [(order.id, parse(reply.wire).body["listing"])]


def test_an_old_keyring_opens_no_second_list_that_would_show_one_party(
    simulation, tmp_path, monkeypatch
):
    """Two sums that differ by one party show that party's part."""
    order = simulation.query(cohort=COHORT, minimum=3)
    copy, real = tmp_path / "copy", Keyholding.open_sum

    def copying(*given):
        keep(simulation, copy)
        return real(*given)

    monkeypatch.setattr(Keyholding, "open_sum", copying)
    assert simulation.run(order).status == "done"
    monkeypatch.undo()
    (letter,) = simulation.mail.sent(Kind.QUERY_OPEN)
    for restarts in (False, True):
        put_back(simulation, copy)
        if restarts:
            simulation.restart(KEYHOLDER)
        parts = {name: part for name, part in letter.blobs.items() if name not in RIDING}
        less = {name: part for name, part in parts.items() if name != US}
        assert len(less) == 3
        asked = simulation.letter(Kind.QUERY_OPEN, KEYHOLDER, order.id, 0, **less)
        assert simulation.read(simulation.node(KEYHOLDER).answer(asked)).kind is Kind.FAILED
    assert len(named(simulation)) == 1
