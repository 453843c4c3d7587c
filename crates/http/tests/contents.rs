//! The same protected values through every content coding, framing, format and cut: none gets through, and every other byte
//! is as it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod driver;
#[path = "../../mask/tests/plain_regex/mod.rs"]
mod plain_regex;

use std::io::Write as _;

use driver::{Driver, Event, Seen, client, get, settings, text};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

const SSN: &str = "219-09-9999";
const MRN: &str = "CANARY-MRN-77";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Events,
    Json,
    Lines,
    Plain,
    Untyped,
}

impl Format {
    const ALL: [Self; 5] = [Self::Events, Self::Json, Self::Lines, Self::Plain, Self::Untyped];

    fn content_type(self) -> &'static str {
        match self {
            Self::Events => "content-type: text/event-stream\r\n",
            Self::Json => "content-type: application/json; charset=utf-8\r\n",
            Self::Lines => "content-type: application/x-ndjson\r\n",
            Self::Plain => "content-type: text/csv\r\n",
            Self::Untyped => "",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Brotli,
    Deflate,
    Gzip,
    Identity,
    RawDeflate,
    Zstd,
}

impl Coding {
    const ALL: [Self; 6] =
        [Self::Brotli, Self::Deflate, Self::Gzip, Self::Identity, Self::RawDeflate, Self::Zstd];

    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Deflate | Self::RawDeflate => "deflate",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
            Self::Zstd => "zstd",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Identity => body.to_vec(),
            Self::Gzip => {
                // Two members, as files put together have them.
                let half = body.len() / 2;
                let member = |part: &[u8]| {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                    encoder.write_all(part).unwrap();
                    encoder.finish().unwrap()
                };
                [member(&body[..half]), member(&body[half..])].concat()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Self::RawDeflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Self::Brotli => {
                let mut out = Vec::new();
                let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 20);
                encoder.write_all(body).unwrap();
                drop(encoder);
                out
            }
            Self::Zstd => zstd::stream::encode_all(body, 3).unwrap(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Chunked,
    Close,
    Length,
}

/// As a JSON string may spell it: each character by itself or by its number.
fn spelt(text: &str, seed: &mut u64) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match ch {
            '\n' => out += "\\n",
            '"' | '\\' => out.extend(['\\', ch]),
            _ if *seed >> 62 == 0 => out += &format!("\\u{:04x}", u32::from(ch)),
            _ => out.push(ch),
        }
    }
    out
}

/// One patient, as the upstream sends it or as the client may see it.
fn patient(number: u64, masked: bool) -> String {
    let mut seed = number;
    let mut value = |value: &str, shown: &str| {
        let sent = spelt(value, &mut seed);
        if masked { shown.to_owned() } else { sent }
    };
    let (mrn, ssn, again) =
        (value(MRN, "******-***-77"), value(SSN, "***-**-9999"), value(SSN, "***-**-9999"));
    let mut same = number ^ 77;
    let name = spelt("Zoë \"Z\" \\ Müller", &mut same);
    let hidden = if masked { "null" } else { "219099999" };
    let deep = if masked { "null".to_owned() } else { format!("[\"{MRN}\", {{\"x\": [1, 2]}}]") };
    format!(
        "{{\"id\": {number}, \"name\":\"{name}\",\"mr\\u006e\" : \"{mrn}\", \"note\":\"call\\n{ssn}\\tor {again}\",\
         \"in\":[{{\"mrn\":{hidden}}},{{\"mrn\":{deep}}},{{\"mrns\":\"kept\"}}], \"ok\":true}}"
    )
}

fn body(format: Format, patients: u64, masked: bool) -> String {
    let all = (0..patients).map(|number| patient(number * 31, masked));
    match format {
        Format::Json | Format::Untyped => format!(" [{}]\n", all.collect::<Vec<_>>().join(",\n")),
        Format::Lines => all.map(|line| line + "\n").collect(),
        Format::Events => {
            let event = |line: String| format!("event: row\nid: 7\ndata: {line}\n\ndata: {SSN}\r\n\r\n");
            let events: String = all.map(event).collect();
            let events = if masked { events.replace(SSN, "***-**-9999") } else { events };
            format!(": begin\n\n{events}data: [DONE]\n\n")
        }
        Format::Plain => {
            let ssn = if masked { "***-**-9999" } else { SSN };
            (0..patients).map(|number| format!("{number};{ssn};C:\\temp\\{number}\n")).collect()
        }
    }
}

fn answer(format: Format, coding: Coding, framing: Framing, sent: &[u8], chunk: usize) -> Vec<Event> {
    let mut head = format!("HTTP/1.1 200 OK\r\n{}etag: \"1\"\r\n", format.content_type());
    if coding != Coding::Identity {
        head += &format!("content-encoding: {}\r\n", coding.name());
    }
    let mut bytes = Vec::new();
    match framing {
        Framing::Length => head += &format!("content-length: {}\r\n\r\n", sent.len()),
        Framing::Chunked => head += "transfer-encoding: chunked\r\n\r\n",
        Framing::Close => head += "\r\n",
    }
    bytes.extend_from_slice(head.as_bytes());
    if let Framing::Chunked = framing {
        for chunk in sent.chunks(chunk) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(sent);
    }
    let mut events = vec![get("/masked"), Event::Upstream(bytes)];
    if let Framing::Close = framing {
        events.push(Event::UpstreamEnds);
    }
    events
}

