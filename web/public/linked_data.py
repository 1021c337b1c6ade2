"""Describes a model for search engines, as JSON-LD. Pure.

A license stands in it only where one alone holds, and an offer only where money may be asked.
"""

from typing import TypeAlias

from billing.money import to_usd
from catalog.terms import find
from catalog.values import Model
from catalog.verdict import Verdict
from router.catalogue.values import CatalogueRow

LinkedData: TypeAlias = dict[str, str | list[str] | dict[str, str]]


def linked_data(model: Model, row: CatalogueRow, verdict: Verdict, base: str) -> LinkedData:
    """The model as schema.org has software."""
    data: LinkedData = {
        "@context": "https://schema.org",
        "@type": "SoftwareApplication",
        "applicationCategory": "Text embedding model",
        "name": row.name,
        "identifier": model.id,
        "url": f"{base}/models/{model.id}",
        "description": model.summary,
        "author": {"@type": "Organization", "name": model.owned_by},
    }
    if model.published_on is not None:
        data["datePublished"] = model.published_on.isoformat()
    if model.updated_on is not None:
        data["dateModified"] = model.updated_on
    if model.language_codes:
        data["inLanguage"] = list(model.language_codes)
    if (terms := None if verdict.conflict else find(verdict.license)) is not None:
        data["license"] = terms.url
    else:
        data["usageInfo"] = f"{base}/models/{model.id}#license"
    if row.price_nano is not None and verdict.charging.allowed:
        data["offers"] = {
            "@type": "Offer",
            "price": to_usd(row.price_nano),
            "priceCurrency": "USD",
            "description": "USD per 1,000,000 tokens",
        }
    return data
