//! FORMAT.md held against the code: constants, layouts, codes, fault words. A difference is a bug in one of them.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use crate::body::{
    self, Admin, Close, Effect, Gap, HoldOpened, Identity, Kind, MaskLedger, Mint, NotedRule, Open, Original,
    Outcome, Release, Released, Request, Response, Upload, Verdict,
};
use crate::index::{Block, Entry, Intent, Posting, RingEntry, SessionEntry, Span, WordEntry};
use crate::*;

const TEXT: &str = include_str!("../FORMAT.md");

type Archived<T> = <T as rkyv::Archive>::Archived;

/// Cells of the rows of every table in a section, heads left out.
fn rows(section: &str) -> Vec<Vec<&'static str>> {
    let from = TEXT.split(&format!("# {section}\n")).nth(1).expect("the section is there");
    let lines = from.split("\n##").next().unwrap_or_default().lines();
    let rows = lines.filter(|line| line.starts_with("| ") && !line.starts_with("| at |"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

#[test]
fn the_documents_constants_are_the_codes() {
    let expected = BTreeMap::from([
        ("FORMAT_VERSION", usize::from(header::FORMAT_VERSION)),
        ("BODY_VERSION", usize::from(body::VERSION)),
        ("HEADER_LEN", HEADER_LEN),
        ("FRAME_HEADER_LEN", frame::FRAME_HEADER_LEN),
        ("GRAIN", frame::GRAIN),
        ("HEAD_LEN", HEAD_LEN),
        ("MAX_EVENT_LEN", MAX_EVENT_LEN),
        ("SALT_LEN", hash::SALT_LEN),
        ("CHUNK_LEAVES", merkle::CHUNK_LEAVES),
        ("STATEMENT_LEN", seal::STATEMENT_LEN),
        ("SEAL_PAYLOAD_LEN", seal::SEAL_PAYLOAD_LEN),
        ("SEAL_FRAME_LEN", seal::SEAL_FRAME_LEN),
        ("PIECE_LEN", index::PIECE_LEN),
        ("TAG_LEN", frame::TAG_LEN),
        ("ENVELOPE_LEN", header::ENVELOPE_LEN),
        ("STONE_LEN", tombstone::STONE_LEN),
        ("TOMBSTONE_LEN", TOMBSTONE_LEN),
        ("MAX_RECIPIENTS", MAX_RECIPIENTS),
        ("FRONT_LEN", header::FRONT_LEN),
        ("RECORDER_CORE", usize::from(RingId::RECORDER_CORE)),
        ("MAX_PROOF_FILE_LEN", MAX_PROOF_FILE_LEN),
    ]);
    let rows = rows("Constants");
    let numbers = rows.iter().filter_map(|row| Some((code(row[0]), row[1].parse().ok()?)));
    assert_eq!(numbers.collect::<BTreeMap<_, usize>>(), expected);

    let key = |key: [u8; 32]| String::from_utf8(key.to_vec()).unwrap().trim_end_matches('\0').to_owned();
    let bytes = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim_end_matches('\0').to_owned();
    let expected = BTreeMap::from([
        ("magic", bytes(&header::MAGIC)),
        ("frame mark", bytes(&frame::MARK)),
        ("leaf key", key(hash::LEAF_KEY)),
        ("tree key", key(hash::TREE_KEY)),
        ("header key", key(hash::HEADER_KEY)),
        ("index key", key(hash::INDEX_KEY)),
        ("stored key", key(hash::STORED_KEY)),
        ("salts input", bytes(hash::SALTS_INPUT)),
        ("data key info", key(envelope::INFO)),
        ("originals info", key(originals::INFO)),
        ("originals purpose", bytes(originals::PURPOSE)),
        ("payload key purpose", bytes(payload::PAYLOAD_PURPOSE)),
        ("salt secret purpose", bytes(payload::SALTS_PURPOSE)),
        ("token key purpose", bytes(payload::TOKENS_PURPOSE)),
        ("seal purpose", bytes(&seal::PURPOSE)),
        ("tombstone purpose", bytes(&tombstone::PURPOSE)),
        ("public key prefix", seal::PUBLIC_KEY_PREFIX.to_owned()),
        ("auditor key prefix", auditor::AUDITOR_KEY_PREFIX.to_owned()),
        ("proof format", proof_file::PROOF_FORMAT.to_owned()),
        ("checkpoint format", checkpoint::PREFIX.to_owned()),
        ("signed checkpoint format", checkpoint::SIGNED_PREFIX.to_owned()),
    ]);
    let texts = rows.iter().filter(|row| row.len() == 2 && row[1].contains('`'));
    let texts = texts.map(|row| (row[0], code(row[1]).to_owned()));
    assert_eq!(texts.collect::<BTreeMap<_, _>>(), expected);
}

/// Places and lengths of a layout, by the first words of what is there. Fails where the rows leave a hole.
fn layout(section: &str) -> (BTreeMap<&'static str, (usize, usize)>, usize) {
    let (mut fields, mut end) = (BTreeMap::new(), 0);
    for row in rows(section) {
        let (Ok(at), Ok(len)) = (row[0].parse::<usize>(), row[1].parse::<usize>()) else { continue };
        assert_eq!(at, end, "{section}: {row:?}");
        end = at + len;
        fields.insert(row[2].split([':', ',', ';']).next().unwrap_or_default(), (at, len));
    }
    (fields, end)
}

fn part<'a>(bytes: &'a [u8], section: &str, field: &str) -> &'a [u8] {
    let (at, len) = layout(section).0[field];
    &bytes[at..at + len]
}

