"""Envelopes of orders that a person agreed to in advance: what is inside, and for how much."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import NodeSettingsError
from clients.standing import (
    DAY,
    Asked,
    Standing,
    Use,
    like,
    outside,
    read_standing,
    standing_from_json,
)
from experiments.commands.node_approve import approve
from experiments.deciding import give, overview, withdraw
from experiments.errors import UsageError
from experiments.ordering import sign
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.orders import Read
from policies.parties import PartyId
from tests.persons import (
    OFFICER,
    approved,
    ask_above,
    is_asked,
    later,
    look,
    persons,
    run,
    says,
    waiting,
)
from tests.persons import like as stands
from tests.simulator import CN
from tests.unit.test_orders import ORDER

NOW = 1_000_000
ENVELOPE = Standing(
    kinds=("query", "train"),
    reads=(Read("orders", 1, ("amount", "category")),),
    purposes=("fraud_prevention",),
    legal_bases=("contract",),
    recipients=(PartyId("analyst"), PartyId("node")),
    organisations=3,
    epsilon=Decimal("0.5"),
    delta=Decimal("0.000001"),
    total_epsilon=Decimal(1),
    total_delta=Decimal("0.000002"),
    days=10,
    begins=NOW - 5,
    expires=NOW + 100,
)
INSIDE = Asked(
    replace(ORDER, legal_basis="contract", minimum=1),
    Decimal("0.5"),
    {PartyId("analyst")},
    3,
    NOW,
)
TOML = """
kinds = ["query"]
reads = [{contract = "orders", version = 1, columns = ["amount"]}]
purposes = ["fraud_prevention"]
legal_bases = ["contract"]
recipients = ["analyst"]
organisations = 3
epsilon = "0.5"
delta = "0.000001"
total_epsilon = "1.0"
total_delta = "0.00001"
days = 30
begins = 0
expires = 2000000000
"""


# -- pure ------------------------------------------------------------------------------------------


def asked(**changes):
    order = {"delta": "0.000001", "cohort": tuple("abc"), "minimum": 3}
    told = {
        name: changes.pop(name)
        for name in ("epsilon", "informed", "organisations", "now")
        if name in changes
    }
    base = replace(INSIDE.order, **{**order, **changes})
    return replace(INSIDE, order=base, **told)


def test_what_is_within_is_within():
    assert outside(ENVELOPE, asked(), []) == ()


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("time", {"now": NOW - 6}),
        ("time", {"now": NOW + 100}),
        ("kind", {"kind": "match"}),
        ("kind", {"epsilon": None}),
        ("columns", {"columns": ("amount", "email")}),
        ("columns", {"columns": ()}),
        ("columns", {"contract": "demand"}),
        ("columns", {"contract_version": 2}),
        ("purpose", {"purpose": "marketing"}),
        ("legal basis", {"legal_basis": "consent"}),
        ("recipients", {"informed": {PartyId("analyst"), PartyId("eve")}}),
        ("organisations", {"organisations": 2}),
        ("organisations", {"minimum": 2}),
        ("price", {"epsilon": Decimal("0.5000000001")}),
        ("price", {"delta": "0.0000010001"}),
    ],
)
def test_what_is_not_within(what, changes):
    assert what in outside(ENVELOPE, asked(**changes), [])


def test_a_join_is_within_only_with_all_that_it_reads():
    joined = {"kind": "query", "further": (Read("demand", 1, ("price",)),)}
    assert outside(ENVELOPE, asked(**joined), []) == ("columns",)
    wider = replace(ENVELOPE, reads=(*ENVELOPE.reads, Read("demand", 1, ("price", "week"))))
    assert outside(wider, asked(**joined), []) == ()


def test_totals_are_over_the_last_days():
    half = Decimal("0.5")
    uses = [Use(NOW - 10 * DAY + 1, half, Decimal("0.000001"))] * 2
    assert outside(ENVELOPE, asked(), uses[:1]) == ()
    assert outside(ENVELOPE, asked(), uses) == ("total epsilon", "total delta")
    old = [replace(use, at=NOW - 10 * DAY) for use in uses]
    assert outside(ENVELOPE, asked(), old) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ("psi",)},
        {"kinds": ()},
        {"reads": ()},
        {"reads": ENVELOPE.reads * 2},
        {"epsilon": Decimal(0)},
        {"total_delta": Decimal("NaN")},
        {"organisations": 0},
        {"days": 0},
        {"expires": NOW - 5},
    ],
)
def test_bad_envelopes(change):
    with pytest.raises(NodeSettingsError):
        replace(ENVELOPE, **change)


def test_an_envelope_reads_back():
    assert standing_from_json(ENVELOPE.to_json()) == ENVELOPE
    assert read_standing(TOML).organisations == 3
    for wrong in ("kinds = 1", TOML + "more = 1", TOML.replace('"0.5"', "0.5"), "="):
        with pytest.raises(NodeSettingsError):
            read_standing(wrong)


def test_an_envelope_like_an_order_holds_that_order_so_many_times():
    one = asked(epsilon=Decimal("0.4"))
    found = like(one, times=2, days=7, expires=NOW + DAY)
    used = [Use(NOW, Decimal("0.4"), Decimal(one.order.delta))]
    assert outside(found, one, []) == outside(found, one, used) == ()
    assert "total epsilon" in outside(found, one, used * 2)
    with pytest.raises(NodeSettingsError):
        like(replace(one, epsilon=None), times=2, days=7, expires=NOW + DAY)


NAMES = st.sampled_from("abcd")
SETS = st.sets(NAMES, min_size=1, max_size=3)
CENTS = st.integers(1, 9)


@st.composite
def scenes(draw):
    """Return an envelope, an order and what was used before, in plain values."""
    return {
        "kinds": draw(st.sets(st.sampled_from(["query", "train", "match"]), min_size=1)),
        "kind": draw(st.sampled_from(["query", "train", "match"])),
        "may_read": {name: draw(SETS) for name in draw(st.sets(NAMES, min_size=1, max_size=2))},
        "reads": (draw(NAMES), draw(SETS)),
        "purposes": draw(SETS),
        "purpose": draw(NAMES),
        "may_know": draw(SETS),
        "knows": draw(SETS),
        "fewest": draw(st.integers(1, 4)),
        "organisations": draw(st.integers(1, 4)),
        "minimum": draw(st.integers(1, 4)),
        "each": draw(CENTS),
        "total": draw(CENTS) * 2,
        "price": draw(st.none() | CENTS),
        "days": draw(st.integers(1, 5)),
        "uses": draw(st.lists(st.tuples(st.integers(0, 7 * DAY), CENTS), max_size=4)),
        "now": draw(st.integers(-3, 12)),
    }


def model(scene):
    """Say what is within, in integers and sets, and from nothing of the program."""
    contract, columns = scene["reads"]
    lately = [cents for ago, cents in scene["uses"] if ago < scene["days"] * DAY]
    return (
        0 <= scene["now"] < 10
        and scene["price"] is not None
        and scene["kind"] in scene["kinds"]
        and columns <= scene["may_read"].get(contract, set())
        and scene["purpose"] in scene["purposes"]
        and scene["knows"] <= scene["may_know"]
        and scene["organisations"] >= scene["fewest"]
        and scene["minimum"] >= scene["fewest"]
        and scene["price"] <= scene["each"]
        and scene["price"] + sum(lately) <= scene["total"]
    )


@settings(max_examples=400)
@given(scenes())
def test_what_is_within_agrees_with_a_model(scene):
    begins = 100 * DAY
    envelope = Standing(
        kinds=tuple(scene["kinds"]),
        reads=tuple(Read(name, 1, tuple(may)) for name, may in scene["may_read"].items()),
        purposes=tuple(scene["purposes"]),
        legal_bases=("contract",),
        recipients=tuple(map(PartyId, scene["may_know"])),
        organisations=scene["fewest"],
        epsilon=Decimal(scene["each"]) / 100,
        delta=Decimal("0.00001"),
        total_epsilon=Decimal(scene["total"]) / 100,
        total_delta=Decimal(1),
        days=scene["days"],
        begins=begins,
        expires=begins + 10,
    )
    now = begins + scene["now"]
    contract, columns = scene["reads"]
    order = replace(
        INSIDE.order,
        kind=scene["kind"],
        contract=contract,
        columns=tuple(columns),
        purpose=scene["purpose"],
        cohort=tuple("abcd"),
        minimum=scene["minimum"],
    )
    price = None if scene["price"] is None else Decimal(scene["price"]) / 100
    one = Asked(order, price, set(map(PartyId, scene["knows"])), scene["organisations"], now)
    uses = [Use(now - ago, Decimal(cents) / 100, Decimal("1e-9")) for ago, cents in scene["uses"]]
    assert (outside(envelope, one, uses) == ()) is model(scene)


# -- over a federation -----------------------------------------------------------------------------


@pytest.fixture
def asking(simulation):
    """China's warehouse asks a person about every order."""
    ask_above(simulation, CN)
    return simulation


