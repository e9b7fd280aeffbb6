"""A node's certificate is renewed by itself while it runs: for its own key, for members alone."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.gathering import Gathering, NoMemberError
from aggregator.rosters import change
from aggregator.settings import load_aggregator
from clients import renewal
from clients.admitting import calls_of
from clients.calling import NotReachedError, TurnedAwayError
from clients.entering import TakenSeatError
from clients.joining import ForeignFolderError
from clients.settings import NodeSettings, load_settings
from experiments.errors import UsageError
from experiments.inviting import Seat
from experiments.joining import join
from federation.roster_chain import Restore, Suspend
from policies.parties import PartyId, Role
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import certify
from secure_compute.primitives.certificates import Shown, read_client_certificate
from secure_compute.primitives.node_keys import create_stream_key
from tests.joins import CN, Harbour, Person, founded


@pytest.fixture(scope="module")
def harbour(tmp_path_factory) -> Iterator[Harbour]:
    with founded(tmp_path_factory.mktemp("renewed")) as made:
        yield made


@pytest.fixture
def settings(harbour: Harbour) -> NodeSettings:
    """A member whose certificate has three days of thirty left."""
    settings = load_settings(harbour.node("cn"))
    give(harbour, settings, datetime.now(UTC) - timedelta(days=27))
    return settings


def give(harbour: Harbour, settings: NodeSettings, at: datetime) -> None:
    public = create_stream_key(settings.folder / "keys" / "stream.key")
    pem = certify(harbour.begun.hosting.authority, "cn", public, at, timedelta(days=30))
    (settings.folder / "keys" / "stream.crt").write_bytes(pem)


def shown(settings: NodeSettings) -> Shown:
    pem = (settings.folder / "keys" / "stream.crt").read_bytes()
    return read_client_certificate(pem, settings.ca.read_bytes())


@pytest.mark.parametrize(("left", "due"), [(29, False), (11, False), (10, True), (1, True)])
def test_it_is_due_when_a_third_is_left(left: int, due: bool) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    until = now + timedelta(days=left)
    found = Shown("cn", until, until - timedelta(days=31), b"")
    assert renewal.is_due(found, now) is due


def test_a_certificate_that_is_due_is_renewed_for_the_same_key(settings: NodeSettings) -> None:
    before, now = shown(settings), datetime.now(UTC)
    assert renewal.renew(settings, calls_of(settings), now)
    after = shown(settings)
    assert (after.party, after.key) == (before.party, before.key)
    left = after.until - datetime.now(UTC)  # read after it was made, or the tick of a second counts
    assert timedelta(days=29) < left <= timedelta(days=30)
    content = (settings.folder / "keys" / "stream.crt").read_bytes()
    assert not renewal.renew(settings, calls_of(settings), now)
    assert (settings.folder / "keys" / "stream.crt").read_bytes() == content


def test_it_is_renewed_with_nobody_asking(settings: NodeSettings) -> None:
    until, stop = shown(settings).until, threading.Event()
    renewal.begin_renewing(settings, stop)
    for _ in range(200):
        if shown(settings).until > until:
            break
        stop.wait(0.05)
    stop.set()
    assert shown(settings).until > until


def test_a_suspended_party_is_given_none_and_a_restored_one_is(
    harbour: Harbour, settings: NodeSettings
) -> None:
    host, before = load_aggregator(harbour.aggregator), shown(settings)
    change(host, Suspend(PartyId("cn")))
    with pytest.raises(TurnedAwayError, match="suspended"):
        renewal.renew(settings, calls_of(settings), datetime.now(UTC))
    assert shown(settings) == before
    change(host, Restore(PartyId("cn")))
    assert renewal.renew(settings, calls_of(settings), datetime.now(UTC))


def test_a_certificate_that_is_over_opens_no_connection(
    harbour: Harbour, settings: NodeSettings
) -> None:
    give(harbour, settings, datetime.now(UTC) - timedelta(days=40))
    with pytest.raises(NotReachedError):
        renewal.renew(settings, calls_of(settings), datetime.now(UTC))


@pytest.mark.parametrize("wrong", ["key", "party", "time", "authority"])
def test_what_is_no_later_certificate_of_this_node_is_not_kept(
    harbour: Harbour, settings: NodeSettings, tmp_path: Path, wrong: str
) -> None:
    from secure_compute.primitives.authority import create_authority

    now, ca = datetime.now(UTC), harbour.begun.hosting.authority
    if wrong == "authority":
        ca = create_authority(tmp_path, now)
    own = settings.folder / "keys" / "stream.key"
    public = create_stream_key(tmp_path / "other.key" if wrong == "key" else own)
    party = "eu" if wrong == "party" else "cn"
    days = timedelta(days=2 if wrong == "time" else 30)

    class Calls:
        def renew(self, _: bytes) -> bytes:
            return certify(ca, party, public, now, days)

    before = shown(settings)
    with pytest.raises(LocalProtocolError):
        renewal.renew(settings, Calls(), now)  # type: ignore[arg-type]
    assert shown(settings) == before


def test_a_node_that_cannot_reach_anybody_goes_on(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, asked = threading.Event(), []

    def silent(*_: object) -> bool:
        asked.append(1)
        if len(asked) == 2:
            stop.set()
        raise NotReachedError("nobody")

    monkeypatch.setattr(renewal, "renew", silent)
    monkeypatch.setattr(renewal, "_EVERY", 0.01)
    renewal.keep_renewed(settings, stop)
    assert len(asked) == 2


# -- a node that was away for too long -------------------------------------------------------------


def seat(**changed: object) -> Seat:
    return replace(CN, **changed)  # type: ignore[arg-type]


def test_a_member_whose_certificate_is_over_gets_another_by_a_token(
    harbour: Harbour, settings: NodeSettings
) -> None:
    give(harbour, settings, datetime.now(UTC) - timedelta(days=40))
    node = harbour.node("cn")
    before = {p: p.read_bytes() for p in node.rglob("*") if p.is_file() and p.suffix != ".crt"}
    assert harbour.join(harbour.invite(CN), "cn").why == ""
    assert shown(settings).until > datetime.now(UTC) + timedelta(days=29)
    assert {p: p.read_bytes() for p in before} == before
    assert calls_of(settings).look()


def test_a_members_seat_is_not_given_to_another_key(harbour: Harbour) -> None:
    token = harbour.invite(CN)
    with pytest.raises(TakenSeatError, match="is a member already"):
        join(str(token), harbour.node("thief"), Person(), 0.0)
    shown = (harbour.node("thief") / "keys" / "stream.crt").read_bytes()
    with pytest.raises(NoMemberError, match="have not given cn this key yet"):
        Gathering(harbour.aggregator, time.time).require_key(PartyId("cn"), shown)


def test_a_suspended_member_gets_no_other_by_a_token(
    harbour: Harbour, settings: NodeSettings
) -> None:
    give(harbour, settings, datetime.now(UTC) - timedelta(days=40))
    host = load_aggregator(harbour.aggregator)
    change(host, Suspend(PartyId("cn")))
    with pytest.raises(TurnedAwayError, match="suspended"):
        harbour.join(harbour.invite(CN), "cn")
    change(host, Restore(PartyId("cn")))
    assert shown(settings).until < datetime.now(UTC)


def test_a_token_for_another_seat_is_nothing_to_a_node(
    harbour: Harbour, settings: NodeSettings
) -> None:
    give(harbour, settings, datetime.now(UTC) - timedelta(days=40))
    with pytest.raises(ForeignFolderError, match="another seat"):
        harbour.join(harbour.invite(seat(party=PartyId("new"))), "cn")


@pytest.mark.parametrize("changed", [{"organisation": "Another"}, {"role": Role.MERCHANT}], ids=str)
def test_a_member_is_invited_again_as_what_it_is_alone(
    harbour: Harbour, changed: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="is or was a member"):
        harbour.invite(seat(**changed))
