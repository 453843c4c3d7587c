//! Which programs a command runs: its own, those that it is told to run, and those that cannot be told.

use super::lex::Word;
use super::{Reading, TOO_MUCH};

/// Words before a command, which say nothing of it.
const LEADING: [&str; 13] =
    ["!", "{", "}", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "time"];
/// Grammar that is not followed, and builtins that make code of text or programs of names.
const UNREAD: [&str; 24] = [
    ".",
    "alias",
    "at",
    "batch",
    "bind",
    "case",
    "compgen",
    "complete",
    "coproc",
    "crontab",
    "enable",
    "esac",
    "fc",
    "function",
    "hash",
    "mapfile",
    "parallel",
    "readarray",
    "select",
    "shopt",
    "source",
    "systemd-run",
    "trap",
    "zmodload",
];
/// They run what other words of theirs say.
const RUNNERS: [&str; 71] = [
    "builtin",
    "busybox",
    "catatonit",
    "choom",
    "chpst",
    "chronic",
    "chroot",
    "chrt",
    "command",
    "cpulimit",
    "daemonize",
    "dbus-run-session",
    "doas",
    "dtach",
    "dumb-init",
    "eatmydata",
    "entr",
    "env",
    "exec",
    "fakechroot",
    "fakeroot",
    "faketime",
    "firejail",
    "flock",
    "gosu",
    "ionice",
    "linux32",
    "linux64",
    "ltrace",
    "lxc-execute",
    "nice",
    "nocorrect",
    "noglob",
    "nohup",
    "nsenter",
    "numactl",
    "perf",
    "pkexec",
    "prlimit",
    "proot",
    "rlwrap",
    "run-parts",
    "runcon",
    "runuser",
    "screen",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "softlimit",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-cat",
    "systemd-inhibit",
    "taskset",
    "timeout",
    "tini",
    "tmux",
    "toybox",
    "ts",
    "uclampset",
    "unbuffer",
    "unshare",
    "valgrind",
    "watch",
    "xargs",
    "xvfb-run",
];
const SHELLS: [&str; 12] =
    ["ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "sh", "tcsh", "yash", "zsh"];
/// Interpreters and tools that take code, or commands for the shell.
const INTERPRETERS: [&str; 45] = [
    "bc",
    "bundle",
    "cargo",
    "cmake",
    "cpan",
    "deno",
    "docker",
    "ed",
    "emacs",
    "ex",
    "expect",
    "gcc",
    "gdb",
    "go",
    "guile",
    "java",
    "jjs",
    "jrunscript",
    "julia",
    "kubectl",
    "ld.so",
    "lua",
    "m4",
    "make",
    "mysql",
    "node",
    "nvim",
    "ocaml",
    "perl",
    "php",
    "pip",
    "podman",
    "psql",
    "python",
    "R",
    "rsync",
    "ruby",
    "scala",
    "socat",
    "sqlite3",
    "ssh",
    "tclsh",
    "vi",
    "view",
    "vim",
];
const FOLDERS: [&str; 6] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// Variables that choose programs or hold code.
const VARIABLES: [&str; 21] = [
    "BASH_",
    "BASHOPTS",
    "CDPATH",
    "EDITOR",
    "ENV=",
    "FPATH",
    "GIT_",
    "GLOBIGNORE",
    "IFS",
    "LD_",
    "LESS",
    "MANPAGER",
    "PAGER",
    "PATH",
    "PERL",
    "PROMPT_COMMAND",
    "PS",
    "PYTHON",
    "SHELL",
    "VISUAL",
    "ZDOTDIR",
];

/// Words of a program that runs others; with more it is not looked into.
const MOST_FOLLOWED_WORDS: usize = 64;

pub(super) fn run(words: &[Word], depth: u8, facts: &mut Reading) {
    for word in words {
        // Arrays' subscripts are evaluated by many builtins, however they are quoted.
        let holds = |text: &[u8]| word.text.windows(text.len()).any(|it| it == text);
        if word.text.contains(&b'[') && (holds(b"$(") || holds(b"`")) {
            facts.hide("a subscript may run a program");
        }
        if assigns(&word.text) && VARIABLES.iter().any(|it| word.text.starts_with(it.as_bytes())) {
            facts.hide("it sets a variable that chooses programs");
        }
    }
    let leading = |word: &&Word| !word.computed && LEADING.iter().any(|it| it.as_bytes() == word.text);
    // `time` has an option.
    let prefix =
        |word: &&Word| leading(word) || assigns(&word.text) || word.text == b"-p" || word.text == b"--";
    let rest = words.get(words.iter().take_while(prefix).count()..).unwrap_or_default();
    let Some((first, arguments)) = rest.split_first() else { return };
    match first.text.as_slice() {
        // The words of a list are data; what they are used for is seen where they are used.
        b"for" | b"[[" | b"in" => {
            if let Some(at) = arguments.iter().position(|word| word.text == b"do") {
                run(arguments.get(at..).unwrap_or_default(), depth, facts);
            }
        }
        _ => command(first, arguments, depth, false, facts),
    }
}

/// `NAME=`, `NAME+=` or `NAME[...]=` at its beginning.
fn assigns(text: &[u8]) -> bool {
    let Some(end) = text.iter().position(|it| *it == b'=') else { return false };
    let name = text.get(..end).unwrap_or_default();
    let name = name.strip_suffix(b"+").unwrap_or(name);
    let plain = |it: &u8| *it == b'_' || it.is_ascii_alphanumeric() || b"[]".contains(it);
    name.first().is_some_and(|it| *it == b'_' || it.is_ascii_alphabetic()) && name.iter().all(plain)
}

/// `among`: it is one of the words of a runner, which looks at every other itself.
fn command(first: &Word, arguments: &[Word], depth: u8, among: bool, facts: &mut Reading) {
    if !facts.counts() {
        return;
    }
    let text = String::from_utf8_lossy(&first.text).into_owned();
    if first.computed || text.is_empty() || text.contains("{}") {
        facts.hide("a program's name is computed");
        return;
    }
    let name = text.rsplit('/').next().unwrap_or_default();
    if let Some((folder, _)) = text.rsplit_once('/')
        && !FOLDERS.contains(&folder)
    {
        facts.hide("it runs a file that is no installed program");
    }
    facts.facts.programs.insert(name.to_owned());
    // A version is no other program: python3.11, perl5.
    let stem = name.trim_end_matches(|it: char| it.is_ascii_digit() || it == '.' || it == '-');
    let is = |list: &[&str]| list.contains(&name) || list.contains(&stem);
    let follows = is(&SHELLS) || is(&RUNNERS) || ["eval", "find", "fd", "fdfind"].contains(&name);
    if follows && arguments.len() > MOST_FOLLOWED_WORDS {
        facts.hide(TOO_MUCH);
        return;
    }
    if is(&UNREAD) {
        facts.hide("it makes code of text");
    } else if name == "eval" {
        eval(arguments, depth, facts);
    } else if is(&SHELLS) {
        shell(arguments, depth, facts);
    } else if is(&RUNNERS) && !among {
        runner(name, arguments, depth, facts);
    } else if name == "find" || name == "fd" || name == "fdfind" {
        found(arguments, depth, facts);
    } else if name == "awk" || is(&["awk", "gawk", "mawk", "nawk"]) {
        let tame = |text: &str| !["system", "|", "getline", "@", "/inet"].iter().any(|it| text.contains(it));
        code(arguments, tame, facts);
    } else if name == "sed" || name == "gsed" {
        edits(arguments, facts);
    } else if name == "tar" || name == "git" || name == "zip" || name == "less" || name == "man" {
        let tame = |text: &str| {
            let turns = [
                "--to-command",
                "--checkpoint-action",
                "--use-compress",
                "--rsh",
                "--config",
                "--exec",
                "ext::",
                "!",
                "-c",
                "-I",
                "-F",
                "-TT",
                "--unzip-command",
                "-P",
            ];
            !turns.iter().any(|it| text.starts_with(it)) && !text.contains('!')
        };
        code(arguments, tame, facts);
    } else if is(&INTERPRETERS) {
        facts.hide("it runs a program that takes code");
    }
}

/// Opaque unless every word is plain and `tame`.
fn code(arguments: &[Word], tame: impl Fn(&str) -> bool, facts: &mut Reading) {
    let plain = |word: &Word| !word.computed && tame(&String::from_utf8_lossy(&word.text));
    if !arguments.iter().all(plain) || arguments.iter().any(|word| word.text.starts_with(b"-f")) {
        facts.hide("it runs a program with code that is not read");
    }
}

/// sed: without options that bring code, and with one script that surely runs nothing.
fn edits(arguments: &[Word], facts: &mut Reading) {
    let option = |word: &&Word| word.text.starts_with(b"-");
    let known =
        |word: &Word| [&b"-n"[..], b"-E", b"-r", b"-i", b"-s", b"-u", b"-z"].contains(&&word.text[..]);
    let script = arguments.iter().find(|word| !option(word));
    let tame = |word: &Word| !word.computed && std::str::from_utf8(&word.text).is_ok_and(tame_script);
    if !arguments.iter().filter(option).all(known) || !script.is_some_and(tame) {
        facts.hide("it runs a program with code that is not read");
    }
}

/// One substitution without the flags that run or write, or lines' numbers and p, d or q.
fn tame_script(script: &str) -> bool {
    if let Some(rest) = script.strip_prefix('s') {
        let Some(delimiter) = rest.chars().next() else { return false };
        let parts: Vec<&str> = rest.split(delimiter).collect();
        let flags = parts.last().copied().unwrap_or_default();
        let one = parts.len() == 4 && !rest.contains(['\\', '\n', ';', '{']);
        return one && flags.chars().all(|it| "gpiI0123456789".contains(it));
    }
    let lines = script.trim_end_matches(['p', 'd', 'q']);
    lines.chars().all(|it| it.is_ascii_digit() || ",$".contains(it))
}

fn eval(arguments: &[Word], depth: u8, facts: &mut Reading) {
    if arguments.iter().any(|word| word.computed) {
        facts.hide("it evaluates computed text");
        return;
    }
    let texts: Vec<&[u8]> = arguments.iter().map(|word| word.text.as_slice()).collect();
    facts.read(&texts.join(&b' '), depth + 1);
}

/// A shell with a script in its words is read on; any other runs what is not here.
fn shell(arguments: &[Word], depth: u8, facts: &mut Reading) {
    let flag = |word: &Word| {
        word.text.starts_with(b"-") && !word.text.starts_with(b"--") && word.text.contains(&b'c')
    };
    let script = arguments.iter().position(flag).and_then(|at| {
        arguments
            .get(at + 1..)?
            .iter()
            .find(|word| !word.text.starts_with(b"-") && !word.text.starts_with(b"+"))
    });
    let odd = arguments
        .iter()
        .any(|word| [&b"-o"[..], b"+o", b"-O", b"+O", b"--rcfile", b"--init-file"].contains(&&word.text[..]));
    match script {
        Some(script) if !script.computed && !odd => facts.read(&script.text, depth + 1),
        _ => facts.hide("a shell runs what is not in the line"),
    }
}

/// Any word may begin what it runs: which options take a value is each program's own.
fn runner(name: &str, arguments: &[Word], depth: u8, facts: &mut Reading) {
    let shell =
        arguments.iter().any(|word| word.text.starts_with(b"-c") || word.text.starts_with(b"--command"));
    let splits = name == "env"
        && arguments.iter().any(|word| {
            word.text.starts_with(b"-S") || word.text.starts_with(b"--split") || word.text.starts_with(b"-vS")
        });
    if splits
        || (shell && ["su", "runuser", "script", "flock", "nsenter", "unshare", "watch"].contains(&name))
        || name == "watch"
    {
        facts.hide("a runner takes code");
    }
    if arguments.iter().any(|word| word.computed && !word.text.starts_with(b"-")) && name != "xargs" {
        facts.hide("what is run may be computed");
    }
    if name == "xargs" {
        let replaces =
            |word: &Word| [&b"-I"[..], b"-i", b"--replace", b"-J"].iter().any(|it| word.text.starts_with(it));
        let is = |list: &[&str], word: &Word| list.iter().any(|it| word.text.ends_with(it.as_bytes()));
        let runs = |word: &Word| is(&SHELLS, word) || is(&RUNNERS, word) || is(&INTERPRETERS, word);
        if arguments.iter().any(|word| replaces(word) || runs(word)) {
            facts.hide("what is run comes from input");
        }
    }
    for at in 0..arguments.len() {
        let Some((first, rest)) = arguments.get(at..).and_then(<[Word]>::split_first) else { return };
        if first.text.starts_with(b"-") || assigns(&first.text) || first.computed {
            continue;
        }
        command(first, rest, depth + 1, true, facts);
    }
}

fn found(arguments: &[Word], depth: u8, facts: &mut Reading) {
    const RUNS: [&[u8]; 8] =
        [b"-exec", b"-execdir", b"-ok", b"-okdir", b"-x", b"-X", b"--exec", b"--exec-batch"];
    for (at, word) in arguments.iter().enumerate() {
        if word.computed && word.text.starts_with(b"$") {
            facts.hide("what is run may be computed");
        }
        if RUNS.contains(&&word.text[..])
            && let Some((first, rest)) = arguments.get(at + 1..).and_then(<[Word]>::split_first)
        {
            command(first, rest, depth + 1, false, facts);
        }
    }
}
