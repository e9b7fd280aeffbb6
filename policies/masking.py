"""What a grade and a purpose let be done with a column: in the clear, under a mask, or never.

A mask is a keyed pseudonym: equal values stay equal inside one federation, one purpose and one
column, and mean nothing anywhere else. It serves to group, to join and to bound what one unit
contributes; whoever holds the key can make it again, so it is personal data still and stays inside.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from policies.errors import ForbiddenUseError
from policies.evidence import Minted
from policies.parties import Grade

Use: TypeAlias = Literal["clear", "masked", "never"]
KeyedHash: TypeAlias = Callable[[bytes], bytes]
"""A keyed hash of 32 bytes, such as HMAC-SHA-256 under a key that never leaves the node."""

MASKABLE_FOR: Final = (
    "market_statistics",
    "demand_forecasting",
    "fraud_prevention",
    "supply_planning",
)
"""The purposes for which a personal column may serve under a mask."""

READABLE_FOR: Final = (*MASKABLE_FOR, "marketing")
"""The purposes for which an internal column may be read."""

SIZE: Final = 32
_DOMAIN: Final = b"entrepot/mask/1"


def use_of(grade: Grade, purpose: str) -> Use:
    """Return the most that may be done with a column of `grade` for `purpose`.

    S1 is public; S2 is read for known purposes; S3 is masked for those that need no person; S4 and
    whatever nobody named is never touched.
    """
    if grade is Grade.S1:
        return "clear"
    if grade is Grade.S2 and purpose in READABLE_FOR:
        return "clear"
    if grade is Grade.S3 and purpose in MASKABLE_FOR:
        return "masked"
    return "never"


@dataclass(frozen=True, slots=True)
class Mask(metaclass=Minted):
    """Pseudonyms of one column for one purpose of one federation; whoever has it may mask."""

    prefix: bytes
    keyed: KeyedHash

    def __call__(self, value: str) -> str:
        """Return the pseudonym of `value`: 32 hexadecimal digits.

        Raises:
            ForbiddenUseError: the keyed hash is too short to tell values apart.
        """
        found = self.keyed(self.prefix + _framed(value))
        if len(found) != SIZE:
            raise ForbiddenUseError(f"a mask needs a keyed hash of {SIZE} bytes; pass another")
        return found[: SIZE // 2].hex()

    def column(self, values: Iterable[str | None]) -> list[str | None]:
        """Return the pseudonyms of a column; what is missing stays missing."""
        return [None if value is None else self(value) for value in values]


def mask_for(federation: str, purpose: str, column: str, grade: Grade, keyed: KeyedHash) -> Mask:
    """Return the mask of a column for one purpose of one federation.

    Raises:
        ForbiddenUseError: a column of that grade is never used for that purpose.
    """
    if use_of(grade, purpose) == "never":
        raise ForbiddenUseError(
            f"a column of grade {grade.value} is never used for {purpose}; leave it out of the "
            f"order"
        )
    prefix = _DOMAIN + b"".join(map(_framed, (federation, purpose, column)))
    return Mask._mint(prefix, keyed)  # noqa: SLF001  the home of this evidence


def table(grades: Iterable[Grade] = tuple(Grade)) -> Mapping[str, Mapping[str, Use]]:
    """Return what each grade allows by purpose, for the policy card."""
    return {
        grade.value: {purpose: use_of(grade, purpose) for purpose in READABLE_FOR}
        for grade in grades
    }


def _framed(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(4, "big") + data