#[test]
fn the_header_lies_as_the_document_says() {
    let header = Header {
        number: 0x0102_0304_0506_0708,
        id: [0xa1; 16],
        begun_unix_us: -5,
        boot: [0xa2; 16],
        previous_root: Digest([0xa3; 32]),
        public_key: [0xa4; 32],
        salt_secret: [0xa5; 32],
        compression: Compression::Zstd,
        node: "n".repeat(70),
        envelopes: Vec::new(),
    };
    let bytes = header.write();
    let field = |name| part(bytes.as_slice(), "Header", name);
    assert_eq!(layout("Header").1, HEADER_LEN);
    assert_eq!(field("`FORMAT_VERSION`"), header::FORMAT_VERSION.to_le_bytes());
    assert_eq!(field("number of the segment on its node"), header.number.to_le_bytes());
    assert_eq!(field("segment id"), header.id);
    assert_eq!(field("when it was begun"), header.begun_unix_us.to_le_bytes());
    assert_eq!(field("the kernel's boot id"), header.boot);
    assert_eq!(field("root of the segment before"), header.previous_root.0);
    assert_eq!(field("Ed25519 public key that its recorder holds"), header.public_key);
    assert_eq!(field("salt secret"), header.salt_secret);
    assert_eq!(field("node"), [&[63], "n".repeat(63).as_bytes()].concat());
    assert_eq!(field("CRC-32C of the 4092 bytes before"), crc32c::crc32c(&bytes[..4092]).to_le_bytes());
    assert_eq!([field("hash"), field("compression"), field("encryption")].concat(), [1, 1, 0]);
    assert_eq!(field("number of recipients"), [0]);
    assert_eq!(field("flags"), [0, 0]);

    let envelope = |n: u8| Envelope {
        recipient: [n; 32],
        encapsulated: [n + 1; 32],
        sealed: [n + 2; envelope::SEALED_LEN],
    };
    let header = Header { salt_secret: [0; 32], envelopes: vec![envelope(1), envelope(11)], ..header };
    let bytes = header.write();
    let field = |name| part(bytes.as_slice(), "Header", name);
    assert_eq!([field("encryption"), field("number of recipients"), field("flags")].concat(), [1, 2, 1, 0]);
    let recipients = field("recipients");
    let entry = |place: usize, name| part(&recipients[place * header::ENVELOPE_LEN..], "Recipients", name);
    assert_eq!(layout("Recipients").1, header::ENVELOPE_LEN);
    assert_eq!(layout("Header").0["recipients"], (header::FRONT_LEN, MAX_RECIPIENTS * header::ENVELOPE_LEN));
    assert_eq!(entry(0, "the auditor's X25519 public key"), [1; 32]);
    assert_eq!(entry(1, "encapsulated key"), [12; 32]);
    assert_eq!(entry(1, "the data key"), [13; 48]);
    assert!(recipients[2 * header::ENVELOPE_LEN..].iter().all(|&byte| byte == 0));
    assert_eq!(Header::read(&bytes).unwrap().envelopes, header.envelopes);
}

