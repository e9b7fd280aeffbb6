"""What can go wrong in the maths, by who is at fault."""


class SecureComputeError(Exception):
    """Root of this package's errors; never raised itself."""


class LocalProtocolError(SecureComputeError):
    """This side asked for something the protocol does not allow."""


class PeerProtocolError(SecureComputeError):
    """Another party sent something the protocol does not allow."""


class BadSignatureError(PeerProtocolError):
    """The bytes are not what the named party signed."""


class NotCanonicalError(PeerProtocolError):
    """The bytes have more than one spelling, so their hash means nothing."""
