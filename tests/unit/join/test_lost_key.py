"""A member whose identity key is lost joins anew: two members of other organisations say so."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from aggregator.gathering import Gathering, NoMemberError, StaleWordError
from aggregator.register import Register
from aggregator.rosters import adopt, change
from aggregator.settings import load_aggregator
from clients import regaining, renewal
from clients.admitting import in_own_name
from clients.calling import MemberCalls, TurnedAwayError, stream_of
from clients.entering import TakenSeatError
from clients.errors import NodeSettingsError, RefusedWorkError
from clients.joining import Entrant, ForeignFolderError, begun
from clients.regaining import LostBooksError, take_over
from clients.rosters import require_member
from clients.rotation import begin_identity
from clients.settings import load_settings
from experiments import inviting
from experiments.admitting import hall, shown, spoken
from experiments.errors import UsageError
from experiments.joining import NotAgreedError, join, resume
from federation.enrolment import open_enrolment
from federation.membership import Roster
from federation.regaining import change_of, given, waits
from federation.roster_chain import Admit, Rekey, Suspend, change_statement, extended, history
from federation.views import Signature
from policies.parties import PartyId
from secure_compute.canonical import digest_bytes
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.authority import certify
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.signature import SigningKey
from tests.joins import BR, CH, CN, EU, FOUNDERS, Harbour, Person
from tests.rosters import key

SECOND = inviting.Seat(PartyId("cn2"), CN.organisation, CH.role, CN.jurisdiction)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a federation that was founded; each test has a copy."""
    made = Harbour(tmp_path_factory.mktemp("founded") / "harbour")
    with made.open():
        made.found((*FOUNDERS, SECOND))
    return made.folder


