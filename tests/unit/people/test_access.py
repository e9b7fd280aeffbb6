"""Who may call what: against a table that a person wrote, and closed when in doubt."""

import itertools
import re
from pathlib import Path
from typing import Final

import pytest

from federation.control.methods import METHODS, Shows
from federation.people.persons import PersonRole
from policies.access import deciding
from policies.access.deciding import (
    NOBODY,
    Account,
    Allowed,
    Asked,
    Caller,
    Denied,
    Federation,
    Order,
    access_law,
    decide,
)
from policies.engine import load_law
from policies.errors import MalformedLawError

HOST: Final = "Operations"
HERE: Final = Federation("harbour")


def person(role: str, organisation: str = "Ningbo", place: str = "CN", name: str = "me") -> Caller:
    return Caller("Person", name, role, organisation, place)


PEOPLE: Final = {
    "operator": person("partner_operator"),
    "officer": person("officer"),
    "data team": person("data_team", "Analytics", "EU"),
    "host operator": person("aggregator_operator", HOST, "EU"),
    "host officer": person("officer", HOST, "EU"),
    "regulator": person("regulator", "CAC", "CN"),
    "false operator": person("aggregator_operator", "Ningbo", "CN"),
}
THINGS: Final = {
    "federation": HERE,
    "colleague": Account(person("data_team", "Ningbo", "CN", "colleague")),
    "stranger": Account(person("officer", "Rotterdam", "EU", "stranger")),
    "nobody's": Account(Caller("Person", "nobody")),
    "our order": Order(
        "1",
        "Analytics",
        frozenset({"Ningbo", "Zug"}),
        frozenset({"CN", "CH"}),
        frozenset({"Analytics", "Rotterdam"}),
    ),
    "their order": Order("2", "Institute", frozenset({"Rotterdam"}), frozenset({"EU"})),
}
OWN: Final = ("WhoAmI", "Sessions", "Logout", "Confirm", "Revoke")

# Written by hand: what each may do, of what is not its own. "!" wants a factor of five minutes.
TABLE: Final = {
    "operator": {
        "federation": "Roster Orders Models People",
        "colleague": "People Sessions Revoke! Disable!",
        "our order": "Order Card",
    },
    "officer": {
        "federation": "Roster Orders Models People Waiting",
        "colleague": "People",
        "our order": "Order Card Waiting Countersign!",
    },
    "data team": {
        "federation": "Roster Orders Models",
        "our order": "Order Propose Answer Card Model",
    },
    "host operator": {
        "federation": "Roster Orders Models People",
        "colleague": "People Sessions Revoke! Disable!",
        "stranger": "People Sessions Revoke! Disable!",
        "nobody's": "People Sessions Revoke! Disable!",
        "our order": "Order Card Model",
        "their order": "Order Card Model",
    },
    "host officer": {
        "federation": "Roster Orders Models People Ledger Waiting",
        "our order": "Order Card Model",
        "their order": "Order Card Model",
    },
    "regulator": {"federation": "Roster Orders Models Ledger", "our order": "Order Card"},
    "false operator": {},
}
METHOD_NAMES: Final = tuple(
    method.name for method in METHODS.values() if method.shows is Shows.SESSION
)


def is_allowed(caller: Caller, action: str, thing: deciding.Resource, fresh: bool) -> bool:
    return isinstance(decide(caller, action, thing, Asked(fresh, HOST)), Allowed)


@pytest.mark.parametrize(
    ("who", "what", "fresh"), [*itertools.product(PEOPLE, THINGS, (True, False))]
)
def test_every_role_may_call_exactly_what_the_table_says(who: str, what: str, fresh: bool) -> None:
    listed = TABLE[who].get(what, "").split()
    expected = {name.rstrip("!") for name in listed if fresh or not name.endswith("!")}
    found = {
        name
        for name in METHOD_NAMES
        if is_allowed(PEOPLE[who], f"People/{name}", THINGS[what], fresh)
    }
    assert found == expected


@pytest.mark.parametrize("who", [name for name in PEOPLE if name != "false operator"])
def test_everybody_has_its_own_account(who: str) -> None:
    """A regulator logs in and out as well; passkeys want a factor of five minutes."""
    own = Account(PEOPLE[who])
    listed = (*OWN, *("People" for role in (PEOPLE[who].role,) if role not in READS_NO_PEOPLE))
    for name in METHOD_NAMES:
        fresh = is_allowed(PEOPLE[who], f"People/{name}", own, True)
        stale = is_allowed(PEOPLE[who], f"People/{name}", own, False)
        turns_away = name == "Disable" and PEOPLE[who].role in TURNS_AWAY
        assert fresh == (name in {*listed, "AddPasskey", "RemovePasskey"} or turns_away), name
        assert stale == (name in listed), name


