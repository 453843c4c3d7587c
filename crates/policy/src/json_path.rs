//! Which values of a JSON document a mask rule names: `$`, then `.name`, `["name"]`, `[3]`, `[*]` or `.*` for every member or
//! element, and `..` for any depth. A subset of RFC 9535, read once; documents are walked by `mask`.

/// A path, as its steps from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    steps: Vec<JsonStep>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonStep {
    /// Every member and element.
    Any,
    /// This place and everything below it.
    Descend,
    /// An array's element, from 0.
    Index(u64),
    /// An object's member; names are told apart as JSON does, by case.
    Name(String),
}

impl JsonPath {
    /// # Errors
    /// The text is no path, for the reason given.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut rest = text.strip_prefix('$').ok_or("it must begin with $")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(tail) = rest.strip_prefix("..") {
                steps.push(JsonStep::Descend);
                rest = if tail.starts_with('[') { tail } else { name(tail, &mut steps)? };
            } else if let Some(tail) = rest.strip_prefix('.') {
                rest = name(tail, &mut steps)?;
            }
            if rest.starts_with('[') {
                rest = bracket(rest, &mut steps)?;
            } else if !rest.is_empty() && !rest.starts_with('.') {
                return Err("a step begins with . or [");
            }
        }
        if steps.is_empty() || matches!(steps.last(), Some(JsonStep::Descend)) {
            return Err("it names no member or element");
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn steps(&self) -> &[JsonStep] {
        &self.steps
    }
}

/// A bare name or `*`.
fn name<'a>(text: &'a str, steps: &mut Vec<JsonStep>) -> Result<&'a str, &'static str> {
    if let Some(rest) = text.strip_prefix('*') {
        steps.push(JsonStep::Any);
        return Ok(rest);
    }
    let end = text.find(|ch: char| !(ch.is_alphanumeric() || "_-@$".contains(ch))).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or_default();
    if name.is_empty() {
        return Err("a name is missing after the dot; names of other characters are written [\"so\"]");
    }
    steps.push(JsonStep::Name(name.to_owned()));
    Ok(rest)
}

fn bracket<'a>(text: &'a str, steps: &mut Vec<JsonStep>) -> Result<&'a str, &'static str> {
    let inside = text.strip_prefix('[').unwrap_or_default();
    if let Some(rest) = inside.strip_prefix("*]") {
        steps.push(JsonStep::Any);
        return Ok(rest);
    }
    for quote in ['"', '\''] {
        let Some(quoted) = inside.strip_prefix(quote) else { continue };
        let (name, rest) = quoted.split_once(quote).ok_or("a quoted name has no end")?;
        if name.contains('\\') {
            return Err("a quoted name is written as it is, without escapes");
        }
        steps.push(JsonStep::Name(name.to_owned()));
        return rest.strip_prefix(']').ok_or("] is missing");
    }
    let (index, rest) = inside.split_once(']').ok_or("] is missing")?;
    let index = index.parse().map_err(|_| "brackets hold *, a quoted name, or a number from 0")?;
    steps.push(JsonStep::Index(index));
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_step_by_step() {
        let name = |text: &str| JsonStep::Name(text.into());
        for (text, expected) in [
            ("$.a", vec![name("a")]),
            ("$.patients[*].ssn", vec![name("patients"), JsonStep::Any, name("ssn")]),
            ("$..ssn", vec![JsonStep::Descend, name("ssn")]),
            ("$..[\"a.b\"]", vec![JsonStep::Descend, name("a.b")]),
            ("$['x y'][2].*", vec![name("x y"), JsonStep::Index(2), JsonStep::Any]),
            ("$[*]..a-b.c_d", vec![JsonStep::Any, JsonStep::Descend, name("a-b"), name("c_d")]),
        ] {
            assert_eq!(JsonPath::parse(text).unwrap().steps(), expected, "{text}");
        }
        for text in [
            "",
            "a",
            "$",
            "$.",
            "$..",
            "$a",
            "$[",
            "$[]",
            "$[-1]",
            "$['a]",
            "$.a b",
            "$[?(@.a)]",
            "$['a\\'b']",
            "$.a[1:2]",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
