"""The money: prices, credit holds, usage events, the double-entry ledger.

What always holds, and is tested by killing the processes and servers it depends on:
- one unit, integers of nano-USD; a call's cost is rounded once, up;
- balance minus holds is never negative: for an account, and for a key's cap;
- a call ends once, charged or released, and Postgres says which;
- an entry's legs sum to zero, and nothing that was booked is ever changed;
- Postgres is the record; Redis follows it by version and may be lost at any time.

Knows no HTTP, no provider and no vector.
"""
