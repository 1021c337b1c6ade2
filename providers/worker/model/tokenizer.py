"""Turns texts into the model's own ids: prompts, special tokens, the end token, truncation, exact counts.

Every sequence is built the same way: the tokenizer's ids before a text, the text's ids, the tokenizer's ids after it.
Where a model pools its last token, that token must be the end token whatever a tokenizer file or a library version
says: truncation, or a library that ignores ``add_eos_token``, drops it silently, and the vector is another one.
"""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from providers.worker.errors import BadRequest, ModelBroken, TokenizerMismatch
from providers.worker.model.profile import Profile

# A text of more characters per token than this is refused (or cut first, with truncate) before it is tokenized, so
# that one huge string cannot hold a tokenizer thread. No tokenizer we know has a longer token than 128 spaces.
CHARACTERS_PER_TOKEN_MAX = 128
DEFAULT_MAX_TOKENS = 8192


class Encoded(msgspec.Struct, frozen=True):
    """One input as the model reads it. The first ``prompt_tokens`` ids are the prompt's and those before the prompt."""

    ids: list[int]
    truncated: bool = False
    prompt_tokens: int = 0


class EndRule(msgspec.Struct, frozen=True):
    """The id that ends every row, and which source names it; None where the model does not need one."""

    id: int | None
    token: str | None
    source: str


class TokenizerPool:
    """``copies`` tokenizers, one per thread that uses one: sharing one is not safe while its settings matter."""

    def __init__(
        self, folder: Path, profile: Profile, *, max_tokens: int | None, copies: int, split_special: bool
    ) -> None:
        reference = _load(folder)
        self.copies = copies
        self._copies: queue.SimpleQueue[Tokenizer] = queue.SimpleQueue()
        backend = reference.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = split_special
        for _ in range(copies):
            copy = Tokenizer.from_str(backend.to_str())
            copy.encode_special_tokens = split_special
            self._copies.put(copy)
        self._lowercase = profile.lowercase
        self.vocabulary_size = profile.vocabulary_size
        self.before, self.after = _specials(backend)
        self.end = _end_rule(reference, profile, self.after)
        if self.end.id is not None and (not self.after or self.after[-1] != self.end.id):
            self.after = (*self.after, self.end.id)
        _check_rows(backend, profile)
        self.max_tokens = _limit(reference, profile, max_tokens)

    @property
    def special_tokens(self) -> int:
        """How many ids are added to each input."""
        return len(self.before) + len(self.after)

    def encode_texts(self, texts: Sequence[str], prefix: str, *, truncate: bool, first: int = 0) -> list[Encoded]:
        """Tokenize each text. Blocking: call it from a tokenizer thread.

        ``first`` is the index of ``texts[0]`` in the request, for the error. Raises BadRequest ``input_too_long``.
        """
        characters_max = CHARACTERS_PER_TOKEN_MAX * self.max_tokens
        joined = []
        for position, text in enumerate(texts):
            full_text = prefix + text
            if len(full_text) > characters_max and not truncate:
                raise _too_long(first + position, None, self.max_tokens)
            shortened = full_text[:characters_max]
            joined.append(shortened.lower() if self._lowercase else shortened)
        with self._tokenizer() as tokenizer:
            try:
                encodings = tokenizer.encode_batch_fast(joined, add_special_tokens=False)
            except (TypeError, UnicodeEncodeError):
                raise BadRequest("An input is not valid Unicode (a lone surrogate).", code="invalid_request") from None
            in_prompt = len(tokenizer.encode(prefix, add_special_tokens=False).ids) if prefix else 0
        return [
            self._wrap(encoding.ids, len(text) > characters_max, in_prompt, truncate=truncate, index=first + position)
            for position, (encoding, text) in enumerate(zip(encodings, joined, strict=True))
        ]

    def encode_ids(self, inputs: Sequence[list[int]], prefix: str, *, truncate: bool, first: int = 0) -> list[Encoded]:
        """Take the caller's ids, and add the special tokens unless they are there. Raises BadRequest."""
        with self._tokenizer() as tokenizer:
            prompt = tokenizer.encode(prefix, add_special_tokens=False).ids if prefix else []
        return [
            self._wrap(
                prompt + self._content(ids, first + position),
                False,
                len(prompt),
                truncate=truncate,
                index=first + position,
            )
            for position, ids in enumerate(inputs)
        ]

    def _content(self, ids: list[int], index: int) -> list[int]:
        """The caller's ids without the special tokens that :meth:`_wrap` adds."""
        if ids and not (min(ids) >= 0 and max(ids) < self.vocabulary_size):
            raise BadRequest(
                f"Input {index} has a token id outside 0 … {self.vocabulary_size - 1}; "
                "ids must come from this model's tokenizer.",
                code="token_id_out_of_range",
                param="input",
                details={"index": index, "vocabulary_size": self.vocabulary_size},
            )
        before, after = len(self.before), len(self.after)
        starts = tuple(ids[:before]) == self.before
        ends = after == 0 or tuple(ids[-after:]) == self.after
        if before + after and starts and ends and len(ids) >= before + after:
            return ids[before : len(ids) - after]
        return ids

    def _wrap(self, content: list[int], truncated: bool, in_prompt: int, *, truncate: bool, index: int) -> Encoded:
        content_max = self.max_tokens - self.special_tokens
        tokens = len(content) + self.special_tokens
        if tokens > self.max_tokens:
            if not truncate:
                raise _too_long(index, tokens, self.max_tokens)
            content, truncated = content[:content_max], True
        ids = [*self.before, *content, *self.after]
        assert self.end.id is None or ids[-1] == self.end.id, "a row without its end token; this is a bug"
        return Encoded(
            ids=ids,
            truncated=truncated,
            prompt_tokens=len(self.before) + min(in_prompt, content_max) if in_prompt else 0,
        )

    @contextmanager
    def _tokenizer(self) -> Iterator[Tokenizer]:
        tokenizer = self._copies.get()
        try:
            yield tokenizer
        finally:
            self._copies.put(tokenizer)


