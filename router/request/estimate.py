"""Bounds a call's tokens and amount before anything is sent: the quote that admission holds credit for. Pure.

The bound is never a guess: a byte-level or WordPiece tokenizer makes at most one token of a byte, so bytes bound
tokens; token ids are exact. What only a tokenizer can know (a text too long for its model) is not refused here but
where the text is counted.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast
from uuid import UUID

import msgspec

from billing.money import Price, batch_price, cost_ceil
from billing.values import Quote
from catalog.values import Model
from router.errors import (
    DimensionsUnsupported,
    InputTooLong,
    InvalidRequest,
    ModelNotLive,
    TokenArrayUnsupported,
    TooManyTokens,
)
from router.request.body import MAX_TOKENS
from router.values import EmbedRequest, Key, Lane
from store.ids import AccountId, ModelId, PriceId

# SentencePiece puts a "▁" before each input, which may stay a token of its own.
WORD_START_TOKENS = 1
# Text of other characters than these can get longer by Unicode normalization, which many tokenizers do first: marks
# that are put in another order, precomposed letters that NFC takes apart (x3 in bytes), compatibility signs that NFKC
# writes out (x3 in characters per byte). The list says what cannot, so that a new Unicode version is on the safe side.
_MAY_LENGTHEN = re.compile(
    "[^\x00-\u00bb\u00bf-\u01c3\u01c7-\u01d4\u01dd\u01e2-\u01eb\u01ee-\u01f9\u01fc-\u0229\u022e-\u022f\u0232-\u02ff"
    "\u0391-\u03af\u03b1-\u0482\u048a-\u0590\u05d0-\u05f4\u0620-\u064a\u0660-\u066f\u0671-\u06d5\u10a0-\u10ff"
    "\u1e00-\u1eff\u2000-\u2056\u2058-\u20cf\u2100-\u214f\u2190-\u247c\u2500-\u2a0b\u3000-\u3029\u3030-\u3098"
    "\u309b-\u31ff\u3400-\ua48f\uac00-\ud7a3\uff00-\uffef\U0001f000-\U0001faff\U00020000-\U0002a6df]"
)
LENGTHENED = 3
# ... but for this ligature, whose 18 characters NFKC writes out for its 3 bytes.
LONGEST_LIGATURE, LONGEST_LIGATURE_TOKENS = "\ufdfa", 9

# What OpenAI's token limit counts of a text, as its answers show: known before anything is tokenized.
BYTES_PER_LIMITED_TOKEN = 4

# What OpenAI's clients encode with by themselves: LangChain and its like take this one for every model whose name they
# do not know, so its ids are right for a model that has it and mean other words to every other.
CLIENTS_TOKENIZER = "cl100k_base"
# Where those clients are told to send text.
SEND_TEXT = (
    "Send text: clients that encode it themselves use another model's tokenizer (with LangChain, set "
    "check_embedding_ctx_length=False in OpenAIEmbeddings)."
)

NO_PRICE = PriceId(UUID(int=0))


class Prices(Protocol):
    """An index of the prices in force, in memory."""

    def of_account(self, account_id: AccountId, model_id: ModelId, now: datetime) -> Price | None:
        """What an account pays for a model at an instant; None where it has no price yet."""
        ...


def estimate(
    request: EmbedRequest, model: Model, key: Key, prices: Prices, now: datetime, lane: Lane = Lane.INTERACTIVE
) -> Quote:
    """The quote of one call. Its price is the lane's, so that hold, charge and receipt are.

    Raises TokenArrayUnsupported, InvalidRequest (a token id out of range, the prompt twice), InputTooLong,
    TooManyTokens, DimensionsUnsupported, and ModelNotLive for a model without a price.
    """
    if request.dimensions is not None:
        _check_dimensions(request.dimensions, model)
    added_each = _added_token_bound(request, model)
    if request.texts is not None:
        if request.input_type is not None:
            _check_prompt_once(request.texts, model.prompts.get(request.input_type, ""))
        tokens, limited = sum(map(token_bound, request.texts)), token_guess(request.texts)
    else:
        check_token_ids_allowed(model, key)
        tokens = limited = _count_ids(request.token_ids or [], model)
    tokens += added_each * request.inputs
    price = price_of(model, key, prices, now)
    if lane is Lane.BATCH:
        price = batch_price(price)
    return Quote(
        tokens_max=tokens,
        amount_max=cost_ceil(tokens, price.nano_per_mtok),
        price=price,
        exact=request.texts is None and added_each == model.special_tokens,
        tokens_limited=max(1, limited),
    )


def exact_quote(request: EmbedRequest, model: Model, quote: Quote, tokens: int) -> Quote:
    """The quote again, from a count by the model's own tokenizer: ``tokens`` has prompt and special ones included.

    Raises TooManyTokens, now that it is certain: for text as for ids, what the model adds to it does not count.
    """
    customers = tokens - _added_token_bound(request, model) * request.inputs
    if customers > MAX_TOKENS:
        raise too_many_tokens(customers)
    amount = cost_ceil(tokens, quote.price.nano_per_mtok)
    return msgspec.structs.replace(quote, tokens_max=tokens, amount_max=amount, exact=True)


def _added_token_bound(request: EmbedRequest, model: Model) -> int:
    """The most tokens that the model adds to each input: special ones, and the prompt's."""
    prefix = model.prompts.get(request.input_type, "") if request.input_type else ""
    return model.special_tokens + (token_bound(prefix) if prefix else 0)


