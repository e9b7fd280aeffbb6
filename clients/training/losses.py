"""What a model is trained to make small: one number per row."""

import torch
from torch import Tensor
from torch.nn import functional

from federation.losses import Loss, Pinball


def row_losses(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the loss of every row, in the shape of `outputs`.

    bce reads outputs as logits and targets as 0 or 1; huber is quadratic within 1 of the
    target and linear beyond; mse is half the squared error; a pinball weighs what lies above the
    output by its quantile q, and what lies below by 1 - q.
    """
    match loss:
        case "bce":
            return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        case "huber":
            return functional.huber_loss(outputs, targets, reduction="none")
        case "mse":
            return 0.5 * torch.square(outputs - targets)
        case Pinball(quantile):
            level, above = float(quantile), targets - outputs
            return level * torch.relu(above) + (1.0 - level) * torch.relu(-above)
