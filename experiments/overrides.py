"""Settings on a command line, such as `privacy.epsilon=0.25`, over what holds without them."""

from collections.abc import Mapping, Sequence

from experiments.errors import UsageError


def overridden(known: Mapping[str, str], overrides: Sequence[str]) -> dict[str, str]:
    """Return `known` with what the overrides say instead.

    Raises:
        UsageError: an override is none, or of another setting.
    """
    found = dict(known)
    for override in overrides:
        name, sign, value = override.partition("=")
        if name not in known or not sign:
            raise UsageError(f"{override!r} is not one of {', '.join(f'{key}=…' for key in known)}")
        found[name] = value
    return found