def token_guess(inputs: Sequence[str] | Sequence[list[int]]) -> int:
    """About how many tokens the inputs have, as OpenAI's token limit guesses: a quarter of the bytes, or the ids."""
    if isinstance(inputs[0], str):
        return sum(map(_utf8_bytes, cast("Sequence[str]", inputs))) // BYTES_PER_LIMITED_TOKEN
    return sum(map(len, inputs))


def _check_prompt_once(texts: list[str], prompt: str) -> None:
    """Raise InvalidRequest for a text that has the prompt already: with it twice the vector would be another."""
    if not prompt:
        return
    whole = prompt.rstrip()
    # Of an instruction in lines ("Instruct: …\nQuery: ") the words may be others.
    first, _, rest = whole.partition("\n")
    head, last = first[: first.find(":") + 1], "\n" + rest.rpartition("\n")[2]
    for index, text in enumerate(texts):
        if text.startswith(whole) or (rest and head and text.startswith(head) and last in text):
            raise InvalidRequest(
                f"'$.input[{index}]' is invalid: it begins with the model's prompt, which 'input_type' puts before it "
                "once more. Send the text without the prompt, or leave 'input_type' out.",
                param="input",
                details={"index": index},
            )


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def token_bound(text: str) -> int:
    """The most tokens that any tokenizer in use makes of ``text``, special tokens aside."""
    if text.isascii():
        return len(text) + WORD_START_TOKENS
    size = len(text.encode())
    if _MAY_LENGTHEN.search(text):
        size = LENGTHENED * size + LONGEST_LIGATURE_TOKENS * text.count(LONGEST_LIGATURE)
    return size + WORD_START_TOKENS


def takes_token_ids(model: Model, *, allowed: bool) -> bool:
    """Whether a call may send token ids to a model; ``allowed``: its key says that they are the model's own."""
    return model.vocabulary_size is not None and (allowed or model.tokenizer == CLIENTS_TOKENIZER)


