"""What can go wrong at the aggregator."""


class AggregatorError(Exception):
    """Root of this package's errors; never raised itself."""


class AggregatorSettingsError(AggregatorError):
    """The aggregator's folder lacks something or says something it may not."""


class PortTakenError(AggregatorError):
    """Another program listens where the aggregator should."""


class AbandonedError(AggregatorError):
    """Fewer parties than the order's minimum took part."""


class PostponedError(AggregatorError):
    """An order waits: for its time, or for people at nodes. Nothing of it is set aside anywhere."""

    def __init__(self, due: float) -> None:
        super().__init__("the order waits")
        self.due = due


class MalformedReplyError(AggregatorError):
    """A node's reply is signed and well formed, but not what was asked for."""


class LateError(AggregatorError):
    """A party had no answer when its slot ended; only its own log says why."""

    def __init__(self) -> None:
        super().__init__(
            "it had no answer when its slot ended, and is charged; its operator finds why in its "
            "log. If its table takes longer, ask with a later deadline=SECONDS"
        )


class MalformedModelError(AggregatorError):
    """A file is no model of this registry, or not all of one; the sentence names it and why."""


class HeldBackError(AggregatorError):
    """Training would go on from a model that was held back."""


class BrokenLineageError(AggregatorError):
    """A run's models do not follow from one another as they say."""


class ForeignDatabaseError(AggregatorError):
    """The database is not the aggregator's, or of another version than this program."""


class SilentDatabaseError(OSError):
    """The database does not answer; what is on disk is what was committed.

    No AggregatorError: who takes those for the end of an order would end it because of this. The
    process ends instead, is started again by its supervisor and goes on.
    """

    exit_code = 20
