"""The law of the doors against a model that knows no Cedar; the door against whatever is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.errors import AggregatorError
from federation.control.calls import PEOPLE
from federation.control.methods import METHODS, Shows, methods_of
from federation.errors import FederationError
from federation.people.calling import Call
from policies.access.deciding import Account, Allowed, Asked, Caller, Federation, Order, decide
from secure_compute import canonical
from secure_compute.errors import SecureComputeError
from tests.people import HOST, Desk

ORGANISATIONS: Final = ("Ningbo", "Rotterdam", HOST)
PLACES: Final = ("CN", "EU", "US-CA")
ROLES: Final = (
    *("partner_operator", "officer", "data_team", "aggregator_operator", "regulator"),
    *("", "partner", "Officer"),
)

people = st.builds(
    Caller,
    st.just("Person"),
    st.sampled_from(["ana", "bea", "eva"]),
    st.sampled_from(ROLES),
    st.sampled_from(ORGANISATIONS),
    st.sampled_from(PLACES),
)
orders = st.builds(
    Order,
    st.just("1"),
    st.sampled_from(ORGANISATIONS),
    st.frozensets(st.sampled_from(ORGANISATIONS)),
    st.frozensets(st.sampled_from(PLACES)),
    st.frozensets(st.sampled_from(ORGANISATIONS)),
)
resources = st.one_of(st.just(Federation("harbour")), people.map(Account), orders)
actions = st.sampled_from([m.action for m in METHODS.values() if m.shows is Shows.SESSION])


def may(me: Caller, action: str, what: Federation | Account | Order, fresh: bool) -> bool:
    """What a reader of the README's table expects."""
    name, at_host = action.removeprefix("People/"), me.organisation == HOST
    if me.role == "aggregator_operator" and not at_host:
        return False
    match what:
        case Federation():
            return me.role in {
                "Roster": ROLES[:5],
                "Orders": ROLES[:5],
                "Models": ROLES[:5],
                "People": ("partner_operator", "officer", "aggregator_operator"),
                "Ledger": ("regulator", *(("officer",) if at_host else ())),
                "Waiting": ("officer",),
            }.get(name, ())
        case Account(owner):
            own = owner.id == me.id
            over = me.role == "aggregator_operator" or (
                me.role == "partner_operator" and owner.organisation == me.organisation
            )
            sees = over or (me.role == "officer" and owner.organisation == me.organisation)
            return {
                **dict.fromkeys(("WhoAmI", "Logout", "Confirm"), own),
                **dict.fromkeys(("AddPasskey", "RemovePasskey"), own and fresh),
                "People": sees,
                "Sessions": own or over,
                "Revoke": own or (over and fresh),
                "Disable": over and fresh,
            }.get(name, False)
        case Order():
            asked = me.organisation in what.organisations
            proposes = me.role == "data_team" and what.proposer == me.organisation
            reads = (
                proposes
                or (me.role in {"partner_operator", "officer"} and asked)
                or (me.role in {"aggregator_operator", "officer"} and at_host)
                or (me.role == "regulator" and me.jurisdiction in what.jurisdictions)
            )
            is_second = not at_host and what.proposer != me.organisation
            signs = me.role == "officer" and asked and is_second
            told = me.organisation in what.recipients and me.role in ROLES[:3]
            knows = told or (me.role in {"aggregator_operator", "officer"} and at_host)
            return {
                "Order": reads,
                "Propose": proposes,
                "Answer": proposes,
                "Card": reads or told,
                "Model": knows,
                "Waiting": signs,
                "Countersign": signs and fresh,
            }.get(name, False)


@settings(max_examples=400)
@given(people, actions, resources, st.booleans())
def test_the_law_says_what_the_model_says(
    me: Caller, action: str, what: Federation | Account | Order, fresh: bool
) -> None:
    if isinstance(what, Account) and what.owner.id == me.id:
        what = Account(me)  # a name is one person's
    decided = decide(me, action, what, Asked(fresh, HOST))
    assert isinstance(decided, Allowed) == may(me, action, what, fresh)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, list[str]]]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    roles = (("ann", "aggregator_operator", HOST), ("dan", "data_team", "Analytics"))
    yield desk, ["", "zz", *(desk.member(*words).session for words in roles)]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=8), inner, max_size=2)
    ),
    max_leaves=4,
)
words = st.one_of(values, st.sampled_from(["ann", "dan", "00" * 32, "123456", "1-AAAA-BBBB"]))
NAMES: Final = ("person", "code", "signature", "challenge", "passkey", "id", "order", "key")
MORE: Final = ("invitation", "secret", "countersignature", "x")
bodies = st.dictionaries(st.sampled_from((*NAMES, *MORE)), words, max_size=5)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(methods_of(PEOPLE)), st.integers(0, 3), bodies)
def test_whatever_is_sent_is_answered_or_refused_in_words(
    sessions: tuple[Desk, list[str]], method: object, who: int, body: dict[str, object]
) -> None:
    desk, tokens = sessions
    name = method.name  # type: ignore[attr-defined]
    if name in {"Logout", "Disable", "Revoke"}:
        body = {**body, "person": "nobody", "id": "nothing"}
        who = min(who, 1) if name == "Logout" else who
    try:
        answer = desk.calls[name](Call(tokens[who], body).to_bytes(), "somewhere")
    except (AggregatorError, FederationError, SecureComputeError) as why:
        assert str(why)
        assert str(Path(desk.folder)) not in str(why)
    else:
        assert isinstance(canonical.decode(answer), dict)
