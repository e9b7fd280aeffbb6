"""What can go wrong between parties, by who is at fault."""


class FederationError(Exception):
    """Root of this package's errors; never raised itself."""


class MalformedMessageError(FederationError):
    """The bytes are not a message of this federation."""


class MalformedFrameError(FederationError):
    """A stream carries what is no frame, or no frame that may come now; the stream ends."""


class UnknownPartyError(FederationError):
    """The signer or recipient is not on the roster."""


class SuspendedPartyError(FederationError):
    """A member is suspended; it takes part in nothing until it is restored."""


class MisdirectedMessageError(FederationError):
    """The message is genuine but meant for somebody else."""


class UnsealableError(FederationError):
    """The roster names no key with which something could be sealed to a party."""


class UntrustedRosterError(FederationError):
    """The roster is not what the members of the federation that this node pinned agreed on."""


class ForkedRosterError(UntrustedRosterError):
    """A roster contradicts an epoch that this party knows, and both are signed."""

    exit_code = 30


class OlderRosterError(UntrustedRosterError):
    """A roster ends before an epoch that this party knows: it was late, or put back."""

    exit_code = 30


class RosterChangeError(UntrustedRosterError):
    """A change of the roster that nobody may make, or not these signers."""


class MalformedOrderError(FederationError):
    """A work order lacks something, or says something it may not."""


class UntrustedOrderError(FederationError):
    """A work order is not signed by an analyst of the roster."""


class VersionMismatchError(FederationError):
    """The other side speaks another version."""


class UnsupportedQueryError(FederationError):
    """The SQL says something that has no price here; the sentence names the clause.

    rule: the id of the federation's rule that it breaks.
    """

    rule = "QUERY-001"


class OnePartyQueryError(UnsupportedQueryError):
    """The SQL looks at the rows of one party, or of fewer than three organisations."""

    rule = "QUERY-002"


class NamedUnitQueryError(UnsupportedQueryError):
    """The SQL names units of privacy."""

    rule = "QUERY-003"


class BadProofError(FederationError):
    """A Merkle proof does not prove what it is shown for."""


class MalformedEntryError(FederationError):
    """A ledger entry lacks a field, or says something that a ledger may not keep."""


class MalformedNoteError(FederationError):
    """A checkpoint, a key or a signature line is not in its one spelling."""


class UntrustedNoteError(FederationError):
    """A checkpoint or cosignature is not signed by the key its party had when it joined."""


class GivenUpKeyError(UntrustedNoteError):
    """A checkpoint is signed by a key of its log, over more than that key signed for.

    number: the entry that gave the key up, where one does.
    """

    def __init__(self, why: str, number: int | None = None) -> None:
        super().__init__(why)
        self.number = number


class ForeignLedgerError(FederationError):
    """The database is no ledger of this version."""


class AlreadyRunsError(FederationError):
    """Another process works in this folder."""

    exit_code = 2


class OrphanedError(FederationError):
    """Processes whose supervisor was killed work in this folder, and do not end."""

    exit_code = 20


class NoLocksError(FederationError):
    """The file system of a folder cannot keep two from working in it."""

    exit_code = 2


class SilentLedgerError(FederationError):
    """The database of the ledger does not answer, or not to this user; nothing was changed."""

    exit_code = 20


class ReadOnlyLogError(FederationError):
    """A log that was opened to be read, without its party's key, was asked to sign."""


class InconsistentLogError(FederationError):
    """A log shows a head that does not continue the one a witness saw last."""


class OlderHeadError(InconsistentLogError):
    """A log shows a shorter head than a witness saw last: it was late, or put back."""


class UnprovenHeadError(InconsistentLogError):
    """A log shows no proof that its head continues the one a witness saw last.

    since: the size from which the witness wants one.
    """

    def __init__(self, what: str, since: int) -> None:
        super().__init__(what)
        self.since = since


class RolledBackError(FederationError):
    """This party's own log is shorter than, or another than, its witnesses have seen."""


class TooFewWitnessesError(FederationError):
    """Fewer other organisations vouch for a head than booking it needs."""


class ClockError(FederationError):
    """This party's clock and its witnesses' disagree, or time went back."""


class LedgerMismatchError(FederationError):
    """An exported ledger is wrong; the sentence names the log and the entry."""


class MalformedTrustError(FederationError):
    """The text is no list of keys that a federation prints when a party joins."""


class TooFewStatementsError(FederationError):
    """Fewer parties than needed say that they withheld their answer, so nothing is given back."""


class MalformedInvitationError(FederationError):
    """The text is no token that a federation hands to whom it invites."""

    exit_code = 2


class ExpiredInvitationError(FederationError):
    """The time of an invitation is over."""

    exit_code = 2


class LockedVaultError(FederationError):
    """The key of a folder's vault is not to be had; nothing was read or written."""

    exit_code = 2


class SealedFileError(FederationError):
    """A file of a folder with a vault does not open under its key, or is not sealed."""

    exit_code = 30
