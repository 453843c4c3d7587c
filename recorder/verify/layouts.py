"""Where what lies in a segment, a seal and a tombstone, as crates/segment/FORMAT.md has it.

Reads layouts and signatures. Hashes of events, payloads and lists of segments are in recording.py.
"""

import struct
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from crc import crc32c

HEADER_LEN, FRAME_HEADER_LEN, GRAIN, HEAD_LEN = 4096, 128, 16, 80
MAX_EVENT_LEN, SALT_LEN, STATEMENT_LEN, SEAL_PAYLOAD_LEN = 16 << 20, 16, 304, 368
TAG_LEN, ENVELOPE_LEN, MAX_RECIPIENTS, FRONT_LEN = 16, 112, 32, 256
COMPRESSED, ENCRYPTED = 1, 2
EVENT, PADDING, INDEX, SEAL = 1, 2, 3, 4
GAP, GAP_FIXED_LEN, BODY_VERSION, RECORDER_CORE = 11, 56, 1, 0xFFFF
MOST = (1 << 64) - 1

MAGIC, MARK, SALTS_INPUT = b"WEIRSEG\0", b"WF", b"weir segment salts, v1"
SEAL_PURPOSE, TOMB_PURPOSE = (f"WEIR {what} v1".encode().ljust(16, b"\0") for what in ("SEAL", "TOMB"))
STONE_LEN, TOMBSTONE_LEN = 216, 280
KEY_PREFIX = "weir-segment-ed25519:"
AUDITOR_KEY_PREFIX = "weir-auditor-x25519:"
LEAF_KEY, TREE_KEY, HEADER_KEY, INDEX_KEY, STORED_KEY, DATA_KEY_INFO = (
    f"weir segment {purpose}, v1".encode().ljust(32, b"\0")
    for purpose in ("event leaf", "tree", "header", "index", "stored bytes", "data key")
)
PAYLOAD_PURPOSE, SALTS_PURPOSE = b"weir segment payloads, v1", b"weir segment salt secret, v1"
ZSTD_MAGIC, ZSTD_LENGTHS = bytes.fromhex("28b52ffd"), {0x20: (1, 0), 0x60: (2, 256), 0xA0: (4, 0)}
KINDS = ("session-open session-close request hold release response upload mask-ledger outcome mint gap admin original").split()


class Fault(Exception):
    """What is wrong, by FORMAT.md's word, and where."""

    def __init__(self, word, offset, why):
        super().__init__(f"at byte {offset}: {word}: {why}")
        self.word, self.offset = word, offset


class Cut(Fault):
    """The file ends inside a frame, which the end of an open segment may do."""

    def __init__(self, offset):
        super().__init__("damaged", offset, "the file ends inside a frame")


# ---- Layouts


@dataclass
class Header:
    number: int
    begun: int
    previous_root: bytes
    public_key: bytes
    salt_secret: bytes
    compression: int
    recipients: list
    data: bytes
    digest: bytes

    @property
    def has_stored_digest(self):
        return bool(self.compression or self.recipients)

    @classmethod
    def read(cls, data):
        def check(holds, why):
            if not holds:
                raise Fault("unreadable", 0, why)

        check(data[:8] == MAGIC[: len(data)] and data, "not a Weir segment")
        check(len(data) == HEADER_LEN, "the header is cut short")
        version, flags, length, number = struct.unpack_from("<HHIQ", data, 8)
        check(version == 1, f"version {version} of the format is not known")
        check(crc32c(data[:4092]) == struct.unpack_from("<I", data, 4092)[0], "the header's checksum does not match")
        hashing, compression, encryption, count = data[160:164]
        check(hashing == 1 and compression in (0, 1) and encryption in (0, 1), "its encoding is not known")
        if encryption:
            check(flags == 1 and not any(data[128:160]) and 1 <= count <= MAX_RECIPIENTS, "its encryption is not known")
        else:
            check(flags == 0 and count == 0, "its encryption is not known")
        check(length == HEADER_LEN, "the header's length is not 4096")
        end = FRONT_LEN + count * ENVELOPE_LEN
        zeros = data[164:168] + data[232:FRONT_LEN] + data[end:4092]
        check(not any(zeros), "bytes of the header that must be zero are not")
        check(node_of(data[168:232]) is not None, "the node's name is malformed")
        (begun,) = struct.unpack_from("<q", data, 40)
        digest = blake3(data, key=HEADER_KEY).digest()
        recipients = [data[at : at + ENVELOPE_LEN] for at in range(FRONT_LEN, end, ENVELOPE_LEN)]
        return cls(
            number, begun, data[64:96], data[96:128], data[128:160], compression, recipients, data, digest
        )  # fmt: skip


