"""Keys made ahead by the keyholders alone, as one of them makes them; what it promised is on disk.

    join ─ a fresh agreement key for a pool; its secret lives in this process alone
    begin ─ draw the pieces that are ours to make and seal them to their other holders
    commit ─ hold all our pieces, commit to their public parts
    show ─ all committed and agree: the parts that we made

Asked again, each says the same. A pool is begun once, and by the process that joined it: no copy of
the folder that is put back can begin one of its keys anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from clients.errors import RefusedWorkError
from clients.key_store import KeyStore
from clients.settings import NodeSettings
from clients.turns import Turns
from federation import joint_keys
from federation.joint_keys import pack, unpack
from federation.membership import Roster
from federation.secure_sums import epoch_number, signers
from secure_compute.canonical import digest, digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.secagg.epoch import EpochKey
from secure_compute.threshold import pool as pools
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.pool import Deal, Keyholder

MOST_JOINED: Final = 16
"""Pools that one process keeps in mind between joining and beginning."""

MOST_SERIALS: Final = 64


@dataclass(frozen=True, slots=True)
class _Joined:
    said: EpochKey
    secret: AgreementKey = field(repr=False)


class KeyPool:
    """What one keyholder answers while keys are made."""

    def __init__(
        self, settings: NodeSettings, roster: Roster, store: KeyStore, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._store = store
        self._entropy = entropy
        self._joined: dict[str, _Joined] = {}
        self._turns = Turns()

    def join(self, pool: str) -> bytes:
        """Return this keyholder's signed key for a pool: one key, however often asked.

        Raises:
            RefusedWorkError: the pool was begun, or its id is none.
            RosterError: the roster's keyholders are too few for the threshold of this node.
        """
        joint_keys.require_holders(self._roster, self._settings.threshold)
        if len(pool) != 2 * KEY_SIZE or self._store.begun(pool):
            raise RefusedWorkError("a pool is joined once, under a new id of 64 digits")
        with self._turns.of(pool):
            known = self._joined.get(pool) or self._join(pool)
            self._joined[pool] = known
            while len(self._joined) > MOST_JOINED:
                self._joined.pop(next(iter(self._joined)))
        return known.said.to_bytes()

    def begin(self, pool: str, serials: Sequence[int], keys: bytes) -> bytes:
        """Return the packed deals of a pool's keys. keys: every keyholder's, packed.

        Raises:
            RefusedWorkError: it was begun differently, or joined by an earlier process.
            SecureComputeError: the keys are not those of the roster's keyholders for this pool.
        """
        asked = digest([list(serials), digest_bytes(keys)])
        with self._turns.of(pool):
            begun = self._store.begun(pool)
            if begun is None:
                state, deals = self._begin(pool, serials, keys)
                self._store.begin(pool, asked, state, deals)
                self._joined.pop(pool)
                return deals
        if begun[0] != asked:
            raise RefusedWorkError("this pool was begun with other keys or numbers: take a new id")
        return begun[1]

    def commit(self, pool: str, deals: bytes) -> bytes:
        """Return our packed commitments to a pool's keys, by serial. deals: those for us, packed.

        Raises:
            RefusedWorkError: the pool was not begun here.
            SecureComputeError: a piece is missing, or is none; or its maker dealt it twice.
        """
        dealt = [Deal.read(wire) for wire in unpack(deals)]

        def step(state: Keyholder) -> tuple[Keyholder, bytes]:
            for deal in dealt:
                state = pools.receive(state, deal)
            made = []
            for name in _names(state):
                state, said = pools.commit(state, name, self._settings.identity.sign)
                made.append(said.to_bytes())
            return state, pack(made)

        return self._store.change(pool, step)

    def show(self, pool: str, commitments: bytes) -> bytes:
        """Return the packed public parts of the pieces we made, by serial, then place.

        commitments: all keyholders' to all keys of the pool, packed.

        Raises:
            RefusedWorkError: the pool was not begun here.
            SecureComputeError: commitments are missing, or do not agree.
        """
        said = [KeyCommitment.read(wire) for wire in unpack(commitments)]

        def step(state: Keyholder) -> tuple[Keyholder, bytes]:
            for one in said:
                state = pools.gather(state, one)
            parts: list[bytes] = []
            for name in _names(state):
                state, shown = pools.show(state, name)
                parts += [shown[place] for place in sorted(shown)]
            return state, pack(parts)

        return self._store.change(pool, step)

    def _join(self, pool: str) -> _Joined:
        key = AgreementKey(self._entropy.bytes(KEY_SIZE))
        me = self._settings.party
        said = epochs.advertise(signers(self._roster), epoch_number(pool), me, key)
        return _Joined(epochs.signed(said, self._settings.identity.sign), key)

    def _begin(self, pool: str, serials: Sequence[int], keys: bytes) -> tuple[Keyholder, bytes]:
        mine = self._joined.get(pool)
        if mine is None:
            raise RefusedWorkError("this process has not joined that pool: join another first")
        if not 1 <= len(serials) <= MOST_SERIALS or list(serials) != sorted(set(serials)):
            raise RefusedWorkError(f"a pool has 1 to {MOST_SERIALS} numbers, each once, rising")
        epoch = joint_keys.epoch(self._roster, pool, unpack(keys))
        state = pools.join(epoch, self._settings.party, mine.secret)
        dealt: list[bytes] = []
        for serial in serials:
            terms = joint_keys.terms(epoch, self._settings.threshold, serial)
            state, deals = pools.begin(state, terms, self._entropy)
            dealt += [deal.to_bytes() for deal in deals]
        return state, pack(dealt)


def _names(state: Keyholder) -> list[str]:
    ordered = sorted(state.keys, key=lambda key: key.terms.serial)
    return [key.terms.digest for key in ordered]
