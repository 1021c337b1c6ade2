"""Contracts: what was agreed with one account. Prices of its own, a minimum a month, a prepaid commitment.

- :mod:`.rules` is pure: which term holds, what a price is under it, which months have a minimum.
- :mod:`.store` keeps contracts and their terms; :mod:`.prices` the prices that they make.
- :mod:`.minimums` charges what a month's usage does not come to; :mod:`.impact` says what a change would mean.
"""
