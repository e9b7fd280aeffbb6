"""`entrepot node check` of a node that has left, is suspended, was removed or is not let in."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from clients import turned_away
from clients.certificate import stream_settings
from clients.checking import is_leaving
from clients.fleet import FleetClient
from clients.patience import NotRegisteredError, Patience
from clients.rosters import LEAVING
from clients.settings import load_settings
from experiments.cli import run
from experiments.node_membership import membership
from federation.roster_chain import Remove
from secure_compute.primitives.certificates import make_certificates
from secure_compute.primitives.node_keys import create_node_key
from tests.simulator import CN, EU, UK, US, Simulation
from tests.unit.test_checking import contents


@pytest.fixture
def folder(simulation: Simulation) -> Path:
    return simulation.folder(CN)


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    before = contents(folder)
    code = run(["node", "check", str(folder)])
    out, err = capsys.readouterr()
    assert contents(folder) == before
    return code, out, err


def take(simulation: Simulation, folder: Path) -> None:
    """The newest roster lies in the folder."""
    newest = (simulation.home.aggregator / "roster.bin").read_bytes()
    (folder / "roster.bin").write_bytes(newest)


def test_a_member_is_ready(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = checked(folder, capsys)
    assert code == 0 and "ok   membership: roster: a member of simulated, as of epoch 1" in out


def test_who_has_said_that_it_leaves_has_left(
    simulation: Simulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No roster tells it so: it is let go, and hears nothing more."""
    node = simulation.node(CN)
    (folder / LEAVING).touch()
    code, out, _ = checked(folder, capsys)
    assert code == 0 and "warn membership: roster: leaves simulated as soon as it runs" in out
    assert node._rosters.leaving() is not None
    (folder / "keys" / "stream.crt").unlink()  # nobody gives it another
    for _ in ("with the wish", "without it"):
        code, out, err = checked(folder, capsys)
        assert (code, out) == (2, "")
        assert err == (
            "entrepot: warehouse-cn has left simulated; keep this folder for its ledger, and join "
            "under another name to come back\n"
        )
        (folder / LEAVING).unlink(missing_ok=True)


