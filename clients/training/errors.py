"""What can go wrong in training; the messages go to the operator and name no value."""

from clients.errors import ClientError


class TrainingDataError(ClientError):
    """The rows prepared for training do not fit together, or do not fit the recipe."""


class ForeignRowsError(TrainingDataError):
    """A feature of a private run reads rows of other parties."""

    def __init__(self, features: tuple[str, ...]) -> None:
        super().__init__(
            f"{', '.join(features)} read rows of other parties, so that no unit of privacy would "
            "be hidden: leave them out, or replace them by statistics released before."
        )
        self.features = features
