"""One spelling for each identifier, so that two parties hash the same bytes for the same person.

A row without a canonical form is counted and left out. The count and the reasons stay at the node:
nothing here makes a message, and an error names the rule, never the value.

* e-mail: outer blanks off; one `@`; the local part in ASCII and lower case; the domain by UTS 46
  and IDNA 2008 in its ASCII form. **Nothing is guessed:** `a+shop@x.org`, `a@x.org`,
  `a.b@gmail.com` and `ab@gmail.com` are four people. Which mailboxes are one is the provider's
  rule, and it changes.
* phone: E.164 with its `+`; blanks, hyphens, points and brackets off. A number without a country is
  refused rather than given one, and so is `(0)`, which is dialled at home only.
* PAN token: a payment token in the form of a card number, 13 to 19 digits with a right check digit,
  or a payment account reference of 29 letters and digits. Card numbers look like the former and
  have little entropy: whoever takes part can test guesses up to its cap (SPEC, "not prevented").
"""

import re
import string
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Final

import idna

from secure_compute.entropy import Entropy
from secure_compute.errors import IdentifierError, LocalProtocolError


class Kind(Enum):
    """What people are matched by; one kind in a session."""

    EMAIL = "email"
    PHONE = "e164"
    PAN_TOKEN = "pan_token"  # noqa: S105


_BLANKS: Final = " \t\r\n"
_LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_BETWEEN: Final = str.maketrans("", "", " -.()")
_NUMBER: Final = re.compile(r"[1-9][0-9]{12,18}")
_REFERENCE: Final = re.compile(r"[0-9A-Z]{29}")


@dataclass(frozen=True, slots=True)
class Collected:
    """What one party brings. The counts are for its own operator and never leave.

    identifiers: canonical, distinct, sorted; at most the cap.
    bad:         rows without a canonical form.
    left_out:    identifiers beyond the most of one person, or beyond the cap.
    """

    identifiers: tuple[str, ...] = field(repr=False)
    bad: int
    left_out: int


def canonical(kind: Kind, raw: str) -> str:
    """Return the one spelling of an identifier.

    Raises:
        IdentifierError: it has none.
    """
    match kind:
        case Kind.EMAIL:
            return _email(raw.strip(_BLANKS))
        case Kind.PHONE:
            return _phone(raw.strip(_BLANKS))
        case Kind.PAN_TOKEN:
            return _pan_token(raw.strip(_BLANKS))


def collect(
    kind: Kind, rows: Iterable[tuple[str, str]], *, most: int, cap: int, entropy: Entropy
) -> Collected:
    """Return what `rows` of (person, identifier) bring, never more than `cap` of them.

    One person brings at most `most`, which ones only its own rows decide (`brought`). What is
    beyond the cap is left out in an order that a fresh key decides, so that a set that is too large
    is cut and not refused: a refusal would tell the partner its size. One person more or less moves
    any count of matches by at most `most`: it adds up to so many and may push out as many others.

    Raises:
        LocalProtocolError: a bound is below 1.
    """
    if most < 1 or cap < 1:
        raise LocalProtocolError("a person and a set may bring at least one identifier")
    key, bad = entropy.bytes(32), 0
    owned: dict[str, set[str]] = defaultdict(set)
    for person, raw in rows:
        try:
            owned[person].add(canonical(kind, raw))
        except IdentifierError:
            bad += 1
    bounded = {text for texts in owned.values() for text in brought(texts, most)}
    kept = _least(key, bounded, cap)
    everything = set().union(*owned.values())
    return Collected(tuple(sorted(kept)), bad, len(everything) - len(kept))


def brought(texts: set[str], most: int) -> list[str]:
    """Return the identifiers, at most `most`, that one person brings: whoever else is there."""
    return _least(b"", texts, most)


def _least(key: bytes, texts: set[str], count: int) -> list[str]:
    if len(texts) <= count:
        return list(texts)
    return sorted(texts, key=lambda text: blake2b(text.encode(), key=key).digest())[:count]


def _email(text: str) -> str:
    local, at, domain = text.partition("@")
    if not at or "@" in domain:
        raise IdentifierError("an e-mail address has one @, and no quoted part")
    # Only A to Z become lower case: other letters are refused, and İ would become two characters.
    local = local.translate(str.maketrans(string.ascii_uppercase, string.ascii_lowercase))
    if len(local) > 64 or not _LOCAL.fullmatch(local):
        raise IdentifierError("before the @ stand 1 to 64 ASCII letters, digits and signs")
    return f"{local}@{_domain(domain)}"


def _domain(domain: str) -> str:
    try:
        ascii_form = idna.encode(domain, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as why:
        raise IdentifierError("after the @ stands no domain name of IDNA 2008") from why
    last = ascii_form.rpartition(".")[2]
    if last == ascii_form or not last or last.isdigit() or len(ascii_form) > 253:
        raise IdentifierError("a domain has two parts or more, and is no address of a machine")
    return ascii_form


def _phone(text: str) -> str:
    if "(0)" in text.replace(" ", ""):
        raise IdentifierError("a number with (0) can be read in two ways")
    digits = text.translate(_BETWEEN)
    if not text.startswith("+") or not _PHONE.fullmatch(digits):
        raise IdentifierError("a phone number is + and 7 to 15 digits, the country's first")
    return digits


def _pan_token(text: str) -> str:
    if _REFERENCE.fullmatch(text):
        return text
    digits = text.replace(" ", "").replace("-", "")
    if not _NUMBER.fullmatch(digits):
        raise IdentifierError(
            "a token is 13 to 19 digits, or a reference of 29 capitals and digits"
        )
    if _luhn(digits):
        raise IdentifierError("the check digit of the token is wrong")
    return digits


def _luhn(digits: str) -> int:
    """Return the checksum of ISO/IEC 7812-1 modulo 10; it is 0 where the check digit is right."""
    odd = sum(map(int, digits[-1::-2]))
    return (odd + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10
