//! Bodies that no rule looks into, as long as they like: through the gateway both ways with a stock client, recorded, and
//! its memory stays as it was.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::appliance::{Appliance, Who, scale, text};
use crate::web::{Web, pattern, summed};

/// What the gateway's own memory may grow by while a body of any length passes.
const MOST_GROWTH_KIB: u64 = 24 << 10;

/// An appliance whose memory nobody else's test has a say in, used by one test at a time.
static WEB: LazyLock<Mutex<Web>> = LazyLock::new(|| Mutex::new(Web::echoing()));

/// 48 MiB in `make test`, a GiB in `make torture`.
fn long() -> u64 {
    (48 * scale() as u64).min(1024) << 20
}

/// Memory of its own that a process has, the rings it shares with the recorder left out.
fn own_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs a client to its end, and gives the most memory that the gateway had meanwhile.
fn watched(web: &Web, mut child: Child, mut meanwhile: impl FnMut(&mut Child) -> bool) -> u64 {
    let pid = web.appliance.process("weir-dataplane");
    let mut most = 0;
    while meanwhile(&mut child) {
        most = most.max(own_kib(pid));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    most
}

#[test]
fn a_body_of_any_length_comes_down_in_constant_memory() {
    let web = &*WEB.lock().unwrap_or_else(PoisonError::into_inner);
    let before = own_kib(web.appliance.process("weir-dataplane"));
    for kind in ["sized", "chunked"] {
        let child = web
            .curl(Who::Privileged, &format!("/{kind}/{}", long()), &["-f"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut at, mut piece) = (0, vec![0; 1 << 20]);
        let most = watched(web, child, |child| {
            let count = child.stdout.as_mut().unwrap().read(&mut piece).unwrap();
            assert!(piece[..count] == pattern(at, count), "{kind}: changed in {count} bytes from {at}");
            at += count as u64;
            count > 0
        });
        assert_eq!(at, long(), "{kind}");
        assert!(most < before + MOST_GROWTH_KIB, "{kind}: from {before} KiB to {most} KiB");
    }
}

#[test]
fn a_body_of_any_length_goes_up_in_constant_memory_and_is_recorded() {
    let web = &*WEB.lock().unwrap_or_else(PoisonError::into_inner);
    let before = own_kib(web.appliance.process("weir-dataplane"));
    let mut sum = 0;
    for at in (0..long()).step_by(1 << 20) {
        sum = summed(sum, &pattern(at, 1 << 20));
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for at in (0..long()).step_by(1 << 20) {
        file.write_all(&pattern(at, 1 << 20)).unwrap();
    }
    // The one's body passes by count, the other's is scrubbed for the record on its way.
    for (who, framing, told) in [
        (Who::Privileged, "Expect: 100-continue", "length"),
        (Who::Job, "Transfer-Encoding: chunked", "chunked"),
    ] {
        let arguments = ["-f", "-H", framing, "-T", file.path().to_str().unwrap()];
        let mut curl = web.curl(who, &format!("/upload/{told}"), &arguments);
        let child = curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut answer = Vec::new();
        let most = watched(web, child, |child| {
            let mut byte = [0];
            // Looked at once more for each byte of the answer, and before the first all the time.
            let ready = child.try_wait().unwrap().is_some();
            let count = if ready { child.stdout.as_mut().unwrap().read(&mut byte).unwrap() } else { 0 };
            answer.extend_from_slice(&byte[..count]);
            !ready || count > 0
        });
        assert_eq!(text(&answer), format!("PUT /upload/{told} {told} {} {sum:016x}\n", long()));
        assert!(most < before + MOST_GROWTH_KIB, "{told}: from {before} KiB to {most} KiB");
    }
    Appliance::until("both uploads in the record", || (uploaded(&web.appliance) >= 2 * long()).then_some(()));
}

/// Bytes of clients' data in the record.
fn uploaded(appliance: &Appliance) -> u64 {
    let pem = std::fs::read_to_string(appliance.var("WEIR_AUDITOR_KEY")).unwrap();
    let keys = [weir_segment::AuditorKey::from_pem(&pem).unwrap()];
    let mut bytes = 0;
    for path in appliance.segments() {
        let mut reader = weir_segment::Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
        assert!(reader.unlock(&keys).unwrap());
        while let Ok(Some(mut frame)) = reader.next() {
            if frame.frame == weir_segment::FrameType::Event
                && let Ok(weir_segment::Body::Upload(upload)) = frame.body()
            {
                bytes += upload.bytes.len() as u64;
            }
        }
    }
    bytes
}
