//! Links Hyperscan's runtime, and only that: no pattern compiler in the network process.

fn main() {
    println!("cargo::rerun-if-env-changed=HYPERSCAN_ROOT");
    match std::env::var("HYPERSCAN_ROOT") {
        // As an argument it stands after everything that refers to it.
        Ok(root) => println!("cargo::rustc-link-arg-bins={root}/lib/libhs_runtime.a"),
        Err(_) => {
            println!("cargo::error=HYPERSCAN_ROOT comes from .cargo/config.toml: build inside the repository")
        }
    }
}
