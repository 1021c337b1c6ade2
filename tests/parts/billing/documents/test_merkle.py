"""Merkle trees are RFC 6962's: its own definition, recursive, is the model."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from billing.documents.merkle import EMPTY, TreeBlocks, is_proved, leaf_hash, proof_of, root_of

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def tree_hash(leaves: list[bytes]) -> bytes:
    """Section 2.1 as it is written: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


@given(LEAVES)
def test_the_root_is_that_of_the_rfc(leaves: list[bytes]) -> None:
    assert root_of([leaf_hash(leaf) for leaf in leaves]) == tree_hash(leaves)


def test_known_roots() -> None:
    """Of the test vectors that certificate transparency logs share."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [leaf_hash(bytes.fromhex(one)) for one in inputs]
    assert root_of(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert root_of(hashes[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of([]) == EMPTY


@given(LEAVES, st.data())
def test_a_path_proves_its_leaf_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    root, path = root_of(hashes), proof_of(hashes, index)
    assert is_proved(leaves[index], index, len(leaves), path, root)
    assert not is_proved(leaves[index] + b"x", index, len(leaves), path, root)
    assert not is_proved(leaves[index], index, len(leaves), [*path, root], root)
    assert not is_proved(leaves[index], len(leaves), len(leaves), path, root)
    if path:
        assert not is_proved(leaves[index], index, len(leaves), path[:-1], root)
        assert not is_proved(leaves[index], index, len(leaves), [*path[:-1], bytes(32)], root)


@given(LEAVES, st.data())
def test_blocks_have_the_root_and_the_paths_of_the_whole(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    block = data.draw(st.sampled_from([1, 2, 8, 64]))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = TreeBlocks(index, block)
    for first in range(0, len(hashes), block):
        tree.add(hashes[first : first + block])
    assert (tree.root(), tree.path()) == (root_of(hashes), proof_of(hashes, index))
