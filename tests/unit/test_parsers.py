"""Whatever comes from outside is read or refused by name, and never crashes or fills the memory."""

import ast
import base64
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from federation.control.captures import read_capture
from federation.errors import MalformedMessageError, UnsupportedQueryError
from federation.queries.answers import read_answer
from federation.queries.parse import parse
from federation.riding import unpack
from policies.cases import load_cases
from policies.contracts import load_contract
from policies.errors import MalformedCasesError, MalformedContractError, MalformedPackError
from policies.law.packs import load_pack
from policies.parties import Jurisdiction
from secure_compute import canonical
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.node_keys import public_line, public_pem
from secure_compute.secagg import memory
from tests import masked
from tests.fuzzed import crash_of, distinct, fuzz, rounds, seconds
from tests.orders_table import COHORT
from tests.parsers import REFUSALS, parsers
from tests.queries_table import contract

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("policies", "secure_compute", "federation", "clients", "aggregator")
PARSERS = parsers()
SECONDS = 60
QUICK = 6
LARGE = 100_000
"""Valid bytes from here on are left to the long run: each of their mutants takes its time."""

_READS = re.compile(
    r"(.+_)?(read|parse|unpack|unseal|decode|load|loads|from_json|from_bytes|from_text)(_.+)?|open(_.+)?"
)
_WIRES = {"wire", "blob", "box", "frame"}
_FOREIGN = re.compile(r"\b(bytes|Wire|str|JSON|object|Any|memoryview|Mapping|Path|RecordDict)\b")

