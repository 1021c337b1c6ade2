"""A name in a request -> the model that this key may call. Pure; the names are exact, as the catalogue writes them."""

from catalog.models import Catalog
from catalog.values import Model, Status
from router.errors import ModelNotAllowed, ModelNotFound, ModelNotLive
from router.values import Key

SHOWN = 100


def resolve(name: str, key: Key, catalog: Catalog) -> Model:
    """Raises ``ModelNotFound`` with the three nearest ids, ``ModelNotLive``, ``ModelNotAllowed``."""
    model = catalog.get(name)
    if model is None:
        raise _not_found(name, key, catalog)
    if model.status in (Status.COMING_SOON, Status.RETIRED):
        raise _not_live(model)
    if key.models and model.id not in key.models:
        allowed = ", ".join(sorted(key.models))
        raise ModelNotAllowed(
            f"This API key may not use the model `{model.id}`. It may use: {allowed}. "
            "Change the key's list of models, or use another key.",
            param="model",
            details={"allowed": sorted(key.models)},
        )
    return model


def _not_found(name: str, key: Key, catalog: Catalog) -> ModelNotFound:
    nearest = catalog.nearest(name, key.models)
    hint = f" Did you mean {', '.join(f'`{near}`' for near in nearest)}?" if nearest else " GET /v1/models lists them."
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
    return ModelNotFound(
        f"The model `{shown}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _not_live(model: Model) -> ModelNotLive:
    if model.status is Status.COMING_SOON:
        said = (
            f"is announced but not served yet. Vote for it, POST /v1/models/{model.id}/vote: demand decides what "
            "comes next."
        )
    else:
        said = "is retired and no longer served. GET /v1/models lists the models that are."
    return ModelNotLive(f"The model `{model.id}` {said}", param="model", details={"status": model.status.value})
