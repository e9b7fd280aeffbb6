"""What can go wrong at the composition root, each with its exit code."""


class ExperimentError(Exception):
    """Root of this package's errors; never raised itself."""

    exit_code = 1


class UsageError(ExperimentError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code = 2


class NoFederationError(ExperimentError):
    """There is no federation where the command looked for one."""

    exit_code = 2


class PolicyRefusalError(ExperimentError):
    """Nodes refused the work under their policies."""

    exit_code = 10


class BudgetExhaustedError(ExperimentError):
    """Nodes refused the work because their privacy budgets cannot pay for it."""

    exit_code = 11


class WaitingError(ExperimentError):
    """People at nodes have not said yet whether they approve it; nothing was spent."""

    exit_code = 12


class NotAgreedError(ExperimentError):
    """The person who was asked said no; nothing that was asked for was signed or sent."""

    exit_code = 12


class NobodyAnswersError(ExperimentError):
    """A person has to answer, and nobody is there to be asked."""

    exit_code = 2


class PartlyProposedError(ExperimentError):
    """Some orders of a schedule are on the table, and the rest did not get there."""

    exit_code = 20


class UnreachableError(ExperimentError):
    """A process of the federation does not answer."""

    exit_code = 20


class IntegrityError(ExperimentError):
    """Something that must never happen was counted, such as a raw row on the wire."""

    exit_code = 30
