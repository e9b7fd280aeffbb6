"""Values that prove something happened, because only one place can make them.

This stops mistakes, not attackers: inside one Python process nothing is out of reach.
"""

from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class Minted(type):
    """Metaclass: instances come from `cls._mint(...)` in their home module, nowhere else."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: evidence is not made by whoever wishes for it."""
        raise TypeError(f"{cls.__name__} is minted in its home module, not constructed")

    def _mint(cls: type[T], *args: Any, **kwargs: Any) -> T:
        return type.__call__(cls, *args, **kwargs)  # type: ignore[no-any-return]
