//! Reading bodies back: checked, without copying what is long, one function for all versions of all kinds.
//!
//! The bytes come from a disk, so they are hostile: rkyv validates each before anything of it is touched.

use std::borrow::Cow;

use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::option::ArchivedOption;
use rkyv::rancor::Failure;
use rkyv::string::ArchivedString;
use rkyv::util::AlignedVec;
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Portable};

use crate::Error;
use crate::body::{
    Admin, Body, Close, Effect, Gap, HoldOpened, Identity, Kind, MaskLedger, Mint, NotedRule, Open, Original,
    Outcome, Release, Released, Request, Response, Upload, VERSION, Verdict,
};
use crate::body::{ArchivedEffect, ArchivedIdentity, ArchivedReleased, ArchivedVerdict};
use crate::event::Head;

/// The body that `bytes` hold according to `head`. `bytes` begin after the head; an `AlignedVec` because archived
/// data is only valid in aligned memory.
///
/// # Errors
/// The recording's: malformed, or of a kind or version this program does not know, or contradicting its head.
pub fn decode<'a>(head: &Head, bytes: &'a AlignedVec) -> Result<Body<'a>, Error> {
    decode_at(head, bytes)
}

/// The same of aligned bytes inside of others. Ones that are not aligned are refused as malformed.
pub(crate) fn decode_at<'a>(head: &Head, bytes: &'a [u8]) -> Result<Body<'a>, Error> {
    let unknown = Error::Unknown { kind: head.kind, version: head.version };
    let kind = match head.kind() {
        Some(kind) if head.version == VERSION => kind,
        Some(_) | None => return Err(unknown),
    };
    let body = decode_v1(kind, bytes).map_err(|_| Error::Body { kind: head.kind, version: head.version })?;
    if body.mark() != head.mark {
        return Err(Error::Body { kind: head.kind, version: head.version });
    }
    Ok(body)
}

fn access<T>(bytes: &[u8]) -> Result<&T::Archived, Failure>
where
    T: Archive,
    T::Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    rkyv::access::<T::Archived, Failure>(bytes)
}