#[test]
fn head_and_statement_lie_as_the_document_says() {
    let head = Head {
        ring: RingId(0x11),
        sequence: Sequence(0x12),
        session: SessionId(0x13 << 64),
        wall_unix_us: -14,
        monotonic_ns: 0x15,
        to_upstream_bytes: 0x16,
        to_client_bytes: 0x17,
        ordinal: 0x18,
        lane: 0x19,
        kind: 0x1a,
        version: 0x1b,
        direction: 0x1c,
        mark: 0x1d,
    };
    let mut bytes = [0; HEAD_LEN];
    head.write(&mut bytes);
    let field = |name| part(&bytes, "Event", name);
    assert_eq!(field("ring id"), head.ring.0.to_le_bytes());
    assert_eq!(field("sequence within the ring"), head.sequence.0.to_le_bytes());
    assert_eq!(field("session id"), head.session.0.to_le_bytes());
    assert_eq!(field("wall clock"), head.wall_unix_us.to_le_bytes());
    assert_eq!(field("monotonic clock"), head.monotonic_ns.to_le_bytes());
    assert_eq!(field("ordinal of the command within the session"), head.ordinal.to_le_bytes());
    assert_eq!(field("lane"), head.lane.to_le_bytes());
    assert_eq!(bytes[48..56], [0x16, 0, 0, 0, 0x17, 0, 0, 0]);
    let codes = [field("kind"), field("version of the body's layout"), field("direction"), field("mark")];
    assert_eq!(codes.concat(), [0x1a, 0x1b, 0x1c, 0x1d]);

    let statement = Statement {
        number: 1,
        id: [2; 16],
        header: Digest([3; 32]),
        root: Digest([4; 32]),
        events: 5,
        index: Digest([6; 32]),
        stored: Digest([16; 32]),
        to_upstream_bytes: 7,
        to_client_bytes: 8,
        earliest_unix_us: -9,
        latest_unix_us: 10,
        sealed_unix_us: 11,
        index_offset: 12,
        seal_offset: 13,
        previous_root: Digest([14; 32]),
        after_unclean_end: true,
        lists_words: true,
        public_key: [15; 32],
    };
    let payload = statement.sign(&signing_key()).payload();
    let field = |name| part(&payload, "Seal", name);
    assert_eq!(layout("Seal").1, seal::SEAL_PAYLOAD_LEN);
    assert_eq!(field("seal purpose"), seal::PURPOSE);
    assert_eq!(field("number of the segment"), statement.number.to_le_bytes());
    assert_eq!(field("segment id"), statement.id);
    assert_eq!(field("header hash"), statement.header.0);
    assert_eq!(field("root"), statement.root.0);
    assert_eq!(field("events"), statement.events.to_le_bytes());
    assert_eq!(field("index hash"), statement.index.0);
    assert_eq!(field("stored digest"), statement.stored.0);
    assert_eq!(payload[176..184], statement.to_upstream_bytes.to_le_bytes());
    assert_eq!(payload[184..192], statement.to_client_bytes.to_le_bytes());
    assert_eq!(field("earliest wall clock of an event"), statement.earliest_unix_us.to_le_bytes());
    assert_eq!(field("latest wall clock of an event"), statement.latest_unix_us.to_le_bytes());
    assert_eq!(field("when it was sealed"), statement.sealed_unix_us.to_le_bytes());
    assert_eq!(field("offset of the first index frame"), statement.index_offset.to_le_bytes());
    assert_eq!(field("offset of the seal frame"), statement.seal_offset.to_le_bytes());
    assert_eq!(field("root of the segment before"), statement.previous_root.0);
    assert_eq!(field("flags"), [3, 0, 0, 0]);
    assert_eq!(field("Ed25519 public key"), statement.public_key);
}