@pytest.fixture
def harbour(founded: Path, tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour.__new__(Harbour)
    made.folder = Path(copytree(founded, tmp_path / "harbour"))
    with made.open():
        yield made


def gathering(harbour: Harbour) -> Gathering:
    return Gathering(harbour.aggregator, time.time)


def roster(harbour: Harbour) -> Roster:
    found = inviting.roster_of(harbour.begun.hosting)
    assert found is not None
    return found


def identity(folder: Path) -> SigningKey:
    return SigningKey((folder / "keys" / "identity.key").read_bytes())


def lose(harbour: Harbour, seat: inviting.Seat = CN, folder: str = "anew", **who: object):
    """The seat asks for another key in another folder."""
    token = harbour.invite(seat)
    return join(str(token), harbour.node(folder), Person(**who), 0.0, lost=True)


def sign(harbour: Harbour, *parties: str, about: str = "cn") -> None:
    for party in parties:
        seen = hall(harbour.node(party))
        seen.admit(seen.find(about))


def asked(harbour: Harbour, party: str = "cn") -> tuple[bytes, SigningKey]:
    """What is to be signed for it, and the key that it is for."""
    (one,) = (one for one in Register(harbour.aggregator).enrolled() if one.party == party)
    entrant = open_enrolment(one.wire, "harbour").member
    statement = change_statement(roster(harbour), change_of(roster(harbour), entrant))
    return statement, identity(harbour.node("anew"))


def word(key: SigningKey, statement: bytes) -> bytes:
    return Signature(digest_bytes(statement), key.sign(statement)).to_bytes()


def chain_of(harbour: Harbour) -> bytes:
    return (harbour.aggregator / "roster.bin").read_bytes()


def calls(folder: Path) -> MemberCalls:
    settings = load_settings(folder)
    assert settings.stream is not None
    return MemberCalls(stream_of(folder, settings.stream))


# -- the way of a key ------------------------------------------------------------------------------


def test_two_members_give_it_another_key_having_seen_both_and_the_words(harbour: Harbour) -> None:
    before = roster(harbour).find(CN.party)
    came = lose(harbour)
    assert "0 of 2 members" in came.why
    for party in ("eu", "ch"):
        assert roster(harbour).epoch == 1
        one = hall(harbour.node(party)).find("cn")
        said, new = shown(one), identity(harbour.node("anew")).verify_key
        assert one.words == came.words
        assert (said["before"], said["identity"]) == (before.identity.hex, new.hex)
        assert before.identity.hex in spoken(one) and new.hex in spoken(one)
        sign(harbour, party)
    after = roster(harbour).find(CN.party)
    assert (roster(harbour).epoch, after.identity) == (2, new)
    assert replace(after, identity=before.identity, sealing=before.sealing) == before
    epoch = given(history(chain_of(harbour), harbour.begun.hosting.pin), CN.party)
    assert epoch is not None and not epoch.by_itself
    assert epoch.signers == ("ch", "cn", "eu")
    assert harbour.resume("anew").why == ""
    settings = load_settings(harbour.node("anew"))
    require_member(settings, settings.roster())
    flower = (harbour.node("anew") / "keys" / "flower.pub").read_bytes()
    assert (harbour.aggregator / "nodes" / "cn.pub").read_bytes().strip() == flower.strip()
    assert hall(harbour.node("eu")).asked == ()
    assert [row["party"] for row in inviting.pending(harbour.begun)] == []


def test_what_was_lost_is_replaced_in_the_folder_and_the_rest_of_it_stays(
    harbour: Harbour,
) -> None:
    folder = harbour.node("cn")
    (folder / "keys" / "identity.key").unlink()
    (folder / "keys" / "identity.next").write_bytes(b"of a change that was never made")
    (folder / "books.sqlite").write_bytes(b"books")
    (folder / "policy" / "mine.cedar").write_text("// the operator's own\n")
    token = str(harbour.invite(CN))
    came = join(token, folder, Person(), 0.0, lost=True)
    assert (came.folder / "policy" / "mine.cedar").exists()
    made = identity(folder / "lost")
    sign(harbour, "eu", "ch")
    assert resume(folder, Person(), 0.0).why == ""
    assert identity(folder) == made and not (folder / "lost").exists()
    settings = load_settings(folder)
    assert settings.identities == (made,)
    require_member(settings, settings.roster())
    assert (folder / "books.sqlite").read_bytes() == b"books"
    calls(folder).look()  # the stream's key is the new one


def test_cut_off_anywhere_while_it_moves_in_it_moves_in_again(
    harbour: Harbour, monkeypatch, tmp_path: Path
) -> None:
    folder, kept = harbour.node("cn"), tmp_path / "kept"
    join(str(harbour.invite(CN)), folder, Person(), 0.0, lost=True)
    made = {name: (folder / "lost" / "keys" / name).read_bytes() for name in regaining._SECRET}
    sign(harbour, "eu", "ch")
    entrant = begun(folder / "lost")
    assert entrant is not None
    words = (entrant, chain_of(harbour), roster(harbour))
    copytree(folder, kept)
    for step in range(12):
        rmtree(folder)
        copytree(kept, folder)
        with monkeypatch.context() as patched:
            _cut_after(step, patched)
            with pytest.raises(KeyboardInterrupt):
                regaining.move_in(*words)
        assert regaining.is_regaining(folder)
        assert regaining.move_in(*words) == folder and not regaining.is_regaining(folder)
        assert {n: (folder / "keys" / n).read_bytes() for n in regaining._SECRET} == made
        settings = load_settings(folder)
        require_member(settings, settings.roster())


def _cut_after(steps: int, patched: pytest.MonkeyPatch) -> None:
    """Nothing is written any more after so many files."""
    left = [steps]

    def counted(real):
        def step(*arguments, **named):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments, **named)

        return step

    for owner, name in ((regaining, "keep_file"), (regaining.at_rest, "write")):
        patched.setattr(owner, name, counted(getattr(owner, name)))
    patched.setattr(regaining.shutil, "rmtree", counted(rmtree))


def regained(harbour: Harbour) -> tuple[Entrant, bytes, Roster]:
    """What CN, whose keys members have replaced, moves in with."""
    folder = harbour.node("cn")
    join(str(harbour.invite(CN)), folder, Person(), 0.0, lost=True)
    sign(harbour, "eu", "ch")
    entrant = begun(folder / "lost")
    assert entrant is not None
    return entrant, chain_of(harbour), roster(harbour)


