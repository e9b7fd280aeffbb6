"""What can go wrong between parties, by who is at fault."""


class FederationError(Exception):
    """Root of this package's errors; never raised itself."""


class MalformedMessageError(FederationError):
    """The bytes are not a message of this federation."""


class UnknownPartyError(FederationError):
    """The signer or recipient is not on the roster."""


class MisdirectedMessageError(FederationError):
    """The message is genuine but meant for somebody else."""


class UntrustedRosterError(FederationError):
    """The roster is not signed by the federation key this node pinned when it joined."""


class MalformedOrderError(FederationError):
    """A work order lacks something, or says something it may not."""


class UntrustedOrderError(FederationError):
    """A work order is not signed by an analyst of the roster."""


class VersionMismatchError(FederationError):
    """The other side speaks another version."""


class UnsupportedQueryError(FederationError):
    """The SQL says something that has no price here; the sentence names the clause."""
