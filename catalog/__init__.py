"""The models: facts, license claims and what they permit, lifecycle. Knows no request and no money movement."""

from catalog.errors import CatalogError, LaunchRefused, LicenseUnknown, ModelUnknown, MoveRefused, SeedInvalid
from catalog.lifecycle import launch, missing_for_launch, move
from catalog.models import Catalog, get, load, load_models
from catalog.permit import decide, may_change_weights, may_charge
from catalog.seed import Summary, import_seed
from catalog.values import Claim, Decision, Estimate, Model, ModelFacts, Resolution, Signer, Status, Term, Use, Waiver

__all__ = [
    "Catalog",
    "CatalogError",
    "Claim",
    "Decision",
    "Estimate",
    "LaunchRefused",
    "LicenseUnknown",
    "Model",
    "ModelFacts",
    "ModelUnknown",
    "MoveRefused",
    "Resolution",
    "SeedInvalid",
    "Signer",
    "Status",
    "Summary",
    "Term",
    "Use",
    "Waiver",
    "decide",
    "get",
    "import_seed",
    "launch",
    "load",
    "load_models",
    "may_change_weights",
    "may_charge",
    "missing_for_launch",
    "move",
]
