"""Who may change what, against a model that knows no chain: sets, names and one table.

The model is told what everybody tries and says who would have to agree; it shares no line with
`federation.roster_rules`. Whatever a step tries, the chain moves on exactly when the model says so.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from federation.errors import UntrustedRosterError
from federation.roster_chain import (
    Admit,
    Change,
    Rekey,
    Remove,
    Restore,
    Suspend,
    change_statement,
    extended,
    open_roster,
    require_successor,
)
from policies.parties import PartyId, Role
from tests.rosters import FOUNDERS, Chain, founded, founders, key, member

ENTRANTS = {"br": "Recife", "jp": "Kobe", "cn2": "Ningbo", "hub2": "Operations", "us": "Newark"}
EVERYBODY = sorted({*FOUNDERS, *ENTRANTS})
some = st.lists(st.sampled_from(EVERYBODY), max_size=5, unique=True)
anybody = st.sampled_from(EVERYBODY)


@dataclass
class Model:
    """Who is in, in which organisation, in which role, under which key; who may not speak now."""

    colluding: int
    organisation: dict[str, str] = field(default_factory=dict)
    role: dict[str, str] = field(default_factory=dict)
    key: dict[str, str] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def agree(self, signers: set[str], about: str, organisation: str) -> bool:
        """Whether enough of those whose word counts are among the signers."""
        table = {
            self.organisation[who]
            for who in signers
            if self.role[who] in {"warehouse", "merchant", "payment_partner", "keyholder"}
            and who not in self.mute
            and who != about
        }
        return len(table - {"Operations", organisation}) > self.colluding

    def out(self, party: str) -> None:
        for known in (self.organisation, self.role, self.key):
            known.pop(party)
        self.mute.discard(party)


class Membership(RuleBasedStateMachine):
    """Steps of people who may and who may not."""

    chain: Chain
    model: Model

    @initialize(colluding=st.sampled_from([1, 2]))
    def found(self, colluding: int) -> None:
        members = (*founders(), *((member("old", "Kiel"),) if colluding > 1 else ()))
        self.chain = founded(members=members, colluding=colluding)
        self.model = Model(colluding)
        for one in members:
            self.model.organisation[one.party] = one.organisation
            self.model.role[one.party] = one.role.value
            self.model.key[one.party] = one.identity.hex
        self.model.names, self.model.keys = set(self.model.key), set(self.model.key.values())

    def attempt(self, change: Change, words: dict[PartyId, bytes], *, may: bool) -> None:
        """The chain moves on if it may, and stays what it is if it may not."""
        before = self.chain.wire
        try:
            after = extended(before, self.chain.pin, change, words)
        except UntrustedRosterError:
            assert not may
            return
        assert may
        require_successor(before, after, self.chain.pin)
        self.chain.wire = after

    def signed(self, change: Change, by: set[str]) -> dict[PartyId, bytes]:
        said = change_statement(self.chain.roster, change)
        keys = self.chain.keys
        return {PartyId(who): keys.get(who, key(who)).sign(said) for who in by}

    @rule(who=st.sampled_from(sorted(ENTRANTS)), by=some, proves=st.booleans())
    def admit(self, who: str, by: list[str], proves: bool) -> None:
        entrant = member(who, ENTRANTS[who])
        signers = set(by) - {who}
        words = self.signed(Admit(entrant), signers)
        if proves:
            said = change_statement(self.chain.roster, Admit(entrant))
            words[PartyId(who)] = key(who).sign(said)
        m = self.model
        may = (
            proves
            and who not in m.names
            and entrant.identity.hex not in m.keys
            and signers <= m.key.keys()
            and m.agree(signers, who, ENTRANTS[who])
        )
        self.attempt(Admit(entrant), words, may=may)
        if may:
            m.organisation[who], m.role[who] = ENTRANTS[who], "merchant"
            m.key[who] = entrant.identity.hex
            m.names.add(who)
            m.keys.add(entrant.identity.hex)
            self.chain.keys[who] = key(who)

    @rule(who=anybody, by=some)
    def remove(self, who: str, by: list[str]) -> None:
        m, signers = self.model, set(by)
        words = self.signed(Remove(PartyId(who)), signers)
        known = who in m.key and signers <= m.key.keys() and who != "hub"
        may = known and (who in signers or m.agree(signers - {who}, who, m.organisation[who]))
        self.attempt(Remove(PartyId(who)), words, may=may)
        if may:
            m.out(who)

    @rule(who=anybody, by=some, old=st.booleans(), number=st.integers(0, 2))
    def rekey(self, who: str, by: list[str], old: bool, number: int) -> None:
        m, new = self.model, key(f"{who} {number}")
        change = Rekey(PartyId(who), new.verify_key)
        said = change_statement(self.chain.roster, change)
        signers = set(by) - {who}
        words = self.signed(change, signers)
        own = self.chain.keys.get(who, key(who)).sign(said) if old else b""
        words[PartyId(who)] = new.sign(said) + own
        may = (
            who in m.key
            and new.verify_key.hex not in m.keys
            and signers <= m.key.keys()
            and ((old and who not in m.mute) or m.agree(signers, who, m.organisation[who]))
        )
        self.attempt(change, words, may=may)
        if may:
            m.key[who] = new.verify_key.hex
            m.keys.add(new.verify_key.hex)
            self.chain.keys[who] = new

    @rule(who=anybody, by=some)
    def suspend(self, who: str, by: list[str]) -> None:
        m, signers = self.model, set(by)
        words = self.signed(Suspend(PartyId(who)), signers)
        known = who in m.key and who not in m.mute and who != "hub" and signers <= m.key.keys()
        may = known and bool(signers & {"hub", who})
        self.attempt(Suspend(PartyId(who)), words, may=may)
        if may:
            m.mute.add(who)

    @precondition(lambda self: self.model.mute)
    @rule(by=some, data=st.data())
    def restore(self, by: list[str], data: st.DataObject) -> None:
        m, signers = self.model, set(by)
        who = data.draw(st.sampled_from(sorted(m.mute)))
        words = self.signed(Restore(PartyId(who)), signers)
        may = signers <= m.key.keys() and "hub" in signers
        self.attempt(Restore(PartyId(who)), words, may=may)
        if may:
            m.mute.discard(who)

    @invariant()
    def they_say_the_same(self) -> None:
        roster = open_roster(self.chain.wire, self.chain.pin)
        assert {m.party: m.identity.hex for m in roster.members} == self.model.key
        assert {m.party: m.organisation for m in roster.members} == self.model.organisation
        assert roster.suspended == self.model.mute
        assert sum(m.role is Role.AGGREGATOR for m in roster.members) == 1


TestMembership = Membership.TestCase
TestMembership.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
