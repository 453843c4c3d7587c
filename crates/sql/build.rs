//! Compiles `c/` against the parser's internal headers, which come with the `pg_query` crate; the parser itself is
//! compiled and linked by that crate. Also names the parser's node tags for messages.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SOURCES: [&str; 9] = ["body", "define", "facts", "filter", "object", "pl", "spell", "utility", "walk"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let parser = parser_folder()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("nodes.rs"), node_names(&parser)?)?;
    let mut build = cc::Build::new();
    build
        .files(SOURCES.map(|name| format!("c/{name}.c")))
        .includes(
            ["", "src", "src/include", "src/postgres/include", "vendor"].map(|folder| parser.join(folder)),
        )
        // The parser is compiled so; its structs and inline functions must look the same from here.
        .flag("-fno-strict-aliasing")
        .flag("-fwrapv")
        .warnings(false)
        .flag("-Werror=implicit-function-declaration")
        .flag("-Werror=incompatible-pointer-types");
    if env::var("PROFILE")? == "debug" || env::var("DEBUG")? == "1" {
        build.define("USE_ASSERT_CHECKING", None);
    }
    build.compile("weir_sql_walk");
    Ok(())
}

/// Where cargo keeps the source of the `pg_query` that `Cargo.lock` names.
fn parser_folder() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = |offline: bool| -> Result<String, Box<dyn Error>> {
        let mut cargo = Command::new(env::var("CARGO")?);
        cargo
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
            .arg(env::var("TARGET")?);
        if offline {
            cargo.arg("--offline");
        }
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    // Without the network first: it is there already, since it was compiled.
    let listing = metadata(true).or_else(|_| metadata(false))?;
    let manifest = listing
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split_once('"'))
        .map(|(path, _)| Path::new(path))
        .find(|path| {
            let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            folder.is_some_and(|name| name == "pg_query" || name.starts_with("pg_query-"))
        })
        .ok_or("cargo metadata does not list pg_query")?;
    Ok(manifest.with_file_name("libpg_query"))
}

/// A table of `(tag, name)` from the header's enum.
fn node_names(parser: &Path) -> Result<String, Box<dyn Error>> {
    let header = fs::read_to_string(parser.join("src/postgres/include/nodes/nodetags.h"))?;
    let mut table =
        String::from("/// The parser's node tags, ascending.\npub(crate) const NAMES: &[(u32, &str)] = &[\n");
    for line in header.lines() {
        let tag =
            line.trim().strip_prefix("T_").and_then(|rest| rest.trim_end_matches(',').split_once(" = "));
        if let Some((name, number)) = tag {
            writeln!(table, "    ({}, {name:?}),", number.parse::<u32>()?)?;
        }
    }
    table.push_str("];\n");
    Ok(table)
}
