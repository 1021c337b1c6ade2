"""YAML text -> values, strictly: what a plain word means is decided by the field it stands in, never by YAML.

So ``no`` is Norway where a region stands, ``0.10`` is ten cents to the nano, and ``1e-3`` is refused where money
stands. No duplicate keys, no anchors, no tags. Each fault says its line and path.
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
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}


def document(text: str) -> Node | None:
    """The root node; None for an empty file. Raises ``FileRefused``."""
    if len(text) > BYTES_MAX:
        raise FileRefused((Fault("", 1, "The file is larger than 8 MiB."),))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise FileRefused((Fault("", mark.line + 1 if mark else 1, f"This is no YAML: {said}."),)) from None
    except yaml.YAMLError as error:
        raise FileRefused((Fault("", 1, f"This is no YAML: {' '.join(str(error).split())}."),)) from None
    except (RecursionError, ValueError):
        # ValueError: a plain word that YAML takes for a date or number which there is not.
        raise FileRefused(
            (Fault("", 1, "This is no YAML that can be read: it is nested too deep or broken."),)
        ) from None
    if root is not None:
        _refuse_what_hides(root)
    return root


def _refuse_what_hides(root: Node) -> None:
    """Anchors say one thing in two places, tags say what a reader does not see."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            raise FileRefused((Fault("", _line(node), "Anchors and aliases are not taken: write it out."),))
        seen.add(id(node))
        if node.tag not in _TAGS:
            raise FileRefused((Fault("", _line(node), f"Tags such as {node.tag} are not taken."),))
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def bad(node: Node, path: str, says: str) -> FileRefused:
    """The refusal of one value."""
    return FileRefused((Fault(path, _line(node), says),))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


line_of = _line


def members(node: Node, path: str) -> dict[str, Node]:
    """A mapping's values by key. Raises ``FileRefused`` for a key that stands twice."""
    if not isinstance(node, yaml.MappingNode):
        raise bad(node, path, "Names with values belong here, as in `name: alpha`.")
    found: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise bad(key, path, "A field's name is one word.")
        if key.value in found:
            raise bad(key, f"{path}.{key.value}".lstrip("."), "It stands here twice.")
        found[key.value] = value
    return found


def items(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    """A list's items with their paths; a section that is left empty is an empty list."""
    if _is_null(node):
        return
    if not isinstance(node, yaml.SequenceNode):
        raise bad(node, path, "A list belongs here, each item beginning with `-`.")
    for index, item in enumerate(node.value):
        yield item, f"{path}[{index}]"


def _is_null(node: Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL


def _word(node: Node, path: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise bad(node, path, "One value belongs here, not a list or a mapping.")
    return str(node.value)


def text(node: Node, path: str) -> str:
    """Any text; an empty one stands in quotes."""
    found = _word(node, path)
    if _is_null(node):
        raise bad(node, path, 'Text belongs here; write "" for none.')
    if "\x00" in found:
        raise bad(node, path, "Text has no null characters.")
    return found


def integer(node: Node, path: str) -> int:
    """A whole number; ``4_096`` is one."""
    found = _word(node, path)
    if re.fullmatch(r"[0-9]{1,3}(_[0-9]{3}){0,5}|[0-9]{1,18}", found) is None:
        raise bad(node, path, f"{found[:40]!r} is no whole number such as 4096.")
    return int(found.replace("_", ""))


def boolean(node: Node, path: str) -> bool:
    """``true`` or ``false`` and no other word."""
    found = _word(node, path)
    if found not in ("true", "false"):
        raise bad(node, path, f"{found[:40]!r} is neither true nor false.")
    return found == "true"


def usd(node: Node, path: str) -> str:
    """An amount from its text, quoted or not, as canonical text; never through a float."""
    found = _word(node, path)
    try:
        nano = from_usd(found)
    except ValueError:
        raise bad(
            node, path, f"{found[:40]!r} is no amount in USD such as 0.008, with at most nine decimals and no exponent."
        ) from None
    if not 0 <= nano <= USD_MAX * 10**9:
        raise bad(node, path, f"An amount is between 0.00 and {USD_MAX}.00 USD per million tokens.")
    return to_usd(nano)


def day(node: Node, path: str) -> str:
    """A date such as 2026-12-01."""
    found = _word(node, path)
    try:
        return date.fromisoformat(found).isoformat()
    except ValueError:
        raise bad(node, path, f"{found[:40]!r} is no day such as 2026-12-01.") from None


def instant(node: Node, path: str) -> datetime:
    """A day, which is its beginning in UTC, or an instant such as 2026-12-01T08:00:00Z."""
    found = _word(node, path)
    try:
        parsed = datetime.fromisoformat(found)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad(node, path, f"{found[:40]!r} is no instant such as 2026-12-01 or 2026-12-01T08:00:00Z.") from None


def one_of(*words: str) -> Reader:
    """One of these words."""

    def read(node: Node, path: str) -> str:
        found = _word(node, path)
        if found not in words:
            raise bad(node, path, f"{found[:40]!r} is none of {', '.join(words)}.")
        return found

    return read


def optional(reader: Reader) -> Reader:
    """What the reader reads, or ``null``."""
    return lambda node, path: None if _is_null(node) else reader(node, path)


def set_of(reader: Callable[[Node, str], Any]) -> Reader:
    """A list in which order means nothing and nothing stands twice."""

    def read(node: Node, path: str) -> list[object]:
        found = [reader(item, at) for item, at in items(node, path)]
        if len(set(found)) < len(found):
            raise bad(node, path, "Something stands here twice.")
        return sorted(found)

    return read


def mapping(fields: Mapping[str, Reader], needed: frozenset[str]) -> Reader:
    """A mapping of these fields and no others."""

    def read(node: Node, path: str) -> dict[str, object]:
        found = members(node, path)
        for name, value in found.items():
            if name not in fields:
                raise bad(value, f"{path}.{name}", f"There is no such field; there are {', '.join(fields)}.")
        if missing := sorted(needed - found.keys()):
            raise bad(node, path, f"It lacks {' and '.join(missing)}.")
        return {name: fields[name](value, f"{path}.{name}") for name, value in found.items()}

    return read


def texts(node: Node, path: str) -> dict[str, object]:
    """A mapping of text to text."""
    if _is_null(node):
        return {}
    return {name: text(value, f"{path}.{name}") for name, value in members(node, path).items()}


def options(node: Node, path: str) -> dict[str, object]:
    """What a provider's kind takes: text, whole numbers, true, false, null, lists and mappings of them, by name."""
    if _is_null(node):
        return {}
    return {name: _anything(value, f"{path}.{name}") for name, value in members(node, path).items()}


def _anything(node: Node, path: str) -> object:
    if isinstance(node, yaml.MappingNode):
        return options(node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_anything(item, at) for item, at in items(node, path)]
    return text(node, path) if node.style is not None else _plain(node, path)


def _plain(node: Node, path: str) -> object:
    if node.value in _WORDS:
        return _WORDS[node.value]
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", node.value):
        return int(node.value)
    if re.fullmatch(r"[-+.0-9][-+.0-9eE_]*", node.value):
        raise bad(node, path, f"{node.value[:40]} reads as a number with decimals: write it in quotes.")
    return text(node, path)
