"""The list of keys printed at join has one spelling, and names parties of one federation."""

import pytest

from federation.errors import MalformedNoteError, MalformedTrustError, UntrustedNoteError
from federation.ledger.notes import NamedKey
from federation.ledger.trust import Trust, Vouched
from tests.ledgers import KEYS, TRUST, origin

TEXT = str(TRUST)


def test_it_holds_everybody_who_keeps_a_log() -> None:
    first, *lines = TEXT.splitlines()
    assert first == "entrepot trust/1 demo c=1"
    assert [line.split("\t")[1] for line in lines] == ["Org cn", "Org eu", "Org br", "Org hub"]
    assert lines[0].startswith("entrepot/demo/cn+")
    assert Trust.parse(TEXT) == TRUST
    assert TRUST.needed == 2
    assert TRUST.find(origin("eu")).key.key == KEYS["eu"].verify_key
    with pytest.raises(UntrustedNoteError):
        TRUST.find(origin("ana"))


BAD = {
    "empty": "",
    "no newline": TEXT[:-1],
    "other version": TEXT.replace("trust/1", "trust/2"),
    "no c": TEXT.replace(" c=1", ""),
    "no tab": TEXT.replace("\t", " "),
    "no organisation": TEXT.replace("Org eu", ""),
    "unprintable": TEXT.replace("Org eu", "Org\x1beu"),
    "twice": TEXT + TEXT.splitlines()[1] + "\n",
    "another federation": TEXT.replace("trust/1 demo", "trust/1 other"),
    "damaged key": TEXT.replace("entrepot/demo/eu+", "entrepot/demo/ex+"),
    "empty line": TEXT + "\n",
    "carriage returns": TEXT.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_another_spelling_is_refused(name: str) -> None:
    with pytest.raises(MalformedTrustError):
        Trust.parse(BAD[name])


def test_a_key_of_a_witness_alone_is_told_from_one_of_a_log() -> None:
    with pytest.raises(MalformedNoteError):
        NamedKey("entrepot demo", KEYS["cn"].verify_key)
    party = Vouched(NamedKey(origin("cn"), KEYS["cn"].verify_key), "Org cn")
    with pytest.raises(MalformedTrustError, match="twice"):
        Trust("demo", (party, party))
