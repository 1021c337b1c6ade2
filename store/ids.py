"""Identifiers: one type per kind of thing, sortable by time, with a prefix on the wire.

Inside the process an id is a UUIDv7 wrapped in its NewType, so that mypy refuses to mix two kinds. On the wire, in logs
and in Redis it is ``<prefix>_<32 hex digits>``. The list of kinds is append-only.
"""

from datetime import datetime
from typing import NewType
from uuid import UUID

from uuid_utils.compat import uuid7

AccountId = NewType("AccountId", UUID)
KeyId = NewType("KeyId", UUID)
MemberId = NewType("MemberId", UUID)
RequestId = NewType("RequestId", UUID)
ProviderId = NewType("ProviderId", UUID)
EndpointId = NewType("EndpointId", UUID)
PriceId = NewType("PriceId", UUID)
GrantId = NewType("GrantId", UUID)
EntryId = NewType("EntryId", UUID)
LedgerAccountId = NewType("LedgerAccountId", UUID)
ClaimId = NewType("ClaimId", UUID)
AcceptanceId = NewType("AcceptanceId", UUID)
WaiverId = NewType("WaiverId", UUID)
AuditId = NewType("AuditId", UUID)
ProcessId = NewType("ProcessId", UUID)
ResolutionId = NewType("ResolutionId", UUID)
ModelEventId = NewType("ModelEventId", UUID)
ProbeId = NewType("ProbeId", UUID)
OperatorKeyId = NewType("OperatorKeyId", UUID)
ReceivableId = NewType("ReceivableId", UUID)
PaymentId = NewType("PaymentId", UUID)
ExportId = NewType("ExportId", UUID)
DocumentId = NewType("DocumentId", UUID)
DocumentRequestId = NewType("DocumentRequestId", UUID)
TopupId = NewType("TopupId", UUID)
RefundId = NewType("RefundId", UUID)
ReviewId = NewType("ReviewId", UUID)
BudgetId = NewType("BudgetId", UUID)
WebhookId = NewType("WebhookId", UUID)
DeliveryId = NewType("DeliveryId", UUID)
PortalLinkId = NewType("PortalLinkId", UUID)
GrantScheduleId = NewType("GrantScheduleId", UUID)
ProposalId = NewType("ProposalId", UUID)
DifferenceId = NewType("DifferenceId", UUID)
ReconciliationId = NewType("ReconciliationId", UUID)
ProviderInvoiceId = NewType("ProviderInvoiceId", UUID)
ContractId = NewType("ContractId", UUID)
TermId = NewType("TermId", UUID)
MailId = NewType("MailId", UUID)
ManagementKeyId = NewType("ManagementKeyId", UUID)
AlertId = NewType("AlertId", UUID)
DeviceLoginId = NewType("DeviceLoginId", UUID)
PersonId = NewType("PersonId", UUID)
SessionId = NewType("SessionId", UUID)
PasskeyId = NewType("PasskeyId", UUID)
InvitationId = NewType("InvitationId", UUID)
IncidentId = NewType("IncidentId", UUID)
IncidentUpdateId = NewType("IncidentUpdateId", UUID)
EvidenceId = NewType("EvidenceId", UUID)
AccountViewId = NewType("AccountViewId", UUID)
OutsideIdentityId = NewType("OutsideIdentityId", UUID)

# A catalogue id, `org/name`, is its own wire form.
ModelId = NewType("ModelId", str)

PREFIXES: dict[object, str] = {
    AccountId: "acct",
    KeyId: "key",
    MemberId: "mem",
    RequestId: "req",
    ProviderId: "prov",
    EndpointId: "ep",
    PriceId: "price",
    GrantId: "grant",
    EntryId: "entry",
    LedgerAccountId: "lacct",
    ClaimId: "claim",
    AcceptanceId: "acc",
    WaiverId: "waiver",
    AuditId: "audit",
    ProcessId: "proc",
    ResolutionId: "resolution",
    ModelEventId: "mevent",
    ProbeId: "probe",
    OperatorKeyId: "opkey",
    ReceivableId: "recv",
    ExportId: "export",
    DocumentId: "doc",
    DocumentRequestId: "docreq",
    TopupId: "topup",
    RefundId: "refund",
    ReviewId: "review",
    BudgetId: "budget",
    WebhookId: "wh",
    DeliveryId: "msg",
    PortalLinkId: "portal",
    GrantScheduleId: "schedule",
    ProposalId: "proposal",
    DifferenceId: "diff",
    ReconciliationId: "recon",
    ProviderInvoiceId: "pinv",
    ContractId: "contract",
    TermId: "term",
    MailId: "mail",
    ManagementKeyId: "mgmt",
    AlertId: "alert",
    DeviceLoginId: "device",
    PersonId: "person",
    SessionId: "sess",
    PasskeyId: "passkey",
    InvitationId: "invite",
    EvidenceId: "evidence",
    IncidentId: "incident",
    IncidentUpdateId: "update",
    AccountViewId: "view",
    OutsideIdentityId: "identity",
}


def new_id(at: datetime | None = None) -> UUID:
    """A fresh UUIDv7 (RFC 9562): sorts by time of creation, 74 random bits; of this machine's clock without ``at``."""
    if at is None:
        return uuid7()
    return uuid7(int(at.timestamp()), at.microsecond * 1000)


def wire(kind: object, value: UUID) -> str:
    """The id as it is written outside the process: ``wire(AccountId, id)`` -> ``acct_0199…``."""
    return f"{PREFIXES[kind]}_{value.hex}"


def parse(kind: object, text: str) -> UUID:
    """Read an id as :func:`wire` writes it, or a bare UUID. Raises ``ValueError`` for an id of another kind."""
    prefix = PREFIXES[kind] + "_"
    if text.startswith(prefix):
        return UUID(hex=text[len(prefix) :])
    if "_" in text:
        raise ValueError(f"{text!r} is not a {prefix}… id")
    return UUID(text)
