"""Forms of an account's bound on the life of its keys, of the admin API and of the customers' alike."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from router.api.fields import AccountIdText
from router.api.forms import Form, Patch, Resource
from router.identity.key_policies import MAX_DAYS_MOST, KeyPolicy
from store.ids import AccountId


class KeyPolicyFacts(Form):
    """What may be set."""

    max_days: Annotated[int, Field(ge=1, le=MAX_DAYS_MOST)] | None = Field(
        None,
        description="The longest life of a new key in days, from its making, edit or rotation; null: without end. A "
        "key for which no expiry is given gets the longest, a later one is refused.",
    )


class KeyPolicyEdit(KeyPolicyFacts, Patch):
    """What is given is changed; null takes the bound away. Keys that there are stay as they are."""

    def days(self, before: int | None) -> int | None:
        """The bound as it shall be."""
        found: Any = self.given().get("max_days", before)
        return None if found is None else int(found)


class KeyPolicyOut(KeyPolicyFacts, Resource):
    """An account's bound, and what exceeds it."""

    volatile: ClassVar[frozenset[str]] = frozenset({"exceeding_keys", "exceeding_management_keys"})

    account: AccountIdText
    exceeding_keys: int = Field(description="Its keys that work for longer: they stay so until edited or rotated.")
    exceeding_management_keys: int = Field(description="Its management keys that work for longer.")
    object: Literal["key_policy"] = "key_policy"


def key_policy_out(account_id: AccountId, policy: KeyPolicy) -> KeyPolicyOut:
    """An account's bound as it is answered."""
    return KeyPolicyOut(
        account=account_id,
        max_days=policy.max_days,
        exceeding_keys=policy.exceeding_keys,
        exceeding_management_keys=policy.exceeding_management_keys,
    )
