"""The closed union of things that may cross a border."""

from enum import StrEnum


class Kind(StrEnum):
    """What an envelope carries. A kind that is not here does not cross."""

    # Requests, from the aggregator.
    PING = "ping"
    PROPOSE = "order.propose"
    OFFER = "order.offer"
    CLOSE = "order.close"
    TRAIN_ROUND = "train.round"
    SUM_ROUND = "sum.round"
    SUM_ASK = "sum.ask"
    KEYS_JOIN = "keys.join"
    KEYS_BEGIN = "keys.begin"
    KEYS_COMMIT = "keys.commit"
    KEYS_SHOW = "keys.show"
    QUERY_COMMIT = "query.commit"
    QUERY_ENDORSE = "query.endorse"
    QUERY_BIND = "query.bind"
    QUERY_REVEAL = "query.reveal"
    QUERY_OPEN = "query.open"
    MATCH_STEP = "match.step"
    LEDGER_SEEN = "ledger.seen"
    LEDGER_WITNESS = "ledger.witness"
    ROSTER_SHOW = "roster.show"
    # Replies, from a node.
    PONG = "pong"
    WILLING = "order.willing"
    WAITING = "order.waiting"
    ACCEPTED = "order.accepted"
    REFUSED = "order.refused"
    CLOSED = "order.closed"
    TRAIN_UPDATE = "train.update"
    SUM_UPLOAD = "sum.upload"
    SUM_ANSWER = "sum.answer"
    KEYS_JOINED = "keys.joined"
    KEYS_DEALT = "keys.dealt"
    KEYS_COMMITTED = "keys.committed"
    KEYS_SHOWN = "keys.shown"
    QUERY_COMMITTED = "query.committed"
    QUERY_ENDORSED = "query.endorsed"
    QUERY_BOUND = "query.bound"
    QUERY_REVEALED = "query.revealed"
    QUERY_OPENED = "query.opened"
    MATCH_SAID = "match.said"
    LEDGER_HEADS = "ledger.heads"
    LEDGER_COSIGNED = "ledger.cosigned"
    LEDGER_UNSURE = "ledger.unsure"
    ROSTER_KNOWN = "roster.known"
    FAILED = "failed"


REPLIES: dict[Kind, Kind] = {
    Kind.PING: Kind.PONG,
    Kind.PROPOSE: Kind.WILLING,
    Kind.OFFER: Kind.ACCEPTED,
    Kind.CLOSE: Kind.CLOSED,
    Kind.TRAIN_ROUND: Kind.TRAIN_UPDATE,
    Kind.SUM_ROUND: Kind.SUM_UPLOAD,
    Kind.SUM_ASK: Kind.SUM_ANSWER,
    Kind.KEYS_JOIN: Kind.KEYS_JOINED,
    Kind.KEYS_BEGIN: Kind.KEYS_DEALT,
    Kind.KEYS_COMMIT: Kind.KEYS_COMMITTED,
    Kind.KEYS_SHOW: Kind.KEYS_SHOWN,
    Kind.QUERY_COMMIT: Kind.QUERY_COMMITTED,
    Kind.QUERY_ENDORSE: Kind.QUERY_ENDORSED,
    Kind.QUERY_BIND: Kind.QUERY_BOUND,
    Kind.QUERY_REVEAL: Kind.QUERY_REVEALED,
    Kind.QUERY_OPEN: Kind.QUERY_OPENED,
    Kind.MATCH_STEP: Kind.MATCH_SAID,
    Kind.LEDGER_SEEN: Kind.LEDGER_HEADS,
    Kind.LEDGER_WITNESS: Kind.LEDGER_COSIGNED,
    Kind.ROSTER_SHOW: Kind.ROSTER_KNOWN,
}
"""What a request is answered with when nothing goes wrong; REFUSED and FAILED answer any.

WAITING answers a proposal where a person has to be asked first: one word, and no more.
"""

PROPOSING: frozenset[Kind] = frozenset({Kind.PROPOSE, Kind.OFFER, Kind.QUERY_COMMIT})
"""Requests that carry an order to be judged; REFUSED answers them with reasons for people."""

OWN_FIGURES: frozenset[Kind] = frozenset(
    {Kind.TRAIN_UPDATE, Kind.SUM_UPLOAD, Kind.QUERY_REVEALED, Kind.MATCH_SAID}
)
"""Replies in which something stands that a node computed from its own rows."""

SPENDING: frozenset[Kind] = frozenset(
    {
        *(Kind.OFFER, Kind.TRAIN_ROUND, Kind.SUM_ROUND),
        *(Kind.KEYS_BEGIN, Kind.QUERY_COMMIT, Kind.QUERY_REVEAL),
        *(Kind.QUERY_BIND, Kind.QUERY_OPEN),
        Kind.MATCH_STEP,
    }
)
"""What LEDGER_UNSURE may answer too: this process lacks a word of its witnesses; ask again."""