@dataclass
class Head:
    ring: int
    sequence: int
    session: bytes
    wall: int
    to_upstream: int
    to_client: int
    ordinal: int
    lane: int
    kind: int
    version: int
    mark: int

    @classmethod
    def read(cls, data):
        ring, sequence, session, wall, _, up, down, ordinal, lane, kind, version, _, mark = struct.unpack_from(
            "<QQ16sqQIIQIBBBB", data
        )
        return cls(ring, sequence, session, wall, up, down, ordinal, lane, kind, version, mark)

    @property
    def by_recorder(self):
        return self.ring & 0xFFFF == RECORDER_CORE

    @property
    def is_plain(self):
        """Stored as it is in every segment."""
        return self.kind == GAP and self.by_recorder

    @property
    def word(self):
        return KINDS[self.kind - 1] if 1 <= self.kind <= len(KINDS) else f"kind {self.kind}"


def node_of(data):
    """None: malformed."""
    try:
        return data[1 : 1 + data[0]].decode() if data[0] <= 63 else None
    except UnicodeDecodeError:
        return None


def ring_text(ring):
    return f"{ring >> 16:012x}-{ring & 0xFFFF}"


def session_text(session):
    value, digits = int.from_bytes(session, "little"), "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(digits[(value >> (5 * place)) & 31] for place in reversed(range(26)))


@dataclass
class Statement:
    number: int
    header: bytes
    root: bytes
    events: int
    index: bytes
    stored: bytes
    to_upstream: int
    to_client: int
    earliest: int
    latest: int
    sealed: int
    index_offset: int
    seal_offset: int
    previous_root: bytes
    public_key: bytes

    @classmethod
    def open(cls, statement, signature):
        """Raises ValueError unless it is a seal of this version that its own key signed."""
        if len(statement) != STATEMENT_LEN or len(signature) != 64 or statement[:16] != SEAL_PURPOSE:
            raise ValueError("not a seal of a version that is known")
        fields = struct.unpack("<16sQ16s32s32sQ32s32sQQqqqQQ32sII32s", statement)
        _, number, _, header, root, events, index, stored, up, down, earliest, latest, sealed = fields[:13]
        index_offset, seal_offset, previous_root, _, _, public_key = fields[13:]
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
        except InvalidSignature:
            raise ValueError("its signature does not match") from None
        return cls(
            number, header, root, events, index, stored, up, down, earliest, latest, sealed,
            index_offset, seal_offset, previous_root, public_key,
        )  # fmt: skip


@dataclass
class Tombstone:
    number: int
    root: bytes
    sealed: int
    events: int
    bytes: int
    latest: int
    removed: int
    reason: str
    public_key: bytes

    @classmethod
    def read(cls, data):
        if len(data) != TOMBSTONE_LEN or data[:16] != TOMB_PURPOSE:
            raise Fault("forged", 0, "not a tombstone of a version that is known")
        fields = struct.unpack("<16sQ16s32sqQQqqII64s32s", data[:STONE_LEN])
        _, number, _, root, sealed, events, size, latest, removed, reason, zero, node, public_key = fields
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(data[STONE_LEN:], data[:STONE_LEN])
        except InvalidSignature:
            raise Fault("forged", 0, "its signature does not match") from None
        if reason not in (1, 2) or zero or node_of(node) is None:
            raise Fault("forged", 0, "not a tombstone of a version that is known")
        reason = ("age", "size")[reason - 1]
        return cls(number, root, sealed, events, size, latest, removed, reason, public_key)
