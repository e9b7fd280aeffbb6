"""The keyholder on disk: one key per query, one list per key, whatever is killed in between."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from clients import keyring
from clients.errors import RefusedWorkError, UnknownOrderError
from clients.keyring import Keyring
from secure_compute.errors import PeerProtocolError, SecureComputeError
from secure_compute.hequery import holder, opening
from secure_compute.hequery.keyholder import Approval
from secure_compute.hequery.messages import Sealed
from secure_compute.primitives.signature import SigningKey

PARTIES = ("a", "b", "c", "d")
KEYS = {party: SigningKey(hashlib.sha256(party.encode()).digest()) for party in PARTIES}
ROOT = Path(keyring.__file__).parent.parent


def verify(party, signature, data):
    KEYS[party].verify_key.verify(signature, data)


def make(ring, query="q"):
    offer = ring.offer(query, "d", KEYS["d"].sign)
    return holder.accept_key(
        offer.statement, offer.signature, offer.public, query=query, keyholder="d", verify=verify
    )


def approval(ring, query="q", **changes):
    said = {"query": query, "plan": "p", "key": ring.key_of(query), "cohort": PARTIES}
    return Approval(**{**said, "minimum": 3, "width": 2, **changes})


def part(party, values, public, query="q"):
    return holder.seal(
        values,
        query=query,
        party=party,
        plan="p",
        public=public,
        cohort=4,
        reach=1000,
        sign=KEYS[party].sign,
    )


def parts(public, parties=PARTIES):
    return [part(party, [place, -100], public) for place, party in enumerate(parties)]


class Told(dict):
    """What the node's log says of the lists that were opened, in memory."""

    def opened(self, order):
        return self.get(order, "")

    def open(self, order, listing):
        assert order not in self
        self[order] = listing


def open_once(ring, sealed, query="q", told=None):
    return ring.open_once(
        approval(ring, query), sealed, verify, str, Told() if told is None else told
    )


def secrets(folder):
    return sorted(folder.glob("*.key"))


@pytest.fixture
def ring(tmp_path):
    return Keyring(tmp_path / "keys.sqlite")


def test_a_sum_is_opened_once_and_its_key_is_erased(ring, tmp_path):
    sealed = parts(make(ring))
    (secret,) = secrets(tmp_path / "keys.d")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    opened = open_once(ring, sealed)
    assert opened.values == (6, -400)
    assert opened.contributors == PARTIES
    assert not secrets(tmp_path / "keys.d")
    assert open_once(ring, sealed[::-1]) == opened
    assert open_once(Keyring(tmp_path / "keys.sqlite"), sealed) == opened


def test_another_list_is_refused_for_ever(ring, tmp_path):
    sealed = parts(make(ring))
    open_once(ring, sealed[:3])
    for again in (ring, Keyring(tmp_path / "keys.sqlite")):
        with pytest.raises(RefusedWorkError, match="another list"):
            open_once(again, sealed)
        with pytest.raises(RefusedWorkError, match="another list"):
            open_once(again, sealed[1:])


def put_back(folder, copy):
    shutil.rmtree(folder / "keys.d")
    for path in folder.glob("keys.sqlite*"):
        path.unlink()
    shutil.copytree(copy, folder, dirs_exist_ok=True)


def keep_copy(tmp_path):
    copy = tmp_path.parent / "copy"
    shutil.copytree(tmp_path, copy)
    return copy


def test_an_old_copy_of_the_keyring_opens_nothing_that_the_log_names(ring, tmp_path):
    sealed, told = parts(make(ring)), Told()
    copy = keep_copy(tmp_path)
    open_once(ring, sealed, told=told)
    put_back(tmp_path, copy)
    again = Keyring(tmp_path / "keys.sqlite")
    for some in (sealed[:3], sealed[1:], sealed):
        with pytest.raises(RefusedWorkError, match="old copy"):
            open_once(again, some, told=told)
    assert told == {"q": told["q"]}


def test_the_log_names_the_list_before_it_is_opened(ring, monkeypatch):
    sealed, told = parts(make(ring)), Told()

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(keyring, "_open_in_child", crash)
    with pytest.raises(KeyboardInterrupt):
        open_once(ring, sealed[:3], told=told)
    monkeypatch.undo()
    assert len(told["q"]) == 64
    with pytest.raises(RefusedWorkError, match="another list"):
        open_once(ring, sealed, told=told)
    assert open_once(ring, sealed[:3], told=told).listing == told["q"]


def test_nothing_is_opened_that_the_log_cannot_be_told_of(ring, monkeypatch):
    sealed = parts(make(ring))

    class Full(Told):
        def open(self, order, listing):
            raise OSError("the disk is full")

    opened = []
    monkeypatch.setattr(keyring, "_open_in_child", lambda *_: opened.append(1))
    with pytest.raises(OSError, match="full"):
        open_once(ring, sealed, told=Full())
    monkeypatch.undo()
    assert not opened
    told = Told()
    with pytest.raises(RefusedWorkError, match="another list"):
        open_once(ring, sealed[:3], told=told)
    assert open_once(ring, sealed, told=told).values == (6, -400)


