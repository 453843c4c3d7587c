//! How far a long read of a recording is: a bar on standard error, only where that is a terminal and only where nothing
//! else is being printed to it.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressBarIter, ProgressDrawTarget, ProgressStyle};

/// The command's bar, while it has one. A command reads one directory at a time.
static CURRENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Ends the bar when dropped.
pub(crate) struct Shown(());

/// Shows how much of the segments in `dir` has been read, until the answer is dropped. `passes`: how often all of it will
/// be. `quiet`: nothing is printed to standard output meanwhile.
pub(crate) fn over(dir: &Path, passes: u64, quiet: bool) -> Shown {
    let fits = std::io::stderr().is_terminal() && (quiet || !std::io::stdout().is_terminal());
    if fits {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let total: u64 = entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
        let bar = ProgressBar::with_draw_target(
            Some(total.saturating_mul(passes)),
            ProgressDrawTarget::stderr_with_hz(4),
        );
        let style = ProgressStyle::with_template("{bytes:>10} of {total_bytes} {wide_bar} {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        *current() = Some(bar);
    }
    Shown(())
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = current().take() {
            bar.finish_and_clear();
        }
    }
}

/// A file whose reading moves the bar, if there is one.
pub(crate) fn watched(file: File) -> ProgressBarIter<File> {
    current().clone().unwrap_or_else(ProgressBar::hidden).wrap_read(file)
}

fn current() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}
