"""Types of fields that are text on the wire and something else inside: ids, references, amounts, instants, flags.

Each is ``Annotated[<the type inside>, TextValue(…)]``. From JSON or a query only its text is taken; Python values that
an answer is built from pass as they are and are written as text. ``description`` and ``examples`` of a field are the
field's own (``Field(description=…)``): they are OpenAPI's words and the command line's help.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from billing.money import NanoUSD, from_usd, to_usd
from billing.stripe.values import NANO_PER_CENT, Cents, nano_of, whole_cents
from mail.values import is_address
from store.ids import (
    PREFIXES,
    AcceptanceId,
    AccountId,
    AccountViewId,
    AlertId,
    AuditId,
    BudgetId,
    ClaimId,
    ContractId,
    DeliveryId,
    DifferenceId,
    DocumentId,
    DocumentRequestId,
    EndpointId,
    EntryId,
    EvidenceId,
    ExportId,
    GrantId,
    GrantScheduleId,
    IncidentId,
    IncidentUpdateId,
    InvitationId,
    KeyId,
    MailId,
    ManagementKeyId,
    MemberId,
    OperatorKeyId,
    OutsideIdentityId,
    PasskeyId,
    PersonId,
    PortalLinkId,
    PriceId,
    ProposalId,
    ProviderId,
    ProviderInvoiceId,
    ReceivableId,
    ReconciliationId,
    RefundId,
    ResolutionId,
    ReviewId,
    SessionId,
    TopupId,
    WaiverId,
    WebhookId,
    parse,
    wire,
)

Read = Callable[[str], object]
Write = Callable[[Any], str]

NAME_CHARACTERS_MAX = 300
_PROVIDER_NAME = re.compile("[a-z0-9][a-z0-9-]{0,62}")
DAY_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}")


class TextValue:
    """How a value is read from its text and written as text.

    ``read`` raises ``ValueError``; ``expected`` completes "'field' is …" for a person; ``schema`` is its JSON schema.
    """

    def __init__(self, read: Read, write: Write, expected: str, **schema: object) -> None:
        self._read = read
        self._write = write
        self._expected = expected
        self._schema = {"type": "string", **schema}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validates by :attr:`_read`, serializes by :attr:`_write`."""
        writes = core_schema.plain_serializer_function_ser_schema(self._write)
        return core_schema.with_info_plain_validator_function(self._validated, serialization=writes)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Text of a form."""
        return dict(self._schema)

    def _validated(self, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            try:
                return self._read(value)
            except ValueError:
                pass
        elif info.mode == "python" and value is not None:
            return value
        raise PydanticCustomError("expected", "{expected}", {"expected": self._expected})


def _id(kind: object) -> TextValue:
    """An id of one kind."""
    prefix = PREFIXES[kind]

    def read(text: str) -> UUID:
        if not text.startswith(f"{prefix}_"):
            raise ValueError(text)
        return parse(kind, text)

    return TextValue(
        read, lambda value: wire(kind, value), f"an id such as {prefix}_…", pattern=f"^{prefix}_[0-9a-f]{{32}}$"
    )


def _reference(kind: object, noun: str, name: str) -> TextValue:
    """A thing by its id or its ``name``, which is "an account's name".

    It is found in the transaction, by :mod:`router.api.admin.references`.
    """
    prefix = PREFIXES[kind]
    others = tuple(f"{other}_" for other in PREFIXES.values() if other != prefix)

    def read(text: str) -> str:
        if text.startswith(f"{prefix}_"):
            parse(kind, text)
        elif text.startswith(others):
            raise ValueError(text)
        return _name(text)

    return TextValue(read, str, f"an id such as {prefix}_… or {name}", **{"x-reference": noun})


def _name(text: str) -> str:
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX or "\0" in text:
        raise ValueError(text)
    return text


def _provider_name(text: str) -> str:
    if _PROVIDER_NAME.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _email(text: str) -> str:
    if not is_address(text):
        raise ValueError(text)
    return text


def text_of(most: int) -> TextValue:
    """Text that says something: 1 to ``most`` characters, not all of them blank."""

    def read(text: str) -> str:
        if not text.strip() or len(text) > most:
            raise ValueError(text)
        return text

    return TextValue(read, str, f"text of 1 to {most} characters", minLength=1, maxLength=most)


def _usd_from(least: int) -> Callable[[str], NanoUSD]:
    """A reader of amounts of at least so many nano-dollars."""

    def read(text: str) -> NanoUSD:
        amount = from_usd(text)
        if amount < least:
            raise ValueError(text)
        return amount

    return read


def _cents(text: str) -> Cents:
    amount = from_usd(text)
    if amount < NANO_PER_CENT or amount % NANO_PER_CENT:
        raise ValueError(text)
    return whole_cents(amount)


def instant_of(text: str) -> datetime:
    """An instant as it is written. Raises ``ValueError``."""
    try:
        at: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
        return at.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise ValueError(text) from None


def _day_or_instant(text: str) -> datetime:
    """The beginning of a day in UTC, or an instant."""
    return instant_of(f"{text}T00:00:00Z" if DAY_TEXT.fullmatch(text) else text)


def rfc3339(at: datetime) -> str:
    """An instant as it is answered: UTC, to the microsecond where it has them."""
    text = at.astimezone(UTC).isoformat(timespec="microseconds" if at.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _flag(text: str) -> bool:
    if text in ("0", "false"):
        return False
    if text in ("1", "true"):
        return True
    raise ValueError(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= PAGE_MAX):
        raise ValueError(text)
    return int(text)


PAGE, PAGE_MAX = 20, 100
# What a column of limits can hold.
LIMIT_MAX = 2**31 - 1

AcceptanceIdText: TypeAlias = Annotated[AcceptanceId, _id(AcceptanceId)]
AccountIdText: TypeAlias = Annotated[AccountId, _id(AccountId)]
AccountViewIdText: TypeAlias = Annotated[AccountViewId, _id(AccountViewId)]
AlertIdText: TypeAlias = Annotated[AlertId, _id(AlertId)]
AuditIdText: TypeAlias = Annotated[AuditId, _id(AuditId)]
BudgetIdText: TypeAlias = Annotated[BudgetId, _id(BudgetId)]
DeliveryIdText: TypeAlias = Annotated[DeliveryId, _id(DeliveryId)]
WebhookIdText: TypeAlias = Annotated[WebhookId, _id(WebhookId)]
ClaimIdText: TypeAlias = Annotated[ClaimId, _id(ClaimId)]
ContractIdText: TypeAlias = Annotated[ContractId, _id(ContractId)]
DocumentIdText: TypeAlias = Annotated[DocumentId, _id(DocumentId)]
DocumentRequestIdText: TypeAlias = Annotated[DocumentRequestId, _id(DocumentRequestId)]
EndpointIdText: TypeAlias = Annotated[EndpointId, _id(EndpointId)]
EntryIdText: TypeAlias = Annotated[EntryId, _id(EntryId)]
EvidenceIdText: TypeAlias = Annotated[EvidenceId, _id(EvidenceId)]
ExportIdText: TypeAlias = Annotated[ExportId, _id(ExportId)]
GrantScheduleIdText: TypeAlias = Annotated[GrantScheduleId, _id(GrantScheduleId)]
GrantIdText: TypeAlias = Annotated[GrantId, _id(GrantId)]
ReceivableIdText: TypeAlias = Annotated[ReceivableId, _id(ReceivableId)]
InvitationIdText: TypeAlias = Annotated[InvitationId, _id(InvitationId)]
IncidentIdText: TypeAlias = Annotated[IncidentId, _id(IncidentId)]
IncidentUpdateIdText: TypeAlias = Annotated[IncidentUpdateId, _id(IncidentUpdateId)]
KeyIdText: TypeAlias = Annotated[KeyId, _id(KeyId)]
MailIdText: TypeAlias = Annotated[MailId, _id(MailId)]
ManagementKeyIdText: TypeAlias = Annotated[ManagementKeyId, _id(ManagementKeyId)]
MemberIdText: TypeAlias = Annotated[MemberId, _id(MemberId)]
OperatorKeyIdText: TypeAlias = Annotated[OperatorKeyId, _id(OperatorKeyId)]
OutsideIdentityIdText: TypeAlias = Annotated[OutsideIdentityId, _id(OutsideIdentityId)]
PasskeyIdText: TypeAlias = Annotated[PasskeyId, _id(PasskeyId)]
PersonIdText: TypeAlias = Annotated[PersonId, _id(PersonId)]
SessionIdText: TypeAlias = Annotated[SessionId, _id(SessionId)]
PortalLinkIdText: TypeAlias = Annotated[PortalLinkId, _id(PortalLinkId)]
PriceIdText: TypeAlias = Annotated[PriceId, _id(PriceId)]
ProposalIdText: TypeAlias = Annotated[ProposalId, _id(ProposalId)]
ProviderIdText: TypeAlias = Annotated[ProviderId, _id(ProviderId)]
RefundIdText: TypeAlias = Annotated[RefundId, _id(RefundId)]
ResolutionIdText: TypeAlias = Annotated[ResolutionId, _id(ResolutionId)]
ReviewIdText: TypeAlias = Annotated[ReviewId, _id(ReviewId)]
DifferenceIdText: TypeAlias = Annotated[DifferenceId, _id(DifferenceId)]
ReconciliationIdText: TypeAlias = Annotated[ReconciliationId, _id(ReconciliationId)]
ProviderInvoiceIdText: TypeAlias = Annotated[ProviderInvoiceId, _id(ProviderInvoiceId)]
TopupIdText: TypeAlias = Annotated[TopupId, _id(TopupId)]
WaiverIdText: TypeAlias = Annotated[WaiverId, _id(WaiverId)]

AccountRef: TypeAlias = Annotated[str, _reference(AccountId, "accounts", "an account's name")]
KeyRef: TypeAlias = Annotated[str, _reference(KeyId, "keys", "a key's name")]
MemberRef: TypeAlias = Annotated[str, _reference(MemberId, "members", "a person's e-mail address")]
ProviderRef: TypeAlias = Annotated[str, _reference(ProviderId, "providers", "a provider's name")]
ModelRef: TypeAlias = Annotated[
    str, TextValue(_name, str, "a model's id such as org/name, or its alias", **{"x-reference": "models"})
]

Usd: TypeAlias = Annotated[
    NanoUSD,
    TextValue(
        from_usd,
        to_usd,
        'an amount in USD as text with at most nine decimals, such as "25.00"',
        pattern=r"^-?\d+(\.\d{1,9})?$",
        examples=["25.00"],
    ),
]
UsdNotNegative: TypeAlias = Annotated[
    NanoUSD,
    TextValue(
        _usd_from(0),
        to_usd,
        'an amount in USD as text with at most nine decimals, not negative, such as "0.01"',
        pattern=r"^\d+(\.\d{1,9})?$",
        examples=["0.01"],
    ),
]
UsdAboveZero: TypeAlias = Annotated[
    NanoUSD,
    TextValue(
        _usd_from(1),
        to_usd,
        'an amount in USD as text with at most nine decimals, more than zero, such as "25.00"',
        pattern=r"^\d+(\.\d{1,9})?$",
        examples=["25.00"],
    ),
]
UsdCents: TypeAlias = Annotated[
    Cents,
    TextValue(
        _cents,
        lambda cents: to_usd(nano_of(cents)),
        'an amount in USD as text with at most two decimals, more than zero, such as "25.00"',
        pattern=r"^\d+(\.\d{1,2}0{0,7})?$",
        examples=["25.00"],
    ),
]
Instant: TypeAlias = Annotated[
    datetime,
    TextValue(instant_of, rfc3339, "an instant with a zone, such as 2027-01-01T00:00:00Z", format="date-time"),
]
DayOrInstant: TypeAlias = Annotated[
    datetime,
    TextValue(
        _day_or_instant, rfc3339, "a day in UTC, such as 2027-01-31, or an instant, such as 2027-01-31T12:00:00Z"
    ),
]
Flag: TypeAlias = Annotated[bool, TextValue(_flag, lambda flag: "1" if flag else "0", "1 or 0", enum=["0", "1"])]
ProviderName: TypeAlias = Annotated[
    str,
    TextValue(
        _provider_name, str, "1 to 63 lower-case letters, digits and dashes", pattern="^[a-z0-9][a-z0-9-]{0,62}$"
    ),
]
EmailAddress: TypeAlias = Annotated[str, TextValue(_email, str, "an e-mail address", examples=["ann@example.com"])]
Limit: TypeAlias = Annotated[int, Field(ge=1, le=LIMIT_MAX)]
PageLimit: TypeAlias = Annotated[
    int, TextValue(_limit, str, f"between 1 and {PAGE_MAX}", type="integer", minimum=1, maximum=PAGE_MAX)
]
