"""Every ledger account has a code, and no two have the same."""

from billing.chart import CODES, LedgerKind


def test_every_ledger_account_has_a_code_of_its_own() -> None:
    assert set(CODES) == set(LedgerKind)
    assert len({code.code for code in CODES.values()}) == len(CODES)
