//! The names of the parser's node tags, for saying what a text had that the walk does not know.

include!(concat!(env!("OUT_DIR"), "/nodes.rs"));

/// The node's name, or its number where the parser has none for it.
pub(crate) fn name(tag: u32) -> String {
    match NAMES.binary_search_by_key(&tag, |&(tag, _)| tag) {
        Ok(found) => NAMES.get(found).map_or_else(|| tag.to_string(), |&(_, name)| name.to_owned()),
        Err(_) => tag.to_string(),
    }
}
