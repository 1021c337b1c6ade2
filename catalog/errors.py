"""Pure. What the catalogue refuses. ``message`` is a sentence for the operator or caller that says what to do.

CatalogError
├── ModelUnknown          no such model; names the nearest
├── MoveRefused           the state machine has no such move
│   └── LaunchRefused     a launch lacks something; one sentence for each thing
├── LicenseUnknown        a license whose terms nobody has written down
├── FactsInvalid          facts of a model that cannot be
│   └── NameTaken         its id or an alias is another model's
└── SeedInvalid           a seed file that contradicts itself
"""


class CatalogError(Exception):
    """Base of the catalogue's errors."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ModelUnknown(CatalogError):
    """No model has this name; ``nearest`` are the ids that look like it."""

    def __init__(self, name: str, nearest: list[str]) -> None:
        hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(f"There is no model {name[:200]!r} in the catalogue.{hint}")
        self.nearest = nearest


class MoveRefused(CatalogError):
    """A model may not move between these states."""


class LaunchRefused(MoveRefused):
    """A launch lacks something; ``missing`` has a sentence for each thing."""

    def __init__(self, model_id: str, missing: tuple[str, ...]) -> None:
        super().__init__(f"{model_id} cannot go live yet. {' '.join(missing)}")
        self.missing = missing


class LicenseUnknown(CatalogError):
    """The catalogue does not know the license's terms."""

    def __init__(self, license_id: str) -> None:
        super().__init__(
            f"The terms of {license_id!r} are not known here. Write them into catalog/terms.toml, "
            "or name a license that is there."
        )


class FactsInvalid(CatalogError):
    """The facts of a model break a rule of the catalogue; ``field`` is the fact to change, empty where it is open."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NameTaken(FactsInvalid):
    """Another model has this id, or an alias of it."""


class SeedInvalid(CatalogError):
    """A seed file contradicts itself or misses a fact."""
