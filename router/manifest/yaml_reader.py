"""Pure. Reads YAML strictly: the field decides what a plain scalar means, never YAML.

So ``no`` is Norway in a list of regions, ``0.10`` is ten cents to the nano, and ``1e-3`` is refused as an amount.
Duplicate keys, anchors and tags are refused. Each fault has its line and path.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import yaml

from billing.money import from_usd, to_usd
from router.manifest.values import Fault, FileRefused

Node: TypeAlias = Any  # yaml.Node; the package has no types
Reader: TypeAlias = Callable[[Node, str], object]

BYTES_MAX = 8 * 1024 * 1024
USD_MAX = 9000
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
)
_NULL = frozenset({"", "~", "null"})
_PLAIN_SCALARS: Mapping[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}


def document(text: str) -> Node | None:
    """Parse a document to its root node; None for an empty file. Raises ``FileRefused``."""
    if len(text) > BYTES_MAX:
        raise FileRefused((Fault("", 1, "The file is larger than 8 MiB."),))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise FileRefused((Fault("", mark.line + 1 if mark else 1, f"This is no YAML: {problem}."),)) from None
    except yaml.YAMLError as error:
        raise FileRefused((Fault("", 1, f"This is no YAML: {' '.join(str(error).split())}."),)) from None
    except (RecursionError, ValueError):
        # ValueError: a plain scalar that YAML takes for a date or number that does not exist.
        raise FileRefused(
            (Fault("", 1, "This is no YAML that can be read: it is nested too deep or broken."),)
        ) from None
    if root is not None:
        _refuse_indirection(root)
    return root


def _refuse_indirection(root: Node) -> None:
    """Refuse anchors, which state one thing in two places, and tags, which change what a reader sees."""
    seen: set[int] = set()
    unvisited = [root]
    while unvisited:
        node = unvisited.pop()
        if id(node) in seen:
            raise FileRefused((Fault("", line_of(node), "Anchors and aliases are not taken: write it out."),))
        seen.add(id(node))
        if node.tag not in _TAGS:
            raise FileRefused((Fault("", line_of(node), f"Tags such as {node.tag} are not taken."),))
        if isinstance(node, yaml.MappingNode):
            unvisited += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            unvisited += node.value


def refusal(node: Node, path: str, message: str) -> FileRefused:
    """The refusal of one value, to be raised."""
    return FileRefused((Fault(path, line_of(node), message),))


def line_of(node: Node) -> int:
    """The line of the file, from 1, where a node begins."""
    return int(node.start_mark.line) + 1


def members(node: Node, path: str) -> dict[str, Node]:
    """Read a mapping's values by key. Raises ``FileRefused`` for a duplicate key."""
    if not isinstance(node, yaml.MappingNode):
        raise refusal(node, path, "Names with values belong here, as in `name: alpha`.")
    nodes: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise refusal(key, path, "A field's name is one word.")
        if key.value in nodes:
            raise refusal(key, f"{path}.{key.value}".lstrip("."), "It stands here twice.")
        nodes[key.value] = value
    return nodes


