"""What can go wrong at the aggregator."""


class AggregatorError(Exception):
    """Root of this package's errors; never raised itself."""


class AggregatorSettingsError(AggregatorError):
    """The aggregator's folder lacks something or says something it may not."""


class PortTakenError(AggregatorError):
    """Another program listens where the aggregator should."""


class AbandonedError(AggregatorError):
    """Fewer parties than the order's minimum took part."""


class MalformedReplyError(AggregatorError):
    """A node's reply is signed and well formed, but not what was asked for."""
