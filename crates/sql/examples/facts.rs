//! Prints the facts of each statement text read from standard input, one text a line.

#[path = "../tests/corpus/render.rs"]
mod render;

fn main() -> std::io::Result<()> {
    for line in std::io::stdin().lines() {
        let facts = weir_sql::analyse(line?.replace("\\n", "\n").as_bytes());
        println!("{}\n    {}\n    {:02x?}", facts.normalised, render::facts(&facts), &facts.fingerprint[..8]);
    }
    Ok(())
}