READS_NO_PEOPLE: Final = ("data_team", "regulator")
TURNS_AWAY: Final = ("partner_operator", "aggregator_operator")


@pytest.mark.parametrize("role", [*PersonRole])
def test_the_table_has_every_role(role: PersonRole) -> None:
    assert role.value in {caller.role for caller in PEOPLE.values()}


def test_an_unknown_role_may_read_nothing() -> None:
    stranger = person("owner")
    assert not any(
        is_allowed(stranger, f"People/{name}", thing, True)
        for name, thing in itertools.product(METHOD_NAMES, THINGS.values())
    )


def test_a_regulator_of_another_place_sees_no_order_of_this_one() -> None:
    reads = person("regulator", "CNIL", "EU")
    assert is_allowed(reads, "People/Order", THINGS["their order"], False)
    assert not is_allowed(reads, "People/Order", THINGS["our order"], False)


MACHINES: Final = {
    "member": Caller("Machine", "cn", "warehouse", "Ningbo", "CN", True),
    "entrant or suspended": Caller("Machine", "cn", "warehouse", "Ningbo", "CN", False),
    "nobody": NOBODY,
}
SERVICES: Final = {
    "member": {"Membership/Look", "Membership/Sign", "Membership/Renew", "Stream/Keep"},
    "entrant or suspended": {"Membership/Look", "Membership/Sign", "Membership/Renew"},
    "nobody": {"Join/Offer", "Join/Enrol", "People/Enrol", "People/Challenge", "People/Login"},
}


@pytest.mark.parametrize("who", MACHINES)
def test_machines_and_entrants_may_call_exactly_what_the_table_says(who: str) -> None:
    actions = [method.action for method in METHODS.values()]
    allowed = {action for action in actions if is_allowed(MACHINES[who], action, HERE, True)}
    assert allowed == SERVICES[who]


def test_every_method_is_an_action_of_the_law_and_every_action_a_method() -> None:
    text = Path(deciding.__file__).with_name("schema.cedarschema").read_text("utf-8")
    actions = set(re.findall(r'"([A-Z][A-Za-z]*/[A-Za-z]+)"', text))
    assert actions == {method.action for method in METHODS.values()}


def test_what_is_no_action_is_refused() -> None:
    denied = decide(PEOPLE["host operator"], "People/Everything", HERE, Asked(True, HOST))
    assert isinstance(denied, Denied)


def test_every_refusal_says_which_rule_and_what_to_do() -> None:
    stale = decide(PEOPLE["operator"], "People/Disable", THINGS["colleague"], Asked(False, HOST))
    unpermitted = decide(PEOPLE["data team"], "People/Ledger", HERE, Asked(True, HOST))
    assert isinstance(stale, Denied)
    assert isinstance(unpermitted, Denied)
    assert [reason.id for reason in stale.reasons] == ["ACCESS-101"]
    assert "entrepot person confirm" in stale.reasons[0].fix_en
    assert [reason.id for reason in unpermitted.reasons] == ["LAW-001"]
    assert all(r.text_zh and r.fix_zh for r in (*stale.reasons, *unpermitted.reasons))


BROKEN: Final = """
@id("BROKEN-000") permit (principal, action, resource);
@id("BROKEN-001") @law("x") @en("x") @zh("x") @fix_en("x") @fix_zh("x") @override("")
forbid (principal is Person, action, resource is Account)
when { context.host like "O*" && 9223372036854775807 + 1 > 0 };
"""


def test_a_rule_that_errs_refuses() -> None:
    schema = Path(deciding.__file__).with_name("schema.cedarschema").read_text("utf-8")
    law = load_law([BROKEN], schema)
    own = Account(PEOPLE["operator"])
    asked = Asked(True, HOST)
    assert isinstance(decide(PEOPLE["operator"], "People/WhoAmI", own, asked, law), Denied)
    assert isinstance(decide(PEOPLE["operator"], "People/Roster", HERE, asked, law), Allowed)


def test_a_rule_with_a_wrong_word_is_found_when_the_law_is_loaded() -> None:
    schema = Path(deciding.__file__).with_name("schema.cedarschema").read_text("utf-8")
    text = '@id("X") permit (principal is Person, action, resource) when { principal.rol == "x" };'
    with pytest.raises(MalformedLawError):
        load_law([text], schema)


def test_nobody_makes_a_yes_by_hand() -> None:
    with pytest.raises(TypeError, match="minted"):
        Allowed(PEOPLE["operator"], "People/Ledger", HERE)


def test_the_law_that_ships_loads() -> None:
    assert len(access_law().digest) == 64


@pytest.mark.parametrize("host", [object(), None, 7])
def test_a_question_that_cannot_be_asked_is_refused(host: object) -> None:
    asked = Asked(True, host)  # type: ignore[arg-type]
    assert isinstance(decide(PEOPLE["host operator"], "People/Roster", HERE, asked), Denied)
