//! User names to numbers, from `/etc/passwd` alone: system users live there.

use anyhow::{Context as _, Result, anyhow};

/// A user's number, given its name or the number itself.
pub(crate) fn uid(user: &str) -> Result<u32> {
    Ok(match user.parse() {
        Ok(number) => number,
        Err(_) => entry(user)?.0,
    })
}

/// User and group number of a user.
pub(crate) fn entry(name: &str) -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |line: &str| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let mut numbers = fields.skip(1);
        let uid = numbers.next()?.parse().ok()?;
        let gid = numbers.next()?.parse().ok()?;
        found.then_some((uid, gid))
    };
    text.lines().find_map(find).ok_or_else(|| anyhow!("no user is called {name:?}"))
}

/// A group's number, from `/etc/group` alone.
pub(crate) fn group(name: &str) -> Result<u32> {
    let text = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    let find = |line: &str| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let number = fields.nth(1)?.parse().ok()?;
        found.then_some(number)
    };
    text.lines().find_map(find).ok_or_else(|| anyhow!("no group is called {name:?}"))
}
