"""Whether whoever stands at a door may call a method: by Cedar, with reasons, closed in doubt.

    decide(caller, "People/Order", Order("run 7", …), Asked(fresh=False, host="Operations"))

People and machines are judged by one text, `rules.cedar`, under one schema, and by the engine that
judges orders at nodes. The schema's actions are all methods there are: another one is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias

from policies.engine import Law, Reason, load_law, objections_to
from policies.evidence import Minted

_Euid: TypeAlias = dict[str, str]
_Entity: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the door found out by itself.

    kind:   `Anybody` has shown nothing; a `Machine` its certificate; a `Person` a session.
    id:     the party, or the person's name; "" of nobody.
    member: of a machine, whether it is on the roster and not suspended.
    """

    kind: Literal["Anybody", "Machine", "Person"]
    id: str = ""
    role: str = ""
    organisation: str = ""
    jurisdiction: str = ""
    member: bool = False

    def entity(self) -> _Entity:
        """Return it as Cedar has it."""
        words = {
            "role": self.role,
            "organisation": self.organisation,
            "jurisdiction": self.jurisdiction,
        }
        more: dict[str, dict[str, Any]] = {
            "Anybody": {},
            "Machine": {**words, "member": self.member},
            "Person": words,
        }
        return _entity(self.kind, self.id, more[self.kind])


NOBODY: Final = Caller("Anybody")


@dataclass(frozen=True, slots=True)
class Federation:
    """The federation as a whole."""

    name: str

    def entities(self) -> list[_Entity]:
        """Return it, and what it names, as Cedar has them."""
        return [_entity("Federation", self.name, {})]


@dataclass(frozen=True, slots=True)
class Account:
    """What is kept of one person: its role, its factors, its sessions."""

    owner: Caller

    def entities(self) -> list[_Entity]:
        """Return it, and what it names, as Cedar has them."""
        owner = {"__entity": {"type": "Person", "id": self.owner.id}}
        words = {"owner": owner, "organisation": self.owner.organisation}
        return [_entity("Account", self.owner.id, words), self.owner.entity()]


@dataclass(frozen=True, slots=True)
class Order:
    """One work order: whose data team asks, which organisations and places, and who will know."""

    id: str
    proposer: str
    organisations: frozenset[str]
    jurisdictions: frozenset[str]
    recipients: frozenset[str] = frozenset()

    def entities(self) -> list[_Entity]:
        """Return it, and what it names, as Cedar has them."""
        words = {
            "proposer": self.proposer,
            "organisations": sorted(self.organisations),
            "jurisdictions": sorted(self.jurisdictions),
            "recipients": sorted(self.recipients),
        }
        return [_entity("Order", self.id, words)]


Resource: TypeAlias = Federation | Account | Order


@dataclass(frozen=True, slots=True)
class Asked:
    """What else a rule may look at. fresh: a factor was shown lately; host: who runs the table."""

    fresh: bool
    host: str


@dataclass(frozen=True, slots=True)
class Allowed(metaclass=Minted):
    """The law of the doors lets `caller` call `action` on `resource`."""

    caller: Caller
    action: str
    resource: Resource


@dataclass(frozen=True, slots=True)
class Denied:
    """It does not, for every one of `reasons`, sorted by id; there is at least one."""

    caller: Caller
    action: str
    resource: Resource
    reasons: tuple[Reason, ...]


def decide(
    caller: Caller, action: str, resource: Resource, asked: Asked, law: Law | None = None
) -> Allowed | Denied:
    """Return what the law of the doors says; the one that ships where no other is given."""
    question = {
        "principal": _euid(caller.kind, caller.id),
        "action": _euid("Action", action),
        "resource": _euid(type(resource).__name__, _id(resource)),
        "context": {"fresh": asked.fresh, "host": asked.host},
    }
    entities = [caller.entity(), *resource.entities()]
    unlike = {(e["uid"]["type"], e["uid"]["id"]): e for e in entities}
    objected = objections_to(question, list(unlike.values()), law or access_law())
    if objected:
        return Denied(caller, action, resource, tuple(map(_worded, objected)))
    return Allowed._mint(caller, action, resource)  # noqa: SLF001  the home of this evidence


@cache
def access_law() -> Law:
    """Return the rules that ship, parsed and validated against their schema once."""
    return load_law([_text("rules.cedar")], _text("schema.cedarschema"))


def _text(name: str) -> str:
    return files("policies.access").joinpath(name).read_text(encoding="utf-8")


def _worded(reason: Reason) -> Reason:
    """Return a refusal for want of a rule in the words of a door; it is no node's operator's."""
    if not reason.id.startswith("LAW-"):
        return reason
    said = {
        "text_en": "No rule lets you do this",
        "text_zh": "没有规则允许您执行此操作",
        "fix_en": "ask the aggregator's operator which role may",
        "fix_zh": "请向聚合方运营人员询问哪个角色可以执行",
    }
    return replace(reason, **said)


def _id(resource: Resource) -> str:
    match resource:
        case Federation(name):
            return name
        case Account(owner):
            return owner.id
        case Order():
            return resource.id


def _euid(kind: str, name: str) -> _Euid:
    return {"type": kind, "id": name}


def _entity(kind: str, name: str, attributes: Mapping[str, Any]) -> _Entity:
    return {"uid": _euid(kind, name), "attrs": dict(attributes), "parents": []}