def cut(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def starts(folder: Path) -> None:
    """The node begins to start; it ends at once, since it has no books."""
    settings = load_settings(folder)
    with pytest.raises(LostBooksError):
        take_over(settings, settings.roster(), time.time)


def test_cut_off_while_it_clears_away_it_has_moved_in(harbour: Harbour, monkeypatch) -> None:
    folder, words = harbour.node("cn"), regained(harbour)
    made = words[0].identity

    def half(path: Path, **_: object) -> None:
        if path.exists():
            rmtree(path / "keys")
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(regaining.shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            regaining.move_in(*words)
    assert not regaining.is_regaining(folder)
    assert resume(folder, Person(), 0.0).why == ""
    assert identity(folder) == made
    starts(folder)
    assert not (folder / "lost").exists() and not (folder / ".lost").exists()


@pytest.mark.parametrize("who", ["command", "node"])
def test_cut_off_before_it_clears_away_it_takes_no_newer_key_away(
    harbour: Harbour, monkeypatch, who: str
) -> None:
    folder, words = harbour.node("cn"), regained(harbour)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut)
        with pytest.raises(KeyboardInterrupt):
            regaining.move_in(*words)
    settings = load_settings(folder)
    assert begin_identity(settings)
    opening = folder / "keys" / "opening.key"
    opening.write_bytes(b"newer")
    if who == "node":
        starts(folder)
    else:
        assert regaining.is_regaining(folder)
        assert regaining.move_in(*words) == folder
    assert not (folder / "lost").exists()
    assert settings.next_identity.exists() and opening.read_bytes() == b"newer"


def test_a_key_that_its_own_roster_knows_a_later_one_of_is_put_nowhere(harbour: Harbour) -> None:
    folder, words = harbour.node("cn"), regained(harbour)
    entrant, chain, now = words
    later, change = key("later"), Rekey(CN.party, key("later").verify_key)
    said = change_statement(now, change)
    both = later.sign(said) + entrant.identity.sign(said)
    longer = extended(chain, harbour.begun.hosting.pin, change, {CN.party: both})
    (folder / "roster.bin").write_bytes(longer)
    (folder / "keys" / "identity.key").write_bytes(later.seed)
    assert regaining.move_in(*words) == folder
    assert identity(folder) == later and not (folder / "lost").exists()
    assert (folder / "roster.bin").read_bytes() == longer


def test_a_folder_made_with_a_lost_key_can_lose_that_one_too(harbour: Harbour) -> None:
    lose(harbour)
    sign(harbour, "eu", "ch")
    assert harbour.resume("anew").why == ""
    folder, first = harbour.node("anew"), identity(harbour.node("anew"))
    assert "0 of 2 members" in lose(harbour).why
    made = identity(folder / "lost")
    sign(harbour, "eu", "ch")
    assert harbour.resume("anew").why == ""
    assert identity(folder) == made != first
    require_member(load_settings(folder), load_settings(folder).roster())
    starts(folder)
    assert not [path.name for path in folder.iterdir() if "lost" in path.name]


def test_cut_off_between_the_last_word_and_the_new_epoch_it_is_made_at_the_next_start(
    harbour: Harbour, monkeypatch
) -> None:
    lose(harbour)
    statement, _ = asked(harbour)
    sign(harbour, "eu")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("aggregator.gathering.grow", cut)
        with pytest.raises(KeyboardInterrupt):
            gathering(harbour).sign(CH.party, word(identity(harbour.node("ch")), statement))
    assert roster(harbour).epoch == 1
    gathering(harbour).complete()
    assert roster(harbour).epoch == 2 and harbour.resume("anew").why == ""


def test_another_epoch_that_comes_in_between_leaves_the_member_its_keys(
    harbour: Harbour, monkeypatch
) -> None:
    old, before = calls(harbour.node("cn")), (harbour.aggregator / "nodes" / "cn.pub").read_bytes()
    lose(harbour)
    sign(harbour, "eu")

    def late(*given: object) -> Roster:
        change(load_aggregator(harbour.aggregator), Suspend(SECOND.party))
        return change(*given)

    monkeypatch.setattr("aggregator.gathering.grow", late)
    sign(harbour, "ch")
    assert roster(harbour).suspended == {SECOND.party}
    assert (harbour.aggregator / "nodes" / "cn.pub").read_bytes() == before
    old.look()


# -- who asks --------------------------------------------------------------------------------------


def test_nobody_asks_by_mistake(harbour: Harbour) -> None:
    token = str(harbour.invite(CN))
    with pytest.raises(TakenSeatError, match="run this again with --lost"):
        join(token, harbour.node("anew"), Person(), 0.0)
    with pytest.raises(NotAgreedError, match="the old key is as good as before"):
        join(token, harbour.node("anew"), Person(agreeing=False), 0.0, lost=True)
    statement, _ = asked(harbour)
    assert CN.party not in Register(harbour.aggregator).signatures(digest_bytes(statement))
    assert join(token, harbour.node("anew"), Person(), 0.0, lost=True).why


def test_a_token_for_another_seat_moves_into_no_folder(harbour: Harbour) -> None:
    with pytest.raises(ForeignFolderError, match="the token is for eu of harbour"):
        join(str(harbour.invite(EU)), harbour.node("cn"), Person(), 0.0, lost=True)


def test_the_old_key_is_good_until_members_have_signed_and_no_longer(harbour: Harbour) -> None:
    old = calls(harbour.node("cn"))
    lose(harbour)
    old.look()
    entrant = MemberCalls(stream_of(harbour.node("anew"), str(load_stream(harbour))))
    entrant.look()
    with pytest.raises(TurnedAwayError, match="have not given cn this key yet"):
        entrant.renew((harbour.node("cn") / "keys" / "stream.crt").read_bytes())
    certificate = (harbour.node("anew") / "keys" / "stream.crt").read_bytes()
    with pytest.raises(NoMemberError, match="have not given cn this key yet"):
        gathering(harbour).require_key(CN.party, certificate)
    sign(harbour, "eu", "ch")
    gathering(harbour).require_key(CN.party, certificate)
    with pytest.raises(TurnedAwayError, match=r"cn gave this key up.* tell the other members"):
        old.look()
    settings = load_settings(harbour.node("cn"))
    (settings.folder / "roster.bin").write_bytes(chain_of(harbour))
    with pytest.raises(NodeSettingsError, match="since epoch 2 of the roster, by the word of ch, "):
        require_member(settings, settings.roster())


def load_stream(harbour: Harbour) -> str | None:
    return load_settings(harbour.node("cn")).stream


def test_whoever_has_the_old_key_is_told_while_there_is_time(harbour: Harbour, caplog) -> None:
    settings = load_settings(harbour.node("cn"))
    assert in_own_name(settings, calls(settings.folder)) == ()
    lose(harbour)
    new, stop = identity(harbour.node("anew")).verify_key, threading.Event()
    with caplog.at_level(logging.ERROR):

        class Once(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                stop.set()
                return True

            is_set = stop.is_set

        renewal.keep_renewed(settings, Once())
    assert f"Somebody asks the members for another identity key of cn, {new.hex}" in caplog.text


def test_a_request_that_is_withdrawn_leaves_the_member_as_it_was(harbour: Harbour) -> None:
    old = calls(harbour.node("cn"))
    lose(harbour)
    (row,) = inviting.pending(harbour.begun)
    assert (row["party"], row["words"]) == ("cn", list(harbour.resume("anew").words))
    inviting.withdraw(harbour.begun, CN.party)
    old.look()
    anew = (harbour.node("anew") / "keys" / "stream.crt").read_bytes()
    for certificate in (anew, earlier(harbour)):
        with pytest.raises(NoMemberError):
            gathering(harbour).require_key(CN.party, certificate)
    with pytest.raises(UsageError, match="aggregator revoke"):
        inviting.withdraw(harbour.begun, CN.party)


def earlier(harbour: Harbour) -> bytes:
    """A certificate of the party that another key got before the founding."""
    authority, now = harbour.begun.hosting.authority, datetime.now(UTC)
    shown = (harbour.node("cn2") / "keys" / "stream.crt").read_bytes()
    key = read_client_certificate(shown, authority.certificate).key
    return certify(authority, CN.party, key, now, timedelta(hours=1))


@pytest.mark.parametrize("turned_away", ["withdrawn", "invited anew"])
def test_who_asked_for_the_seat_of_who_never_enrolled_keeps_nothing(
    harbour: Harbour, turned_away: str
) -> None:
    """A federation that was founded in one process has no enrolments, and knows no stream keys."""
    Register(harbour.aggregator).withdraw(CN.party)
    old = calls(harbour.node("cn"))
    lose(harbour)
    old.look()
    if turned_away == "withdrawn":
        inviting.withdraw(harbour.begun, CN.party)
    else:
        harbour.invite(CN)
    certificate = (harbour.node("anew") / "keys" / "stream.crt").read_bytes()
    for judge in (gathering(harbour).require_key, gathering(harbour).require_caller):
        with pytest.raises(NoMemberError, match="was turned away"):
            judge(CN.party, certificate)
    entrant = MemberCalls(stream_of(harbour.node("anew"), str(load_stream(harbour))))
    with pytest.raises(TurnedAwayError, match="was turned away"):
        entrant.look()
    old.look()


# -- whose word counts -----------------------------------------------------------------------------


def test_the_aggregator_the_own_organisation_and_one_alone_do_not_count(harbour: Harbour) -> None:
    lose(harbour)
    statement, _ = asked(harbour)
    begun, there = harbour.begun, gathering(harbour)
    there.sign(begun.hosting.party, word(begun.hosting.identity, statement))
    there.sign(begun.analyst.party, word(begun.analyst_key, statement))
    for party in ("cn2", "eu"):
        there.sign(PartyId(party), word(identity(harbour.node(party)), statement))
        assert roster(harbour).epoch == 1
    seen = hall(harbour.node("cn2"))
    with pytest.raises(RefusedWorkError, match="does not count for cn"):
        seen.admit(seen.find("cn"))
    sign(harbour, "ch")
    assert roster(harbour).epoch == 2


def test_a_suspended_members_key_is_replaced_and_it_stays_suspended(harbour: Harbour) -> None:
    """So a thief's own word changes the key no more while the others look."""
    change(load_aggregator(harbour.aggregator), Suspend(CN.party))
    lose(harbour)
    sign(harbour, "eu", "ch")
    assert roster(harbour).epoch == 3 and roster(harbour).suspended == {CN.party}
    assert harbour.resume("anew").why == ""
    key = identity(harbour.node("anew")).verify_key
    assert roster(harbour).find(CN.party).identity == key


def test_members_words_without_the_new_keys_own_change_nothing(harbour: Harbour) -> None:
    lose(harbour)
    statement, new = asked(harbour)
    Register(harbour.aggregator).sign(digest_bytes(statement), CN.party, b"x" * 64)
    sign(harbour, "eu", "ch")
    assert roster(harbour).epoch == 1
    gathering(harbour).sign(CN.party, word(new, statement))
    assert roster(harbour).epoch == 2


def test_the_old_key_and_the_new_one_sign_each_what_is_theirs(harbour: Harbour) -> None:
    lose(harbour)
    harbour.join(harbour.invite(BR), "br")
    statement, new = asked(harbour)
    old, there = identity(harbour.node("cn")), gathering(harbour)
    with pytest.raises(BadSignatureError):
        there.sign(CN.party, word(old, statement))
    seen = hall(harbour.node("cn"))
    with pytest.raises(BadSignatureError):  # the new one is no member's yet
        there.sign(CN.party, word(new, seen.find("br").statement))
    seen.admit(seen.find("br"))
    sign(harbour, "eu", about="br")
    assert roster(harbour).epoch == 2


# -- at which place --------------------------------------------------------------------------------


def test_signed_for_one_epoch_member_or_federation_it_counts_for_no_other(
    harbour: Harbour, tmp_path: Path
) -> None:
    lose(harbour)
    statement, new = asked(harbour)
    words = {PartyId(p): identity(harbour.node(p)).sign(statement) for p in ("eu", "ch")}
    words[CN.party] = new.sign(statement)
    rekey = change_of(roster(harbour), replace(_member(harbour), identity=new.verify_key))
    assert isinstance(rekey, Rekey)
    pin, chain = harbour.begun.hosting.pin, chain_of(harbour)
    extended(chain, pin, replace(rekey, sealing=_asked_sealing(harbour)), words)
    for other in (
        replace(rekey, party=EU.party, sealing=_asked_sealing(harbour)),
        replace(rekey, identity=identity(harbour.node("eu")).verify_key),
        replace(rekey, sealing=None),
    ):
        with pytest.raises(Exception, match=r"not signed by the key|lacks the signature|is or was"):
            extended(chain, pin, other, words)
    elsewhere = change_statement(
        replace(roster(harbour), federation="elsewhere"),
        replace(rekey, sealing=_asked_sealing(harbour)),
    )
    foreign = {p: identity(harbour.node(p)).sign(elsewhere) for p in (EU.party, CH.party)}
    with pytest.raises(Exception, match="not signed by the key"):
        extended(chain, pin, replace(rekey, sealing=_asked_sealing(harbour)), {**words, **foreign})
    change(load_aggregator(harbour.aggregator), Suspend(SECOND.party))  # another epoch
    with pytest.raises(StaleWordError):
        gathering(harbour).sign(EU.party, word(identity(harbour.node("eu")), statement))
    with pytest.raises(Exception, match="not signed by the key"):
        extended(chain_of(harbour), pin, replace(rekey, sealing=_asked_sealing(harbour)), words)


def _member(harbour: Harbour):
    return roster(harbour).find(CN.party)


def _asked_sealing(harbour: Harbour):
    (one,) = (o for o in Register(harbour.aggregator).enrolled() if o.party == CN.party)
    return open_enrolment(one.wire, "harbour").member.sealing


def test_the_old_keys_own_word_and_the_others_change_it_once(harbour: Harbour) -> None:
    """Whichever comes first makes the other one stale."""
    lose(harbour)
    sign(harbour, "eu")
    settings, chain = load_settings(harbour.node("cn")), chain_of(harbour)
    old, taken = settings.identity, SigningKey(b"by its own word".ljust(32, b"."))
    rekey = Rekey(CN.party, taken.verify_key)
    said = change_statement(roster(harbour), rekey)
    longer = extended(chain, settings.pin, rekey, {CN.party: taken.sign(said) + old.sign(said)})
    adopt(load_aggregator(harbour.aggregator), longer)
    sign(harbour, "ch")  # one word for this epoch, the other was for the one before
    assert roster(harbour).find(CN.party).identity == taken.verify_key
    harbour.resume("anew")
    sign(harbour, "eu")
    assert roster(harbour).epoch == 3
    assert roster(harbour).find(CN.party).identity == identity(harbour.node("anew")).verify_key
    late = Rekey(CN.party, SigningKey(b"late".ljust(32, b".")).verify_key)
    said = change_statement(roster(harbour), late)
    both = SigningKey(b"late".ljust(32, b".")).sign(said) + taken.sign(said)
    with pytest.raises(Exception, match="not signed by the key that cn has there"):
        extended(chain_of(harbour), settings.pin, late, {CN.party: both})


def test_who_left_does_not_come_back_by_losing_a_key(harbour: Harbour) -> None:
    member = _member(harbour)
    after = replace(roster(harbour), members=(), former=(member,))
    assert not waits(after, replace(member, identity=identity(harbour.node("eu")).verify_key))
    assert isinstance(change_of(after, member), Admit)
