"""Ledgers, receipts and what witnesses say."""

from collections.abc import Iterator
from functools import cache

from experiments.verifying import verify_file
from federation.ledger import entries, notes, seen, withheld, witness
from federation.ledger.export import Export
from federation.ledger.receipt import Receipt, verify_receipt
from federation.ledger.succession import Succession
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest
from policies.parties import PartyId
from tests import ledgers
from tests.parsers.making import Parser, of_file, of_text, resigned


def parsers() -> Iterator[Parser]:
    of, own = "federation.ledger", ledgers.KEYS["cn"]
    note = lambda: notes.sign(notes.Checkpoint(ledgers.origin("cn"), 3, bytes(32)), own)  # noqa: E731
    yield Parser((f"{of}.entries.decode",), entries.decode, _entries)
    yield Parser((f"{of}.notes.read",), of_text(notes.read), lambda: [note().encode()], True)
    yield Parser(
        (f"{of}.notes.read_lines",),
        of_text(notes.read_lines),
        lambda: [note().partition("\n\n")[2].encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.open_note",),
        of_text(lambda text: notes.open_note(text, ledgers.named_key("cn"))),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.open_by_one",),
        of_text(lambda text: notes.open_by_one(text, [ledgers.named_key("cn")])),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.succession.Succession.open",),
        of_text(
            lambda text: Succession(ledgers.origin("cn")).open(text, ledgers.named_key("cn").key)
        ),
        lambda: [note().encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.notes.NamedKey.parse",),
        of_text(notes.NamedKey.parse),
        lambda: [str(ledgers.named_key("cn")).encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.trust.Trust.parse",),
        of_text(Trust.parse),
        lambda: [str(ledgers.TRUST).encode()],
        True,
    )
    yield Parser(
        (f"{of}.witness.WitnessRequest.from_bytes",),
        WitnessRequest.from_bytes,
        lambda: [request()],
    )
    line = lambda: witness.cosign(note(), ledgers.origin("eu"), ledgers.KEYS["eu"], 5)  # noqa: E731
    yield Parser(
        (f"{of}.witness.open_cosignature", f"{of}.witness.cosigners"),
        of_text(_cosigned),
        lambda: [f"{note()}\f{line()}".encode()],
        text=True,
    )
    yield Parser(
        (f"{of}.seen.open_seen",),
        resigned(own, lambda wire: seen.open_seen(wire, ledgers.ROSTER, "n"), b"entrepot seen/1\n"),
        lambda: [
            the_seen(),
            seen.sign_seen(ledgers.origin("eu"), None, "n", 5, PartyId("cn"), own),
        ],
    )
    yield Parser(
        (f"{of}.withheld.open_withheld",),
        resigned(
            own,
            lambda wire: withheld.open_withheld(wire, ledgers.ROSTER, "o", "r"),
            b"entrepot withheld/1\n",
        ),
        lambda: [withheld.sign_withheld("o", "r", PartyId("cn"), own)],
    )
    yield Parser(
        (f"{of}.export.Export.from_bytes", f"{of}.verify.verify"),
        lambda data: verify(Export.from_bytes(data), ledgers.TRUST),
        lambda: [_export().to_bytes()],
    )
    yield Parser(
        (f"{of}.receipt.Receipt.from_bytes", f"{of}.receipt.verify_receipt"),
        lambda data: verify_receipt(Receipt.from_bytes(data), ledgers.TRUST),
        lambda: [_receipt()],
    )
    yield Parser(
        ("experiments.verifying.verify_file",),
        of_file(lambda path: verify_file(path, None), "export.json"),
        lambda: [_export().to_bytes(), _receipt()],
    )


def _entries() -> list[bytes]:
    return [entries.encode(entry) for entry in ledgers.ordinary()]


@cache
def _export() -> Export:
    return ledgers.export(ledgers.founded())


def _receipt() -> bytes:
    log, path = _export().logs[0], ledgers.founded()["cn"].log
    with ledgers.reading(path.engine) as connection:
        size = path.size(connection)
        proof = path.inclusion(connection, 1, size)
    parts = (1, log.entries[1], proof, log.witnessed)
    return Receipt(ledgers.FEDERATION, log.origin, *parts).to_bytes()


@cache
def request() -> bytes:
    party = ledgers.founded()["cn"]
    party.append(ledgers.ordinary("more"))
    return party.request().to_bytes()


@cache
def the_seen() -> bytes:
    last = ledgers.signed("eu", 3, bytes(32))
    return seen.sign_seen(ledgers.origin("eu"), last, "n", 5, PartyId("cn"), ledgers.KEYS["cn"])


def _cosigned(text: str) -> object:
    note, _, line = text.partition("\f")
    witness.cosigners(note, [line], ledgers.TRUST)
    name = ledgers.origin("eu")
    return witness.open_cosignature(note, line, name, ledgers.KEYS["eu"].verify_key)