def items(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    """Read a list's items with their paths; an empty section is an empty list."""
    if _is_null(node):
        return
    if not isinstance(node, yaml.SequenceNode):
        raise refusal(node, path, "A list belongs here, each item beginning with `-`.")
    for index, item in enumerate(node.value):
        yield item, f"{path}[{index}]"


def _is_null(node: Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL


def _scalar(node: Node, path: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise refusal(node, path, "One value belongs here, not a list or a mapping.")
    return str(node.value)


def text(node: Node, path: str) -> str:
    """Read any text; an empty one is written in quotes."""
    scalar = _scalar(node, path)
    if _is_null(node):
        raise refusal(node, path, 'Text belongs here; write "" for none.')
    if "\x00" in scalar:
        raise refusal(node, path, "Text has no null characters.")
    return scalar


def integer(node: Node, path: str) -> int:
    """Read a whole number; ``4_096`` is one."""
    scalar = _scalar(node, path)
    if re.fullmatch(r"[0-9]{1,3}(_[0-9]{3}){0,5}|[0-9]{1,18}", scalar) is None:
        raise refusal(node, path, f"{scalar[:40]!r} is no whole number such as 4096.")
    return int(scalar.replace("_", ""))


def boolean(node: Node, path: str) -> bool:
    """Read ``true`` or ``false``; no other word is taken."""
    scalar = _scalar(node, path)
    if scalar not in ("true", "false"):
        raise refusal(node, path, f"{scalar[:40]!r} is neither true nor false.")
    return scalar == "true"


def usd(node: Node, path: str) -> str:
    """Read an amount from its text, quoted or not, into canonical text; no float is involved."""
    scalar = _scalar(node, path)
    try:
        nano = from_usd(scalar)
    except ValueError:
        raise refusal(
            node,
            path,
            f"{scalar[:40]!r} is no amount in USD such as 0.008, with at most nine decimals and no exponent.",
        ) from None
    if not 0 <= nano <= USD_MAX * 10**9:
        raise refusal(node, path, f"An amount is between 0.00 and {USD_MAX}.00 USD per million tokens.")
    return to_usd(nano)


def day(node: Node, path: str) -> str:
    """Read a date such as 2026-12-01."""
    scalar = _scalar(node, path)
    try:
        return date.fromisoformat(scalar).isoformat()
    except ValueError:
        raise refusal(node, path, f"{scalar[:40]!r} is no day such as 2026-12-01.") from None


def instant(node: Node, path: str) -> datetime:
    """Read an instant such as 2026-12-01T08:00:00Z; a day is its beginning in UTC."""
    scalar = _scalar(node, path)
    try:
        parsed = datetime.fromisoformat(scalar)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise refusal(
            node, path, f"{scalar[:40]!r} is no instant such as 2026-12-01 or 2026-12-01T08:00:00Z."
        ) from None


def one_of(*words: str) -> Reader:
    """A reader of one of these words."""

    def read(node: Node, path: str) -> str:
        scalar = _scalar(node, path)
        if scalar not in words:
            raise refusal(node, path, f"{scalar[:40]!r} is none of {', '.join(words)}.")
        return scalar

    return read


def optional(reader: Reader) -> Reader:
    """A reader of what ``reader`` reads, or ``null``."""
    return lambda node, path: None if _is_null(node) else reader(node, path)


def set_of(reader: Callable[[Node, str], Any]) -> Reader:
    """A reader of a list in which order means nothing and every item is unique; it is read in sorted order."""

    def read(node: Node, path: str) -> list[object]:
        values = [reader(item, at) for item, at in items(node, path)]
        if len(set(values)) < len(values):
            raise refusal(node, path, "Something stands here twice.")
        return sorted(values)

    return read


def list_of(reader: Reader) -> Reader:
    """A reader of a list in its order."""
    return lambda node, path: [reader(item, at) for item, at in items(node, path)]


def mapping(fields: Mapping[str, Reader], needed: frozenset[str]) -> Reader:
    """A reader of a mapping of these fields and no others; the ``needed`` ones must be there."""

    def read(node: Node, path: str) -> dict[str, object]:
        nodes = members(node, path)
        for name, value in nodes.items():
            if name not in fields:
                raise refusal(value, f"{path}.{name}", f"There is no such field; there are {', '.join(fields)}.")
        if missing := sorted(needed - nodes.keys()):
            raise refusal(node, path, f"It lacks {' and '.join(missing)}.")
        return {name: fields[name](value, f"{path}.{name}") for name, value in nodes.items()}

    return read


def texts(node: Node, path: str) -> dict[str, object]:
    """Read a mapping of text to text."""
    if _is_null(node):
        return {}
    return {name: text(value, f"{path}.{name}") for name, value in members(node, path).items()}


def options(node: Node, path: str) -> dict[str, object]:
    """Read a provider's options: text, whole numbers, true, false, null, lists and mappings of them, by name."""
    if _is_null(node):
        return {}
    return {name: _any_value(value, f"{path}.{name}") for name, value in members(node, path).items()}


def _any_value(node: Node, path: str) -> object:
    if isinstance(node, yaml.MappingNode):
        return options(node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_any_value(item, at) for item, at in items(node, path)]
    return text(node, path) if node.style is not None else _plain_value(node, path)


def _plain_value(node: Node, path: str) -> object:
    if node.value in _PLAIN_SCALARS:
        return _PLAIN_SCALARS[node.value]
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", node.value):
        return int(node.value)
    if re.fullmatch(r"[-+.0-9][-+.0-9eE_]*", node.value):
        raise refusal(node, path, f"{node.value[:40]} reads as a number with decimals: write it in quotes.")
    return text(node, path)
