"""Segments as crates/segment/FORMAT.md has them: hashes, and the verification of a list of segments.

Hashes bodies and reads none, but for a gap's. What an auditor's key opens, `secrets_of` and `Payloads` have.
"""

import struct
from dataclasses import dataclass

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crc import crc32c
from layouts import (
    BODY_VERSION, COMPRESSED, DATA_KEY_INFO, ENCRYPTED, EVENT, FRAME_HEADER_LEN, FRONT_LEN, GAP, GAP_FIXED_LEN,
    GRAIN, HEADER_LEN, INDEX, INDEX_KEY, LEAF_KEY, MARK, MAX_EVENT_LEN, MOST, PADDING, PAYLOAD_PURPOSE, SALTS_INPUT,
    SALTS_PURPOSE, SALT_LEN, SEAL, STATEMENT_LEN, STORED_KEY, TAG_LEN, TREE_KEY, ZSTD_LENGTHS, ZSTD_MAGIC, Cut,
    Fault, Head, Header, Statement, Tombstone, ring_text,
)  # fmt: skip

# ---- What is encrypted and compressed


def secrets_of(header, auditors):
    """(AES key or None, salt secret) of a segment; None: it is encrypted to others. `auditors` are private keys."""
    if not header.recipients:
        return None, header.salt_secret
    for private in auditors:
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        envelope = next((envelope for envelope in header.recipients if envelope[:32] == public), None)
        if envelope is None:
            continue
        suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        try:
            data_key = suite.decrypt(envelope[32:], private, info=DATA_KEY_INFO + header.data[:FRONT_LEN])
        except (InvalidTag, ValueError):
            raise Fault("unreadable", 0, "its data key does not open for a recipient that it names") from None
        return tuple(blake3(purpose, key=data_key).digest() for purpose in (PAYLOAD_PURPOSE, SALTS_PURPOSE))
    return None


def decompressed(data, length):
    """The content of a zstd frame in this format's one spelling; None where it is not."""
    width, base = ZSTD_LENGTHS.get(data[4] if len(data) > 4 else 0, (0, 0))
    said = int.from_bytes(data[5 : 5 + width], "little") + base
    if data[:4] != ZSTD_MAGIC or not width or len(data) < 5 + width or said != length:
        return None
    reader = zstandard.ZstdDecompressor().decompressobj()
    try:
        content = reader.decompress(data)
    except zstandard.ZstdError:
        return None
    return content if reader.eof and not reader.unused_data and len(content) == length else None


@dataclass
class Frame:
    offset: int
    kind: int | None
    front: bytes = b""
    payload: bytes = b""
    stored: bytes = b""

    @property
    def flags(self):
        return self.front[3]

    def body(self, key):
        """What the producer made; None: it is not what was stored there. `key` is the segment's AES key."""
        payload, (length,) = self.payload, struct.unpack_from("<I", self.front, 12)
        if self.flags & ENCRYPTED:
            nonce, associated = struct.pack("<QI", self.offset, 0), self.front[:4] + self.front[8:]
            try:
                payload = AESGCM(key).decrypt(nonce, payload, associated)
            except InvalidTag:
                return None
        return decompressed(payload, length) if self.flags & COMPRESSED else payload


# ---- A list of segments


def lengths_agree(flags, stored, produced):
    packed = stored - (TAG_LEN if flags & ENCRYPTED else 0)
    agree = 0 <= packed < produced if flags & COMPRESSED else packed == produced
    return agree and max(stored, produced) <= MAX_EVENT_LEN