fn decode_v1(kind: Kind, bytes: &[u8]) -> Result<Body<'_>, Failure> {
    Ok(match kind {
        Kind::SessionOpen => Body::SessionOpen(open(access::<Open<'_>>(bytes)?)),
        Kind::SessionClose => {
            let close = access::<Close<'_>>(bytes)?;
            Body::SessionClose(Close {
                reason: text(&close.reason),
                to_upstream_bytes: close.to_upstream_bytes.as_ref().map(|bytes| bytes.to_native()),
                to_client_bytes: close.to_client_bytes.as_ref().map(|bytes| bytes.to_native()),
            })
        }
        Kind::Request => Body::Request(request(access::<Request<'_>>(bytes)?)),
        Kind::Hold => {
            let hold = access::<HoldOpened<'_>>(bytes)?;
            Body::Hold(HoldOpened { hold: text(&hold.hold), rule: text(&hold.rule), digest: hold.digest })
        }
        Kind::Release => {
            let release = access::<Release<'_>>(bytes)?;
            Body::Release(Release {
                hold: text(&release.hold),
                outcome: released(&release.outcome),
                approvers: list(&release.approvers),
                reason: text(&release.reason),
                signature: raw(&release.signature),
            })
        }
        Kind::Response => Body::Response(Response { bytes: raw(&access::<Response<'_>>(bytes)?.bytes) }),
        Kind::Upload => {
            let upload = access::<Upload<'_>>(bytes)?;
            Body::Upload(Upload {
                bytes: raw(&upload.bytes),
                original_bytes: upload.original_bytes.to_native(),
            })
        }
        Kind::MaskLedger => {
            Body::MaskLedger(MaskLedger { json: raw(&access::<MaskLedger<'_>>(bytes)?.json) })
        }
        Kind::Outcome => {
            let outcome = access::<Outcome<'_>>(bytes)?;
            Body::Outcome(Outcome { json: raw(&outcome.json), answer: raw(&outcome.answer) })
        }
        Kind::Mint => {
            let mint = access::<Mint<'_>>(bytes)?;
            Body::Mint(Mint { credential: text(&mint.credential), id: text(&mint.id) })
        }
        Kind::Gap => {
            let gap = access::<Gap<'_>>(bytes)?;
            Body::Gap(Gap {
                reason: text(&gap.reason),
                ring: gap.ring.to_native(),
                last_sequence: gap.last_sequence.to_native(),
                missing_bytes: gap.missing_bytes.to_native(),
                cut_bytes: gap.cut_bytes.to_native(),
                since_unix_us: gap.since_unix_us.to_native(),
                until_unix_us: gap.until_unix_us.to_native(),
            })
        }
        Kind::Admin => Body::Admin(Admin { json: raw(&access::<Admin<'_>>(bytes)?.json) }),
        Kind::Original => {
            let original = access::<Original<'_>>(bytes)?;
            Body::Original(Original {
                envelopes: raw(&original.envelopes),
                number: original.number.to_native(),
                sealed: raw(&original.sealed),
            })
        }
    })
}

fn open<'a>(open: &'a <Open<'static> as Archive>::Archived) -> Open<'a> {
    let who: &ArchivedIdentity<'static> = &open.identity;
    Open {
        protocol: text(&open.protocol),
        identity: Identity {
            issuer: text(&who.issuer),
            subject: text(&who.subject),
            groups: list(&who.groups),
            run: maybe(&who.run),
            token_id: maybe(&who.token_id),
        },
        connection: text(&open.connection),
        role: text(&open.role),
        purpose: maybe(&open.purpose),
        application: maybe(&open.application),
        client_address: text(&open.client_address),
        upstream_address: text(&open.upstream_address),
        node: text(&open.node),
    }
}

fn request<'a>(request: &'a <Request<'static> as Archive>::Archived) -> Request<'a> {
    let noted = request.noted.iter().map(|noted| NotedRule {
        rule: text(&noted.rule),
        effect: match noted.effect {
            ArchivedEffect::Alert => Effect::Alert,
            ArchivedEffect::Allow => Effect::Allow,
            ArchivedEffect::WouldDeny => Effect::WouldDeny,
            ArchivedEffect::WouldHold => Effect::WouldHold,
        },
    });
    Request {
        words: text(&request.words),
        text: raw(&request.text),
        bind_count: request.bind_count.to_native(),
        binds: raw(&request.binds),
        facts: raw(&request.facts),
        original: request.original,
        verdict: match request.verdict {
            ArchivedVerdict::Allow => Verdict::Allow,
            ArchivedVerdict::Deny => Verdict::Deny,
            ArchivedVerdict::Hold => Verdict::Hold,
        },
        rule: text(&request.rule),
        message: text(&request.message),
        noted: noted.collect::<Vec<_>>().into(),
        generation: request.generation.to_native(),
    }
}

fn released(outcome: &ArchivedReleased) -> Released {
    match outcome {
        ArchivedReleased::Approved => Released::Approved,
        ArchivedReleased::Denied => Released::Denied,
        ArchivedReleased::Expired => Released::Expired,
        ArchivedReleased::Withdrawn => Released::Withdrawn,
    }
}

fn text(text: &ArchivedString) -> Cow<'_, str> {
    Cow::Borrowed(text.as_str())
}

fn maybe(text: &ArchivedOption<ArchivedString>) -> Option<Cow<'_, str>> {
    text.as_ref().map(|text| Cow::Borrowed(text.as_str()))
}

fn raw(bytes: &ArchivedVec<u8>) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytes.as_slice())
}

fn list(list: &ArchivedVec<ArchivedString>) -> Cow<'_, [String]> {
    list.iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>().into()
}