def test_what_is_not_admitted_marks_nothing(ring):
    sealed = parts(make(ring))
    for bad in (sealed[:1], sealed[:2], [sealed[0]] * 3, []):
        with pytest.raises(PeerProtocolError):
            open_once(ring, bad)
    swapped = Sealed(sealed[0].commitment, sealed[0].signature, sealed[1].ciphertext)
    with pytest.raises(PeerProtocolError):
        open_once(ring, [swapped, *sealed[1:]])
    with pytest.raises(PeerProtocolError):
        ring.open_once(approval(ring), sealed, verify, lambda _: "one organisation", Told())
    assert open_once(ring, sealed).values == (6, -400)


def test_each_query_has_its_own_key(ring):
    first, second = make(ring, "q1"), make(ring, "q2")
    assert first.wire != second.wire
    assert make(ring, "q1").wire == first.wire
    mixed = [part(party, [1, 1], first, "q1") for party in PARTIES]
    with pytest.raises(PeerProtocolError):
        open_once(ring, mixed, "q2")
    with pytest.raises(UnknownOrderError):
        open_once(ring, mixed, "q3")
    with pytest.raises(RefusedWorkError, match="another key"):
        ring.open_once(approval(ring, "q2", key=ring.key_of("q1")), mixed, verify, str, Told())


def test_a_restart_before_opening_keeps_the_key(ring, tmp_path):
    sealed = parts(make(ring))
    assert open_once(Keyring(tmp_path / "keys.sqlite"), sealed).values == (6, -400)


def test_a_kill_between_mark_and_opening_allows_that_list_alone(ring, tmp_path):
    sealed = parts(make(ring))
    script = """
        import os, pickle, signal, sys
        from pathlib import Path
        from clients import keyring
        keyring._open_in_child = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        sealed = pickle.loads(sys.stdin.buffer.read())
        ring = keyring.Keyring(Path(sys.argv[1]))
        approval = pickle.loads(bytes.fromhex(sys.argv[2]))
        class Told:
            def opened(self, order):
                return ""
            def open(self, order, listing):
                pass
        ring.open_once(approval, sealed, lambda *_: None, str, Told())
    """
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            str(tmp_path / "keys.sqlite"),
            pickle.dumps(approval(ring)).hex(),
        ],
        input=pickle.dumps(sealed[:3]),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL
    again = Keyring(tmp_path / "keys.sqlite")
    with pytest.raises(RefusedWorkError, match="another list"):
        open_once(again, sealed)
    assert open_once(again, sealed[:3]).values == (3, -300)


def test_a_kill_between_answer_and_erasure_is_made_good_at_start(ring, tmp_path, monkeypatch):
    sealed = parts(make(ring))
    monkeypatch.setattr(Keyring, "_erase", lambda *_: None)
    opened = open_once(ring, sealed)
    assert secrets(tmp_path / "keys.d")
    monkeypatch.undo()
    assert open_once(Keyring(tmp_path / "keys.sqlite"), sealed) == opened
    assert not secrets(tmp_path / "keys.d")


def test_an_opening_cannot_be_rewritten_by_hand(ring):
    open_once(ring, parts(make(ring)))
    with ring._transaction() as connection:
        for text in ("UPDATE openings SET listing = ''", "DELETE FROM openings"):
            with pytest.raises(Exception, match="never"):
                connection.execute(text)


def test_a_ciphertext_that_breaks_the_opener_breaks_a_child_only(ring):
    public = make(ring)
    sealed = parts(public)
    # Signed by its holder, of the right outside, and nonsense within.
    broken = bytearray(sealed[0].ciphertext)
    broken[200:264] = bytes(64)
    with_bad = holder_signs("a", bytes(broken), sealed[0])
    with pytest.raises(PeerProtocolError, match="write the order anew"):
        open_once(ring, [with_bad, *sealed[1:]])


def holder_signs(party, ciphertext, like):
    said = replace(like.commitment, ciphertext=hashlib.sha256(ciphertext).hexdigest())
    return Sealed(said, KEYS[party].sign(said.statement()), ciphertext)


def test_the_child_reads_what_the_parent_packs():
    assert opening.unpack(opening.pack(b"key", [b"one", b""], 7)) == (b"key", [b"one", b""], 7)
    for bad in (b"", b"\0" * 9, opening.pack(b"k", [b"c"], 1) + b"x", opening.pack(b"k", [], 1)):
        with pytest.raises(SecureComputeError):
            opening.unpack(bad)


def test_the_public_terms_are_all_that_the_database_holds(ring, tmp_path):
    sealed = parts(make(ring))
    (secret,) = secrets(tmp_path / "keys.d")
    tail = secret.read_bytes()[-64:]
    assert tail not in (tmp_path / "keys.sqlite").read_bytes()
    opened = open_once(ring, sealed)
    assert json.loads(json.dumps(opened.values)) == [6, -400]