def frames(file, header):
    """Each frame after the header, and one of no kind where the file ends."""
    offset = HEADER_LEN
    allowed = (COMPRESSED if header.compression else 0) | (ENCRYPTED if header.recipients else 0)
    while front := file.read(FRAME_HEADER_LEN):
        if len(front) < FRAME_HEADER_LEN:
            raise Cut(offset)
        mark, kind, flags, crc, stored, produced = struct.unpack_from("<2sBBIII", front)
        if mark != MARK:
            raise Fault("damaged", offset, "no frame begins here")
        if not lengths_agree(flags, stored, produced):
            raise Fault("damaged", offset, "impossible length")
        if kind not in (EVENT, PADDING, INDEX, SEAL) or flags & ~allowed or (flags and kind != EVENT):
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
        if kind == EVENT:
            plain = Head.read(front[48:]).is_plain
            if (flags and plain) or bool(flags & ENCRYPTED) != bool(header.recipients and not plain):
                raise Fault("damaged", offset, "a flag that the event rules out or demands")
        yield Frame(offset, kind, front, rest[:stored], front + rest)
        offset += FRAME_HEADER_LEN + room
    yield Frame(offset, None)


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

    def __init__(self, header, secrets):
        self.header, self.secrets = header, secrets
        self.salts = secrets and Salts(secrets[1])
        self.stored = blake3(header.data, key=STORED_KEY)
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
        if head.is_plain and head.version == BODY_VERSION and len(body) >= GAP_FIXED_LEN:
            self.excused = struct.unpack_from("<QQ", body, len(body) - GAP_FIXED_LEN + 8)

    def mismatch(self, statement, offset):
        index_offset = offset if self.index_offset is None else self.index_offset
        pairs = [
            ("number", statement.number, self.header.number),
            ("header", statement.header, self.header.digest),
            ("number of events", statement.events, self.events),
            ("Merkle root", statement.root, self.tree.digest()),
            ("index", statement.index, self.index.digest()),
            ("stored digest", statement.stored, self.stored.digest() if self.header.has_stored_digest else bytes(32)),
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
    encrypted: bool = False
    opened: bool = False
    statement: Statement | None = None
    fault: Fault | None = None


class Verifier:
    """Verifies segments in their order. `remembered` is the root of each checkpoint's number, `auditors` are private keys."""

    def __init__(self, trusted, first=1, remembered=None, auditors=()):
        self.trusted, self.first, self.auditors = trusted, first, auditors
        self.remembered = dict(remembered or {})
        self.rings, self.complete, self.previous, self.newest = {}, False, None, None

    def following(self, data):
        """The list goes on behind what a tombstone's bytes say was removed."""
        stone = Tombstone.read(data)
        if stone.public_key not in self.trusted:
            raise Fault("untrusted-key", 0, stone.public_key.hex())
        covered = self.remembered.get(stone.number, stone.root)
        self.remembered = {number: root for number, root in self.remembered.items() if number > stone.number}
        if covered != stone.root:
            raise Fault("set-back", 0, f"segment {stone.number} is not the one that the checkpoint remembers")
        self.previous = (stone.number, (stone.root, stone.sealed))
        return stone

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
        secrets = secrets_of(header, self.auditors)
        report.encrypted, report.opened = bool(header.recipients), secrets is not None
        if may_be_open and header.public_key not in self.trusted:
            raise Fault("untrusted-key", 0, header.public_key.hex())
        self.complete = self.complete or (self.previous is None and header.number == 1)
        report.fault = self.place(header)
        if report.fault:
            self.rings, self.complete = {}, False
        walk = Walk(header, secrets)
        try:
            self.read_frames(file, walk, may_be_open, report)
        finally:
            report.events = walk.events

    def read_frames(self, file, walk, may_be_open, report):
        sealed = False
        try:
            for frame in frames(file, walk.header):
                offset, kind = frame.offset, frame.kind
                if sealed:
                    if kind is not None:
                        raise Fault("misplaced", offset, "something follows the seal")
                    return self.recall(report.statement, sealed)
                if kind is None:
                    if may_be_open:
                        return None
                    raise Fault("unsealed", offset, "there is no seal")
                if kind != SEAL:
                    walk.stored.update(frame.stored)
                if kind == INDEX:
                    walk.index_offset = offset if walk.index_offset is None else walk.index_offset
                    walk.index.update(frame.payload)
                elif kind == SEAL:
                    report.statement = self.seal(walk, frame.payload, offset)
                    sealed = offset
                elif walk.index_offset is not None:
                    raise Fault("misplaced", offset, "an event or padding after the index")
                elif kind == EVENT:
                    self.event(walk, frame)
        except Fault as fault:
            if sealed and fault.word == "damaged":
                raise Fault("misplaced", fault.offset, "something follows the seal") from None
            if may_be_open and isinstance(fault, Cut):
                return None
            raise

    def event(self, walk, frame):
        offset, leaf, head_bytes = frame.offset, frame.front[16:48], frame.front[48:]
        head = Head.read(head_bytes)
        name = f"event {head.sequence} of ring {ring_text(head.ring)}"
        after = self.rings.get(head.ring, 0 if self.complete else None)
        self.rings[head.ring] = head.sequence
        salt = walk.salts.take() if walk.salts else None
        if walk.header.recipients and head.is_plain:
            salt = bytes(SALT_LEN)
        if after is not None:
            if head.sequence <= after:
                raise Fault("disordered", offset, f"{name} follows event {after}")
            if head.sequence != after + 1 and walk.excused != (head.ring, after):
                raise Fault("missing", offset, f"{name} follows event {after}")
        body = None
        if salt is not None:
            previous = walk.chains.get(head.session, walk.header.digest)
            body = frame.body(walk.secrets and walk.secrets[0])
            if body is None or blake3(salt + previous + head_bytes + body, key=LEAF_KEY).digest() != leaf:
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
        if self.remembered.pop(statement.number, statement.root) != statement.root:
            raise Fault("set-back", offset, f"segment {statement.number} is not the one that is remembered")

    def forgotten(self):
        """After the last segment: the lowest number that is remembered and was not there; None if all were."""
        return min((number for number in self.remembered if number >= (self.first or 0)), default=None)
