"""Segments as crates/segment/FORMAT.md has them: layouts, hashes, and the verification of a list of segments.

Hashes bodies and reads none, but for a gap's.
"""

import array
import functools
import struct
import sys
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HEADER_LEN, FRAME_HEADER_LEN, GRAIN, HEAD_LEN = 4096, 128, 16, 80
MAX_EVENT_LEN, SALT_LEN, STATEMENT_LEN, SEAL_PAYLOAD_LEN = 16 << 20, 16, 304, 368
EVENT, PADDING, INDEX, SEAL = 1, 2, 3, 4
GAP, GAP_FIXED_LEN, BODY_VERSION, RECORDER_CORE = 11, 56, 1, 0xFFFF
MOST = (1 << 64) - 1

MAGIC, MARK, SALTS_INPUT = b"WEIRSEG\0", b"WF", b"weir segment salts, v1"
SEAL_PURPOSE = b"WEIR SEAL v1".ljust(16, b"\0")
KEY_PREFIX = "weir-segment-ed25519:"
LEAF_KEY, TREE_KEY, HEADER_KEY, INDEX_KEY = (
    f"weir segment {purpose}, v1".encode().ljust(32, b"\0") for purpose in ("event leaf", "tree", "header", "index")
)
KINDS = ("session-open session-close request hold release response upload mask-ledger outcome mint gap admin").split()


class Fault(Exception):
    """What is wrong, by FORMAT.md's word, and where."""

    def __init__(self, word, offset, why):
        super().__init__(f"at byte {offset}: {word}: {why}")
        self.word, self.offset = word, offset


class Cut(Fault):
    """The file ends inside a frame, which the end of an open segment may do."""

    def __init__(self, offset):
        super().__init__("damaged", offset, "the file ends inside a frame")


# ---- CRC-32C, four bytes a step


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


# ---- Layouts


@dataclass
class Header:
    number: int
    begun: int
    previous_root: bytes
    public_key: bytes
    salt_secret: bytes
    digest: bytes

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
        check(flags == 0 and data[160:168] == bytes([1, 0, 0, 0, 0, 0, 0, 0]), "its encoding is not known")
        check(length == HEADER_LEN, "the header's length is not 4096")
        check(not any(data[232:4092]), "bytes of the header that must be zero are not")
        check(data[168] <= 63, "the node's name is malformed")
        try:
            data[169 : 169 + data[168]].decode()
        except UnicodeDecodeError:
            check(False, "the node's name is malformed")
        (begun,) = struct.unpack_from("<q", data, 40)
        digest = blake3(data, key=HEADER_KEY).digest()
        return cls(number, begun, data[64:96], data[96:128], data[128:160], digest)


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
    def word(self):
        return KINDS[self.kind - 1] if 1 <= self.kind <= len(KINDS) else f"kind {self.kind}"


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
        _, number, _, header, root, events, index, _, up, down, earliest, latest, sealed = fields[:13]
        index_offset, seal_offset, previous_root, _, _, public_key = fields[13:]
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
        except InvalidSignature:
            raise ValueError("its signature does not match") from None
        return cls(
            number, header, root, events, index, up, down, earliest, latest, sealed,
            index_offset, seal_offset, previous_root, public_key,
        )  # fmt: skip


# ---- A list of segments