def test_an_order_within_is_accepted_without_asking_and_the_log_says_under_which(asking):
    first = waiting(asking.training())
    run(asking, first)
    name = stands(asking, CN, first)
    later(asking)
    assert asking.job(first).status == "done"
    second = waiting(asking.training(seed=2))
    assert run(asking, second).status == "done"
    assert not is_asked(asking, CN, second)
    for order in (first, second):
        (entry,) = approved(asking, CN, order)
        assert f"standing={name}" in entry.body["reasons"]
    assert len(persons(asking, CN).uses(name)) == 2


def test_an_order_that_does_not_wait_is_within_too(asking):
    first = waiting(asking.training())
    run(asking, first)
    stands(asking, CN, first)
    order = asking.training(seed=3)
    assert CN in asking.run(order).result["parties"]


def test_the_total_is_not_refilled_by_a_restart(asking):
    first = waiting(asking.training(abandoned=0))
    run(asking, first)
    stands(asking, CN, first, times=1)
    later(asking)
    assert asking.job(first).status == "done"
    asking.restart(CN)
    second = waiting(asking.training(seed=2, abandoned=0))
    assert run(asking, second).status == "waiting"
    assert is_asked(asking, CN, second)


def test_an_order_counts_once_however_often_it_is_judged(asking):
    order = waiting(asking.training())
    run(asking, order)
    name = stands(asking, CN, order, times=1)
    later(asking)
    result = asking.job(order).result
    assert result["rounds"] == order.releases and CN in result["parties"]
    assert len(persons(asking, CN).uses(name)) == 1


