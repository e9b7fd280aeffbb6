"""Two members whose messages are sealed, and every way in which a cover may be wrong."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from federation.covers import KEY_NAME, MAGIC, OVERHEAD, cover
from federation.envelopes import Envelope, seal
from federation.membership import Member, Roster
from federation.messages import Kind
from policies.parties import PartyId, Role
from tests.rosters import key, member, opening

NODE, TABLE = PartyId("cn"), PartyId("hub")
PIN, OTHER_PIN = "a1" * 32, "b2" * 32
MEMBERS: Final = (
    member(NODE, "Ningbo", Role.WAREHOUSE),
    member(TABLE, "Operations", Role.AGGREGATOR),
    member("eu", "Rotterdam", Role.WAREHOUSE),
)
ROSTER: Final = Roster("harbour", 1, MEMBERS, "c3" * 32)
LETTER: Final = Envelope(Kind.PONG, NODE, TABLE, "o1", 3, {"round": 3}, {"b": b"xyz", "a": b""})
SIGNED: Final = seal(LETTER, key(NODE))


def to(party: str = TABLE) -> Member:
    """The member to whom something is sealed."""
    return ROSTER.find(PartyId(party))


def sealed(signed: bytes = SIGNED, recipient: Member | None = None, pin: str = PIN) -> bytes:
    """A message in a cover, by default the letter in the aggregator's."""
    return cover(signed, recipient or to(), pin)


def flipped(wire: bytes, at: int) -> bytes:
    """The wire with one bit changed."""
    return wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]


def renamed(wire: bytes, like: bytes) -> bytes:
    """The wire under the outer header of another cover."""
    header = len(MAGIC) + KEY_NAME
    return like[:header] + wire[header:]


def _flips() -> dict[str, Callable[[], bytes]]:
    regions = {
        "magic": 0,
        "version": len(MAGIC) - 1,
        "recipient": len(MAGIC) + 3,
        "encapsulation_mlkem": len(MAGIC) + KEY_NAME + 500,
        "encapsulation_x25519": len(MAGIC) + KEY_NAME + 1100,
        "ciphertext": OVERHEAD - 16 + 40,
        "tag": -1 + OVERHEAD + len(SIGNED),
    }

    def of(at: int) -> Callable[[], bytes]:
        return lambda: flipped(sealed(), at)

    return {f"bad_flip_in_{name}": of(at) for name, at in regions.items()}


BAD: Final[Mapping[str, tuple[str, Callable[[], bytes]]]] = {
    "bad_other_recipient": ("MisdirectedMessageError", lambda: sealed(recipient=to("eu"))),
    "bad_other_recipients_message": (
        "MisdirectedMessageError",
        lambda: sealed(seal(replace(LETTER, recipient=PartyId("eu")), key(NODE))),
    ),
    "bad_other_federation": ("MalformedMessageError", lambda: sealed(pin=OTHER_PIN)),
    "bad_other_name_same_key": (
        "MalformedMessageError",
        lambda: sealed(recipient=replace(to(), party=PartyId("eu"))),
    ),
    "bad_truncated_encapsulation": (
        "MalformedMessageError",
        lambda: sealed()[: len(MAGIC) + KEY_NAME + 1000],
    ),
    "bad_truncated_ciphertext": ("MalformedMessageError", lambda: sealed()[:-1]),
    "bad_longer": ("MalformedMessageError", lambda: sealed() + b"!"),
    "bad_empty": ("MalformedMessageError", lambda: b""),
    "bad_under_anothers_header": (
        "MalformedMessageError",
        lambda: renamed(sealed(recipient=to("eu")), sealed()),
    ),
    "bad_unsealed": ("MalformedMessageError", lambda: SIGNED),
    "bad_of_no_member": (
        "UnknownPartyError",
        lambda: sealed(seal(replace(LETTER, sender=PartyId("xx")), key("xx"))),
    ),
    "bad_signed_by_another": ("BadSignatureError", lambda: sealed(seal(LETTER, key("eu")))),
    "bad_cover_in_a_cover": ("MalformedMessageError", lambda: sealed(sealed())),
    "bad_nothing_in_it": ("MalformedMessageError", lambda: sealed(b"")),
    **{
        name: (
            "MisdirectedMessageError"
            if name == "bad_flip_in_recipient"
            else "MalformedMessageError",
            make,
        )
        for name, make in _flips().items()
    },
}
"""What is refused, as what, and how it is made."""

OPENING: Final = opening(TABLE)
