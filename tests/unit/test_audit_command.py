"""`entrepot audit` on a federation that has worked: shown, proven, verified, and found out."""

import base64
import json
import re
import socket
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from experiments import proving
from experiments.auditing import keepers
from experiments.cli import run
from experiments.home import Home
from experiments.proving import export
from experiments.verifying import check
from federation.ledger import notes
from federation.ledger.database import heads
from federation.ledger.entries import Entry, EntryKind, encode
from federation.ledger.export import Export, LogExport
from federation.ledger.merkle import roots
from federation.ledger.notes import Checkpoint, NamedKey, origin_of
from federation.ledger.receipt import FORMAT as RECEIPT
from federation.ledger.receipt import Receipt, verify_receipt
from federation.ledger.store import Log, open_engine, reading, writing
from federation.ledger.trust import Trust, Vouched
from federation.ledger.verify import verify
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.played import Played, played
from tests.simulator import KEYHOLDERS

UK = "warehouse-uk"


@pytest.fixture(scope="module")
def federation() -> Played:
    return played()


@pytest.fixture(scope="module")
def ledger(federation: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of every ledger."""
    path = tmp_path_factory.mktemp("export") / "ledger.json"
    assert run(["audit", "prove", "--out", str(path), *home(federation)]) == 0
    return path


def home(federation: Played) -> list[str]:
    return ["--federation", str(federation.home.folder)]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(words))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def verified(
    capsys: pytest.CaptureFixture[str], file: Path, *more: str
) -> tuple[int, dict[str, Any]]:
    code, out, err = said(capsys, "audit", "verify", str(file), "--json", *more)
    return code, json.loads(out) if out else {"err": err}


# -- show ------------------------------------------------------------------------------------------


def test_every_party_shows_what_it_did(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "audit", "show", "--json", *home(federation))
    value = json.loads(out)
    assert (code, value["schema"]) == (0, "entrepot.audit.show/1")
    kinds = {log["party"]: [e["kind"] for e in log["shown"]] for log in value["logs"]}
    assert kinds.keys() == {
        *(member.party for member in federation.home.holders()),
        *KEYHOLDERS,
        "aggregator",
    }
    assert kinds[UK].count("settled") == 3  # two rounds and a question
    assert kinds[UK].index("reserved") < kinds[UK].index("settled") < kinds[UK].index("closed")
    assert {"joined", "approved", "released", "crossed", "checkpoint_seen"} <= set(kinds[UK])
    assert {"proposed", "refused"} <= set(kinds["aggregator"])
    for log in value["logs"]:
        assert [e["number"] for e in log["shown"]] == list(range(log["entries"]))
        assert all(e["said"]["en"] and e["said"]["zh"] for e in log["shown"])


def test_one_party_some_kinds_the_last(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("audit", "show", "--node", UK, "--kind", "reserved", "--kind", "settled")
    code, out, _ = said(capsys, *words, *home(federation))
    assert code == 0
    lines = [line for line in out.splitlines() if federation.trained.id[:8] in line]
    assert ["reserved" in line for line in lines] == [True, False, False]
    assert "releases were set aside in retailers (commercial confidentiality, 2025)" in out
    assert "approved" not in out
    code, out, _ = said(capsys, *words, "--last", "1", "--lang", "zh", *home(federation))
    assert "已计费" in out
    assert "预留" not in out


def test_the_officer_reads_why_a_party_declined(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("audit", "show", "--node", "aggregator", "--kind", "refused")
    code, out, _ = said(capsys, *words, *home(federation))
    assert code == 0
    assert "warehouse-cn" in out
    assert "CN-001" in out


@pytest.mark.parametrize(
    "words", [("--node", "nobody"), ("--node", "analyst"), ("--kind", "rewritten"), ("--last", "0")]
)
def test_what_there_is_not_is_one_sentence(
    words: tuple[str, ...], federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "audit", "show", *words, *home(federation))
    assert (code, out) == (2, "")
    assert err.strip()


def test_looking_writes_no_entry(federation: Played, capsys: pytest.CaptureFixture[str]) -> None:
    before = sizes(federation)
    for words in (("show",), ("show", "--json"), ("prove",)):
        assert said(capsys, "audit", *words, *home(federation))[0] == 0
    assert sizes(federation) == before


@pytest.mark.parametrize("content", [b"", b"x", b"no database at all" * 100])
@pytest.mark.parametrize("words", [("show",), ("prove",), ("prove", "--node", "aggregator")])
def test_a_file_that_is_no_ledger_is_one_sentence(
    words: tuple[str, ...],
    content: bytes,
    federation: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = federation.copy(tmp_path / "copy")
    file = copy.aggregator / "ledger.sqlite"
    file.write_bytes(content)
    code, out, err = said(capsys, "audit", *words, "--federation", str(copy.folder))
    assert (code, out) == (2, "")
    assert err.startswith("entrepot: aggregator: ledger.sqlite")
    assert len(err.splitlines()) == 1
    assert file.read_bytes() == content


def test_a_ledger_that_is_missing_is_not_made(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = federation.copy(tmp_path / "copy")
    file = copy.aggregator / "ledger.sqlite"
    file.unlink()
    for words in (("show",), ("prove",)):
        code, out, _ = said(capsys, "audit", *words, "--federation", str(copy.folder))
        assert code == 0 and ("aggregator · lies elsewhere" in out) == (words == ("show",))
    assert not file.exists()


def sizes(federation: Played) -> dict[Path, int]:
    files = sorted(federation.home.folder.glob("nodes/*/books.sqlite"))
    files.append(federation.home.aggregator / "ledger.sqlite")
    counts = {}
    for path in files:
        with sqlite3.connect(path) as books:
            counts[path] = books.execute("SELECT COUNT(*) FROM leaves").fetchone()[0]
    assert len(counts) == 12
    assert all(counts.values())
    return counts


def test_a_ledger_is_read_without_its_partys_key(
    federation: Played, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = federation.copy(tmp_path / "copy")
    for key in copy.folder.glob("**/keys/identity.key"):
        key.unlink()
    for words in (("show", "--json"), ("prove",), ("prove", "--node", UK, "--entry", "3")):
        found = said(capsys, "audit", *words, "--federation", str(copy.folder))
        assert found == said(capsys, "audit", *words, *home(federation)), words
        assert found[0] == 0


# -- prove and verify ------------------------------------------------------------------------------


def test_an_export_verifies_with_the_keys_and_ends_with_two_without(
    ledger: Path, federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "audit", "verify", str(ledger), "--trust", str(federation.keys))
    assert code == 0
    assert out.startswith("proven: 12 of 12 ledgers")
    assert len(out.splitlines()) == 1
    code, out, _ = said(capsys, "audit", "verify", str(ledger))
    assert code == 2
    assert out.startswith("consistent, not authentic")
    assert len(out.splitlines()) == 1
    code, out, _ = said(capsys, "audit", "verify", str(ledger), "--lang", "zh")
    assert "未证实真伪" in out


FACTS = {
    "proven": "已证实",
    "consistent, not authentic": "前后一致但未证实真伪",
    "are whole and signed": "完整且已签名",
    "2 or more other organisations saw each": "每份由 2 家或更多其他机构见证",
    "up to c = 1 may lie together": "至多容许 c = 1 家机构串通说谎",
    "no account was overdrawn": "没有账户透支",
    "await their witnesses": "尚待见证",
    "as of 2": "截至 2",
    "nothing here shows whether it goes on": "无法由此看出其后是否还有条目",
    "keys that were printed at join": "加入时打印的密钥",
    "stands among the first": "位于前",
    "signed by its party and seen by": "由该方签名，并由",
    "stands below this head": "位于此日志头之下",
}


def test_both_languages_say_the_same_of_an_export(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, keys = tmp_path / "some.json", Trust.parse(federation.keys.read_text(encoding="utf-8"))
    met = set()
    for which in ((), ("--node", UK), ("--node", UK, "--entry", "3")):
        words = ("audit", "prove", *which, "--out", str(file))
        assert said(capsys, *words, *home(federation))[0] == 0
        for trust in (keys, None):
            checked = check(file.read_bytes(), trust)
            assert checked.said.en == proof_of(file.read_bytes(), trust)
            facts = {en for en in FACTS if en in checked.said.en}
            assert facts == {en for en, zh in FACTS.items() if zh in checked.said.zh}, checked
            numbers = [
                re.findall(r"\d+(?:,\d{3})*", text) for text in (checked.said.en, checked.said.zh)
            ]
            assert sorted(numbers[0]) == sorted(numbers[1]), checked
            assert ("c = 1" in checked.said.en) is (trust is not None)
            met |= facts
    assert met == FACTS.keys()


def proof_of(data: bytes, trust: Trust | None) -> str:
    """What the verifier itself says."""
    if RECEIPT.encode() in data:
        return verify_receipt(Receipt.from_bytes(data), trust).line
    return verify(Export.from_bytes(data), trust).line


def test_a_verdict_names_the_c_of_its_keys(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "trust.txt"
    text = federation.keys.read_text(encoding="utf-8")
    keys.write_text(text.replace(" c=1\n", " c=2\n"), encoding="utf-8")
    for language, words in (
        ("en", "3 or more other organisations saw each (up to c = 2 "),
        ("zh", "每份由 3 家或更多其他机构见证（至多容许 c = 2 "),
    ):
        verify_ = ("audit", "verify", str(ledger), "--trust", str(keys), "--lang", language)
        code, out, _ = said(capsys, *verify_)
        assert code == 0
        assert words in out


def test_verifying_needs_no_federation_no_network_and_nothing_heavy(
    ledger: Path, federation: Played, tmp_path: Path
) -> None:
    for path in (ledger, federation.keys):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    script = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from experiments.cli import run\n"
        f"code = run(['audit', 'verify', {ledger.name!r}, '--trust', 'trust.txt'])\n"
        "heavy = {'flwr', 'torch', 'hydra', 'pandas', 'duckdb', 'sqlalchemy'}\n"
        "print(code, sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert socket.socket.connect  # only the child's was taken away


def test_the_export_goes_to_stdout_as_it_is_to_a_file(
    ledger: Path, federation: Played, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["audit", "prove", *home(federation)]) == 0
    assert capfdbinary.readouterr().out == ledger.read_bytes()


def test_one_party_alone_can_be_proven(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "uk.json"
    words = ("audit", "prove", "--node", UK, "--out", str(file))
    assert said(capsys, *words, *home(federation))[0] == 0
    code, value = verified(capsys, file, "--trust", str(federation.keys))
    assert (code, value["logs"]) == (0, 1)


def test_one_object_names_what_was_exported_or_holds_it(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, words = tmp_path / "all.json", ("audit", "prove", "--json", *home(federation))
    keys = {"schema": "entrepot.audit.prove/1", "trust": str(federation.keys)}
    whole = {"left_out": [], "unsigned": dict(export(federation.home).unsigned)}
    code, out, err = said(capsys, *words)
    shown = json.loads(out)
    assert (code, len(out.splitlines())) == (0, 1)
    for party, count in shown["unsigned"].items():
        assert f"{party} has not signed them yet: {count} entries" in err
    assert shown == keys | whole | {"out": None, "proof": json.loads(ledger.read_bytes())}
    assert canonical.encode(shown["proof"]) == ledger.read_bytes()
    code, out, err = said(capsys, *words, "--out", str(file))
    assert json.loads(out) == keys | whole | {"out": str(file), "proof": None}
    assert (code, file.read_bytes()) == (0, ledger.read_bytes())
    assert f"audit verify {file}" in err
    code, out, _ = said(capsys, *words, "--node", UK, "--entry", "3")
    proof = json.loads(out)["proof"]
    assert (code, proof["number"], proof["origin"]) == (0, 3, f"entrepot/simulated/{UK}")


def test_one_entry_is_proven_without_the_others(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, keys = tmp_path / "entry.json", str(federation.keys)
    words = ("audit", "prove", "--node", UK, "--entry", "3", "--out", str(file))
    assert said(capsys, *words, *home(federation))[0] == 0
    code, out, _ = said(capsys, "audit", "verify", str(file), "--trust", keys)
    assert code == 0
    assert f"entry 3 of entrepot/simulated/{UK} stands" in out
    assert said(capsys, "audit", "verify", str(file))[0] == 2
    value = json.loads(file.read_bytes())
    head = notes.read(value["witnessed"])
    for change in (
        {"number": 4},
        {"entry": base64.b64encode(encode(Entry(EntryKind.CLOSED, 7, "x"))).decode()},
        {"proof": value["proof"][:-1]},
        {"origin": "entrepot/simulated/warehouse-us"},
        {"witnessed": str(notes.Note(head.checkpoint, head.lines[:2]))},  # one witness is too few
        {"federation": "another"},
    ):
        file.write_bytes(canonical.encode(value | change))
        code, found = verified(capsys, file, "--trust", keys)
        assert (code, found["proven"]) == (30, False), change


def test_an_entry_that_is_not_there_or_not_named_is_one_sentence(
    federation: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("--entry", "1"), ("--node", UK, "--entry", "99999")):
        code, out, err = said(capsys, "audit", "prove", *words, *home(federation))
        assert (code, out) == (2, "")
        assert err.strip()


@pytest.mark.parametrize("place", [".", "missing/export.json", "file/export.json"])
def test_a_place_where_nothing_can_be_written_is_one_sentence(
    place: str, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for words in ((), ("--node", UK, "--entry", "3")):
        out = str(tmp_path / place)
        code, told, err = said(capsys, "audit", "prove", *words, "--out", out, *home(federation))
        assert (code, told) == (2, "")
        assert f"{tmp_path / place} cannot be written: " in err
        assert err.rstrip().endswith("name another place")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


# -- what is wrong is found, and named -------------------------------------------------------------


def test_any_flipped_byte_of_an_entry_is_found_and_named(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads(ledger.read_bytes())
    log = next(log for log in value["logs"] if log["origin"].endswith(UK))
    for number, place in ((0, 5), (2, 30), (len(log["entries"]) - 1, 11)):
        whole = log["entries"][number]
        data = bytearray(base64.b64decode(whole))
        data[place] ^= 1
        log["entries"][number] = base64.b64encode(data).decode()
        file = tmp_path / "flipped.json"
        file.write_bytes(canonical.encode(value))
        for keys in (("--trust", str(federation.keys)), ()):
            code, found = verified(capsys, file, *keys)
            assert code == 30
            assert f"entry {number} of entrepot/simulated/{UK}" in found["said"]["en"]
        log["entries"][number] = whole


def test_a_flipped_byte_anywhere_is_never_proven(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = ledger.read_bytes(), tmp_path / "flipped.json"
    for place in range(64, len(data), max(1, len(data) // 40)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        code, found = verified(capsys, file, "--trust", str(federation.keys))
        assert code == 30, (place, found)


def forged(found: Export) -> tuple[Export, Trust]:
    """The whole book, re-signed throughout with fresh keys, and the keys it brings along."""
    keys = {log.origin: SigningKey(bytes([place]) * 32) for place, log in enumerate(found.logs)}
    logs = []
    for log in found.logs:
        size, root = len(log.entries), notes.read(log.head).checkpoint.root
        note = notes.sign(Checkpoint(log.origin, size, root), keys[log.origin])
        logs.append(LogExport.of(log.origin, log.entries, note, note))
    vouched = tuple(
        Vouched(NamedKey(origin, key.verify_key), f"organisation {place}")
        for place, (origin, key) in enumerate(keys.items())
    )
    return Export(found.federation, tuple(logs)), Trust(found.federation, vouched)


def test_a_book_signed_anew_with_fresh_keys_is_not_authentic(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, _ = forged(Export.from_bytes(ledger.read_bytes()))
    file = tmp_path / "forged.json"
    file.write_bytes(book.to_bytes())
    code, found = verified(capsys, file, "--trust", str(federation.keys))
    assert code == 30
    assert "not authentic" in found["said"]["en"]
    assert verified(capsys, file)[0] == 2  # it fits together, and nobody is said to have written it


def test_a_tail_cut_off_is_found(
    ledger: Path, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its own party would do it, with its own key: the others have seen more."""
    found = Export.from_bytes(ledger.read_bytes())
    (own,) = [log for log in found.logs if log.origin.endswith(UK)]
    key = key_of(federation.home, UK)
    shorter = own.entries[:5]
    note = notes.sign(Checkpoint(own.origin, 5, roots(shorter)[5]), key)
    cut = LogExport.of(own.origin, shorter, note, note)
    others = [log for log in found.logs if log.origin != own.origin]
    file = tmp_path / "cut.json"
    file.write_bytes(Export(found.federation, (cut, *others)).to_bytes())
    for keys in (("--trust", str(federation.keys)), ()):
        code, said_ = verified(capsys, file, *keys)
        assert code == 30
        assert UK in said_["said"]["en"]
    assert "cut off" in said_["said"]["en"]


# -- files that are no ledgers ---------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[1, 2]", b"hello\x1b[2J" * 99])
def test_a_foreign_file_ends_with_two_and_one_sentence(
    content: bytes, federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "foreign"
    file.write_bytes(content)
    code, out, err = said(capsys, "audit", "verify", str(file), "--trust", str(federation.keys))
    assert (code, out) == (2, "")
    assert "audit prove" in err
    assert "\x1b" not in err


def test_a_missing_file_and_foreign_keys_end_with_two(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("/no/such/file",),
        (str(tmp_path),),
        (str(ledger), "--trust", "/no/such/file"),
        (str(ledger), "--trust", str(ledger)),
    ):
        code, out, err = said(capsys, "audit", "verify", *words)
        assert (code, out) == (2, "")
        assert err.startswith("entrepot: ")
        assert len(err.splitlines()) == 1


# -- logs that grow while they are read ------------------------------------------------------------


def test_logs_that_grow_while_they_are_read_still_fit_together(
    federation: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reading of one log is an old one: the others have seen more of it than it shows."""
    whole, real, old = export(federation.home).export, proving._export, []

    def stale(*words: Any) -> Any:
        part = real(*words)
        log = part.log
        if log.origin.endswith(UK) and not old:
            old.append(log)
            cut = LogExport.of(log.origin, log.entries[:5], log.head, log.witnessed)
            return replace(part, log=cut)
        return part

    monkeypatch.setattr(proving, "_export", stale)
    assert export(federation.home).export == whole
    assert old


def key_of(home: Home, party: str) -> SigningKey:
    return SigningKey((home.node(PartyId(party)) / "keys/identity.key").read_bytes())


def test_reading_a_ledger_signs_nothing(
    federation: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a party has not signed itself is left out and counted: its copy may be an old one."""
    kept = next(kept for kept in keepers(federation.home) if kept.party == UK)
    origin, key = origin_of(federation.home.name, UK), key_of(federation.home, UK)
    log = Log(open_engine(kept.where), origin, key)
    with writing(log.engine) as connection:
        log.checkpoint(connection)
        first = log.append(connection, [Entry(EntryKind.LEFT, 5, "", {"party": "x", "epoch": 1})])
        before = connection.execute(sa.select(heads).order_by(heads.c.size)).all()
    out = tmp_path / "ledger.json"
    code, _, err = said(
        capsys, "audit", "prove", "--node", UK, "--out", str(out), *home(federation)
    )
    assert code == 0
    assert f"left out, since {UK} has not signed them yet: 1 entries" in err
    (shown,) = Export.from_bytes(out.read_bytes()).logs
    assert len(shown.entries) == notes.read(shown.head).checkpoint.size == first
    with reading(log.engine) as connection:
        assert connection.execute(sa.select(heads).order_by(heads.c.size)).all() == before
    code, checked = verified(capsys, out, "--trust", str(federation.home.folder / "trust.txt"))
    assert code == 0
    assert "alone: nothing here shows whether it goes on" in checked["said"]["en"]
    assert "\u4ec5\u6b64\u4e00\u4efd" in checked["said"]["zh"]
