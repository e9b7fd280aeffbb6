"""What the log and the ledger say of the door."""

import json
import logging
from pathlib import Path

import pytest

from aggregator.access import DeniedError
from aggregator.denials import Denials
from federation.control.logs import JsonLines
from tests.desk import denials
from tests.people import Desk


def test_every_denial_is_in_the_log_and_each_kind_in_the_ledger(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    with caplog.at_level(logging.WARNING):
        for method in ("Ledger", "Ledger", "People"):
            with pytest.raises(DeniedError):
                desk.ask(method, bob.session)
    lines = [json.loads(JsonLines().format(one)) for one in caplog.records]
    assert [line["method"] for line in lines] == ["People/Ledger", "People/Ledger", "People/People"]
    assert {line["event"] for line in lines} == {"access.denied"}
    assert lines[0]["caller"] == "bob"
    assert (lines[0]["role"], lines[0]["organisation"]) == ("data_team", "Analytics")
    assert lines[0]["rules"] == ["LAW-001"]
    assert [one.body["reasons"] for one in denials(desk)] == [
        ["People/Ledger", "person", "data_team", "LAW-001"],
        ["People/People", "person", "data_team", "LAW-001"],
    ]
    assert {one.body["kind"] for one in denials(desk)} == {"access"}


def test_the_ledger_names_no_person_and_is_not_filled_by_knocking(desk: Desk) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    for round_ in range(3):
        desk.guard._denials = Denials(desk.folder) if round_ == 1 else desk.denials
        for _ in range(4):
            with pytest.raises(DeniedError):
                desk.ask("Ledger", bob.session)
    assert len(denials(desk)) == 1
    assert "bob" not in str(denials(desk))


def test_a_ledger_that_cannot_be_written_to_leaves_a_no_a_no(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    (desk.folder / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DeniedError):
        desk.ask("Ledger", bob.session)
    assert [line.getMessage() for line in caplog.records][-1] == (
        "A refusal could not be written into the ledger."
    )


def test_before_the_founding_a_denial_is_a_denial_without_a_ledger(tmp_path: Path) -> None:
    desk = Desk(tmp_path, is_founded=False)
    bob = desk.member("bob", "data_team", "Analytics")
    with pytest.raises(DeniedError):
        desk.ask("Ledger", bob.session)
    assert not (desk.folder / "ledger.sqlite").exists()
