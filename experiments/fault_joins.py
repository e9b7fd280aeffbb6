"""The fault table's part on joining: who is killed while a party comes in, and if it does.

A party is invited, begins, waits, and is let in by two members, each step by the commands that
people run. At a step a process is killed; then everybody runs the same commands again. The party
has to be a member in the end, once, under the key that lies in its folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from experiments.exits import DONE, WAITING_FOR_APPROVAL
from experiments.home import Home
from experiments.local_fleet import NotReadyError, wait_until
from federation.membership import Member
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey

ENTRANT: Final = "entrant"
JOIN_CELLS: Final = (
    *(("begun", process) for process in (ENTRANT, "executor", "server")),
    *(("waiting", process) for process in ("executor", "node")),
    *(("let in by one", process) for process in ("executor", "node")),
    *(("let in by two", process) for process in ("executor", "node")),
)
MEMBERS: Final = ("merchant-uk", "merchant-br")
"""Who lets parties in, one after the other."""

_SECONDS: Final = 240.0


class Joining:
    """One party that comes in: the commands of everybody, as often as it takes."""

    def __init__(self, home: Home, number: int) -> None:
        self.party = PartyId(f"newcomer-{number:02}")
        self._home = home
        self._folder = home.folder / "joining" / self.party
        self._folder.parent.mkdir(exist_ok=True)
        self._token = self._invited()

    def begin(self) -> "subprocess.Popen[bytes]":
        """Run `node join` until its first key lies there."""
        words = ("node", "join", self._token, "--folder", str(self._folder), "--yes")
        process = subprocess.Popen(
            _argv(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        key = self._folder / "keys" / "identity.key"
        wait_until(lambda: key.exists() or process.poll() is not None, _SECONDS)
        return process

    def come(self, wanted: int) -> None:
        """Run `node join` until it ends with the wanted exit code.

        Raises:
            NotReadyError: it does not.
        """
        words = ("node", "join", self._token, "--folder", str(self._folder), "--yes")
        self._until(words, wanted)

    def let_in(self, member: str) -> None:
        """A member lets the party in, as soon as it can."""
        node = str(self._home.node(PartyId(member)))
        self._until(("node", "admit", node, self.party, "--yes"), DONE)

    def start(self) -> None:
        """Run the party's node until the server knows it, and end it again."""
        known = self._folder / "node_id"
        with subprocess.Popen(
            _argv(("node", "run", str(self._folder))),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as node:
            try:
                wait_until(lambda: known.exists() or node.poll() is not None, _SECONDS)
                if node.poll() is not None:
                    raise NotReadyError(f"the node of {self.party} ended with {node.returncode}")
            finally:
                node.terminate()

    def is_member(self) -> bool:
        """Whether the party is on the roster, once, under its own key."""
        key = SigningKey((self._folder / "keys" / "identity.key").read_bytes()).verify_key
        found = [m for m in self._home.roster().members if _same(m, self.party, key.hex)]
        return len(found) == 1

    def _until(self, words: Sequence[str], wanted: int) -> None:
        give_up = time.monotonic() + _SECONDS
        while (code := _run(words).returncode) != wanted:
            if time.monotonic() > give_up:
                raise NotReadyError(f"{words[1]} of {self.party} ends with {code}, not {wanted}")

    def _invited(self) -> str:
        seat = ("--role", "merchant", "--jurisdiction", "EU", "--party", self.party)
        words = ("aggregator", "invite", *seat, "--organisation", f"House of {self.party}")
        said = _run((*words, "--federation", str(self._home.folder), "--json"))
        value: dict[str, Any] = json.loads(said.stdout)
        return str(value["token"])


def came_in(home: Home, number: int, step: str, process: str, kill: Any) -> str:
    """Return "member" where a party came in although a process was killed at a step.

    kill: kills a process of the federation, by name, and waits until it is back.
    """
    party = Joining(home, number)

    def reached(here: str) -> None:
        if step == here:
            kill(process)

    begun = party.begin()
    if step == "begun" and process == ENTRANT:
        begun.send_signal(signal.SIGKILL)
    else:
        reached("begun")
    with suppress(subprocess.TimeoutExpired):
        begun.wait(_SECONDS)
    party.come(WAITING_FOR_APPROVAL)
    reached("waiting")
    party.let_in(MEMBERS[0])
    reached("let in by one")
    party.let_in(MEMBERS[1])
    reached("let in by two")
    party.come(DONE)
    return "member" if party.is_member() else "no member"


def _same(member: Member, party: PartyId, key: str) -> bool:
    return member.party == party and member.identity.hex == key


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(_argv(words), capture_output=True, text=True, check=False)


def _argv(words: Sequence[str]) -> list[str]:
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    return [sys.executable, "-m", "experiments.cli", *words]