def test_the_total_is_not_refilled_by_a_copy_that_was_put_back(asking, tmp_path):
    """Witnesses know the log that counts: a node with an older one says nothing any more."""
    first = waiting(asking.training(abandoned=0))
    run(asking, first)
    stands(asking, CN, first, times=1)
    asking.node(CN)
    copy = tmp_path / "copy"
    shutil.copytree(asking.folder(CN), copy)
    later(asking)
    assert asking.job(first).status == "done"
    asking.coordinator().have_witnessed()
    asking.kill(CN)
    folder = asking.folder(CN)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    second = waiting(asking.training(seed=2, abandoned=0))
    run(asking, second)
    job = asking.job(second)
    assert CN not in (job.result or {}).get("parties", [])
    assert approved(asking, CN, second) == []


def test_a_standing_approval_that_was_withdrawn_does_not_count(asking):
    first = waiting(asking.training())
    run(asking, first)
    name = stands(asking, CN, first)
    kept = (asking.folder(CN) / "approvals" / "standing" / name).read_bytes()
    assert withdraw(asking.folder(CN), name[:12]) == name
    later(asking)
    assert asking.job(first).status == "waiting"
    (asking.folder(CN) / "approvals" / "standing" / name).write_bytes(kept)  # put back
    later(asking)
    assert asking.job(first).status == "waiting"
    (entry,) = [e for e in asking.books(CN).entries() if e.kind is EntryKind.REFUSED]
    assert (entry.order, entry.body["kind"]) == ("", "withdrawn")
    with pytest.raises(UsageError):
        withdraw(asking.folder(CN), name[:12])


