//! Where an installed node keeps what, and whose each file is. Root makes it; anybody else makes it all their own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::users;

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Admin,
    DataPlane,
    /// Root's, and readable to Weir's programs.
    Group,
    Recorder,
    Root,
}

/// As `weir.tmpfiles` has them, and those of secrets.
pub(super) const DIRS: [(&str, Owner, u32); 10] = [
    ("etc/weir", Owner::Group, 0o750),
    ("etc/weir/access", Owner::Group, 0o750),
    ("etc/weir/keys", Owner::Group, 0o750),
    ("etc/weir/policy", Owner::Group, 0o750),
    ("etc/weir/secrets", Owner::Root, 0o700),
    ("etc/weir/tls", Owner::Group, 0o755),
    ("var/lib/weir", Owner::Root, 0o755),
    ("var/lib/weir/admin", Owner::Admin, 0o700),
    ("var/lib/weir/policy", Owner::Group, 0o755),
    ("var/lib/weir/segments", Owner::Recorder, 0o2750),
];

pub(super) struct Place {
    root: PathBuf,
    /// Numbers of users and group; none: everything is this user's.
    users: Option<Users>,
}

pub(super) struct Users {
    pub admin: u32,
    pub data_plane: u32,
    pub recorder: u32,
    group: u32,
    readers: u32,
}

impl Place {
    /// # Errors
    /// The operator's: not root, or the package that makes the users is not installed.
    pub(super) fn new(root: Option<&Path>) -> Result<Self> {
        let Some(root) = root else {
            let user = |name| {
                users::uid(name).context("the package makes its users; run this as root once it is installed")
            };
            let users = Users {
                admin: user("weir-admin")?,
                data_plane: user("weir-dataplane")?,
                recorder: user("weir-recorder")?,
                group: users::group("weir")?,
                readers: users::group("weir-readers")?,
            };
            return Ok(Self { root: "/".into(), users: Some(users) });
        };
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root: root.canonicalize()?, users: None })
    }

    pub(super) const fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn dir(&self, name: &str, owner: Owner, mode: u32) -> Result<()> {
        let path = self.path(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        self.own(name, owner, mode)
    }

    /// Writes a file, or leaves the one that is there.
    pub(super) fn keep(&self, name: &str, bytes: &[u8], owner: Owner, mode: u32) -> Result<()> {
        let path = self.path(name);
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(mut file) => file.write_all(bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                say!("kept {}", path.display());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
        self.own(name, owner, mode)
    }

    pub(super) fn own(&self, name: &str, owner: Owner, mode: u32) -> Result<()> {
        self.own_path(&self.path(name), owner, mode)
    }

    pub(super) fn own_path(&self, path: &Path, owner: Owner, mode: u32) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        self.give(path, owner)?;
        // Set last: a change of owner clears what the group is passed on by.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot change the mode of {}", path.display()))
    }

    /// A folder and all that is in it; modes stay.
    pub(super) fn own_all(&self, name: &str, owner: Owner) -> Result<()> {
        let mut left = vec![self.path(name)];
        while let Some(path) = left.pop() {
            self.give(&path, owner)?;
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            }
        }
        Ok(())
    }

    fn give(&self, path: &Path, owner: Owner) -> Result<()> {
        let Some(users) = &self.users else { return Ok(()) };
        let (user, group) = match owner {
            Owner::Admin => (users.admin, users.group),
            Owner::DataPlane => (users.data_plane, users.group),
            Owner::Group => (0, users.group),
            Owner::Recorder => (users.recorder, users.readers),
            Owner::Root => (0, 0),
        };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to its user; run this as root", path.display()))
    }
}
