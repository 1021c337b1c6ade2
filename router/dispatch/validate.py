"""Validates a provider's answer before a customer pays for it: count, width, numbers, length, usage. Pure.

A bad answer is the provider's failure: the call is tried elsewhere in the same space, nothing is delivered or
billed. Costs a few microseconds per vector, because one sum of squares reveals NaN, infinity, zero and norm at once.
"""

from typing import Final

import numpy as np

from catalog.values import Model
from providers.outcomes import AnswerCheck, BadAnswer
from providers.protocol import Attempt, FloatMatrix, Vectors
from router.request.estimate import token_bound

# Providers that compute in half precision or send few digits are off by up to 1e-3; another space is off by far more.
NORM_TOLERANCE = 0.01
# The tokens that a provider's own template may add to each input, beside the bytes of the text.
TEMPLATE_TOKENS = 256
# English has 4 to 5 characters a token in every vocabulary in use, code has 3, and a template may add to that. A server
# that counts characters has one; one that counts texts has hundreds.
CHARACTERS_PER_TOKEN: Final = (1.3, 16)

NO_USAGE: Final = "its answers tell no usage, so a call would be billed by its bytes, some four times its tokens"
WHAT_TO_DO: Final = (
    "Set the provider's option bytes_per_token (4 is usual) to bill by the size of the text, or serve the model by an "
    "in-house worker, which counts by the model's own tokenizer."
)


def validate_vectors(vectors: Vectors, attempt: Attempt, model: Model) -> None:
    """Raise :class:`providers.outcomes.BadAnswer` unless the answer may be delivered.

    The width is the model's own, whatever the call requests: shortening is :mod:`router.response.encode`'s.
    """
    matrix = vectors.matrix
    if matrix.ndim != 2 or matrix.shape[0] != attempt.inputs:
        raise _bad_answer("count", f"{matrix.shape} for {attempt.inputs} inputs")
    if matrix.shape[1] != model.dimensions:
        raise _bad_answer("dimensions", f"{matrix.shape[1]} instead of {model.dimensions}")
    if matrix.dtype != np.float32:
        raise _bad_answer("number format", str(matrix.dtype))
    _validate_numbers(matrix, unit=model.normalized)
    if vectors.tokens is not None:
        _validate_usage(vectors.tokens, attempt, exact=vectors.exact)


def usage_fault(texts: list[str], vectors: Vectors) -> str:
    """Why the usage reported for these texts of plain English cannot be billed by, and what to do; empty where it can.

    It is for an endpoint's tests alone: whether a customer's texts are English is not known. An exact count is our own.
    """
    if vectors.exact:
        return ""
    if vectors.tokens is None:
        return f"{NO_USAGE}. {WHAT_TO_DO}"
    characters = sum(map(len, texts))
    least, most = CHARACTERS_PER_TOKEN
    if vectors.tokens * least > characters:
        what = "it counts characters, not tokens"
    elif vectors.tokens * most < characters:
        what = "it counts something else than tokens"
    else:
        return ""
    return f"it tells {vectors.tokens} tokens for {characters} characters of English: {what}. {WHAT_TO_DO}"


def shorten(matrix: FloatMatrix, dimensions: int) -> FloatMatrix:
    """The first ``dimensions`` columns of [inputs, native] float32, each row renormalized to length 1 in float32.

    A row that begins with nothing but zeros has no direction and stays zero.
    """
    short: FloatMatrix = matrix[:, :dimensions].copy()
    norms = np.sqrt(np.einsum("ij,ij->i", short, short))
    norms[norms == 0] = 1
    short /= norms[:, None]
    return short


def _validate_numbers(matrix: FloatMatrix, *, unit: bool) -> None:
    if len(matrix) == 1:
        row = matrix[0]
        low = high = float(np.dot(row, row))
    else:
        squares = np.einsum("ij,ij->i", matrix, matrix)
        low, high = float(squares.min()), float(squares.max())
    # NaN is the min and the max of all that it is among, and compares false.
    if not high < np.inf or not low >= 0:
        raise _bad_answer("numbers", "NaN or infinity")
    if low == 0:
        raise _bad_answer("numbers", "a vector of zeros")
    if unit and not (1 - NORM_TOLERANCE) ** 2 <= low <= high <= (1 + NORM_TOLERANCE) ** 2:
        raise _bad_answer("norm", f"between {low**0.5:.4f} and {high**0.5:.4f}, though the space is normalized")


def _validate_usage(tokens: int, attempt: Attempt, *, exact: bool) -> None:
    """Usage is between one token and the bound of the text; blank text may have none."""
    if tokens < 1:
        if tokens < 0 or attempt.texts is None or any(text.strip() for text in attempt.texts):
            raise _bad_answer("usage", f"{tokens} tokens for {attempt.inputs} inputs")
        return
    if exact:
        return
    most = sum(map(token_bound, attempt.texts or ())) + sum(map(len, attempt.token_ids or ()))
    if tokens > most + (TEMPLATE_TOKENS + len(attempt.prefix.encode())) * attempt.inputs:
        raise _bad_answer("usage", f"{tokens} tokens where at most {most} are in the input")


def _bad_answer(what: AnswerCheck, detail: str) -> BadAnswer:
    return BadAnswer(f"the provider's answer failed the check of its {what}", check=what, detail=detail)