def _load(folder: Path) -> PreTrainedTokenizerBase:
    if not (folder / "tokenizer.json").exists():
        raise ModelBroken(f"{folder / 'tokenizer.json'} is missing: this worker reads fast tokenizers only.")
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelBroken(f"The tokenizer in {folder} cannot be read: {str(error).splitlines()[0]}.") from None


def _specials(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer puts before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    raise TokenizerMismatch(
        "The tokenizer changes a text when it adds its special tokens; this worker cannot count for it."
    )


def _end_rule(tokenizer: PreTrainedTokenizerBase, profile: Profile, after: tuple[int, ...]) -> EndRule:
    if profile.pooling != ("lasttoken",) and not profile.adds_end_token:
        return EndRule(id=None, token=None, source="not needed")
    if after:
        return EndRule(id=after[-1], token=str(tokenizer.convert_ids_to_tokens(after[-1])), source="tokenizer")
    if tokenizer.eos_token_id is None:
        raise TokenizerMismatch("The model pools its last token, but its tokenizer names no end token.")
    source = "add_eos_token" if profile.adds_end_token else "last-token pooling"
    return EndRule(id=tokenizer.eos_token_id, token=tokenizer.eos_token, source=source)


def _check_rows(tokenizer: Tokenizer, profile: Profile) -> None:
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= profile.vocabulary_size:
        raise TokenizerMismatch(
            f"The tokenizer has ids up to {highest}, the weights have {profile.vocabulary_size} rows: "
            "they do not belong together."
        )


def _limit(tokenizer: PreTrainedTokenizerBase, profile: Profile, requested: int | None) -> int:
    """The longest input: the operator's, else the folder's, never more than the positions the model has."""
    own = profile.max_tokens or min(tokenizer.model_max_length, profile.positions or DEFAULT_MAX_TOKENS)
    ceiling = profile.positions or own
    return min(requested or min(own, DEFAULT_MAX_TOKENS), ceiling)


def _too_long(index: int, tokens: int | None, limit: int) -> BadRequest:
    size = f"{tokens} tokens" if tokens is not None else f"more than {CHARACTERS_PER_TOKEN_MAX * limit} characters"
    return BadRequest(
        f"Input {index} has {size}, the model takes {limit}. Shorten it, or send truncate: true.",
        code="input_too_long",
        param="input",
        details={"index": index, "limit": limit} | ({"tokens": tokens} if tokens is not None else {}),
    )
