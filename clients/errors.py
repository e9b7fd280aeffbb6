"""What can go wrong at a node. Messages go to the operator; none of them crosses a border."""


class ClientError(Exception):
    """Root of this package's errors; never raised itself."""


class NodeSettingsError(ClientError):
    """The node's folder lacks something or says something it may not."""


class OverdrawnError(ClientError):
    """More releases were asked for than were reserved."""


class UnknownOrderError(ClientError):
    """Work was asked for that this node never accepted."""


class RefusedWorkError(ClientError):
    """This node will not do what the message asks for."""


class MisstatedOrderError(RefusedWorkError):
    """The order contradicts itself or this node's contracts."""


class ComputeError(ClientError):
    """The training process of this node failed; the operator finds why in the node's log."""


class GivenBackError(ClientError):
    """A release cannot be given back, or was and may not leave any more."""


class SilentBooksError(ClientError):
    """The database of the books does not answer; nothing was changed."""

    exit_code = 20


class BusyError(ClientError):
    """Another program holds a file of this node; nothing is wrong with the file."""

    exit_code = 20

    def __init__(self, name: str) -> None:
        super().__init__(
            f"another program holds {name}; end it, or wait for it, and start the node again"
        )


def is_busy(why: BaseException) -> bool:
    """Return whether a database said that somebody else holds it."""
    return "locked" in str(why) or "busy" in str(why)


class NoSuccessorError(ClientError):
    """A newer roster could not be taken up; this process answers nothing any more."""

    exit_code = 20


class BrokenBooksError(ClientError):
    """The books do not say what the log beside them says; nothing is spent from them."""

    exit_code = 30


class SourceError(ClientError):
    """A table's source is not what the contract promises; the snapshot before stays."""

    exit_code = 2


class DraftError(ClientError):
    """A draft was asked for, or answered, in a way that cannot be."""

    exit_code = 2


class UnreachableSourceError(ClientError):
    """A table's database does not answer, or stopped answering; the snapshot before stays."""

    exit_code = 20


class WrongCertificateError(ClientError):
    """The server's certificate is not signed by the authority this node was given."""

    exit_code = 2
