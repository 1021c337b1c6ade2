"""Names what a chip says of a license: a verdict's outcome, never a license's name. Pure."""

from typing import Literal, TypeAlias

LicenseKind: TypeAlias = Literal["commercial", "noncommercial", "conflict", "acceptance", "unknown"]
