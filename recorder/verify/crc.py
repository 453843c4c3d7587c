"""CRC-32C, four bytes a step: what Python's library lacks."""

import array
import functools
import sys


@functools.cache
def crc_tables():
    """What a byte becomes after 8, 16, 24 and 32 steps of one bit."""

    def steps(value):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        return value

    tables = [[steps(value) for value in range(256)]]
    for _ in range(3):
        tables.append([tables[0][value & 0xFF] ^ (value >> 8) for value in tables[-1]])
    return tables


def crc32c(*parts):
    """Of several parts, each a multiple of four bytes long."""
    crc, (by_8, by_16, by_24, by_32) = 0xFFFFFFFF, crc_tables()
    for part in parts:
        words = array.array("I", part)
        if sys.byteorder == "big":
            words.byteswap()
        for word in words:
            word ^= crc
            crc = by_32[word & 0xFF] ^ by_24[word >> 8 & 0xFF] ^ by_16[word >> 16 & 0xFF] ^ by_8[word >> 24]
    return crc ^ 0xFFFFFFFF
