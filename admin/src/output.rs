//! Standard output, as every command writes it: a reader that has seen enough (`| head`) ends the program quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

/// What a shell reports of a program that SIGPIPE ended; Rust programs ignore that signal.
const READER_LEFT: i32 = 128 + 13;

/// `println!` for commands.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::output::line(format_args!($($arguments)*)) };
}

pub(crate) fn line(arguments: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{arguments}") {
        ended(&error);
    }
}

/// Text that ends its own lines.
pub(crate) fn text(text: &str) {
    if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
        ended(&error);
    }
}

/// Standard output took no more.
pub(crate) fn ended(error: &std::io::Error) -> ! {
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("weir-admin: cannot write: {error}");
    }
    std::process::exit(READER_LEFT)
}
