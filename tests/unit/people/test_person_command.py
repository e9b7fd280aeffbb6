"""A person's whole way over TLS, by the commands that a person types."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import tomli_w

from aggregator.joining import joining
from clients.calling import NotAllowedError, NotReachedError, WrongPinError
from experiments.cli import run
from experiments.countersigning import look
from experiments.errors import PartlyProposedError, UsageError
from experiments.people_invited import invite, seat_of
from experiments.peoples_door import Me, Place, ask, open_me
from experiments.telling import moment
from federation.control.calls import DEADLINE
from federation.invitations import Token
from federation.mandates import mandate
from federation.orders import sign_order
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.primitives.signature import VerifyKey
from tests.joins import evil
from tests.people import HOST, Desk, code_at, order_of
from tests.rosters import key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def door(desk: Desk) -> Iterator[Desk]:
    """The door is open, on the join port of the aggregator's folder."""
    with joining(desk.folder):
        yield desk


class Terminal:
    """One person's terminal."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.step = 0

    def types(self, *words: str) -> tuple[int, dict[str, object]]:
        """Return the exit code, and what --json says."""
        code = run(["person", *words, "--folder", str(self.folder), "--json"])
        out, self.said = self.capture.readouterr()
        return code, json.loads(out) if out else {}

    def code(self) -> str:
        """Return a code that the phone shows now or shows next, and that was not used."""
        self.step = max(self.step + 1, int(time.time()) // 30)
        return code_at(self.secret, self.step * 30)

    def enrol(self, desk: Desk, name: str, role: str, organisation: str) -> None:
        """Come in with what the operator's command printed."""
        words = (name, "--role", role, "--organisation", organisation, "--jurisdiction", "EU")
        where = ("--federation", str(desk.home), "--json")
        assert run(["aggregator", "people", "invite", *words, *where]) == 0
        token = json.loads(self.capture.readouterr().out)["token"]
        code, told = self.types("enrol", token)
        assert code == 0
        self.secret = parse_qs(urlsplit(str(told["otpauth"])).query)["secret"][0]
        self.recovery = told["recovery"]
        assert self.types("enrol", token)[0] == 2  # the folder is somebody's