def frames(file):
    """(offset, type, leaf, head, payload) of each frame after the header."""
    offset = HEADER_LEN
    while front := file.read(FRAME_HEADER_LEN):
        if len(front) < FRAME_HEADER_LEN:
            raise Cut(offset)
        mark, kind, flags, crc, stored, produced = struct.unpack_from("<2sBBIII", front)
        if mark != MARK:
            raise Fault("damaged", offset, "no frame begins here")
        if stored > MAX_EVENT_LEN or produced != stored:
            raise Fault("damaged", offset, "impossible length")
        if kind not in (EVENT, PADDING, INDEX, SEAL) or flags:
            raise Fault("damaged", offset, "unknown type or flags")
        room = stored + -(FRAME_HEADER_LEN + stored) % GRAIN
        rest = file.read(room)
        if len(rest) < room:
            raise Cut(offset)
        if crc32c(front[:4], front[8:], rest) != crc:
            raise Fault("damaged", offset, "the checksum does not match")
        bare = kind == EVENT or not any(front[16:])
        if any(rest[stored:]) or not bare or (kind == PADDING and any(rest)):
            raise Fault("damaged", offset, "bytes that must be zero are not")
        yield offset, kind, front[16:48], front[48:], rest[:stored]
        offset += FRAME_HEADER_LEN + room
    yield offset, None, b"", b"", b""


class Salts:
    """The salts of one segment, a page at a time."""

    PAGE = 4096

    def __init__(self, secret):
        self.stream, self.next, self.page = blake3(SALTS_INPUT, key=secret), 0, b""

    def take(self):
        at = self.next % self.PAGE
        if at == 0:
            self.page = self.stream.digest(length=self.PAGE, seek=self.next)
        self.next += SALT_LEN
        return self.page[at : at + SALT_LEN]


class Walk:
    """What one segment's frames add up to."""

    def __init__(self, header):
        self.header, self.salts = header, Salts(header.salt_secret)
        self.tree, self.index = blake3(key=TREE_KEY), blake3(key=INDEX_KEY)
        self.chains, self.events, self.index_offset, self.excused = {}, 0, None, None
        self.to_upstream = self.to_client = self.earliest = self.latest = 0

    def add(self, leaf, head, body):
        self.tree.update(leaf)
        if self.events == 0:
            self.earliest = self.latest = head.wall
        self.earliest, self.latest = min(self.earliest, head.wall), max(self.latest, head.wall)
        self.to_upstream = min(MOST, self.to_upstream + head.to_upstream)
        self.to_client = min(MOST, self.to_client + head.to_client)
        self.events += 1
        if head.kind != GAP and self.excused and self.excused[0] == head.ring:
            self.excused = None
        if (head.kind, head.version) == (GAP, BODY_VERSION) and head.by_recorder and len(body) >= GAP_FIXED_LEN:
            self.excused = struct.unpack_from("<QQ", body, len(body) - GAP_FIXED_LEN + 8)

    def mismatch(self, statement, offset):
        index_offset = offset if self.index_offset is None else self.index_offset
        pairs = [
            ("number", statement.number, self.header.number),
            ("header", statement.header, self.header.digest),
            ("number of events", statement.events, self.events),
            ("Merkle root", statement.root, self.tree.digest()),
            ("index", statement.index, self.index.digest()),
            ("place", (statement.seal_offset, statement.index_offset), (offset, index_offset)),
            ("byte count to upstreams", statement.to_upstream, self.to_upstream),
            ("byte count to clients", statement.to_client, self.to_client),
            ("time range", (statement.earliest, statement.latest), (self.earliest, self.latest)),
            ("previous root", statement.previous_root, self.header.previous_root),
        ]
        return next((what for what, stated, found in pairs if stated != found), None)


@dataclass
class Report:
    number: int = 0
    events: int = 0
    statement: Statement | None = None
    fault: Fault | None = None


