"""What is wrong with a folder is one sentence and exit code 2, from the real commands."""

import re
import shutil
import socket
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w

from experiments.commerce.write import Manifest
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from policies.parties import PartyId
from tests.processes import Said, entrepot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PARTY = PartyId("merchant-uk")
LIMITS = {name: {"epsilon": "3", "delta": "1e-6"} for name in ("orders", "demand")}


@pytest.fixture
def home(tmp_path: Path, commerce: Manifest) -> Home:
    """A federation that nobody started; one of its nodes has rows."""
    home = found(tmp_path / "home", "test", DEMO_SEATS, LIMITS, free_ports(), commerce.cut_us)
    shutil.copy(commerce.orders(PARTY), home.node(PARTY) / "data" / "orders.parquet")
    return home


def rewrite(node: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = node / "data" / "orders.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def lose_a_column(node: Path) -> None:
    rewrite(node, lambda table: table.drop_columns(["amount"]))


def change_a_type(node: Path) -> None:
    def as_text(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("amount")
        return table.set_column(place, "amount", table["amount"].cast(pa.string()))

    rewrite(node, as_text)


def empty_it(node: Path) -> None:
    rewrite(node, lambda table: table.slice(0, 0))


def lose_the_identity(node: Path) -> None:
    (node / "keys" / "identity.key").unlink()


def lose_the_transport_key(node: Path) -> None:
    (node / "keys" / "flower").unlink()


def lose_the_authority(node: Path) -> None:
    (node / "keys" / "ca.crt").unlink()


def spoil_the_authority(node: Path) -> None:
    (node / "keys" / "ca.crt").write_text("no certificate\n", encoding="utf-8")


def pin_another_federation(node: Path) -> None:
    value = tomllib.loads((node / "node.toml").read_text(encoding="utf-8"))
    value["pin"] = "ab" * 32
    (node / "node.toml").write_text(tomli_w.dumps(value), encoding="utf-8")


def one_sentence(said: Said) -> str:
    """Return the only line on stderr; exit code 2, no traceback, nothing on stdout."""
    assert said.code == 2, said.err
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "Traceback" not in line
    assert "Error" not in line
    return line


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lose_a_column, "amount"),
        (change_a_type, "amount"),
        (empty_it, "orders"),
        (lose_the_identity, "identity.key"),
        (lose_the_transport_key, "flower"),
        (lose_the_authority, "ca.crt"),
        (spoil_the_authority, "ca.crt"),
        (pin_another_federation, "roster"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_spoilt_node_says_what_is_wrong_and_does_not_start_again(
    home: Home, tmp_path: Path, spoil: Callable[[Path], None], named: str
) -> None:
    node = home.node(PARTY)
    spoil(node)
    line = one_sentence(entrepot("node", "run", str(node), cwd=tmp_path, seconds=120))
    print(line)
    assert named in line
    assert not re.search(r"\d{16}", line), "a value of a row"
    assert not (node / "run" / "node.pid").exists()


def test_a_sound_node_is_called_ready(home: Home, tmp_path: Path) -> None:
    said = entrepot("node", "check", str(home.node(PARTY)), cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert "merchant-uk (merchant, UK) is ready; it offers orders" in said.out


@pytest.mark.parametrize("which", ["fleet", "control", "stream"])
def test_a_taken_port_is_named(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = replace(free_ports(), **{which: port})
        home = found(tmp_path / "home", "test", DEMO_SEATS, LIMITS, ports)
        words = ("aggregator", "run", "--federation", str(home.folder))
        line = one_sentence(entrepot(*words, cwd=tmp_path, seconds=120))
    assert str(port) in line
    assert "aggregator.toml" in line
