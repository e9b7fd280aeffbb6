"""Watching an order: patient behind another one, clear where nobody works at all."""

import pytest

from aggregator.jobs import Jobs
from experiments.errors import UnreachableError
from experiments.following import explain, follow
from policies.owners import owner_of


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs.sqlite")


def test_an_order_that_nobody_takes_up_is_told(jobs):
    jobs.add("mine", b"", 1.0)
    with pytest.raises(UnreachableError, match="is it running"):
        follow(jobs, "mine", lambda _: None, patience=0.0)


def test_an_order_waits_behind_another(jobs, monkeypatch):
    jobs.add("first", b"", 1.0)
    jobs.start("first")
    jobs.add("mine", b"", 2.0)

    def work(_: float) -> None:
        jobs.end("first", "done", {})
        jobs.end("mine", "done", {"answer": 1})

    monkeypatch.setattr("experiments.following.time.sleep", work)
    assert follow(jobs, "mine", lambda _: None, patience=0.0).result == {"answer": 1}


SAID = {
    "en": (
        "EU-001 No (GDPR; a rule of the law)",
        "BASE-008 No (Agreement; a rule of the federation)",
        "NODE-001 No (Policy; a rule of the node)",
        "→ do so; it would pass with purpose=x cohort.minimum=3",
    ),
    "zh": ("EU-001 否 (GDPR; 法律规则)", "NODE-001 否 (Policy; 节点规则)"),
}


@pytest.mark.parametrize(("language", "parts"), SAID.items())
def test_a_refusal_names_rule_owner_and_the_nearest_request(language, parts):
    laws = {"EU-001": "GDPR", "BASE-008": "Agreement", "NODE-001": "Policy"}
    refusal = {
        "node": "a",
        "kind": "policy",
        "reasons": [{"id": i, "law": law, "en": "No", "zh": "否"} for i, law in laws.items()],
        "fixes": [{"en": "do so", "zh": "照做", "override": ""}],
        "nearest": ["purpose=x", "cohort.minimum=3"],
    }
    said = explain([refusal], language)
    assert all(part in said for part in parts)
    bare = explain([{**refusal, "nearest": []}], language)
    assert "purpose=x" not in bare


@pytest.mark.parametrize(
    ("rule", "owner"),
    [
        ("EU-001", "law"),
        ("USCA-001", "law"),
        ("US-T01", "law"),
        ("BORDER-001", "law"),
        ("BASE-008", "federation"),
        ("QUERY-001", "federation"),
        ("NODE-001", "node"),
        ("BUDGET-001", "node"),
        ("LAW-001", "node"),
        ("OWN-001", "node"),  # an operator may call a rule as it likes
    ],
)
def test_a_rule_belongs_to_whoever_could_change_it(rule, owner):
    assert owner_of(rule) == owner
