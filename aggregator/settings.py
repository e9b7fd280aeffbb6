"""The aggregator is a folder too; `aggregator.toml` says where it listens and what it believes."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregator.errors import AggregatorSettingsError
from aggregator.stores import Stores, stores_of
from federation import at_rest
from federation.errors import ForeignLedgerError
from federation.key_sources import NONE, source_of
from federation.ledger.places import place_of
from federation.membership import Roster
from federation.roster_chain import open_roster, require_pin
from policies.parties import PartyId
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.hpke import OpeningKey
from secure_compute.primitives.signature import SigningKey


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """Everything `aggregator.toml` says.

    fleet_port:   where nodes connect, over TLS.
    control_port: loopback only; starts runs and hands out tasks.
    stream_port:  where nodes open their streams, over TLS; None: everything travels over Flower.
    capture:      whether every outbound message is also written to `captures/`.
    ledger:       where its own ledger lies: a file of the folder, or the URL of a PostgreSQL
                  database, in which a password may stand.
    at_rest:      where the key comes from that secrets of the folder are sealed under; "none": they
                  are not.
    threshold:    how many keyholders open a joint question together.
    """

    folder: Path
    party: PartyId
    federation: str
    fleet_port: int
    control_port: int
    pin: str
    capture: bool
    ledger: Path | str = field(repr=False)
    stores: Stores
    stream_port: int | None = None
    threshold: int = 2
    at_rest: str = NONE

    @property
    def answers(self) -> Path:
        """Sealed answers, one file an order; only who asked can open one."""
        return self.folder / "answers"

    @property
    def identity(self) -> SigningKey:
        """The key the aggregator signs its words with."""
        return SigningKey(at_rest.read(self.folder / "keys" / "identity.key"))

    @property
    def opening(self) -> OpeningKey:
        """The key that opens what is sent to the aggregator.

        Raises:
            AggregatorSettingsError: it is missing.
        """
        try:
            return OpeningKey(at_rest.read(self.folder / "keys" / "opening.key"))
        except FileNotFoundError as why:
            raise AggregatorSettingsError(
                f"{self.folder} has no keys/opening.key, so no reply can be opened: restore it; a "
                "federation of before messages were sealed is founded anew"
            ) from why

    @property
    def chain(self) -> Path:
        """The chain of epochs that says who is in."""
        return self.folder / "roster.bin"

    def roster(self) -> Roster:
        """Return the roster at its last epoch, verified under the pin.

        Raises:
            AggregatorSettingsError: it is missing.
            UntrustedRosterError, MalformedMessageError: see `roster_chain.open_roster`.
        """
        try:
            return open_roster(self.chain.read_bytes(), self.pin)
        except FileNotFoundError as why:
            raise AggregatorSettingsError(
                f"{self.chain} is missing; restore it, or take the one of any member"
            ) from why


def load_aggregator(folder: Path) -> AggregatorSettings:
    """Read `aggregator.toml`.

    Raises:
        AggregatorSettingsError: it is missing or malformed.
        LockedVaultError: it says that the folder has a vault, and there is none.
    """
    path, value = folder / "aggregator.toml", dict[str, Any]()
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
        key = _at_rest(value.get("at_rest", {}).get("key", NONE))
        at_rest.require_vault(folder, key)
        return AggregatorSettings(
            folder=folder.resolve(),
            party=PartyId(value["party"]),
            federation=value["federation"],
            fleet_port=int(value["fleet_port"]),
            control_port=int(value["control_port"]),
            pin=require_pin(value["pin"]),
            capture=bool(value.get("capture", False)),
            ledger=place_of(value.get("ledger"), folder.resolve() / "ledger.sqlite"),
            stores=stores_of(folder.resolve(), value),
            threshold=_threshold(value.get("threshold", 2)),
            stream_port=int(value["stream_port"]) if "stream_port" in value else None,
            at_rest=key,
        )
    except FileNotFoundError as why:
        raise AggregatorSettingsError(f"{folder} is no aggregator: no aggregator.toml") from why
    except KeyError as why:
        if why.args == ("pin",) and "join_port" in value:
            raise AggregatorSettingsError(
                f"the federation of {folder} is not founded yet, so it has no roster; found it "
                "with `entrepot aggregator found`"
            ) from why
        raise AggregatorSettingsError(f"{path} lacks {why}") from why
    except ForeignLedgerError as why:
        raise AggregatorSettingsError(f"{path}: ledger: {why}") from why
    except (
        *(ValueError, TypeError, AttributeError, OverflowError, RecursionError),
        LocalProtocolError,
    ) as why:
        raise AggregatorSettingsError(f"{path}: {why}") from why


def _at_rest(value: object) -> str:
    source = source_of(value)
    return NONE if source is None else source.text


def _threshold(value: object) -> int:
    if type(value) is not int or value < 2:
        raise ValueError("threshold is a whole number of at least 2: one alone must open nothing")
    return value
