"""What can go wrong in the maths, by who is at fault."""


class SecureComputeError(Exception):
    """Root of this package's errors; never raised itself."""


class LocalProtocolError(SecureComputeError):
    """This side asked for something the protocol does not allow."""


class UnopenedError(SecureComputeError):
    """Sealed bytes do not open: damage, another key, or another purpose than theirs."""

    exit_code = 30


class IdentifierError(LocalProtocolError):
    """A row's identifier has no canonical form. It says which rule it misses, never the value."""


class PeerProtocolError(SecureComputeError):
    """Another party sent something the protocol does not allow."""


class BadSignatureError(PeerProtocolError):
    """The bytes are not what the named party signed."""


class NotCanonicalError(PeerProtocolError):
    """The bytes have more than one spelling, so their hash means nothing."""


class RosterError(PeerProtocolError):
    """Somebody speaks of another federation, roster, epoch or key than this side verified."""


class RoundUsedError(PeerProtocolError):
    """The id of a round was used before: the aggregator has to take a new one."""


class SecondSetError(PeerProtocolError):
    """Another input set than the one committed to for this window: it needs another approval."""


class SessionUsedError(PeerProtocolError):
    """This step of this session was taken before: begin a session with another id."""


class RefusedRequestError(PeerProtocolError):
    """The aggregator asked for what could open one party's input."""


class FaultyPartyError(PeerProtocolError):
    """What these parties sent contradicts what they signed or were bound to.

    parties: their names; with two of them it cannot be told which one is at fault.
    """

    def __init__(self, *parties: str, why: str) -> None:
        super().__init__(f"{' or '.join(parties)} {why}")
        self.parties = parties