NO_WAY_IN = {
    # what reads the node's own rows
    "clients.training.columns.read_columns": "reads a table by pyarrow, and refuses in ingestion",
    "clients.training.tables.load_rows": "reads a table that ingestion has seen",
    "federation.informed.Informed.read": "takes weights apart, which are numbers already",
    "federation.scaled.Scaled.read": "takes weights apart, which are numbers already",
    "federation.queries.parse_scalars.Scalars.read": "takes what sqlglot made: queries.parse.parse",
    "federation.queries.parse_windows.Windows.read": "takes what sqlglot made: queries.parse.parse",
    # what takes words that this program wrote
    "clients.books_file.open_books": "opens a database",
    "clients.books_log.BookLog.open_window": "writes an entry",
    "clients.books_windows.open_window": "writes an entry",
    "clients.ingestion.WindowBook.open_window": "writes an entry",
    "clients.commitments.Commitments.open": "writes a row",
    "clients.opening.Told.open": "writes a row",
    "federation.durable.Kept.read": "asks a database",
    "federation.engines.open_at": "opens a database",
    "federation.ledger.database.open_engine": "opens a database",
    # what reads a folder, text by text, by parsers that are listed
    "clients.policy.load_packs": "reads packs by load_pack",
    "clients.policy.load_policy": "reads texts by load_law",
    "clients.snapshots.read": "reads a party's own rows, and refuses in sources",
    "aggregator.stored.read_bytes": "takes bytes of a file and looks into none",
    "federation.at_rest.read": "opens by Vault.open",
    "federation.at_rest.SealedFiles.read": "opens by Vault.open",
    "secure_compute.primitives.node_keys.PlainFiles.read": "takes bytes and looks into none",
    "secure_compute.primitives.node_keys.PrivateFiles.read": "takes bytes and looks into none",
    # what carries, keeps, seals or hashes bytes and does not look into them
    "aggregator.people_views.OrderBook.opened": "opens by open_order",
    "aggregator.jobs.Jobs.add": "keeps what was checked",
    "aggregator.jobs.Jobs.countersign": "keeps what was checked",
    "aggregator.stepping.Stepping.read": "reads by what it is given; see aggregator.certifying",
    "clients.letters.Letters.order_in": "opens by open_order; see Node.answer",
    "clients.fleet.FleetClient.reclaim": "carries what this node sealed",
    "clients.outbox.Outbox.accept": "keeps what was checked",
    "clients.outbox.Outbox.keep": "keeps what this node sealed",
    "secure_compute.threshold.ciphertext.digest": "hashes",
}
"""Functions that are named as parsers are, or take such bytes, and why they are no way in."""


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_what_is_valid_is_read_and_cut_in_half_it_is_refused_by_name(parser):
    for data in [d for d in parser.valid() if len(d) < LARGE][:2]:
        assert crash_of(parser, data) is None
        assert crash_of(parser, data[: len(data) // 2]) is None


def test_a_key_whose_point_is_compressed_is_refused_by_name():
    """The library raises NotImplementedError there, at bytes that any entrant may send."""
    key = generate_private_key(SECP256R1())
    kind, text = public_line(key).split()
    blob = bytearray(base64.b64decode(text))
    blob[blob.rindex(key.public_key().public_numbers().x.to_bytes(32, "big")) - 1] = 2
    with pytest.raises(LocalProtocolError, match="not an OpenSSH public key"):
        public_pem(kind + b" " + base64.b64encode(blob))


def test_a_few_mutants_crash_no_parser():
    small = [p for p in PARSERS if all(len(data) < LARGE for data in p.valid())]
    assert len(small) > 80
    assert "\n".join(str(crash) for crash in distinct(fuzz(small, 1, rounds(QUICK)))) == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_minute_of_mutants_crashes_no_parser():
    assert all(parser.valid() for parser in PARSERS)  # made beforehand: that is no parsing
    share = seconds(SECONDS / len(PARSERS))
    assert "\n".join(str(crash) for crash in distinct(fuzz(PARSERS, 2, share))) == ""


def test_every_function_that_reads_what_comes_from_outside_is_listed():
    listed = {name for parser in PARSERS for name in parser.names}
    found = set(_readers())
    assert not found - listed - NO_WAY_IN.keys(), "add them to tests/parsers"
    assert not NO_WAY_IN.keys() - found, "these are no more"
    assert not NO_WAY_IN.keys() & listed


def test_every_name_on_the_list_is_of_a_function():
    for name in {name for parser in PARSERS for name in parser.names}:
        module, _, function = _split(name)
        assert re.search(rf"^ *def {function}\(", module.read_text(), re.MULTILINE), name


def _split(name: str) -> tuple[Path, str, str]:
    parts = name.split(".")
    for size in range(len(parts) - 1, 0, -1):
        path = ROOT.joinpath(*parts[:size]).with_suffix(".py")
        if path.is_file():
            return path, ".".join(parts[size:]), parts[-1]
    raise AssertionError(f"{name} is of no module")


def _readers() -> Iterator[str]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, node in _public(ast.parse(path.read_text()).body, module):
                if _is_reader(node):
                    yield name


def _public(body: list[ast.stmt], within: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node.body, f"{within}.{node.name}")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{within}.{node.name}", node


def _is_reader(node: ast.FunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    kinds = {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation}
    foreign = any(_FOREIGN.search(kind) for kind in kinds.values())
    wired = any(kinds.get(name) in {"bytes", "Wire"} for name in _WIRES)
    return foreign and bool(_READS.fullmatch(node.name) or wired)


# -- what mutants found ----------------------------------------------------------------------------

HUGE = "9" * 5000
DEEP = "[" * 2000


@pytest.mark.parametrize("value", [HUGE, DEEP, "{a=" * 2000], ids=["huge", "deep", "tables"])
def test_toml_beyond_pythons_limits_is_refused(value):
    text = f"version = {value}"
    with pytest.raises(MalformedContractError):
        load_contract(text)
    with pytest.raises(MalformedPackError):
        load_pack(text)
    with pytest.raises(MalformedCasesError):
        load_cases(text, Jurisdiction.CN, 0)


def test_what_rides_in_a_letter_has_no_letters_beyond_ascii():
    with pytest.raises(MalformedMessageError):
        unpack(canonical.encode({"a": "MTé="}))


@pytest.mark.parametrize("length", [(1 << 64) - 1, 1 << 40])
def test_a_captured_length_that_is_a_lie_takes_no_memory(tmp_path, length):
    path = tmp_path / "capture"
    path.write_bytes((3).to_bytes(8, "big") + b"one" + length.to_bytes(8, "big") + b"two")
    assert list(read_capture(path)) == [b"one"]


@pytest.mark.parametrize("select", ["COUNT( )", "SUM()", "AVG(())", "COUNT(DISTINCT)"])
def test_an_aggregate_of_nothing_is_refused(select):
    with pytest.raises(UnsupportedQueryError):
        parse(f"SELECT {select} FROM orders", {"orders": contract()}, COHORT)


@pytest.mark.parametrize("kind", ["of an algorithm that nobody has", "with a compressed point"])
def test_a_node_key_that_cannot_be_read_is_refused(kind):
    parser = next(p for p in PARSERS if p.name.endswith("public_pem"))
    name, blob = parser.valid()[0].split()[:2]
    if kind.startswith("of"):
        name = b"ecdsa-sha2-nistp999"
    raw = bytearray(base64.b64decode(blob))
    raw[-65] = 2 if kind.startswith("with") else raw[-65]
    with pytest.raises(LocalProtocolError):
        public_pem(name + b" " + base64.b64encode(raw))


def test_an_answer_of_infinitely_many_parties_is_none():
    with pytest.raises(MalformedMessageError):
        read_answer(
            {name: [] for name in ("keys", "labels", "units", "rows")} | {"contributors": math.inf}
        )


def _damaged(data: bytes, start: int, **changed: object) -> bytes:
    head = json.loads(data[start:] if start == 0 else data[4 : 4 + int.from_bytes(data[:4], "big")])
    spelt = canonical.encode({**head, **changed})
    rest = data[4 + int.from_bytes(data[:4], "big") :] if start else b""
    return (len(spelt).to_bytes(4, "big") if start else b"") + spelt + rest


@pytest.mark.parametrize(
    "changed", [{"answered": [None]}, {"chains": [["a", 0]]}, {"round": {"terms": 1}}]
)
def test_a_damaged_state_of_a_node_is_refused(changed):
    node = next(iter(masked.cohort(4).nodes.values()))
    with pytest.raises(LocalProtocolError):
        memory.node_from_bytes(_damaged(memory.node_to_bytes(node), 0, **changed))


@pytest.mark.parametrize("sizes", [{}, {"uploads": 1}, {"uploads": [None]}])
def test_a_damaged_state_of_a_round_is_refused(sizes):
    state = masked.Gathering(terms=masked.cohort(4).terms)
    with pytest.raises(LocalProtocolError):
        memory.gathering_from_bytes(_damaged(memory.gathering_to_bytes(state), 4, sizes=sizes))


def test_only_the_projects_own_errors_refuse():
    assert all(error.__module__.endswith(".errors") for error in REFUSALS)


@pytest.mark.parametrize("at", [0, 30, 60, -40, -12])
def test_an_archive_of_an_earlier_version_that_is_damaged_is_refused(tmp_path, at):
    parser = next(p for p in PARSERS if p.valid()[0].startswith(b"PK"))
    data = bytearray(parser.valid()[0])
    for value in (0, 0x7F, 0xFF):
        data[at] = value
        assert crash_of(parser, bytes(data)) is None
    lost = bytes(data).replace(b"PK\x05\x06\0\0\0\0", b"PK\x05\x06\0\0\xff\xff")
    assert crash_of(parser, lost) is None
