"""`entrepot node policy card | test | diff`, and what `node check` warns of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from clients.exports import Tally
from experiments import policy_folder, policy_words
from experiments.cli import run
from experiments.ordering import Terms, training_order
from federation.tasks import TrainingTask
from policies.exports import Outbound
from policies.parties import Jurisdiction, PartyId
from tests.simulator import CN, EU, US, Simulation, fraud_recipe


@pytest.fixture
def node(simulation: Simulation) -> Path:
    """The folder of a warehouse in China."""
    return simulation.folder(CN)


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = run(["node", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out, out.err


def value(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    code, out, _ = said(capsys, *words, "--json")
    return code, json.loads(out)


# -- card ------------------------------------------------------------------------------------------


def test_the_card_as_json(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, card = value(capsys, "policy", "card", node)
    assert code == 0
    assert card["schema"] == "entrepot.node.policy.card/1"
    assert card["node"] == "warehouse-cn"
    assert card["other_editions"] == []
    assert card["export"]["persons"] == 0
    assert {row["contract"] for row in card["limits"]} == {"demand", "orders"}


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["nobody yet: for review by counsel", "As of 2026-11-22", "0 of 100,000", "CN-T01"]),
        ("zh", ["尚无人审阅", "截至 2026-11-22", "个人信息出境标准合同", "CN-T01"]),
    ],
)
def test_the_card_for_people(
    node: Path,
    language: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = said(capsys, "policy", "card", node, "--lang", language)
    assert (code, err) == (0, "")
    assert all(word in " ".join(out.split()) for word in words)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_card_can_be_read_in_a_narrow_window(
    node: Path, language: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transfers are a list there, with nothing cut off and no word broken that fits on a line."""
    shown = {}
    for columns in (80, 119, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = said(capsys, "policy", "card", node, "--lang", language)
        assert "…" not in out
        assert all(cell_len(line) <= columns for line in out.splitlines())
        title, after = (policy_words.said(name, language) for name in ("transfers", "grades"))
        shown[columns] = out.partition(title)[2].partition(after)[0]
    _, card = value(capsys, "policy", "card", node)
    names = [policy_words.said(name, language) for name in ("results", "mechanism", "needs")]
    for columns in (80, 119):
        begins = [line.strip().partition("  ")[0] for line in shown[columns].splitlines()]
        assert [begins.count(name) for name in names] == [2, 2, 2]
        words = set(shown[columns].split())
        law = {word for row in card["transfers"] for word in row.get("law", "").split()}
        assert law <= words
    assert shown[120].count(names[0]) == 1  # a heading


def test_the_card_needs_no_row_no_key_of_others_and_no_aggregator(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = value(capsys, "policy", "card", node)
    shutil.rmtree(node / "data")
    assert value(capsys, "policy", "card", node) == before


def test_a_text_of_another_edition_is_named(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = node / "policy" / "cn.cedar"
    changed = text.read_text(encoding="utf-8").replace("2026-11-22", "2025-01-01")
    text.write_text(changed, encoding="utf-8")
    assert value(capsys, "policy", "card", node)[1]["other_editions"] == []  # a remark only
    head, _, rest = changed.partition("sha256\n// ")
    text.write_text(f"{head}sha256\n// {'0' * 64}{rest[64:]}", encoding="utf-8")
    assert value(capsys, "policy", "card", node)[1]["other_editions"] == ["cn.cedar"]
    text.write_text(rest[rest.index("@id") :], encoding="utf-8")
    assert value(capsys, "policy", "card", node)[1]["other_editions"] == ["cn.cedar"]


def test_a_folder_that_is_no_node_has_no_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "policy", "card", tmp_path)
    assert (code, out) == (2, "")
    assert "is no node" in err


def test_check_and_card_say_which_rows_are_never_new(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "names no key" not in said(capsys, "check", node)[2]
    path = node / "contract" / "orders.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("key =")), "utf-8")
    assert "orders names no key" in said(capsys, "check", node)[2]
    rows = {row["contract"]: row for row in value(capsys, "policy", "card", node)[1]["limits"]}
    assert (rows["orders"]["fresh_windows"], rows["demand"]["fresh_windows"]) == (False, True)


# -- people whose data left ------------------------------------------------------------------------


def left(monkeypatch: pytest.MonkeyPatch, *groups: str) -> None:
    """Let the ledger say that results about these groups left this year."""

    def outbound(_: Tally, besides: str = "") -> tuple[Outbound, ...]:
        return tuple(Outbound(group, None) for group in groups)

    monkeypatch.setattr(Tally, "outbound", outbound)


def declare(node: Path, persons: int) -> None:
    path = node / "contract" / "orders.toml"
    text = path.read_text(encoding="utf-8").replace("persons = 50000", f"persons = {persons}")
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("persons", "warned"), [(79_000, False), (80_000, True)])
def test_card_and_check_warn_at_four_fifths(
    simulation: Simulation,
    node: Path,
    persons: int,
    warned: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation.node(CN)  # there are books
    declare(node, persons)
    left(monkeypatch, "customers")
    _, card = value(capsys, "policy", "card", node)
    assert card["export"]["persons"] == persons
    assert card["export"]["warning"] is warned
    code, out, err = said(capsys, "check", node)
    assert code == 0
    assert "is ready" in out
    assert ("80 % of the yearly number" in err) is warned


def test_card_and_check_name_groups_of_unknown_size(
    node: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left(monkeypatch, "customers", "strangers")
    assert value(capsys, "policy", "card", node)[1]["export"]["undeclared"] == ["strangers"]
    assert "strangers" in said(capsys, "check", node)[2]


def test_a_node_elsewhere_counts_nobody(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert value(capsys, "policy", "card", simulation.folder(EU))[1]["export"] is None


# -- test ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", ["warehouse-cn", "merchant-br", "keyholder-ch", "warehouse-us"])
def test_every_founded_node_says_what_it_should(
    simulation: Simulation, party: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "policy", "test", simulation.folder(PartyId(party)))
    assert code == 0
    assert "cases are as expected" in out


WRONG = """
[[case]]
name = "persons' results may go to the US"
given = { recipients = ["US"] }
expect = "permit"
"""


def test_a_case_that_the_law_does_not_bear_out_is_exit_1(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(WRONG, encoding="utf-8")
    code, out, _ = said(capsys, "policy", "test", node, table)
    assert code == 1
    assert "persons' results may go to the US" in out
    assert "refused CN-002" in out
    assert "0 of 1 cases" in out
    code, found = value(capsys, "policy", "test", node, table)
    assert (code, found["schema"]) == (1, "entrepot.node.policy.test/1")
    assert (found["passed"], found["failed"]) == (0, 1)
    assert found["cases"][0]["refused_by"] == ["CN-002"]


def test_the_nodes_own_table_is_run_where_there_is_one(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (node / "policy" / "cases.toml").write_text(WRONG, encoding="utf-8")
    assert said(capsys, "policy", "test", node)[0] == 1


def test_a_table_of_nonsense_is_exit_2(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text("[[case]]\nname = 'x'", encoding="utf-8")
    code, _, err = said(capsys, "policy", "test", node, tmp_path / "x.toml")
    assert code == 2
    assert "does not hold together" in err


def test_a_table_that_is_no_text_is_exit_2(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_bytes(WRONG.encode("utf-16"))
    code, out, err = said(capsys, "policy", "test", node, tmp_path / "x.toml")
    assert (code, out) == (2, "")
    assert "x.toml is not UTF-8 text" in err


# -- diff ------------------------------------------------------------------------------------------


def edited(node: Path, to: Path, old: str, new: str, file: str = "cn.cedar") -> Path:
    """A copy of a node's policy folder with one change."""
    shutil.copytree(node / "policy", to)
    text = (to / file).read_text(encoding="utf-8")
    assert old in text
    (to / file).write_text(text.replace(old, new), encoding="utf-8")
    return to


def test_the_same_law_changes_no_situation(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = value(capsys, "policy", "diff", node, node / "policy")
    assert code == 0
    assert found["schema"] == "entrepot.node.policy.diff/1"
    assert (found["changed"], found["changes"]) == (0, [])
    assert found["asked"] >= 600


def test_situations_that_change_are_said_in_lines(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    new = edited(node, tmp_path / "new", '"BR", "CH"].containsAll', '"CH"].containsAll')
    code, out, _ = said(capsys, "policy", "diff", node, new)
    assert code == 0
    assert "→ BR, about persons: was permitted, now refused CN-002" in out
    _, found = value(capsys, "policy", "diff", new, node)
    assert found["changed"] == sum(change["situations"] for change in found["changes"])
    change = found["changes"][0]
    assert (change["before"], change["after"]) == (["CN-002"], [])
    assert change["recipients"] == ["BR"]


def test_laws_of_two_territories_are_not_compared(
    simulation: Simulation, node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "policy", "diff", node, simulation.folder(EU))
    assert code == 2
    assert "one in EU" in err


def test_a_policy_folder_by_itself_says_where_it_holds(node: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(node / "policy", tmp_path / "policy"))
    assert policy_folder.open_folder(copy).jurisdiction is Jurisdiction.CN
    (copy / "us.cedar").write_bytes(b"")
    (copy / "cn.cedar").unlink()
    (copy / "us-ca.cedar").write_bytes(b"")
    assert policy_folder.open_folder(copy).jurisdiction is Jurisdiction.US_CA


def test_a_law_that_does_not_parse_is_exit_2(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = edited(node, tmp_path / "new", "context.personal }", "context.persnal }")
    code, _, err = said(capsys, "policy", "diff", node, broken)
    assert code == 2
    assert "does not fit its schema" in err


# -- what a node has on record by itself -----------------------------------------------------------

CERTIFIED = """
[[mechanism]]
id = "CN-T02"
to = ["US"]
covers = ["results"]
kind = "certification"
law = "PIPL"
article = "Art. 38(1)(2)"
en = "Certification of cross-border processing"
zh = "个人信息出境认证"
valid_until = 2029-06-30
"""


def test_a_mechanism_of_the_nodes_own_opens_a_border_for_it_alone(
    simulation: Simulation, node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(shutil.copytree(node / "policy", node / "before"))
    assert said(capsys, "policy", "write", node)[0] == 0
    assert value(capsys, "policy", "diff", before, node)[1]["changed"] == 0
    pack = node / "policy" / "pack.toml"
    pack.write_text(pack.read_text(encoding="utf-8") + CERTIFIED, encoding="utf-8")
    assert value(capsys, "policy", "card", node)[1]["other_editions"] == ["cn.cedar"]
    assert said(capsys, "policy", "write", node)[0] == 0
    _, changes = value(capsys, "policy", "diff", before, node)
    opened = [change for change in changes["changes"] if not change["after"]]
    assert opened and all("CN-002" in change["before"] for change in opened)
    _, card = value(capsys, "policy", "card", node)
    assert card["other_editions"] == []
    assert "CN-T02" in {row["rule"] for row in card["transfers"] if row["destination"] == "US"}
    assert to_the_us(simulation) == []
    assert value(capsys, "policy", "card", simulation.folder(EU))[1]["other_editions"] == []


def test_rules_that_cannot_be_written_are_one_sentence(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(node / "policy")
    code, _, err = said(capsys, "policy", "write", node)
    assert code == 2
    assert "pack.toml cannot be written: " in err


def to_the_us(simulation: Simulation) -> list[str]:
    """The rules that keep a model of orders in China from a party in the US."""
    task = TrainingTask("fraud", 1, 0, fraud_recipe())
    terms = Terms(purpose="fraud_prevention", cohort=(CN, EU, US))
    order = training_order(simulation.home, task, terms)
    return [reason["id"] for reason in simulation.offer(CN, order).body.get("reasons", [])]


def test_a_text_that_permits_what_nothing_covers_opens_no_border(
    simulation: Simulation, node: Path
) -> None:
    """An operator who edits the rule and not the record."""
    text = node / "policy" / "cn.cedar"
    changed = text.read_text(encoding="utf-8").replace(
        '"BR", "CH"].containsAll(context.recipients) };',
        '"BR", "CH", "US"].containsAll(context.recipients) };',
        1,
    )
    assert changed != text.read_text(encoding="utf-8")
    assert to_the_us(simulation) == ["CN-002"]
    text.write_text(changed, encoding="utf-8")
    simulation.restart(CN)
    assert to_the_us(simulation) == ["BORDER-001"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from experiments.cli import run; run(['node', 'policy', '--help']);"
        "heavy = {'flwr', 'torch', 'pandas', 'cedarpy', 'rich', 'sqlalchemy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "card" in done.stdout
