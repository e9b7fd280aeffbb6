"""The check of the README's claims can itself fail."""

from tests.claims import Claim, judge, read_claims

TABLE = """
| claim | test |
| --- | --- |
| it holds | `tests/unit/test_a.py::test_one` |
| nobody checks | see above |

text
"""


def test_rows_are_read() -> None:
    assert read_claims(TABLE) == [
        Claim("it holds", ("tests/unit/test_a.py::test_one",)),
        Claim("nobody checks", ()),
    ]


def test_a_claim_without_a_test_is_told() -> None:
    outcomes = {"tests/unit/test_a.py::test_one": "passed"}
    assert len(judge(read_claims(TABLE), outcomes)) == 1


def test_a_test_that_is_skipped_or_missing_is_told() -> None:
    claim = [Claim("x", ("tests/unit/test_a.py::test_one",))]
    assert judge(claim, {})
    assert judge(claim, {"tests/unit/test_a.py::test_one[1]": "skipped"})
    one, two = (f"tests/unit/test_a.py::test_one[{number}]" for number in (1, 2))
    assert not judge(claim, {one: "passed"})
    assert not judge(claim, {one: "passed", two: "skipped"})
    assert judge(claim, {one: "passed", two: "failure"})
    assert judge(claim, {one: "skipped", two: "skipped"})
