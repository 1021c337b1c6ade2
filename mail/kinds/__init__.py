"""Lists every kind of mail; each is a struct in a module of its subject, and a template of its ``kind``'s name."""

from mail.kinds.documents import DocumentIssued, DocumentReference, InvoiceOverdue
from mail.kinds.house import CheckFailed, ProviderDown
from mail.kinds.keys import KeyCreated, KeyExpiring, KeyRevoked, KeyRotated
from mail.kinds.models import ModelLaunched, ModelRetiring, PriceChange
from mail.kinds.money import (
    BalanceLow,
    CreditExpiring,
    Notice,
    PaymentFailed,
    RechargeConfirm,
    RechargeDone,
    RechargeLimitReached,
    RechargeOff,
    SpendingForecast,
    SpendingReached,
)
from mail.kinds.people import Invitation, PasskeyAdded, PasskeyRemoved, SessionStarted, SignInCode, Welcome
from mail.values import Mail

ALL: tuple[type[Mail], ...] = (
    SignInCode,
    Invitation,
    Welcome,
    PasskeyAdded,
    PasskeyRemoved,
    SessionStarted,
    KeyCreated,
    KeyRotated,
    KeyExpiring,
    KeyRevoked,
    BalanceLow,
    RechargeDone,
    RechargeConfirm,
    RechargeOff,
    RechargeLimitReached,
    PaymentFailed,
    SpendingReached,
    SpendingForecast,
    CreditExpiring,
    Notice,
    DocumentReference,
    DocumentIssued,
    InvoiceOverdue,
    ModelLaunched,
    PriceChange,
    ModelRetiring,
    ProviderDown,
    CheckFailed,
)
KINDS: dict[str, type[Mail]] = {one.kind: one for one in ALL}

__all__ = [
    "ALL",
    "KINDS",
    "BalanceLow",
    "CheckFailed",
    "CreditExpiring",
    "DocumentIssued",
    "DocumentReference",
    "Invitation",
    "InvoiceOverdue",
    "KeyCreated",
    "KeyExpiring",
    "KeyRevoked",
    "KeyRotated",
    "ModelLaunched",
    "ModelRetiring",
    "Notice",
    "PasskeyAdded",
    "PasskeyRemoved",
    "PaymentFailed",
    "PriceChange",
    "ProviderDown",
    "RechargeConfirm",
    "RechargeDone",
    "RechargeLimitReached",
    "RechargeOff",
    "SessionStarted",
    "SignInCode",
    "SpendingForecast",
    "SpendingReached",
    "Welcome",
]