class Verifier:
    """Verifies segments in their order. `checkpoint` is (number, root)."""

    def __init__(self, trusted, first=1, checkpoint=None):
        self.trusted, self.first, self.checkpoint = trusted, first, checkpoint
        self.rings, self.complete, self.previous, self.newest = {}, False, None, None

    def segment(self, file, may_be_open):
        report = Report()
        try:
            self.check(file, may_be_open, report)
        except Fault as fault:
            report.fault = report.fault or fault
        number = report.number or self.expected() or 0
        statement = report.statement
        self.previous = (number, statement and (statement.root, statement.sealed))
        if report.fault:
            self.rings, self.complete = {}, False
        return report

    def expected(self):
        return self.first if self.previous is None else self.previous[0] + 1

    def place(self, header):
        expected = self.expected()
        if expected is not None and header.number != expected:
            return Fault("out-of-order", 0, f"segment {header.number} stands where segment {expected} must")
        if self.previous is None or self.previous[1] is None:
            return None
        root, sealed = self.previous[1]
        if header.previous_root != root:
            return Fault("unlinked", 0, "it does not follow the segment before it")
        if header.begun < sealed:
            return Fault("time-reversed", 0, "it begins before the segment before it was sealed")
        return None

    def check(self, file, may_be_open, report):
        header = Header.read(file.read(HEADER_LEN))
        report.number = header.number
        if may_be_open and header.public_key not in self.trusted:
            raise Fault("untrusted-key", 0, header.public_key.hex())
        self.complete = self.complete or (self.previous is None and header.number == 1)
        report.fault = self.place(header)
        if report.fault:
            self.rings, self.complete = {}, False
        walk = Walk(header)
        try:
            self.read_frames(file, walk, may_be_open, report)
        finally:
            report.events = walk.events

    def read_frames(self, file, walk, may_be_open, report):
        sealed = False
        try:
            for offset, kind, leaf, head, payload in frames(file):
                if sealed:
                    if kind is not None:
                        raise Fault("misplaced", offset, "something follows the seal")
                    return self.recall(report.statement, sealed)
                if kind is None:
                    if may_be_open:
                        return None
                    raise Fault("unsealed", offset, "there is no seal")
                if kind == INDEX:
                    walk.index_offset = offset if walk.index_offset is None else walk.index_offset
                    walk.index.update(payload)
                elif kind == SEAL:
                    report.statement = self.seal(walk, payload, offset)
                    sealed = offset
                elif walk.index_offset is not None:
                    raise Fault("misplaced", offset, "an event or padding after the index")
                elif kind == EVENT:
                    self.event(walk, offset, leaf, head, payload)
        except Fault as fault:
            if sealed and fault.word == "damaged":
                raise Fault("misplaced", fault.offset, "something follows the seal") from None
            if may_be_open and isinstance(fault, Cut):
                return None
            raise

    def event(self, walk, offset, leaf, head_bytes, body):
        head = Head.read(head_bytes)
        name = f"event {head.sequence} of ring {ring_text(head.ring)}"
        after = self.rings.get(head.ring, 0 if self.complete else None)
        self.rings[head.ring] = head.sequence
        salt = walk.salts.take()
        if after is not None:
            if head.sequence <= after:
                raise Fault("disordered", offset, f"{name} follows event {after}")
            if head.sequence != after + 1 and walk.excused != (head.ring, after):
                raise Fault("missing", offset, f"{name} follows event {after}")
        previous = walk.chains.get(head.session, walk.header.digest)
        if blake3(salt + previous + head_bytes + body, key=LEAF_KEY).digest() != leaf:
            raise Fault("edited", offset, name)
        walk.chains[head.session] = leaf
        walk.add(leaf, head, body)

    def seal(self, walk, payload, offset):
        try:
            statement = Statement.open(payload[:STATEMENT_LEN], payload[STATEMENT_LEN:])
        except ValueError as error:
            raise Fault("forged", offset, error) from None
        if statement.public_key not in self.trusted:
            raise Fault("untrusted-key", offset, statement.public_key.hex())
        what = walk.mismatch(statement, offset)
        if what:
            raise Fault("mismatch", offset, f"the seal's {what} is not the file's")
        return statement

    def recall(self, statement, offset):
        self.newest = (statement.number, statement.root)
        if self.checkpoint and self.checkpoint[0] == statement.number:
            remembered, self.checkpoint = self.checkpoint, None
            if remembered != self.newest:
                raise Fault("set-back", offset, f"segment {statement.number} is not the one that is remembered")
