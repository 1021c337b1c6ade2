"""`gigarouter admin ledger`."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import LedgerBalance, drifted_credits, trial_balance, unbalanced_entries
from billing.money import to_usd
from gigarouter.commands.admin.output import AsJson, Row, show_list
from gigarouter.commands.admin.session import fail, read
from store.ids import AccountId, wire

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """One command so far, and still a noun."""


@app.command("trial-balance")
def show(as_json: AsJson = False) -> None:
    """Sums by kind of ledger account; exit 1 unless they add up to zero and every running credit to its postings."""

    async def ask(connection: AsyncConnection) -> tuple[list[LedgerBalance], int, list[AccountId]]:
        return await trial_balance(connection), await unbalanced_entries(connection), await drifted_credits(connection)

    lines, unbalanced, drifted = read(ask)
    total = sum(line.amount for line in lines)
    rows: list[Row] = [_row(line.kind, line.amount, line.postings) for line in lines]
    show_list([*rows, _row("total", total, sum(line.postings for line in lines))], as_json=as_json)
    if total or unbalanced:
        fail(f"The ledger does not balance: it sums to {to_usd(total)} USD, {unbalanced} entries do not sum to zero.")
    if drifted:
        accounts = ", ".join(wire(AccountId, account_id) for account_id in drifted)
        fail(f"The running credit differs from its postings or grants: {accounts}.")


def _row(kind: str, amount: int, postings: int) -> Row:
    return {"ledger_account": kind, "balance_usd": to_usd(amount), "postings": postings}