/// Head and body that the client was sent.
fn received(seen: &Seen) -> (String, Vec<u8>) {
    let end = seen.to_client.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, mut rest) = seen.to_client.split_at(end);
    let head = text(head);
    if !head.contains("transfer-encoding: chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(&text(&rest[..line]), 16).unwrap();
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
        if size == 0 {
            assert!(rest.is_empty());
            return (head, body);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_coding_framing_format_or_cut_lets_a_protected_value_through(
        format in prop::sample::select(Format::ALL.to_vec()),
        coding in prop::sample::select(Coding::ALL.to_vec()),
        framing in prop::sample::select(vec![Framing::Chunked, Framing::Close, Framing::Length]),
        patients in 0u64..40,
        chunk in 1usize..900,
        cuts in prop::collection::vec(1usize..700, 1..8),
    ) {
        let sent = coding.encode(body(format, patients, false).as_bytes());
        let events = answer(format, coding, framing, &sent, chunk);
        let seen = Driver::new(settings()).run(&events, &cuts);
        prop_assert_eq!(&seen.failed, &None);
        let (head, received) = received(&seen);
        prop_assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", head);
        prop_assert!(!head.contains("content-encoding") && !head.contains("etag"), "{}", head);
        prop_assert_eq!(text(&received), body(format, patients, true));
    }
}

#[test]
fn an_event_and_a_line_do_not_wait_for_the_next() {
    let sent = format!("data: {}\n\n", patient(3, false));
    let chunk = format!("{:x}\r\n{sent}\r\n", sent.len());
    for kind in ["text/event-stream", "application/x-ndjson"] {
        let sent = if kind.contains("event") {
            chunk.clone()
        } else {
            let line = patient(3, false) + "\n";
            format!("{:x}\r\n{line}\r\n", line.len())
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        let seen =
            Driver::new(settings()).run(&[get("/masked"), Event::Upstream((head + &sent).into())], &[9]);
        let came = text(&seen.to_client).replace("\r\n", "");
        assert!(came.ends_with("}\n") || came.ends_with("}\n\n"), "{kind}: {came}");
        assert!(!seen.closed);
    }
}

#[test]
fn what_is_not_what_it_says_is_cut_off_and_shows_nothing() {
    let bomb = Coding::Gzip.encode(&vec![b' '; 64 << 20]);
    let deep = format!("{}\"{SSN}\"", "[".repeat(300));
    for (format, coding, sent) in [
        (Format::Json, Coding::Identity, format!("{{\"a\":1}}}} {{\"mrn\":\"{MRN}\"}}").into_bytes()),
        (Format::Json, Coding::Identity, format!("{{'mrn':\"{MRN}\"}}").into_bytes()),
        (Format::Json, Coding::Identity, format!("{{\"mrn\":\"{MRN}").into_bytes()),
        (Format::Json, Coding::Identity, format!("{{\"mrn\" \"{MRN}\"}}").into_bytes()),
        (Format::Json, Coding::Identity, format!("[1,] \"{SSN}\"").into_bytes()),
        (Format::Json, Coding::Identity, deep.into_bytes()),
        (Format::Events, Coding::Identity, format!("data: {{\"mrn\":\"{MRN}\"\n\n").into_bytes()),
        (Format::Json, Coding::Gzip, b"no gzip at all".to_vec()),
        (Format::Json, Coding::Zstd, b"no zstd at all".to_vec()),
        (Format::Json, Coding::Brotli, b"\xff\xff\xff\xff no brotli".to_vec()),
        (Format::Plain, Coding::Gzip, bomb),
        (Format::Plain, Coding::Gzip, {
            let mut cut = Coding::Gzip.encode(body(Format::Plain, 99, false).as_bytes());
            cut.truncate(cut.len() - 9);
            cut
        }),
    ] {
        let events = answer(format, coding, Framing::Length, &sent, 1);
        let seen = Driver::new(settings()).run(&events, &[5_000]);
        assert!(seen.failed.is_some(), "{format:?} {coding:?}");
        let came = text(&seen.to_client);
        assert!(!came.contains(SSN) && !came.contains(MRN), "{format:?} {coding:?}: {came}");
        assert!(came.len() < 16 << 20);
    }
}

#[test]
fn an_upload_is_recorded_with_its_fields_masked() {
    let sent = format!("{{\"mrn\":\"{MRN}\",\"note\":\"\\n{SSN}\"}}");
    let post = client(format!(
        "POST /masked HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{sent}",
        sent.len()
    ));
    let seen = driver::seen(&[post]);
    assert!(text(&seen.to_upstream).ends_with(&sent), "the upstream gets it as it is");
    assert_eq!(text(&seen.uploads), "{\"mrn\":\"******-***-77\",\"note\":\"\\n***-**-9999\"}");
}
