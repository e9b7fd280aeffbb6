"""The log under the books: its witnesses, the heads of others, and the greatest time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clients.books import Books
from federation.errors import (
    BadProofError,
    FederationError,
    InconsistentLogError,
    OlderHeadError,
)
from federation.ledger import notes, witness
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.merkle import verify_consistency
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead
from federation.ledger.witness import WitnessRequest
from policies.budget.account import Charge
from policies.budget.events import Gaussian
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import KEYS, Party, named_key, ordinary
from tests.scopes import scope

OWN, SISTER, EU, US = (f"entrepot/demo/{name}" for name in ("cn", "cn-2", "eu", "us"))
KEY = SigningKey(b"\x07" * 32)
CHARGES = (Charge(scope(), Gaussian("8"), 1),)
ORGANISATIONS = {OWN: "Shenzhen", SISTER: "Shenzhen", EU: "Lyon", US: "Ohio"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.sqlite"


@pytest.fixture
def books(path: Path) -> Books:
    return Books(path, OWN, KEY, lambda: 1000.0, ORGANISATIONS)


def cosigned(books: Books, *witnesses: str) -> None:
    books.keep_cosignatures(books.request().note, {name: f"— {name}\n" for name in witnesses})


def shown(*sizes: int, word: str = "order") -> WitnessRequest:
    """Return the head that `eu` shows of its last size, with a proof from those before."""
    party = Party("eu", KEYS["eu"])
    for size in sizes:
        party.append(ordinary(f"{word}-{size}"))
    return party.request(sizes[:-1])


def vouched(books: Books, request: WitnessRequest) -> SignedHead | FederationError:
    """Return what the books say of the head of `eu`."""
    return books.vouch({"eu": (request, named_key("eu"))}, 100)["eu"]


def test_a_head_is_signed_once_and_shown_with_its_proofs(books: Books) -> None:
    books.reserve(CHARGES, "a")
    first = books.request()
    assert books.request() == first
    head = notes.open_note(first.note, NamedKey(OWN, KEY.verify_key))
    assert head == books.head()
    assert head.size == 1
    assert first.proofs == {}
    books.settle("a", "k")
    second = books.request()
    assert set(second.proofs) == {1}
    verify_consistency(1, 2, second.proofs[1], head.root, books.root_at(2))


def test_a_witness_that_was_away_for_long_still_finds_its_proof(books: Books) -> None:
    books.reserve((Charge(scope(), Gaussian("80"), 100),), "a")
    cosigned(books, EU)
    seen = books.head()
    for number in range(40):
        books.settle("a", f"k{number}")
        request = books.request()
    assert len(request.proofs) == 5
    key = NamedKey(OWN, KEY.verify_key)
    assert witness.examine(seen, request, key) == books.head()


def test_a_witness_whose_cosignature_was_lost_gets_a_proof_when_it_asks(books: Books) -> None:
    books.reserve((Charge(scope(), Gaussian("80"), 100),), "a")
    books.request()
    seen, key = books.head(), NamedKey(OWN, KEY.verify_key)
    for number in range(40):
        books.settle("a", f"k{number}")
        books.request()
    with pytest.raises(InconsistentLogError):
        witness.examine(seen, books.request(), key)
    assert witness.examine(seen, books.request(also=[seen.size]), key) == books.head()
    assert books.request(also=[-1, 0, 10**6]) == books.request()


def test_the_root_of_any_size_is_known(books: Books) -> None:
    roots = []
    for number in range(5):
        roots.append(books.head().root)
        books.reserve(CHARGES, f"o{number}")
    assert [books.root_at(size) for size in range(5)] == roots
    with pytest.raises(BadProofError):
        books.root_at(6)


def test_other_entries_stand_between_those_of_the_account(books: Books) -> None:
    books.reserve(CHARGES, "a")
    approved = Entry(EntryKind.APPROVED, 5, "a", {"policy": "0" * 64, "reasons": []})
    assert books.note(approved, approved) == 1
    assert books.entries(1) == [approved, approved]
    books.reconcile()


def test_an_order_is_witnessed_by_a_later_head_alone(books: Books) -> None:
    before = books.request().note
    books.reserve(CHARGES, "a")
    books.keep_cosignatures(before, {EU: "line", US: "line"})
    assert not books.is_witnessed("a")
    cosigned(books, EU)
    assert books.is_witnessed("a")
    assert not books.booked("a")
    books.reserve(CHARGES, "b")
    assert not books.is_witnessed("b")
    assert not books.is_witnessed("never reserved")


def test_organisations_count_and_the_own_one_does_not(books: Books) -> None:
    books.reserve(CHARGES, "a")
    cosigned(books, SISTER)
    assert not books.is_witnessed("a")
    cosigned(books, EU)
    assert books.is_witnessed("a")
    assert not books.booked("a")
    books.settle("a", "k")
    cosigned(books, US)  # of a later head, which covers the reservation too
    assert books.booked("a")


def test_cosignatures_are_about_own_heads(books: Books, tmp_path: Path) -> None:
    books.reserve(CHARGES, "a")
    books.request()
    foreign = Books(tmp_path / "other.sqlite", OWN, KEY, lambda: 0.0)
    foreign.reserve(CHARGES, "b")
    for note in (foreign.request().note, notes.sign(Checkpoint(OWN, 7, b"\0" * 32), KEY)):
        with pytest.raises(InconsistentLogError, match="never signed"):
            books.keep_cosignatures(note, {EU: "line"})
    assert not books.is_witnessed("a")


def test_a_head_of_another_log_never_goes_back(books: Books, path: Path) -> None:
    assert books.last_seen(EU) is None
    early, later, forked = shown(4), shown(4, 8), shown(4, 8, word="otherwise")
    for request in (early, early, later):
        head = vouched(books, request)
        assert not isinstance(head, FederationError)
        assert books.last_seen(EU) == head
    assert isinstance(vouched(books, early), OlderHeadError)
    assert isinstance(vouched(books, forked), InconsistentLogError)
    again = Books(path, OWN, KEY, lambda: 0.0)
    last = again.last_seen(EU)
    assert last is not None
    assert last.note == later.note
    assert again.last_seen(US) is None
    seen = [entry.body["size"] for entry in again.entries()]
    assert seen == [4, 8]
    again.reconcile()


def test_the_greatest_time_stays(books: Books, path: Path) -> None:
    assert books.highest_time() == 0.0
    for at in (50.9, 20.0, 70.2, 69.0):
        books.witnessed_time(at)
    assert books.highest_time() == 70.0
    assert Books(path, OWN, KEY, lambda: 0.0).highest_time() == 70.0


@pytest.mark.parametrize(
    "write",
    [
        lambda books: vouched(books, shown(4)),
        lambda books: books.witnessed_time(9.0),
        lambda books: cosigned(books, EU),
    ],
)
def test_what_is_remembered_is_on_disk_before_it_is_used(
    books: Books, path: Path, write: Callable[[Books], None]
) -> None:
    """Another process sees it as soon as the call has returned."""
    books.reserve(CHARGES, "a")
    write(books)
    again = Books(path, OWN, KEY, lambda: 0.0)
    remembered = (again.last_seen(EU), again.highest_time(), again.is_witnessed("a"))
    assert remembered in (
        (notes.read(shown(4).note).checkpoint, 0.0, False),
        (None, 9.0, False),
        (None, 0.0, True),
    )