def test_from_the_token_to_the_last_call(
    door: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = door.put(order_of("desk", ("cn", "eu")), "desk")
    ann = Terminal(tmp_path / "ann", capsys)
    ann.enrol(door, "ann", "aggregator_operator", HOST)
    assert ann.types("whoami")[0] == 2  # nobody is logged in
    assert ann.types("login", "--code", "000000")[0] == 10
    assert ann.types("login", "--code", ann.code())[0] == 0
    assert ann.types("whoami")[1]["role"] == "aggregator_operator"
    assert ann.types("orders")[1]["orders"][0]["order"] == order
    assert ann.types("orders", order[:12])[1]["work"]["cohort"] == ["cn", "eu"]
    assert ann.types("roster")[1]["epoch"] == 1
    assert ann.types("ledger", str(tmp_path / "l.json"))[0] == 10
    assert "LAW-001" in ann.said

    bob = Terminal(tmp_path / "bob", capsys)
    bob.enrol(door, "bob", "data_team", "Analytics")
    assert bob.types("login", "--code", bob.recovery[0])[0] == 0
    assert bob.types("people")[0] == 10
    rows = ann.types("sessions", "--person", "bob")[1]["sessions"]
    assert ann.types("sessions", "--revoke", rows[0]["id"])[0] == 0
    assert bob.types("whoami")[0] == 10
    assert bob.types("login", "--code", bob.recovery[1])[0] == 0
    assert ann.types("people", "--disable", "bob")[0] == 0
    assert bob.types("whoami")[0] == 10
    assert bob.types("login", "--code", bob.recovery[2])[0] == 10

    listed = run(["aggregator", "people", "list", "--federation", str(door.home), "--json"])
    rows = json.loads(capsys.readouterr().out)["people"]
    assert listed == 0
    assert [(row["person"], row["disabled"]) for row in rows] == [("ann", False), ("bob", True)]
    assert ann.types("logout")[0] == 0
    assert not (tmp_path / "ann" / "session").exists()


def test_a_data_team_proposes_training_from_a_folder_without_an_aggregator(
    door: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = tmp_path / "team"
    (team / "people" / "desk").mkdir(parents=True)
    (team / "people" / "desk" / "identity.key").write_bytes(key("desk").seed)
    (team / "roster.bin").write_bytes((door.folder / "roster.bin").read_bytes())
    words = {"name": "harbour", "pin": door.hosting().pin, "analyst": "desk"}
    (team / "federation.toml").write_text(tomli_w.dumps(words))
    dan = Terminal(tmp_path / "dan", capsys)
    dan.enrol(door, "dan", "data_team", "Analytics")
    dan.types("login", "--code", dan.recovery[0])
    code, told = dan.types("propose", "demand", "--federation", str(team))
    assert code == 0, dan.said
    shown = dan.types("orders", str(told["order"]))[1]
    assert (shown["status"], shown["work"]["proposer"]) == ("queued", "desk")
    assert shown["work"]["cohort"] == ["cn", "eu", "br"]

    start = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    again = ("--start", start, "--every", "1d", "--times", "2", "--federation", str(team))
    code, laid = dan.types("propose", "demand", *again)
    assert code == 0, dan.said
    assert laid["unseen"] == ["cn", "eu", "br"]  # what is left there is theirs to say
    rows = {row["order"]: row for row in dan.types("orders")[1]["orders"]}
    for number, one in enumerate(laid["orders"], 1):
        row = rows[one["run"]]
        assert row["schedule"] == {"number": number, "of": 2, "every": 24 * 3600}
        assert (row["not_before"], row["expires"]) == (one["not_before"], one["expires"])
    assert run(["person", "orders", "--folder", str(tmp_path / "dan")]) == 0
    assert f", 2 of 2, begins {moment(one['not_before'])}, over" in capsys.readouterr().out


def test_an_officer_countersigns_what_the_bytes_say_with_the_key_of_its_machine(
    door: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = int(time.time())
    order = order_of("desk", ("cn", "eu"), waits_until=now + 3600, expires=now + 7200)
    door.put(order, "desk")
    ana = Terminal(tmp_path / "ana", capsys)
    ana.enrol(door, "ana", "officer", "Ningbo")
    ana.types("login", "--code", ana.recovery[0])
    assert [one["order"] for one in ana.types("waiting")[1]["orders"]] == [order.id]
    seen = ana.types("waiting", order.id[:12])[1]
    assert (seen["order"], seen["epsilon"], seen["recipients"]) == (order.id, "2", ["desk"])
    sign = ("countersign", order.id[:12], "--yes")
    assert ana.types(*sign)[0] == 2  # no mandate lies here
    own = VerifyKey(str(ana.types("mandate")[1]["key"]))
    for member, expected in (("eu", 10), ("cn", 0)):  # another organisation's, and its own
        party = PartyId(member)
        line = str(mandate("harbour", party, own, now + 7200, key(member)))
        assert ana.types("mandate", line)[0] == 0
        assert ana.types(*sign, "--party", member)[0] == expected, ana.said
    assert ana.types(*sign)[0] == 2  # of two parties, which?
    assert ana.types(*sign, "--party", "cn")[1]["new"] is False
    assert ana.types("waiting")[1]["orders"][0]["countersigned"] == ["cn"]
    foreign = mandate("harbour", PartyId("cn"), key("thief").verify_key, now + 7200, key("cn"))
    for line in (str(foreign), "entrepot_mandate1_x"):
        assert ana.types("mandate", line)[0] == 2
    assert run(["person", "waiting", "--folder", str(ana.folder)]) == 0
    assert "of cn, eu to desk" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["another", "none", "foreign"])
def test_other_bytes_than_those_of_the_named_order_are_not_signed(
    what: str, tmp_path: Path
) -> None:
    named, other = order_of("desk", ("cn",)), order_of("desk", ("cn",), epsilon="9")
    foreign = order_of("desk", ("cn",), federation="other")
    name = foreign.id if what == "foreign" else named.id
    given = {"another": other, "foreign": foreign}.get(what)
    wire = "00" if given is None else sign_order(given, key("desk")).hex()

    class Evil(Me):
        def ask(self, method: str, **body: Any) -> dict[str, Any]:
            assert method == "Waiting"
            return {"order": name, "epsilon": "2", "wire": wire}

    me = Evil(tmp_path, "ana", "harbour", Place("127.0.0.1", 1, b""))
    with pytest.raises(UsageError, match=r"sign nothing|no order"):
        look(me, name)


def test_an_answer_that_was_lost_costs_no_seat(
    door: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = str(invite(door.hosting(), seat_of("bob", "Analytics", "data_team", "EU"), 1.0))
    words = ["person", "enrol", token, "--folder", str(tmp_path / "bob")]

    def loses(*words: Any) -> dict[str, Any]:
        ask(*words)
        raise NotReachedError("the answer is lost")

    with monkeypatch.context() as patched:
        patched.setattr("experiments.peoples_door.ask", loses)
        assert run(words) == 20
    assert run(words) == 0


def test_the_session_and_the_key_are_their_owners_alone(
    door: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = Terminal(tmp_path / "bob", capsys)
    bob.enrol(door, "bob", "data_team", "Analytics")
    bob.types("login", "--code", bob.recovery[0])
    modes = {name: (tmp_path / "bob" / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == dict.fromkeys(FILES, 0o600)
    held = b"".join(path.read_bytes() for path in (tmp_path / "bob").iterdir())
    assert not [code for code in (bob.secret, *bob.recovery) if code.encode() in held]


FILES = ("person.key", "session")


def test_another_server_is_sent_nothing(desk: Desk, tmp_path: Path) -> None:
    token = invite(desk.hosting(), seat_of("bob", "Analytics", "data_team", "EU"), 1.0)
    with evil(tmp_path / "evil") as (port, sizes):
        place = Place("127.0.0.1", port, token.pin)
        (tmp_path / "bob").mkdir()
        (tmp_path / "bob" / "session").write_text("00" * 32)
        with pytest.raises(WrongPinError):
            Me(tmp_path / "bob", "bob", "harbour", place).ask("WhoAmI")
        foreign = Token("127.0.0.1", port, token.pin, token.invitation, token.secret, token.expires)
        assert run(["person", "enrol", str(foreign), "--folder", str(tmp_path / "new")]) == 30
    assert sum(sizes) == 0


def test_what_people_type_says_what_went_wrong(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 for what makes no sense, 20 where nobody answers."""
    folder = ("--folder", str(tmp_path / "bob"))
    assert run(["person", "whoami", *folder]) == 2
    assert "entrepot person enrol" in capsys.readouterr().err
    assert run(["person", "enrol", "entrepot1_x", *folder]) == 2
    token = invite(desk.hosting(), seat_of("bob", "Analytics", "data_team", "EU"), 1.0)
    assert run(["person", "enrol", str(token), *folder]) == 20  # nobody runs the aggregator
    where = ("--federation", str(desk.home))
    assert run(["aggregator", "people", "disable", "nobody", *where]) == 2
    (tmp_path / "bob" / "person.json").write_text("{}")
    assert run(["person", "whoami", *folder]) == 2


def test_words_for_people_are_words(
    door: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door.put(order_of("desk", ("cn", "eu")), "desk")
    ann = Terminal(tmp_path / "ann", capsys)
    ann.enrol(door, "ann", "officer", HOST)
    ann.types("login", "--code", ann.recovery[0])
    shown = {}
    for words in (("whoami",), ("sessions",), ("people",), ("roster",), ("orders",)):
        assert run(["person", *words, "--folder", str(ann.folder)]) == 0
        shown[words[0]] = capsys.readouterr().out
    assert f"officer of {HOST}" in shown["whoami"]
    assert "ann  since" in shown["sessions"]
    assert shown["people"] == f"ann: {HOST} (officer, EU)\n"
    assert "warehouse" in shown["roster"]
    assert "fraud_prevention" in shown["orders"]


def test_errors_carry_documented_exit_codes(tmp_path: Path) -> None:
    assert (NotAllowedError.exit_code, NotReachedError.exit_code) == (10, 20)
    assert DEADLINE <= 15
    with pytest.raises(Exception, match="nobody has enrolled"):
        open_me(tmp_path)


EVIL = "\x1b[2J\u202eok\nann: forged\x9b1A"


class Asked:
    """Somebody whose aggregator answers what it likes."""

    person = EVIL

    def __init__(self, answer: dict[str, object]) -> None:
        self._answer = answer

    def ask(self, _: str, **__: object) -> dict[str, object]:
        return self._answer

    def login(self, _: str) -> dict[str, object]:
        return self._answer


SEAT = {"person": EVIL, "organisation": EVIL, "role": EVIL, "jurisdiction": EVIL}
TIMES = {"id": EVIL, "person": EVIL, "begun": 1, "seen": 1, "shown": 1}
ORDER = {"order": EVIL, "kind": EVIL, "status": EVIL, "purpose": EVIL, "epsilon": EVIL}
LISTS = {name: [EVIL] for name in ("cohort", "recipients", "countersigned")}
EVIL_ANSWERS = {
    ("login", "--code", "1"): SEAT,
    ("whoami",): {**SEAT, "session": TIMES},
    ("sessions",): {"sessions": [TIMES]},
    ("people",): {"people": [{**SEAT, "disabled": False}]},
    ("people", "--disable", "x"): {"disabled": EVIL},
    ("roster",): {
        "federation": EVIL,
        "epoch": EVIL,
        "members": [{**SEAT, "party": EVIL, "suspended": False}],
    },
    ("orders",): {"orders": [{**ORDER, "created": 1}]},
    ("waiting",): {"orders": [{**ORDER, **LISTS, "proposer": EVIL, "waits_until": 1}]},
    ("orders", "0" * 12): {**ORDER, "work": {EVIL: [EVIL]}},
}


@pytest.mark.parametrize("words", EVIL_ANSWERS)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_nothing_that_a_server_says_moves_the_cursor(
    words: tuple[str, ...],
    more: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    someone = Asked(EVIL_ANSWERS[words])
    monkeypatch.setattr("experiments.peoples_door.open_me", lambda _: someone)
    assert run(["person", *words, *more]) == 0
    out = capsys.readouterr().out
    assert [letter for letter in out if not letter.isprintable() and letter != "\n"] == []
    assert "\nann: forged" not in out


def test_nothing_that_a_server_says_at_the_enrolment_moves_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {**SEAT, "federation": EVIL, "otpauth": EVIL, "recovery": [EVIL]}
    monkeypatch.setattr("experiments.peoples_door.enrol", lambda *_: (Asked({}), told))
    for more in ((), ("--json",)):
        assert run(["person", "enrol", "token", *more]) == 0
        said = "".join(capsys.readouterr())
        assert [letter for letter in said if not letter.isprintable() and letter != "\n"] == []
        assert "\nann: forged" not in said


@pytest.mark.parametrize("missing", ["join_port", "stream_port"])
def test_nobody_is_invited_where_no_door_is_opened(desk: Desk, missing: str) -> None:
    hosting = replace(desk.hosting(), **{missing: None})
    with pytest.raises(UsageError, match="people's door"):
        invite(hosting, seat_of("bob", "Analytics", "data_team", "EU"), 1.0)


def test_a_schedule_that_is_cut_off_says_what_is_on_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    def ask(self: Me, method: str, **body: JSON) -> dict[str, object]:
        if len(left) == reached:
            raise NotReachedError("nobody answers")
        left.append(body["order"])
        return {}

    monkeypatch.setattr(Me, "ask", ask)
    me = Me(tmp_path, "ana", "harbour", Place(HOST, 1, bytes(32)))
    wires = {"first": b"1", "second": b"2", "third": b"3"}
    reached = 2
    with pytest.raises(PartlyProposedError, match=r"^2 of 3 orders .* second, .* nobody answers$"):
        me.propose(wires)
    left.clear()
    reached = 0
    with pytest.raises(NotReachedError):
        me.propose(wires)
