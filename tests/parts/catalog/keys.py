from billing.values import Limits, Payer
from catalog.values import Use
from router.values import Key
from store.ids import AccountId, KeyId, new_id


def a_key(use: Use = Use.COMMERCIAL, accepted: frozenset[str] = frozenset()) -> Key:
    account_id, key_id = AccountId(new_id()), KeyId(new_id())
    payer = Payer(account_id=account_id, key_id=key_id, limits=Limits())
    return Key(id=key_id, account_id=account_id, name="a key", use=use, payer=payer, accepted=accepted)