def check_token_ids_allowed(model: Model, key: Key) -> None:
    """Raise TokenArrayUnsupported unless ids are the model's for sure: other ids are vectors of another text."""
    if takes_token_ids(model, allowed=key.allow_token_ids):
        return
    if model.vocabulary_size is None:
        raise TokenArrayUnsupported(
            f"The model `{model.id}` does not take token ids, because its tokenizer is not declared. {SEND_TEXT}",
            param="input",
            details={"tokenizer": None},
        )
    tokenizer = model.tokenizer or model.id
    raise TokenArrayUnsupported(
        f"The model `{model.id}` takes token ids of its own tokenizer ({tokenizer}) alone, and this key does not say "
        f"that it sends those. {SEND_TEXT} If your ids are this model's, have 'allow_token_ids' set on the key.",
        param="input",
        details={"tokenizer": tokenizer, "setting": "allow_token_ids"},
    )


def _count_ids(lists: list[list[int]], model: Model) -> int:
    """Exactly how many ids the inputs have. Raises unless all are ids of this model's tokenizer."""
    assert model.vocabulary_size is not None, "token ids were not checked; this is a bug"
    limit = model.max_input_tokens - model.special_tokens
    for index, ids in enumerate(lists):
        if max(ids) >= model.vocabulary_size:
            raise InvalidRequest(
                f"'$.input[{index}]' is invalid: it has a token id outside the vocabulary of `{model.id}`, whose ids "
                f"are 0 to {model.vocabulary_size - 1}. {SEND_TEXT}",
                param="input",
                details={"index": index},
            )
        if len(ids) > limit:
            raise input_too_long(model, index, len(ids) + model.special_tokens)
    tokens = sum(map(len, lists))
    if tokens > MAX_TOKENS:
        raise too_many_tokens(tokens)
    return tokens


def input_too_long(model: Model, index: int, tokens: int) -> InputTooLong:
    """The refusal of one input that was counted, special tokens and prompt included."""
    return InputTooLong(
        f"This model's maximum context length is {model.max_input_tokens} tokens, however you requested {tokens} "
        f"tokens in $.input[{index}]. Please reduce the length of this input.",
        param="input",
        details={"index": index, "tokens": tokens, "limit": model.max_input_tokens},
    )


def too_many_tokens(tokens: int) -> TooManyTokens:
    """The refusal of a request whose tokens were counted."""
    return TooManyTokens(
        f"Requested {tokens} tokens, max {MAX_TOKENS} tokens per request. Send the rest in further requests.",
        param="input",
        details={"tokens": tokens, "limit": MAX_TOKENS},
    )


def _check_dimensions(dimensions: int, model: Model) -> None:
    if dimensions == model.dimensions:
        return
    if not model.trained_dimensions:
        raise DimensionsUnsupported(
            f"This model does not support specifying dimensions. `{model.id}` always gives {model.dimensions}: leave "
            "'dimensions' out.",
            param="dimensions",
            details={"dimensions": model.dimensions},
        )
    trained = sorted({model.dimensions, *(width for width in model.trained_dimensions if width < model.dimensions)})
    named, details = ", ".join(map(str, trained)), {"dimensions": model.dimensions, "trained": trained}
    if model.only_trained_dimensions and dimensions not in trained:
        raise DimensionsUnsupported(
            f"'dimensions' must be one of {named} for `{model.id}`, which takes no other.",
            param="dimensions",
            details=details,
        )
    if dimensions > model.dimensions:
        raise DimensionsUnsupported(
            f"'dimensions' must be at most {model.dimensions} for `{model.id}`; it was trained for {named}.",
            param="dimensions",
            details=details,
        )


def price_of(model: Model, key: Key, prices: Prices, now: datetime) -> Price:
    """The price that a call of the account is quoted with; a test key's is zero. Raises ModelNotLive without one."""
    price = prices.of_account(key.account_id, model.id, now)
    if key.is_test:
        return Price(
            id=price.id if price else NO_PRICE,
            model_id=model.id,
            nano_per_mtok=0,
            effective_at=price.effective_at if price else now,
        )
    if price is None:
        raise ModelNotLive(
            f"The model `{model.id}` cannot be used yet, because it has no price. Choose another model.",
            param="model",
        )
    return price
