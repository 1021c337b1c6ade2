"""Pure. Reads the file that maps ledger accounts to the codes and tax names of another program.

TOML. ``[accounts]`` has a ledger account, or one with a detail as ``"tax_payable:DE"``, and its ``code``; ``tax`` and
``name`` where the program wants them. ``[datev]`` has what DATEV's header needs. What is misspelled or missing is a
fault before anything is written.
"""

import re
import tomllib
from collections.abc import Iterable

import msgspec

from billing.chart import LedgerKind
from billing.exports.formats import ExportFormat

TEXT_MAX = 200
ENCODING = "cp1252"
_RATE = re.compile(r"\d{1,4}(\.\d{1,6})?")


class MappedAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a ledger account goes: its code there (QuickBooks: the account's name), a tax name, a customer's name."""

    code: str
    tax: str = ""
    name: str = ""


class Datev(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What DATEV's header needs: numbers of the consultant and the client, and the account for entries of many legs.

    ``rate`` is how many USD one unit of ``currency`` is, where the client's books are not in USD.
    """

    consultant: int
    client: int
    clearing: str
    account_length: int = 4
    fiscal_year_begins: int = 1
    currency: str = "USD"
    rate: str = ""


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping file."""

    accounts: dict[str, MappedAccount]
    datev: Datev | None = None

    def account(self, kind: str, detail: str) -> MappedAccount | None:
        """Where a ledger account goes: its own line, else that of its kind."""
        return self.accounts.get(f"{kind}:{detail}") or self.accounts.get(kind)

    @property
    def by_code(self) -> dict[str, MappedAccount]:
        """The accounts by their codes; of several with one code the first says tax and name."""
        found: dict[str, MappedAccount] = {}
        for account in self.accounts.values():
            found.setdefault(account.code, account)
        return found


class MappingRefused(ValueError):
    """The mapping cannot be used; the message has a sentence for each fault."""


def read_mapping(text: str, format: ExportFormat) -> Mapping:
    """Read a mapping file for a format. Raises :class:`MappingRefused`."""
    try:
        mapping = msgspec.convert(tomllib.loads(text), Mapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise MappingRefused(f"The mapping cannot be read: {fault}.") from None
    faults = [*_faults(mapping), *(_datev_faults(mapping) if format is ExportFormat.DATEV else ())]
    if format is ExportFormat.XERO:
        faults += [f"{name} has no tax, which Xero needs." for name, one in mapping.accounts.items() if not one.tax]
    if faults:
        raise MappingRefused(" ".join(faults[:20]))
    return mapping


def check_complete(mapping: Mapping, ledger_accounts: Iterable[tuple[str, str]]) -> None:
    """Raise :class:`MappingRefused` for ledger accounts, as kind and detail, that go nowhere; rounding always does."""
    wanted = sorted({*ledger_accounts, (LedgerKind.ROUNDING.value, "")})
    missing = [f"{kind}:{detail}" if detail else kind for kind, detail in wanted if not mapping.account(kind, detail)]
    if missing:
        raise MappingRefused(f"The mapping has no code for {', '.join(missing[:20])}.")


def _faults(mapping: Mapping) -> Iterable[str]:
    kinds = {kind.value for kind in LedgerKind}
    for name, account in mapping.accounts.items():
        if name.partition(":")[0] not in kinds:
            yield f"{name} is no ledger account."
        if not account.code.strip():
            yield f"{name} has no code."
        for text in (account.code, account.tax, account.name):
            if len(text) > TEXT_MAX or not text.isprintable():
                yield f"{name} has text that is too long, or a line break in it."
    taxes: dict[str, set[tuple[str, str]]] = {}
    for account in mapping.accounts.values():
        taxes.setdefault(account.code, set()).add((account.tax, account.name))
    yield from (f"{code} has several taxes or names." for code, found in taxes.items() if len(found) > 1)


def _datev_faults(mapping: Mapping) -> Iterable[str]:
    datev = mapping.datev
    if datev is None:
        yield "[datev] is missing: consultant, client, clearing."
        return
    if not 1 <= datev.consultant <= 9_999_999 or not 1 <= datev.client <= 99_999:
        yield "DATEV's consultant has up to seven digits, its client up to five."
    if not 4 <= datev.account_length <= 8 or not 1 <= datev.fiscal_year_begins <= 12:
        yield "DATEV's account_length is 4 to 8, fiscal_year_begins a month."
    if not re.fullmatch("[A-Z]{3}", datev.currency):
        yield "DATEV's currency is three letters, such as EUR."
    if (datev.currency != "USD") != bool(datev.rate) or (datev.rate and not _RATE.fullmatch(datev.rate)):
        yield 'DATEV\'s rate is text such as "1.0870", USD for one unit of a currency that is not USD.'
    for code in {datev.clearing, *mapping.by_code}:
        if not (code.isascii() and code.isdigit() and len(code) <= datev.account_length + 1):
            yield f"{code} is no account of DATEV: at most {datev.account_length + 1} digits."
    for account in mapping.accounts.values():
        if account.tax and not re.fullmatch(r"\d{1,4}", account.tax):
            yield f"{account.tax} is no tax key of DATEV: up to four digits."
