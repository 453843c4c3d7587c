//! Links Hyperscan's runtime, and only that: no pattern compiler in the network process.

fn main() {
    println!("cargo::rerun-if-env-changed=HYPERSCAN_ROOT");
    let root = std::env::var("HYPERSCAN_ROOT").expect("HYPERSCAN_ROOT comes from .cargo/config.toml");
    // As an argument it stands after everything that refers to it.
    println!("cargo::rustc-link-arg-bins={root}/lib/libhs_runtime.a");
}
