"""Forms of bodies that several nouns have: none at all, a reason, and an edit of what another form makes."""

from typing import get_type_hints

import msgspec
from msgspec import UNSET, UnsetType


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or an empty object."""


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for whoever looks next."""

    reason: str = ""


def edit_of(
    form: type[msgspec.Struct], told: str, *, without: tuple[str, ...] = (), **instead: type
) -> type[msgspec.Struct]:
    """The form of an edit: the fields of ``form``, by which the thing is made, each left out where it stays.

    ``told`` is its docstring, ``instead`` are types that differ. Read it by :func:`router.api.admin.parsing.given_in`.
    """
    types = get_type_hints(form, include_extras=True) | instead
    names = (name for name in form.__struct_fields__ if name not in without)
    fields = [(name, types[name] | UnsetType, UNSET) for name in names]
    name = form.__name__.removesuffix("Create") + "Edit"
    said = {"__doc__": told}
    return msgspec.defstruct(
        name, fields, module=form.__module__, namespace=said, frozen=True, forbid_unknown_fields=True
    )
