"""Three demos with the same books: what is true of the first, a leak in the second, no third."""

import html.parser
import json
import math
import re
import signal
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant

from tests.processes import (
    Said,
    Watch,
    alive,
    entrepot,
    environment,
    finish,
    started,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WAREHOUSES = {"warehouse-cn", "warehouse-eu", "warehouse-uk", "warehouse-us"}
OTHERS = {"payments-eu", "payments-cn", "merchant-uk", "merchant-br"}
KEYHOLDERS = {"keyholder-ch", "keyholder-eu", "keyholder-uk"}
WAYS = {"local", "federated_dp", "federated", "pooled"}
GIB = 1 << 30


@dataclass(frozen=True)
class Shown:
    """One demo: what it said, what was seen of it, and the folder it left."""

    said: Said
    watch: Watch
    folder: Path
    report: Path

    @property
    def value(self) -> dict[str, Any]:
        return json.loads(self.said.out)


def demo(place: Path, name: str, path: tuple[Path, ...] = ()) -> Shown:
    work = place / name
    work.mkdir()
    report, watch = work / "report.html", Watch()
    words = ("demo", "--keep", str(place / "kept"), "--json", "--report", str(report))
    with (
        started(*words, cwd=work, env=environment(path)) as process,
        watch.watching(process.pid),
    ):
        said = finish(process)
    print(f"{name}: exit {said.code}, {said.seconds:.0f} s, peak {watch.peak / GIB:.2f} GiB")
    if said.out:
        print(json.loads(said.out)["demand"]["wape"], json.loads(said.out)["fraud"]["ap"])
    return Shown(said, watch, place / "kept", report)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(place: Path) -> Shown:
    shown = demo(place, "first")
    assert shown.said.code == 0, shown.said.err
    (place / "captures").mkdir()
    for number, path in enumerate(sorted(shown.folder.rglob("captures/*"))):
        (place / "captures" / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    (place / "books").mkdir()
    for node in (shown.folder / "nodes").iterdir():
        with sqlite3.connect(node / "books.sqlite") as books:
            books.execute("VACUUM INTO ?", (str(place / "books" / f"{node.name}.sqlite"),))
    return shown


def nobody_was_lost(shown: Shown) -> None:
    """Where counts are exact, a node that answered too late explains why they are not reached."""
    lost = [line.strip() for line in shown.said.err.splitlines() if "; lost: " in line]
    assert not lost, f"a node was lost to a time limit, so no count below can be exact: {lost}"
    rounds = [line for line in shown.said.err.splitlines() if " round " in line]
    expected = sum(shown.value[model]["rounds"] for model in ("demand", "fraud"))
    assert len(rounds) == expected, "the rounds are not told as this reads them"


# -- the object that --json prints -----------------------------------------------------------------


def is_number(value: object, low: float = 0.0, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def test_the_object_has_the_documented_keys(first: Shown) -> None:
    value = first.value
    assert value["schema"] == "entrepot.demo/1"
    documented = {"schema", "demand", "fraud", "queries", "refusals", "budgets", "borders"}
    documented |= {"raw_rows_crossed", "seconds"}
    beside = {"domestic", "search", "processes", "notes", "faults", "version", "ledger"}
    beside |= {"register", "keyholders"}
    assert value.keys() == documented | beside
    assert is_number(value["seconds"], 1.0)
    for part in (value["demand"], value["fraud"]):
        assert {"epsilon", "delta", "unit"} <= part.keys()
    assert all(
        query.keys() == {"sql", "rows", "error", "exact_for_demo", "epsilon", "low", "high"}
        for query in value["queries"]
    )
    assert all(
        {"node", "dataset", "unit", "epsilon", "delta", "limit"} <= row.keys()
        for row in value["budgets"]
    )
    assert all(
        row.keys() == {"origin", "destination", "kind", "messages", "bytes"}
        for row in value["borders"]
    )


def test_demand_is_scored_for_all_and_for_each_warehouse(first: Shown) -> None:
    demand = first.value["demand"]
    assert demand["wape"].keys() == {"naive", *WAYS}
    assert {row["party"] for row in demand["warehouses"]} == WAREHOUSES
    assert len(demand["warehouses"]) == 4
    for scores in (demand["wape"], *demand["warehouses"]):
        assert all(is_number(scores[way], 0.05, 1.5) for way in ("naive", *WAYS))
    assert demand["newcomer"] == "warehouse-uk"
    assert 0 < demand["epsilon"] <= 4
    assert demand["delta"] == 1e-6
    assert "commercial confidentiality" in demand["unit"]
    assert "personal" not in demand["unit"]
    # What is learnt with noise is worth more than last week's sales.
    assert demand["wape"]["federated_dp"] < demand["wape"]["naive"]


def test_the_newcomer_gains_and_all_warehouses_are_forecast_well(first: Shown) -> None:
    demand = first.value["demand"]
    (newcomer,) = [r for r in demand["warehouses"] if r["party"] == demand["newcomer"]]
    assert newcomer["federated_dp"] <= 0.28
    assert newcomer["federated_dp"] < min(newcomer["local"], newcomer["naive"])
    assert demand["wape"]["federated_dp"] <= 0.24


def test_fraud_is_scored(first: Shown) -> None:
    fraud = first.value["fraud"]
    assert fraud["ap"].keys() == {"base_rate", *WAYS}
    assert all(is_number(score, 0.0, 1.0) for score in fraud["ap"].values())
    assert {row["party"] for row in fraud["parties"]} == OTHERS
    assert (fraud["unit"], fraud["delta"]) == ("customer", 1e-6)
    assert 0 < fraud["epsilon"] <= 2
    assert fraud["ap"]["federated_dp"] > fraud["ap"]["base_rate"]


def test_queries_are_close_to_the_truth_as_their_errors_say(first: Shown) -> None:
    queries = first.value["queries"]
    assert len(queries) == 2
    inside = []
    for query in queries:
        assert len(query["rows"]) == len(query["error"]) == len(query["exact_for_demo"]) > 0
        assert is_number(query["epsilon"], 0.01, 1.0)
        for row, error, exact in zip(
            query["rows"], query["error"], query["exact_for_demo"], strict=True
        ):
            assert row.keys() == exact.keys()
            assert error.keys() <= row.keys()
            inside += [abs(row[name] - exact[name]) <= error[name] for name in error]
        for row, low, high in zip(query["rows"], query["low"], query["high"], strict=True):
            assert all(low[name] < row[name] < high[name] for name in low)
    assert "GROUP BY" in queries[0]["sql"]
    assert "AVG" in queries[1]["sql"]
    assert len(inside) == 17
    assert sum(inside) >= 12  # 95 % intervals: fewer happen once in ten thousand demos
    assert queries[0]["rows"] != queries[0]["exact_for_demo"]


def test_two_of_three_keyholders_open_what_is_asked_after_one_was_killed(first: Shown) -> None:
    told = first.value["keyholders"]
    assert set(told["keyholders"]) == KEYHOLDERS and told["threshold"] == 2
    assert told["killed"] == "keyholder-uk" and told["keys"] >= 2
    assert len(told["questions"]) == len(first.value["queries"])
    for question in told["questions"]:
        assert question["by"] == ["keyholder-ch", "keyholder-eu"]
        assert question["exchanges"] >= 4 and is_number(question["opening_ms"], 0.1)
    print(f"questions: {told['questions']}")
    sent = {(row["sender"], row["kind"]) for row in first.value["register"]}
    assert {party for party, kind in sent if kind == "keys.shown"} == KEYHOLDERS
    assert ("keyholder-uk", "query.opened") not in sent
    assert "keyholder-uk was killed (SIGKILL)" in first.said.err
    assert "keyholder-uk" in first.report.read_text(encoding="utf-8")
    left = {path.name for path in (first.folder / "people").rglob("*.key")}
    assert left == {"identity.key", "opening.key"}  # what opened the answers is gone


def test_a_policy_and_a_budget_refuse_with_reasons_and_a_way_out(first: Shown) -> None:
    policy, budget = first.value["refusals"]
    assert (policy["kind"], budget["kind"]) == ("policy", "budget")
    for refusal in (policy, budget):
        assert {"node", "kind", "reasons", "fix"} <= refusal.keys()
        assert refusal["node"] in WAREHOUSES | OTHERS
        assert refusal["reasons"]
        assert all(reason["en"] and reason["zh"] for reason in refusal["reasons"])
        assert refusal["fix"]["en"]
        assert refusal["fix"]["zh"]
    assert policy["passed"]  # the suggested fix was tried, and went through
    assert "privacy.epsilon=" in budget["fix"]["en"]


def test_borders_are_crossed_by_what_was_needed_and_by_no_row(first: Shown) -> None:
    nobody_was_lost(first)
    value = first.value
    seen = {(row["origin"], row["destination"]) for row in value["borders"]}
    abroad = {"BR", "CH", "CN", "UK", "US"}
    assert seen == {(place, "EU") for place in abroad} | {("EU", place) for place in abroad}
    assert all(row["messages"] > 0 and row["bytes"] > 0 for row in value["borders"])
    by_kind = {(r["origin"], r["kind"]): r["messages"] for r in value["borders"]}
    assert by_kind["BR", "sum.upload"] == value["fraud"]["rounds"]
    assert by_kind["US", "sum.upload"] == value["demand"]["rounds"]
    assert value["raw_rows_crossed"] == 0
    search = value["search"]
    assert (search["canaries"], search["foreign_messages"], search["found"]) == (160, 0, [])
    crossed = sum(row["messages"] for row in value["borders"] + value["domestic"])
    assert search["messages"] == crossed
    # Masked uploads look like chance itself, so more of what crosses could hold a row by chance.
    assert 0 <= search["expected_by_chance"] < 0.02


# -- what the processes were -----------------------------------------------------------------------


def test_every_party_is_a_process_of_its_own(first: Shown) -> None:
    processes = {row["party"]: row["pid"] for row in first.value["processes"]}
    assert processes.keys() == WAREHOUSES | OTHERS | KEYHOLDERS | {"aggregator"}
    assert None not in processes.values()
    assert len(set(processes.values())) == 12
    for party in WAREHOUSES | OTHERS | KEYHOLDERS:
        assert first.watch.folders[processes[party]] == party
    assert first.watch.together == {
        "aggregator.superlink": 1,
        "aggregator.executor": 1,
        "clients": 11,
    }


def test_all_of_it_fits_into_six_gibibytes(first: Shown) -> None:
    assert first.watch.peak < 6 * GIB


def test_no_process_is_left(first: Shown) -> None:
    assert not [pid for pid in first.watch.pids if alive(pid)]
    assert not list(first.folder.rglob("run/*.pid"))


# -- the account -----------------------------------------------------------------------------------


def dp_event(value: Mapping[str, Any]) -> dp_accounting.DpEvent:
    match value["event"]:
        case "gaussian":
            return dp_accounting.GaussianDpEvent(float(value["noise_multiplier"]))
        case "discrete_gaussian":
            return dp_accounting.GaussianDpEvent(
                float(value["sigma"]) / float(value["sensitivity"])
            )
        case "sampled_gaussian":
            noise = dp_accounting.GaussianDpEvent(float(value["noise_multiplier"]))
            return dp_accounting.PoissonSampledDpEvent(float(value["sampling_rate"]), noise)
        case "approximate":
            return dp_event(value["of"])
        case "skellam":  # so fine that it is Gaussian to all digits that are looked at
            assert value["sampling_rate"] == "1"
            spread = float(value["variance"]) ** 0.5
            return dp_accounting.GaussianDpEvent(spread / float(value["l2"]))
        case "repeated":
            return dp_accounting.SelfComposedDpEvent(dp_event(value["of"]), value["count"])
        case "composed":
            return dp_accounting.ComposedDpEvent([dp_event(part) for part in value["of"]])
    raise AssertionError(value)


def recomputed(path: Path) -> dict[str, tuple[float, int]]:
    """Return ε at 1e-6 and the number of releases per dataset, from the stored rows alone."""
    releases: dict[str, list[tuple[str, int]]] = {}
    with sqlite3.connect(path) as books:
        datasets = dict(books.execute("SELECT account, dataset FROM limits ORDER BY number"))
        for account, order, event, reserved in books.execute(
            "SELECT account, order_id, event, releases FROM reservations"
        ).fetchall():
            count = books.execute(
                "SELECT COUNT(DISTINCT release_key) FROM settlements WHERE order_id = ?", (order,)
            ).fetchone()[0]
            (closed,) = books.execute(
                "SELECT COUNT(*) FROM closings WHERE order_id = ?", (order,)
            ).fetchone()
            assert closed, f"{path.name} holds on to {order}"
            assert count <= reserved
            releases.setdefault(datasets[account], []).append((event, count))
    return {dataset: _composed(events) for dataset, events in releases.items()}


def _composed(events: list[tuple[str, int]]) -> tuple[float, int]:
    accountant = RdpAccountant(list(range(2, 257)))
    for text, count in events:
        accountant.compose(dp_event(json.loads(text)), count) if count else None
    return accountant.get_epsilon(1e-6), sum(count for _, count in events)


def charged(row: dict[str, Any]) -> tuple[str, str]:
    """Return node and contract of an account; payments draw on that of orders, and nobody asked."""
    return row["node"], row["dataset"].removesuffix(", payments")


def test_books_hold_what_the_budgets_say(first: Shown, place: Path) -> None:
    budgets = first.value["budgets"]
    assert {row["node"] for row in budgets} == WAREHOUSES | OTHERS
    assert len(budgets) == 12  # warehouses have two datasets
    assert all(is_number(row["epsilon"], 0.0, row["limit"]) for row in budgets)
    shown = {charged(row): row for row in budgets}
    for party in WAREHOUSES | OTHERS:
        for dataset, (epsilon, releases) in recomputed(place / "books" / f"{party}.sqlite").items():
            row = shown.pop((party, dataset))
            assert row["releases"] == releases
            assert epsilon <= row["epsilon"] <= epsilon * 1.01 + 0.001
    assert not shown


def test_what_was_trained_is_what_was_charged(first: Shown) -> None:
    value = first.value
    spent = {charged(row): row["epsilon"] for row in value["budgets"]}
    assert all(
        spent[party, "demand"] == pytest.approx(value["demand"]["epsilon"]) for party in WAREHOUSES
    )
    assert all(spent[party, "orders"] > value["fraud"]["epsilon"] for party in OTHERS)
    assert all(0 < spent[party, "orders"] <= 1 for party in WAREHOUSES)


def test_the_officer_sees_both_epsilons_purses_people_and_plain_numbers(first: Shown) -> None:
    for row in first.value["budgets"]:
        assert row["window"] == "2025"
        # One run, planned as it ran, is certified, unless its noise is Skellam's; runs that came
        # one after another are not.
        alone = len(row["course"]) == 1
        assert (row["certificate"] is not None) == (alone and row["dataset"] != "demand")
        assert 0 < (row["certificate"] or row["epsilon"]) <= row["epsilon"] <= row["lifetime"]
        trained = row["dataset"] == "demand" or row["node"] in OTHERS
        assert row["failures_limit"] == "0.00000001"
        assert (0 < float(row["failures_spent"]) < 1e-9) == trained
        assert row["course"][-1]["epsilon"] == row["epsilon"]
        assert row["runs_left"] >= 0
        plain = row["plain"]
        assert 1 == plain["luck"] <= plain["caught"] <= plain["textbook_caught"] <= 100
        people = [item["parties"] for item in row["person"]]
        assert people == ([1, 2, 3, 8] if charged(row)[1] == "orders" else [])


# -- the ledgers -----------------------------------------------------------------------------------


def audit(first: Shown, *words: str) -> Said:
    return entrepot("audit", *words, cwd=first.report.parent)


def test_the_demo_exports_its_ledgers_and_they_verify(first: Shown) -> None:
    ledger = first.value["ledger"]
    parties = WAREHOUSES | OTHERS | KEYHOLDERS | {"aggregator"}
    assert {log["party"] for log in ledger["logs"]} == parties
    assert ledger["booked"] == len(parties)
    assert ledger["entries"] == sum(log["entries"] for log in ledger["logs"]) > 100
    assert all(len(log["signers"]) >= 2 for log in ledger["logs"])
    assert ledger["code"] == 0
    assert ledger["verified"]["en"].startswith("proven: 12 of 12 ledgers")
    said = audit(first, "verify", "entrepot-ledger.json", "--trust", "entrepot-trust.txt")
    assert (said.code, said.out.strip()) == (0, ledger["verified"]["en"])
    assert audit(first, "verify", "entrepot-ledger.json").code == 2
    keys = (first.folder / "trust.txt").read_text(encoding="utf-8")
    assert (first.report.parent / "entrepot-trust.txt").read_text(encoding="utf-8") == keys


def test_a_changed_export_of_the_demo_is_found(first: Shown) -> None:
    data = bytearray((first.report.parent / "entrepot-ledger.json").read_bytes())
    data[len(data) // 2] ^= 1
    (first.report.parent / "changed.json").write_bytes(data)
    said = audit(first, "verify", "changed.json", "--trust", "entrepot-trust.txt")
    assert said.code == 30
    assert "entrepot/demo/" in said.out
    assert len(said.out.splitlines()) == 1


def test_the_border_register_says_what_the_captures_say(first: Shown) -> None:
    """Every message that the captures show abroad stands in a ledger, under a rule."""
    value = first.value
    register: dict[tuple[str, str, str], int] = {}
    for row in value["ledger"]["register"]:
        assert re.fullmatch(r"[A-Z]{2}-[A-Z0-9]+", row["rule"])
        key = (row["origin"], row["destination"], row["kind"])
        register[key] = register.get(key, 0) + row["messages"]
    seen = {
        (row["origin"], row["destination"], row["kind"]): row["messages"]
        for row in value["borders"]
        if row["origin"] != "EU"  # what the aggregator carries on was registered by its sender
    }
    for key, messages in seen.items():
        assert register.get(key, 0) >= messages, key


# -- no row crossed, looked for in another way -----------------------------------------------------


def rows_in(data: bytes, truth: Path) -> set[int]:
    """Return the ids of canaries seen in `data`, as text or as eight bytes, by plain comparison."""
    words: dict[int, int] = {}
    texts: dict[bytes, int] = {}
    for records in json.loads(truth.read_text(encoding="utf-8")).values():
        for row in records:
            numbers = (row["id"], row["customer"], row["timestamp_us"])
            forms = [struct.pack("<q", n) for n in numbers]
            forms += [struct.pack("<d", n) for n in (*numbers, row["amount"])]
            for form in forms:
                words[int.from_bytes(form, "little")] = row["id"]
                words[int.from_bytes(form, "big")] = row["id"]
            for text in (*map(str, numbers), row["timestamp_text"], repr(row["amount"])):
                texts[text.encode()] = row["id"]
    found = set()
    wanted = np.array(sorted(words), dtype=np.uint64)
    ends = np.zeros(1 << 16, dtype=bool)
    ends[wanted & 0xFFFF] = True  # a fast first look at the lowest two bytes
    for offset in range(8):
        values = np.frombuffer(data, "<u8", (len(data) - offset) // 8, offset)
        values = values[ends[values & 0xFFFF]]
        found |= {words[int(value)] for value in values[np.isin(values, wanted)]}
    shapes = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}|\d+\.\d{4}|\d{16}"
    return found | {texts[text] for text in re.findall(shapes, data) if text in texts}


def test_no_canary_is_found_by_plain_comparison_either(first: Shown, place: Path) -> None:
    data = b"".join(path.read_bytes() for path in sorted((place / "captures").iterdir()))
    assert len(data) > first.value["search"]["bytes"] > 10**6
    truth = first.folder / "truth" / "canaries.json"
    assert rows_in(data, truth) == set()
    some = json.loads(truth.read_text(encoding="utf-8"))["merchant-uk"][3]
    planted = data[:1001] + struct.pack(">d", some["amount"]) + data[1001:]
    assert rows_in(planted, truth) == {some["id"]}


# -- the report ------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
                self.loads.append(value or "")
            assert not name.startswith("on"), f"{tag} runs something"


def test_the_report_stands_alone_and_says_the_same(first: Shown) -> None:
    text = first.report.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "form"}
    assert all(target.startswith(("#", "data:")) for target in page.loads)
    assert not re.search(r"url\(\s*['\"]?(?!#|data:)|@import", text)
    assert {"svg", "table"} <= page.tags
    beside = first.report.with_suffix(".json").read_text(encoding="utf-8")
    assert json.loads(beside) == first.value


# -- the second and the third ----------------------------------------------------------------------

SABOTAGE = '''
"""In the process of one node: its first upload takes a row along."""

import struct
import sys
from pathlib import Path

words = sys.orig_argv
if "clients" in words and words[-1].endswith("/warehouse-cn"):
    from dataclasses import replace

    import pyarrow.parquet as pq

    import clients.node as node
    from federation.messages import Kind

    honest = node.seal
    rows = pq.read_table(Path(words[-1]) / "data" / "orders.parquet").to_pylist()
    row = [row for row in rows if row["order_id"] > 10**15][7]
    moment = int(row["ts"].timestamp()) * 10**6 + row["ts"].microsecond
    planted = []

    def seal(envelope, key):
        if envelope.kind is Kind.SUM_UPLOAD and planted in ([], [envelope.sequence]):
            planted[:] = [envelope.sequence]
            taken = struct.pack("<qdq", row["order_id"], row["amount"], moment)
            upload = envelope.blobs["upload"]
            envelope = replace(envelope, blobs={"upload": upload, "zz": upload[:64] + taken})
        return honest(envelope, key)

    node.seal = seal
'''


@pytest.fixture(scope="module")
def second(first: Shown, place: Path) -> Iterator[Shown]:
    assert first.said.code == 0
    trick = place / "trick"
    trick.mkdir()
    (trick / "sitecustomize.py").write_text(SABOTAGE, encoding="utf-8")
    yield demo(place, "second", (trick,))


def test_one_raw_row_in_one_message_is_counted_and_ends_with_30(second: Shown) -> None:
    assert second.said.code == 30, second.said.err
    value = second.value
    assert value["raw_rows_crossed"] == 1
    truth = second.folder / "truth" / "canaries.json"
    (found,) = value["search"]["found"]
    assert found["party"] == "warehouse-cn"
    data = b"".join(path.read_bytes() for path in second.folder.rglob("captures/*.cap"))
    assert rows_in(data, truth) == {int(found["id"])}
    assert "1 raw row" in second.said.err
    assert "Traceback" not in second.said.err
    # Everything else went on: the books were kept and paid a second time.
    limits = [row["epsilon"] <= row["limit"] for row in value["budgets"]]
    assert limits == [True] * 12


def test_the_second_demo_pays_on_top_of_the_first(first: Shown, second: Shown) -> None:
    nobody_was_lost(first)
    nobody_was_lost(second)
    before = {(row["node"], row["dataset"]): row for row in first.value["budgets"]}
    for row in second.value["budgets"]:
        earlier = before[row["node"], row["dataset"]]
        assert row["releases"] == 2 * earlier["releases"]
        assert earlier["epsilon"] < row["epsilon"] < 2 * earlier["epsilon"]


@pytest.fixture(scope="module")
def third(second: Shown, place: Path) -> Shown:
    assert second.said.code == 30
    return demo(place, "third")


def test_the_third_demo_is_refused_and_says_what_is_left(third: Shown, second: Shown) -> None:
    said = third.said
    assert said.code == 11, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert "BUDGET-001" in said.err
    assert "left" in said.err
    for row in second.value["budgets"]:
        (line,) = [
            line
            for line in said.err.splitlines()
            if line.strip().startswith(f"{row['node']} {row['dataset']}:")
        ]
        assert f"{row['epsilon']:.2f} of {row['limit']:.2f}" in line
    assert not third.report.exists()
    assert not [pid for pid in third.watch.pids if alive(pid)]


# -- told to end -----------------------------------------------------------------------------------


def test_a_demo_that_is_told_to_end_ends_its_processes(third: Shown, place: Path) -> None:
    watch = Watch()
    with (
        started("demo", "--keep", str(third.folder), cwd=place / "third") as process,
        watch.watching(process.pid),
    ):
        wait_until(lambda: len(watch.folders) >= 3, 60.0, "three nodes run")
        process.send_signal(signal.SIGTERM)
        said = finish(process)
    assert said.code == 130
    assert "Traceback" not in said.err
    assert not [pid for pid in watch.pids if alive(pid)]