def test_who_stayed_a_member_after_all_has_not_left(
    simulation: Simulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The roster went on before its word was taken, which was of the epoch before."""
    node = simulation.node(CN)
    (folder / LEAVING).touch()
    node._rosters.leaving()
    (folder / LEAVING).unlink()
    simulation.suspend(UK)
    simulation.show_roster(CN)
    assert checked(folder, capsys)[0] == 0


def test_who_was_removed_hears_by_whom(
    simulation: Simulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation.lengthen(Remove(CN), EU, US)
    take(simulation, folder)
    code, out, err = checked(folder, capsys)
    assert (code, out) == (2, "")
    assert "was removed from simulated at epoch 2, by the word of " in err
    assert EU in err and US in err and "join under another name to come back" in err


def test_who_is_suspended_is_not_ready(
    simulation: Simulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation.suspend(CN)
    take(simulation, folder)
    code, out, _ = checked(folder, capsys)
    assert code == 2 and "is not ready" in out
    assert "fail membership: roster: suspended since epoch 2, by the word of " in out
    assert f"`entrepot aggregator revoke {CN} --restore --reason WHY` ends a suspension" in out
    assert run(["node", "check", str(folder), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ready"] is False


def test_who_is_not_let_in_is_told_so_whatever_else_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a certificate, which nobody renews who is suspended."""
    turned_away.note(folder, "stream")
    code, out, _ = checked(folder, capsys)
    assert code == 2 and "the aggregator has not let this node in since 2" in out
    (folder / "keys" / "stream.crt").write_bytes(b"none")
    code, out, err = checked(folder, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("fail membership: roster: the aggregator has not let this node in")
    turned_away.forget(folder, "stream")
    assert "membership" not in checked(folder, capsys)[2]
    assert membership(load_settings(folder)).state == "ok"


# -- how a node knows that it is not let in --------------------------------------------------------


def test_its_stream_notes_it_in_the_nodes_own_folder(folder: Path) -> None:
    stream = stream_settings(load_settings(folder))
    assert stream is not None and stream.folder == folder


class Server:
    """Lets a node in after so many refusals; what lay in its folder at each is kept."""

    def __init__(self, folder: Path, refusals: int, status: int) -> None:
        self._folder, self._left, self._status = folder, refusals, status
        self.seen: list[float | None] = []

    def activate(self, _: Any) -> Any:
        self.seen.append(turned_away.since(self._folder))
        if not self._left:
            return SimpleNamespace(node_id=7)
        self._left -= 1
        request = httpx.Request("POST", "https://aggregator.example")
        answer = httpx.Response(self._status, request=request)
        raise httpx.HTTPStatusError("no", request=request, response=answer)


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node has a key, and asks a server of no certificate again at once."""
    create_node_key(tmp_path / "flower")
    monkeypatch.setattr(FleetClient, "_refuse_wrong_certificate", lambda _: None)
    monkeypatch.setattr(Patience, "wait", lambda *_: None)


@pytest.mark.parametrize("status", [401, 400])
@pytest.mark.usefixtures("impatient")
def test_it_is_noted_from_the_first_refusal_until_the_server_lets_it_in(
    tmp_path: Path, status: int
) -> None:
    server = Server(tmp_path, 3, status)
    fleet = joining(tmp_path, server)
    assert fleet.join() == 7
    first, *others = server.seen
    assert first is None and others[0] is not None and set(others) == {others[0]}
    assert turned_away.since(tmp_path) is None


@pytest.mark.parametrize("status", [401, 400])
@pytest.mark.usefixtures("impatient")
def test_who_has_said_that_it_leaves_and_is_refused_waits_no_longer(
    tmp_path: Path, status: int
) -> None:
    server = Server(tmp_path, 3, status)
    with pytest.raises(NotRegisteredError):
        joining(tmp_path, server, leaving=True).join()
    assert len(server.seen) == 1


@pytest.mark.usefixtures("impatient")
def test_who_is_let_in_goes_on_to_say_that_it_leaves(tmp_path: Path) -> None:
    """Its word may not have been taken yet."""
    assert joining(tmp_path, Server(tmp_path, 0, 401), leaving=True).join() == 7


@pytest.mark.parametrize("wish", [True, False])
@pytest.mark.parametrize("said", [True, False])
def test_it_leaves_where_its_operator_wants_it_and_it_has_said_so(
    simulation: Simulation, folder: Path, wish: bool, said: bool
) -> None:
    """A refusal ends no other node, so that the aggregator alone can end none."""
    node = simulation.node(CN)
    (folder / LEAVING).touch()
    if said:
        node._rosters.leaving()
    if not wish:
        (folder / LEAVING).unlink()
    assert is_leaving(load_settings(folder)) is (wish and said)


def test_who_was_let_go_is_told_so_where_it_leaves_again(
    simulation: Simulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave = ["node", "leave", str(folder), "--yes"]
    node = simulation.node(CN)
    assert run(leave) == 0
    node._rosters.leaving()
    assert run(leave) == 0  # nobody has refused it: its word may not have been taken
    capsys.readouterr()
    turned_away.note(folder, "flower")
    assert run(leave) == 2
    assert "entrepot: warehouse-cn has left simulated; keep" in capsys.readouterr().err


def joining(folder: Path, server: Server, *, leaving: bool = False) -> FleetClient:
    ca = make_certificates(datetime.now(UTC)).ca
    number, stop = folder / "node_id", threading.Event()
    fleet = FleetClient("127.0.0.1:1", ca, folder / "flower", 10.0, number, stop, lambda: leaving)
    fleet._client = SimpleNamespace(ActivateNode=server.activate)
    return fleet
