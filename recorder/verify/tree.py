"""BLAKE3's tree from one chunk up: what a proof needs and BLAKE3 libraries do not offer.

Only that: whole inputs are hashed by the library. It is slow, and a proof is short.
"""

import struct

from blake3 import blake3

CHUNK_LEAVES = 32
LEAF_LEN = 32

CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MASK = 0xFFFFFFFF


def mix(state, a, b, c, d, x, y):
    def rotated(value, by):
        return (value >> by) | (value << (32 - by)) & MASK

    for word, first, second in ((x, 16, 12), (y, 8, 7)):
        state[a] = (state[a] + state[b] + word) & MASK
        state[d] = rotated(state[d] ^ state[a], first)
        state[c] = (state[c] + state[d]) & MASK
        state[b] = rotated(state[b] ^ state[c], second)


def compress(chain, block, counter, flags):
    """The chaining value, or the first 32 bytes of output where `flags` say that this is the root."""
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    state = [*chain, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for column in range(4):
            mix(state, column, column + 4, column + 8, column + 12, *words[2 * column : 2 * column + 2])
        for column in range(4):
            b, c, d = 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4
            mix(state, column, b, c, d, *words[8 + 2 * column : 10 + 2 * column])
        words = [words[place] for place in PERMUTATION]
    return [state[place] ^ state[place + 8] for place in range(8)]


def words_of(data):
    return struct.unpack("<8I", data)


def bytes_of(words):
    return struct.pack("<8I", *words)


def chunk_value(key, chunk, counter):
    """Chaining value of a chunk that is not all of the input."""
    chain, last = words_of(key), (len(chunk) - 1) // 64
    for number in range(last + 1):
        flags = KEYED_HASH | (CHUNK_START if number == 0 else 0) | (CHUNK_END if number == last else 0)
        chain = compress(chain, chunk[64 * number : 64 * number + 64], counter, flags)
    return bytes_of(chain)


def parent(key, left, right, is_root):
    flags = KEYED_HASH | PARENT | (ROOT if is_root else 0)
    return bytes_of(compress(words_of(key), left + right, 0, flags))


def root_from_path(key, leaf, index, events, path):
    """The root that a leaf and its path lead to; None where no such tree is."""
    if not 0 <= index < events:
        return None
    place, last = index // CHUNK_LEAVES, (events - 1) // CHUNK_LEAVES
    others = (events - 1) % CHUNK_LEAVES if place == last else CHUNK_LEAVES - 1
    if len(path) < others:
        return None
    within = index % CHUNK_LEAVES
    chunk = b"".join([*path[:within], leaf, *path[within:others]])
    siblings = path[others:]
    if last == 0:
        return None if siblings else blake3(chunk, key=key).digest()
    value = chunk_value(key, chunk, place)
    while last > 0:
        if place % 2 == 1 or place < last:
            if not siblings:
                return None
            sibling = siblings.pop(0)
            left, right = (sibling, value) if place % 2 == 1 else (value, sibling)
            value = parent(key, left, right, last == 1)
        place, last = place // 2, last // 2
    return None if siblings else value
