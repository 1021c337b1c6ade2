"""Pure but for its own file. Looks up what a license permits, demands and limits, in ``terms.toml``.

A license that the file does not have permits nothing: the risk of a wrong guess is not bounded by any price.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import msgspec

from catalog.values import Use


class Terms(msgspec.Struct, frozen=True, cache_hash=True, forbid_unknown_fields=True):
    """One license's terms; the comment at the top of ``terms.toml`` explains each field."""

    id: str
    name: str
    url: str
    uses: frozenset[Use]
    charging: bool
    derivatives: bool
    attribution: bool
    share_alike: bool = False
    acceptance: str | None = None
    regions_denied: frozenset[str] = frozenset()
    conditions: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def acceptance_token(self) -> str | None:
        """The token that an account must have accepted, ``<license>@<version of the text>``; None where none is."""
        return None if self.acceptance is None else acceptance_token(self.id, self.acceptance)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    license: list[Terms]


def acceptance_token(license_id: str, text_version: str) -> str:
    """The token of one version of a license text, in a key's ``accepted``."""
    return f"{license_id}@{text_version}"


@cache
def all_terms() -> Mapping[str, Terms]:
    """The terms of every known license, by its id."""
    text = files("catalog").joinpath("terms.toml").read_text(encoding="utf-8")
    return MappingProxyType({terms.id: terms for terms in msgspec.convert(tomllib.loads(text), _File).license})


def find(license_id: str) -> Terms | None:
    """The terms of a license, named as :func:`normalize` does; None where they are not known."""
    return all_terms().get(license_id)


@cache
def _spellings() -> Mapping[str, str]:
    spellings = {}
    for terms in all_terms().values():
        for spelling in (terms.id, terms.name, *terms.also):
            spellings[_folded(spelling)] = terms.id
    return MappingProxyType(spellings)


def normalize(license_id: str) -> str:
    """Our id of a license: of ``"apache-2.0"``, ``"CC BY-NC-ND 4.0"``, ``"gemma"``. An unknown name is only trimmed."""
    return _spellings().get(_folded(license_id), license_id.strip())


def _folded(text: str) -> str:
    return text.strip().lower().replace(" ", "-").replace("_", "-")
