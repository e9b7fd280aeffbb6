"""The recipient's side of a joint question: a fresh key for each, and the answer that it opens.

    fresh key, its public half in the order → boxes → unseal, check, combine → rows → gate → table

The private half lies at `people/ANALYST/answers/ORDER.key`, mode 0600, until the answer stands in
the table of jobs. So a question that was interrupted is opened later, once, and nobody who finds
the analyst's identity key afterwards opens it again.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aggregator.answer_files import fetch_answer
from aggregator.jobs import Job, Jobs
from experiments.errors import ExperimentError, UsageError
from experiments.home import Home
from federation.errors import FederationError
from federation.joint_keys import Package
from federation.joint_questions import question_of
from federation.kept_answers import KeptAnswer, open_answer
from federation.membership import Roster
from federation.orders import WorkOrder, open_order
from federation.queries.answers import answer
from federation.secure_sums import signers
from federation.tasks import QueryTask
from policies.disclosure import Releasable, clear
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey


class UnopenedError(ExperimentError):
    """An answer is there and does not open: somebody sent another part of it than it signed."""


def fresh_key() -> AgreementKey:
    """Return a key for one order, from the operating system's generator."""
    return AgreementKey(SystemEntropy().bytes(KEY_SIZE))


def keep_key(home: Home, order: str, key: AgreementKey) -> None:
    """Write the private half down, before the order is put on the table."""
    path = _key_file(home, order)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.seed)
        file.flush()
        os.fsync(file.fileno())


def forget_key(home: Home, order: str) -> None:
    """Delete the private half: what was sealed to it, nobody opens any more."""
    _key_file(home, order).unlink(missing_ok=True)


def released(home: Home, jobs: Jobs, job: Job) -> dict[str, Any]:
    """Return the result of a question that is done, opened here if it was not yet.

    Raises:
        UsageError: the key that opens it does not lie here.
        UnopenedError: what the aggregator kept is no answer to this order.
    """
    result = job.result or {}
    if result.get("answer") is not None:
        forget_key(home, job.id)  # a crash may have come between the two
        return result
    order = open_order(job.wire, home.roster()).order
    found = opened(home, order, lambda: fetch_answer(home.aggregator / "answers", order.id))
    jobs.keep_answer(job.id, found.result.to_json())
    forget_key(home, job.id)
    noted = jobs.find(job.id)
    return dict(noted.result or {}) if noted else {}


def rows_of(
    order: WorkOrder, roster: Roster, kept: KeptAnswer, private: AgreementKey
) -> Releasable:
    """Return the answer to an order, past the disclosure gate. Nothing kept is believed unchecked.

    Raises:
        FederationError, SecureComputeError: something in it is not what was signed for this order.
        SmallCohortError: too few organisations stand behind it.
    """
    joint = Package.read(kept.package).assemble(roster)
    question = question_of(order, roster, joint.terms, joint.digest)
    question.require_joint(signers(roster), joint)
    listed, values = open_answer(kept, question, joint, private)
    task = QueryTask.from_json(order.parameters)
    rows = answer(task.plan, task.noise_multiplier, len(listed.parties), values)
    organisations = {roster.find(PartyId(party)).organisation for party in listed.parties}
    return clear(rows, len(organisations), order.minimum)


def opened(home: Home, order: WorkOrder, fetch: Callable[[], KeptAnswer]) -> Releasable:
    """Return the answer to an order whose key lies here, checked and past the disclosure gate.

    Raises:
        UsageError: the key does not lie here, or nothing is there to be fetched.
        UnopenedError: what is fetched is no answer to this order.
    """
    try:
        kept = fetch()
        return rows_of(order, _roster_then(home, kept), kept, key_of(home, order.id))
    except FileNotFoundError as why:
        raise UsageError(
            f"the answer to {order.id[:12]} cannot be opened: {why.filename} is missing. Only who "
            "asked has its key; restore the file, or ask anew at its price"
        ) from why
    except (FederationError, SecureComputeError) as why:
        raise UnopenedError(
            f"the answer to {order.id[:12]} does not open: {why}. Its price is spent; keep the "
            "aggregator's file as evidence, and ask anew without the party at fault"
        ) from why


def _roster_then(home: Home, kept: KeptAnswer) -> Roster:
    """Return the epoch of the roster under which an answer was made: members may have changed."""
    named = Package.read(kept.package).terms.roster
    found = (roster for roster in reversed(home.epochs()) if signers(roster).digest == named)
    return next(found, home.roster())


def key_of(home: Home, order: str) -> AgreementKey:
    """Return the private half of an order's key.

    Raises:
        FileNotFoundError: it does not lie here.
    """
    return AgreementKey(_key_file(home, order).read_bytes())


def _key_file(home: Home, order: str) -> Path:
    return home.people / "answers" / f"{order}.key"
