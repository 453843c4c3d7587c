//! What a recorder does with the directory that the last one left: completes an unsealed segment, and says so.
//!
//! A segment is never written on: what is whole of it is sealed with a gap record, the rest is cut off.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use weir_segment::{
    Body, Carry, Gap, HEADER_LEN, Header, Reader, RingId, Sequence, SigningKey, recorder_event,
};

use crate::disk::Disk;
use crate::store::{Settings, file_name, refused};
use crate::{Error, clock};

pub(crate) struct Recovery<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) key: &'a SigningKey,
    pub(crate) disk: &'a mut dyn Disk,
    /// The recorder's own ring, and its last sequence. The ring's time is moved behind that of every recorder before,
    /// whatever the clock says.
    pub(crate) own: &'a mut (RingId, Sequence),
}

impl Recovery<'_> {
    /// What the next segment carries on.
    ///
    /// # Errors
    /// A segment cannot be understood, or the disk's.
    pub(crate) fn run(&mut self) -> Result<Carry, Error> {
        let Some(last) = self.last_number()? else { return Ok(Carry::default()) };
        let path = self.settings.directory.join(file_name(last));
        let failed = |source| Error::Disk { what: "cannot read", path: path.clone(), source };
        // Killed before the header was whole: nothing was ever in it.
        if std::fs::metadata(&path).map_err(failed)?.len() < HEADER_LEN as u64 {
            std::fs::remove_file(&path).map_err(failed)?;
            return self.run();
        }
        match read_carry(&path)? {
            Ok((carry, rings)) => {
                self.follow(rings.into_iter());
                Ok(carry)
            }
            Err(header) => {
                let carry = self.carry_before(&header)?;
                self.complete(&path, &carry)
            }
        }
    }

    fn last_number(&self) -> Result<Option<u64>, Error> {
        let directory = &self.settings.directory;
        let failed = |source| Error::Disk { what: "cannot list", path: directory.clone(), source };
        let mut last = None;
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse::<u64>().ok());
            last = last.max(number);
        }
        Ok(last)
    }

    /// What the segment before an unsealed one carried on. Where that file was taken away, only what the unsealed
    /// one says of it: rings and sessions that it does not mention are forgotten.
    fn carry_before(&self, header: &Header) -> Result<Carry, Error> {
        let number = header.number.saturating_sub(1);
        let path = self.settings.directory.join(file_name(number));
        if number == 0 || !path.exists() {
            return Ok(Carry::after(number, header.previous_root));
        }
        let unsealed = weir_segment::Error::Seal("there is none, and it is not the last segment");
        let (carry, _) = read_carry(&path)?.map_err(|_| Error::Segment { path, source: unsealed })?;
        Ok(carry)
    }

    fn complete(&mut self, open: &Path, carry: &Carry) -> Result<Carry, Error> {
        let read = |source| Error::Disk { what: "cannot read", path: open.to_owned(), source };
        let len = std::fs::metadata(open).map_err(read)?.len();
        let file = File::open(open).map_err(read)?;
        // What the last recorder failed to sync may be in the page cache and nowhere else: read what the disk has.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let recovered = weir_segment::recover(BufReader::with_capacity(1 << 20, file), carry)
            .map_err(|source| Error::Segment { path: open.to_owned(), source })?;
        let cut = len - recovered.valid_len;
        tracing::warn!(file = %open.display(), kept = recovered.valid_len, cut, "completing an unsealed segment");
        let (mut builder, mut batch) = (recovered.builder, recovered.batch);
        let gap = self.gap(&builder, cut, recovered.damage.map(|damage| damage.to_string()));
        self.follow(builder.rings().map(|(ring, _)| ring));
        self.own.1.0 += 1;
        let event = recorder_event(clock::wall_unix_us(), clock::monotonic_ns(), Body::Gap(gap));
        builder.append_own(&mut batch, self.own.0, self.own.1, &event)?;
        let completed = builder
            .seal(&mut batch, self.key, clock::wall_unix_us(), |ring| ring.core() == RingId::RECORDER_CORE)?;
        let failed = |source| refused(open, "cannot complete", source);
        let mut file = self.disk.reopen(open, recovered.valid_len).map_err(failed)?;
        file.write(&batch, recovered.valid_len).map_err(failed)?;
        file.sync().map_err(failed)?;
        Ok(completed.carry)
    }

    fn follow(&mut self, rings: impl Iterator<Item = RingId>) {
        let recorders = rings.filter(|ring| ring.core() == RingId::RECORDER_CORE);
        // Their ids begin with milliseconds, and all have the same core.
        let last = recorders.max().unwrap_or_default();
        if self.own.0 <= last {
            self.own.0 = RingId(last.0.saturating_add(1 << 16));
        }
    }

    /// What may be missing. With the node still up, the rings hold all that is not here, and their sequences will show
    /// it if they do not; after a reboot they are gone.
    fn gap(&self, builder: &weir_segment::Builder, cut_bytes: u64, damage: Option<String>) -> Gap<'static> {
        let same_boot = builder.header().boot == clock::boot_id();
        let rings = builder.rings().filter(|(ring, _)| ring.core() != RingId::RECORDER_CORE).count() as u64;
        let bound =
            rings.saturating_mul(self.settings.ring_bytes).saturating_add(self.settings.undurable_bytes);
        let reason = if same_boot {
            "the recorder ended without sealing; the rings outlived it"
        } else {
            "the node went down; what the rings held is lost"
        };
        let damage = damage.map(|damage| format!(" ({damage})")).unwrap_or_default();
        Gap {
            reason: format!("{reason}{damage}").into(),
            ring: 0,
            last_sequence: 0,
            missing_bytes: if same_boot { 0 } else { bound },
            cut_bytes,
            since_unix_us: builder.latest_unix_us(),
            until_unix_us: clock::wall_unix_us(),
        }
    }
}

/// What a sealed segment carries on to the next, and its rings; of an unsealed one, its header.
fn read_carry(path: &Path) -> Result<Result<(Carry, Vec<RingId>), Header>, Error> {
    let open = || -> Result<Result<(Carry, Vec<RingId>), Header>, weir_segment::Error> {
        let mut reader = Reader::new(BufReader::new(File::open(path)?))?;
        let Some((statement, _)) = reader.seal()? else { return Ok(Err(reader.header().clone())) };
        let index = reader.index()?;
        let rings = index.rings.iter().map(|ring| ring.ring).collect();
        Ok(Ok((Carry::from_index(&statement, &index), rings)))
    };
    open().map_err(|source| Error::Segment { path: PathBuf::from(path), source })
}