def test_a_file_that_the_log_does_not_know_does_not_count(asking, tmp_path):
    """Whoever can write into the folder alone agrees to nothing."""
    first = waiting(asking.training())
    run(asking, first)
    name = stands(asking, CN, first)
    content = (asking.folder(CN) / "approvals" / "standing" / name).read_bytes()
    second = type(asking)(tmp_path / "other")
    ask_above(second, CN)
    path = second.folder(CN) / "approvals" / "standing" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert persons(second, CN).envelopes() == {}
    assert set(persons(asking, CN).envelopes()) == {name}


def test_an_envelope_that_was_widened_afterwards_does_not_count(asking):
    first = waiting(asking.training())
    run(asking, first)
    name = stands(asking, CN, first)
    path = asking.folder(CN) / "approvals" / "standing" / name
    path.write_bytes(path.read_bytes().replace(b'"days":30', b'"days":31'))
    assert persons(asking, CN).envelopes() == {}
    later(asking)
    assert asking.job(first).status == "waiting"


def test_a_persons_no_goes_before_an_envelope(asking):
    first = waiting(asking.training())
    run(asking, first)
    stands(asking, CN, first)
    says(asking, CN, first, "no")
    later(asking)
    assert CN not in asking.job(first).result["parties"]


def test_what_is_beyond_the_envelope_asks_a_person(asking):
    first = waiting(asking.training())
    run(asking, first)
    stands(asking, CN, first, purposes=("supply_planning",))
    later(asking)
    assert asking.job(first).status == "waiting"


def test_two_orders_at_once_do_not_share_what_is_left(asking):
    """The first accepted takes it; the second waits, though both were judged willing before."""
    first, second = (waiting(asking.training(seed=n, abandoned=0)) for n in (1, 2))
    run(asking, first)
    stands(asking, CN, first, times=1)
    for order in (first, second):
        wire = sign(asking.home, order)
        assert asking.ask(Kind.PROPOSE, CN, order.id, order=wire).kind is Kind.WILLING
    assert asking.offer(CN, first).kind is Kind.ACCEPTED
    assert asking.offer(CN, second).kind is Kind.REFUSED


def test_the_command_gives_lists_and_ends(asking, tmp_path):
    first = waiting(asking.training())
    run(asking, first)
    folder = asking.folder(CN)

    def invoke(*words):
        done = CliRunner().invoke(approve, [str(folder), *map(str, words)])
        assert done.exit_code == 0, done.output
        return done.stdout

    given = json.loads(
        invoke(first.id[:12], "--like", "--person", OFFICER, "--times", 3, "--yes", "--json")
    )
    (one,) = overview(folder)["standing"]
    assert (one["id"], one["person"]) == (given["standing"], OFFICER)
    assert given["standing"][:12] in invoke()
    assert given["standing"][:12] in invoke("--lang", "zh")
    invoke("--withdraw", given["standing"][:12])
    assert overview(folder)["standing"] == []
    path = tmp_path / "envelope.toml"
    path.write_text(TOML)
    words = ("--standing", path, "--person", OFFICER, "--legal-basis", "contract", "--yes")
    invoke(*words)
    assert len(overview(folder)["standing"]) == 1


def test_an_envelope_is_like_an_order_that_was_accepted(asking):
    first = waiting(asking.training())
    run(asking, first)
    says(asking, CN, first)
    later(asking)
    assert not is_asked(asking, CN, first)
    words = (first.id[:12], "--like", "--person", OFFICER, "--yes")
    done = CliRunner().invoke(approve, [str(asking.folder(CN)), *words])
    assert done.exit_code == 0, done.output
    second = waiting(asking.training(seed=2))
    assert run(asking, second).status == "done"


def test_an_envelope_names_a_person(asking):
    order = waiting(asking.training())
    run(asking, order)
    standing = look(asking, CN, order).like(1, 1)
    with pytest.raises(NodeSettingsError, match="names the person"):
        give(asking.folder(CN), standing, " ", "x", None)
