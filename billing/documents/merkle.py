"""Pure. Merkle trees as RFC 6962 hashes them: a root over many leaves, and a short proof that one leaf is among them.

A leaf's hash is SHA-256 of 0x00 and the leaf; a node's is SHA-256 of 0x01 and its two children.
"""

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
# A power of two: a block of so many leaves is a subtree.
BLOCK = 4_096
EMPTY = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\0" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def _level_above(hashes: Sequence[bytes]) -> list[bytes]:
    """The nodes over a level; a last one without a neighbour is carried up as it is."""
    above = [_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]
    return [*above, hashes[-1]] if len(hashes) % 2 else above


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over hashes of leaves, in their order."""
    if not leaf_hashes:
        return EMPTY
    while len(leaf_hashes) > 1:
        leaf_hashes = _level_above(leaf_hashes)
    return leaf_hashes[0]


def proof_of(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of a leaf, from its neighbour upwards."""
    path = []
    while len(leaf_hashes) > 1:
        neighbour = index ^ 1
        if neighbour < len(leaf_hashes):
            path.append(leaf_hashes[neighbour])
        leaf_hashes, index = _level_above(leaf_hashes), index // 2
    return path


def is_proved(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a path leads from the leaf at ``index`` of ``size`` to the root."""
    if not 0 <= index < size:
        return False
    at, steps = leaf_hash(leaf), iter(path)
    while size > 1:
        if index ^ 1 < size:
            neighbour = next(steps, None)
            if neighbour is None:
                return False
            at = _node(neighbour, at) if index % 2 else _node(at, neighbour)
        index, size = index // 2, (size + 1) // 2
    return next(steps, None) is None and at == root


def split_hashes(blob: bytes) -> list[bytes]:
    """Hashes that stand one behind the other."""
    return [blob[at : at + HASH_BYTES] for at in range(0, len(blob), HASH_BYTES)]


class TreeBlocks:
    """Computes the root, or one leaf's path, of leaves that come in blocks, and keeps none of them.

    A full block is a whole subtree, so that the tree over the blocks' roots is the upper part of the tree over all
    leaves: of ten million leaves 2,442 hashes are kept. ``block`` is a power of two.
    """

    def __init__(self, index: int = -1, block: int = BLOCK) -> None:
        self._index, self._block = index, block
        self._roots: list[bytes] = []
        self._path: list[bytes] = []

    def add(self, hashes: Sequence[bytes]) -> None:
        """Add the next block; only the last one may have fewer leaves."""
        if self._index // self._block == len(self._roots):
            self._path = proof_of(hashes, self._index % self._block)
        self._roots.append(root_of(hashes))

    def root(self) -> bytes:
        """The root over all leaves."""
        return root_of(self._roots)

    def path(self) -> list[bytes]:
        """The audit path of the leaf at the index, from its neighbour upwards."""
        return [*self._path, *proof_of(self._roots, self._index // self._block)]
