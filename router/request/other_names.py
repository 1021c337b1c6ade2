"""Lists what other vendors and clients call our fields and words, so that a refusal can name ours. Pure.

They are refused, never translated or ignored: a field that is ignored would be a vector of another kind without a word.
"""

from typing import Final

_CUTS: Final = "Nothing is ever cut: a text that is too long is refused."
_INPUT_TYPE: Final = "Here it is 'input_type', which is 'query' or 'document'."
_DIMENSIONS: Final = "Here it is 'dimensions'."
_INPUT: Final = "Here it is 'input'."
_FORMAT: Final = "Here it is 'encoding_format', which is 'float' or 'base64'."

# What is said of an unknown field, by its name in lower case without its underscores.
_FIELDS: Final = {
    "task": _INPUT_TYPE,
    "tasktype": _INPUT_TYPE,
    "embeddingtype": f"{_INPUT_TYPE} The form of the vectors is 'encoding_format'.",
    "promptname": _INPUT_TYPE,
    "prompttype": _INPUT_TYPE,
    "instruction": f"{_INPUT_TYPE} Any other instruction is put before the text, without 'input_type'.",
    "instruct": f"{_INPUT_TYPE} Any other instruction is put before the text, without 'input_type'.",
    "prefix": f"{_INPUT_TYPE} Any other instruction is put before the text, without 'input_type'.",
    "outputdimension": _DIMENSIONS,
    "outputdimensionality": _DIMENSIONS,
    "dimension": _DIMENSIONS,
    "dim": _DIMENSIONS,
    "truncatedim": _DIMENSIONS,
    "truncate": _CUTS,
    "truncation": _CUTS,
    "truncatedirection": _CUTS,
    "autotruncate": _CUTS,
    "truncateprompttokens": _CUTS,
    "inputs": _INPUT,
    "texts": _INPUT,
    "text": _INPUT,
    "content": _INPUT,
    "contents": _INPUT,
    "prompt": _INPUT,
    "embeddingtypes": _FORMAT,
    "outputdtype": _FORMAT,
    "responseformat": _FORMAT,
    "engine": "Here it is 'model'.",
    "modelid": "Here it is 'model'.",
    "normalize": "Whether vectors are of length 1 is the model's matter.",
    "normalized": "Whether vectors are of length 1 is the model's matter.",
}

_QUERY, _DOCUMENT = "Here it is 'query'.", "Here it is 'document'."
# What is said of a word for 'input_type', in lower case and with one kind of separator.
_INPUT_TYPES: Final = {
    "search_query": _QUERY,
    "retrieval_query": _QUERY,
    "question": _QUERY,
    "search": _QUERY,
    "search_document": _DOCUMENT,
    "retrieval_document": _DOCUMENT,
    "retrieval_passage": _DOCUMENT,
    "passage": _DOCUMENT,
    "doc": _DOCUMENT,
    "text": _DOCUMENT,
    "": "Leave it out for texts as they are.",
    "none": "Leave it out for texts as they are.",
}
_OTHER_TASKS: Final = "For other tasks leave it out: the text is embedded as it is."


def hint_for_field(name: str) -> str:
    """A sentence about an unknown field that another vendor has; empty where nothing is known."""
    return _FIELDS.get(name.lower().replace("_", ""), "")


def hint_for_input_type(word: str) -> str:
    """A sentence about a word that is not ours for ``input_type``."""
    return _INPUT_TYPES.get(word.lower().replace(".", "_").replace("-", "_"), _OTHER_TASKS)
