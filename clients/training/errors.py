"""What can go wrong in training; the messages go to the operator and name no value."""

from clients.errors import ClientError


class TrainingDataError(ClientError):
    """The rows prepared for training do not fit together, or do not fit the recipe."""
