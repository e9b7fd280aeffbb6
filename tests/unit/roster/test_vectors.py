"""Chains of epochs as bytes that stay: those that open, and those that are refused, and how."""

import json
from pathlib import Path

import pytest

from federation import errors
from federation.roster_chain import open_roster
from tests.rosters import of_every_kind

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "roster.json").read_text())
GOOD, BAD = ({n: v for n, v in VECTORS.items() if n.startswith("bad_") is b} for b in (False, True))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_chain_opens(name):
    vector = GOOD[name]
    roster = open_roster(vector["chain"].encode(), vector["pin"])
    assert roster.epoch == vector["epoch"]
    assert roster.digest == vector["digest"]
    assert sorted(member.party for member in roster.members) == vector["members"]
    assert sorted(roster.suspended) == vector["suspended"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_chain_is_refused_by_name(name):
    vector = BAD[name]
    with pytest.raises(getattr(errors, vector["error"])) as refused:
        open_roster(vector["chain"].encode(), vector["pin"])
    assert type(refused.value).__name__ == vector["error"]
    assert vector["said"] in str(refused.value)


def test_the_good_chains_are_those_that_are_made_today():
    made = [*of_every_kind(sealed=False), *of_every_kind()]
    assert [v["chain"].encode() for v in GOOD.values()] == [c.wire for c in made]


@pytest.mark.parametrize("name", GOOD)
def test_a_chain_of_before_messages_were_sealed_is_read_as_one(name):
    roster = open_roster(GOOD[name]["chain"].encode(), GOOD[name]["pin"])
    known = {member.sealing is not None for member in roster.members}
    assert known == {name.startswith("sealed_")}


def test_there_are_enough():
    assert len(GOOD) == 8
    assert len(BAD) >= 22