fn signing_key() -> SigningKey {
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend_from_slice(&[1; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

#[test]
fn the_tombstone_lies_as_the_document_says() {
    let key = signing_key();
    let stone = Tombstone {
        number: 0x0102_0304_0506_0708,
        id: [0xa1; 16],
        root: Digest([0xa2; 32]),
        sealed_unix_us: -3,
        events: 4,
        bytes: 5,
        latest_unix_us: -6,
        removed_unix_us: 7,
        reason: Removed::BySize,
        node: "clinic".to_owned(),
        public_key: [0; 32],
    };
    let bytes = stone.sign(&key);
    let field = |name| part(&bytes, "Tombstones", name);
    assert_eq!(layout("Tombstones").1, TOMBSTONE_LEN);
    assert_eq!(field("tombstone purpose"), tombstone::PURPOSE);
    assert_eq!(field("number of the last segment removed"), stone.number.to_le_bytes());
    assert_eq!(field("its segment id"), stone.id);
    assert_eq!(field("its root"), stone.root.0);
    assert_eq!(field("when it was sealed"), stone.sealed_unix_us.to_le_bytes());
    assert_eq!(field("events in all segments removed"), stone.events.to_le_bytes());
    assert_eq!(field("bytes of all files removed"), stone.bytes.to_le_bytes());
    assert_eq!(field("latest wall clock of an event removed"), stone.latest_unix_us.to_le_bytes());
    assert_eq!(field("when they were removed"), stone.removed_unix_us.to_le_bytes());
    assert_eq!(field("reason of the last removal"), (Removed::BySize as u32).to_le_bytes());
    assert_eq!(field("node")[..8], *b"\x06clinic\0");
    assert_eq!(field("Ed25519 public key"), key.public_key());
    let read = Tombstone::read(&bytes).unwrap();
    assert_eq!(read, Tombstone { public_key: key.public_key(), ..stone });
    for at in 0..bytes.len() {
        let mut bent = bytes;
        bent[at] ^= 1;
        assert!(Tombstone::read(&bent).is_err(), "byte {at}");
        assert!(Tombstone::read(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn kinds_tables_and_fault_words_are_the_codes() {
    let kinds: Vec<_> =
        rows("Event").into_iter().filter(|row| row.len() == 3 && row[1].starts_with('`')).collect();
    assert_eq!(kinds.len(), Kind::ALL.len());
    for (row, kind) in kinds.iter().zip(Kind::ALL) {
        assert_eq!((row[0], code(row[1])), ((kind as u8).to_string().as_str(), kind.word()));
    }
    let tables = [
        (Block::TABLE, Block::LEN),
        (RingEntry::TABLE, RingEntry::LEN),
        (SessionEntry::TABLE, SessionEntry::LEN),
        (Intent::TABLE, Intent::LEN),
        (WordEntry::TABLE, WordEntry::LEN),
        (Span::TABLE, Span::LEN),
        (Posting::TABLE, Posting::LEN),
    ];
    let documented: Vec<_> = rows("Index")[1..].iter().map(|row| (row[0].parse(), row[1].parse())).collect();
    assert_eq!(documented, tables.map(|(table, len)| (Ok(table), Ok(len))));

    let list = TEXT.split("## Verification").nth(1).unwrap_or_default();
    let list = list.split("\n## ").next().unwrap_or_default();
    let words: std::collections::BTreeSet<_> =
        list.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).map(code).collect();
    let (ring, after, found) = (RingId(0), Sequence(0), Sequence(0));
    let faults = [
        Fault::Unreadable(String::new()),
        Fault::Damaged(Damage::Mark),
        Fault::Edited,
        Fault::Disordered { ring, after, found },
        Fault::Missing { ring, after, found },
        Fault::Malformed,
        Fault::Misplaced,
        Fault::Mismatch(""),
        Fault::Forged,
        Fault::UntrustedKey { public_key: [0; 32] },
        Fault::Unsealed,
        Fault::OutOfOrder { expected: 1, found: 2 },
        Fault::Unlinked,
        Fault::TimeReversed,
        Fault::SetBack { remembered: 1 },
    ];
    assert_eq!(words, faults.iter().map(Fault::word).collect());
}

#[test]
fn fields_of_words_and_their_tokens_are_the_codes() {
    let fields: Vec<_> = rows("Words")[1..].iter().map(|row| (code(row[0]), row[1])).collect();
    for ((name, of), field) in fields.iter().zip(Field::ALL) {
        assert_eq!((*name, of.starts_with("a session:")), (field.word(), field.is_of_session()));
    }
    assert_eq!(fields.len(), Field::ALL.len());
    // By the document's words alone.
    let secret = [0x5a; 32];
    let key = *blake3::keyed_hash(&secret, b"weir segment search tokens, v1").as_bytes();
    let expected = *blake3::keyed_hash(&key, b"subject\0ann").as_bytes();
    let header = Header { salt_secret: secret, ..Header::default() };
    let bytes = header.write();
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.token(Field::Subject, "ann").unwrap().to_le_bytes(), expected[..8]);
}

/// `at` of each field of a kind's row, and its fixed part's length.
fn fields_of(kind: Kind) -> (usize, Vec<usize>) {
    let rows = rows("Bodies");
    let row = rows.iter().find(|row| row[0] == (kind as u8).to_string()).expect("the kind has its row");
    let places = row[2].split(", ").map(|field| field.split(' ').next().unwrap_or_default().parse().unwrap());
    (row[1].parse().unwrap(), places.collect())
}

macro_rules! assert_body {
    ($kind:expr, $type:ident: $($field:ident),*) => {{
        let places = vec![$(offset_of!(Archived<$type<'static>>, $field)),*];
        assert_eq!(fields_of($kind), (size_of::<Archived<$type<'static>>>(), places), stringify!($type));
    }};
}

#[test]
fn bodies_lie_as_the_document_says() {
    let (len, places) = fields_of(Kind::SessionOpen);
    assert_eq!(len, size_of::<Archived<Open<'static>>>());
    let who = offset_of!(Archived<Open<'static>>, identity);
    let expected = [
        offset_of!(Archived<Open<'static>>, protocol),
        who + offset_of!(Archived<Identity<'static>>, issuer),
        who + offset_of!(Archived<Identity<'static>>, subject),
        who + offset_of!(Archived<Identity<'static>>, groups),
        who + offset_of!(Archived<Identity<'static>>, run),
        who + offset_of!(Archived<Identity<'static>>, token_id),
        offset_of!(Archived<Open<'static>>, connection),
        offset_of!(Archived<Open<'static>>, role),
        offset_of!(Archived<Open<'static>>, purpose),
        offset_of!(Archived<Open<'static>>, application),
        offset_of!(Archived<Open<'static>>, client_address),
        offset_of!(Archived<Open<'static>>, upstream_address),
        offset_of!(Archived<Open<'static>>, node),
    ];
    assert_eq!(places, expected);
    assert_body!(Kind::SessionClose, Close: reason, to_upstream_bytes, to_client_bytes);
    assert_body!(
        Kind::Request,
        Request: words, text, bind_count, binds, facts, original, verdict, rule, message, noted, generation
    );
    assert_body!(Kind::Hold, HoldOpened: hold, rule, digest);
    assert_body!(Kind::Release, Release: hold, outcome, approvers, reason, signature);
    assert_body!(Kind::Response, Response: bytes);
    assert_body!(Kind::Upload, Upload: bytes, original_bytes);
    assert_body!(Kind::MaskLedger, MaskLedger: json);
    assert_body!(Kind::Outcome, Outcome: json, answer);
    assert_body!(Kind::Mint, Mint: credential, id);
    assert_body!(
        Kind::Gap,
        Gap: reason, ring, last_sequence, missing_bytes, cut_bytes, since_unix_us, until_unix_us
    );
    assert_body!(Kind::Admin, Admin: json);
    assert_body!(Kind::Original, Original: envelopes, number, sealed);
    assert_eq!(size_of::<Archived<NotedRule<'static>>>(), 12);
    assert_eq!(offset_of!(Archived<NotedRule<'static>>, effect), 8);
    assert_eq!(size_of::<Archived<Option<String>>>(), 12);
    assert_eq!(size_of::<Archived<Option<u64>>>(), 16);
    assert_eq!(body::ArchivedVerdict::Hold as u8, Verdict::Hold as u8);
    assert_eq!(body::ArchivedReleased::Withdrawn as u8, Released::Withdrawn as u8);
    assert_eq!(body::ArchivedEffect::WouldHold as u8, Effect::WouldHold as u8);
}

/// A text at `at`, by the document's rule alone.
fn text(body: &[u8], at: usize) -> &[u8] {
    let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
    if body[at] & 0xc0 != 0x80 {
        let inline = &body[at..at + 8];
        return &inline[..inline.iter().position(|&byte| byte == 0xff).unwrap_or(8)];
    }
    let len = ((word(at) & 0x3f) | ((word(at) & !0xff) >> 2)) as usize;
    let from = at.checked_add_signed(word(at + 4).cast_signed() as isize).unwrap();
    &body[from..from + len]
}

#[test]
fn a_body_reads_by_the_documents_rules_alone() {
    for len in [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 70_000] {
        let reason = "r".repeat(len);
        let (ring, last_sequence, until_unix_us) = (0x1122, 0x3344, -1);
        let gap =
            Gap { reason: reason.as_str().into(), ring, last_sequence, until_unix_us, ..Gap::default() };
        let event = recorder_event(0, 0, Body::Gap(gap));
        let mut bytes = vec![0; event.max_len()];
        let len = event.write(&mut bytes).unwrap();
        let body = &bytes[HEAD_LEN..len];
        let (fixed, places) = fields_of(Kind::Gap);
        let start = body.len() - fixed;
        assert_eq!(text(body, start + places[0]), reason.as_bytes());
        let number = |place: usize| u64::from_le_bytes(body[start + place..][..8].try_into().unwrap());
        assert_eq!((number(places[1]), number(places[2])), (ring, last_sequence));
        assert_eq!(number(places[6]).cast_signed(), until_unix_us);
    }
}
