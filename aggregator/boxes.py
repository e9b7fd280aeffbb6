"""Has keyholders help to open an answer: as many as it takes, each with its share of the pieces.

What they send is sealed to whoever asked. One that does not answer is done without: what it was to
help with is asked of another.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from aggregator.asking import Question
from aggregator.certifying import shared_out
from aggregator.errors import AbandonedError
from aggregator.jobs import Job
from aggregator.letters import Answer
from aggregator.stepping import Going, Stepping
from federation.joint_keys import pack, unpack
from federation.kept_answers import Box
from federation.messages import Kind
from policies.parties import PartyId
from secure_compute import canonical

OPENINGS: Final = 3
"""How often what a silent keyholder was to help with is asked of others."""


def told_ahead(stepping: Stepping, going: Going, commitments: bytes) -> dict[PartyId, Question]:
    """Return letters that show the list to those who will open it, while it is being signed.

    Each writes the list into its ledger, so that others have cosigned that when it is to be opened.
    """
    likely = stepping.asking.likely(going.keyholders)[: going.package.terms.threshold]
    parts = {"order": going.job.wire, "commitments": commitments}
    return dict.fromkeys(likely, Question(Kind.QUERY_BIND, parts, {"key": going.key}))


def boxes_of(
    stepping: Stepping, going: Going, parts: Mapping[str, bytes], spent: str
) -> tuple[Box, ...]:
    """Return boxes with every piece in one of them; those that came before a crash are among them.

    parts: what a keyholder needs to check and add up the sum itself.

    Raises:
        AbandonedError: too few keyholders answered.
    """
    terms, away = going.package.terms, set[str]()
    for attempt in range(OPENINGS):
        missing = _missing(stepping, going)
        likely = [p for p in stepping.asking.likely(going.keyholders) if p not in away]
        if not missing or len(likely) < terms.threshold:
            break
        asked = shared_out(terms, likely, missing)
        found = _asked(stepping, going, parts, asked, attempt)
        stepping.steps.keep(going.job.id, _step(attempt), found)
        away |= asked.keys() - found.keys()
    boxes, _ = _here(stepping, going.job)
    if _missing(stepping, going):
        helped = len({box.keyholder for box in boxes})
        raise AbandonedError(
            f"{helped} of at least {terms.threshold} keyholders helped to open the answer, and "
            f"{' and '.join(sorted(away)) or 'the others'} did not. Nothing was opened to anybody. "
            f"{spent}"
        )
    return boxes


def _asked(
    stepping: Stepping,
    going: Going,
    parts: Mapping[str, bytes],
    asked: Mapping[str, Sequence[int]],
    attempt: int,
) -> dict[str, bytes]:
    """Return each keyholder's box, behind the places of the pieces in it."""

    def read(party: str, answer: Answer) -> bytes:
        places = canonical.encode(list(asked[party]))
        return pack([places, answer.envelope.blobs["sealed"]])

    questions = {
        PartyId(party): Question(Kind.QUERY_OPEN, parts, {"key": going.key, "places": list(places)})
        for party, places in asked.items()
    }
    return stepping.ask(going.job, questions, read, sequence=attempt)


def _here(stepping: Stepping, job: Job) -> tuple[tuple[Box, ...], set[int]]:
    """Return the boxes that are here, and the places of the pieces in them."""
    boxes, places = [], set[int]()
    for attempt in range(OPENINGS):
        for party, part in stepping.steps.kept(job.id, _step(attempt)).items():
            said, sealed = unpack(part)
            boxes.append(Box(party, sealed))
            places |= set(json.loads(said))
    return tuple(boxes), places


def _missing(stepping: Stepping, going: Going) -> list[int]:
    _, places = _here(stepping, going.job)
    return [place for place in range(len(going.package.terms.pieces)) if place not in places]


def _step(attempt: int) -> str:
    return f"opened {attempt}"
