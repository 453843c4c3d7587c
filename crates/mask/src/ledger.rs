//! What was masked in one answer, counted: evidence for the record, without a byte of the values.

use std::io::Write as _;

use weir_policy::MaskPlan;

use crate::{ColumnPlan, Found};

/// Counts for one result set or body. Reusable; `begin` starts the next answer.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    columns: Vec<Column>,
    /// Replaced ranges, one count for each of the plan's patterns.
    hits: Vec<u64>,
    /// Values masked by path, one count for each of the plan's.
    fields: Vec<u64>,
    secrets: u64,
    withheld: u64,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Index into the plan's `columns`.
    rule: usize,
    /// Position in the answer, 0-based.
    position: usize,
    cells: u64,
}

impl Ledger {
    /// Forgets the last answer. Every protected column is listed from now on, also with no cell masked.
    pub fn begin(&mut self, plan: &MaskPlan, columns: &ColumnPlan) {
        self.columns.clear();
        for position in 0..columns.len() {
            if let Some(rule) = columns.rule(position) {
                self.columns.push(Column { rule, position, cells: 0 });
            }
        }
        self.hits.clear();
        self.hits.resize(plan.patterns.len(), 0);
        self.fields.clear();
        self.fields.resize(plan.json.len(), 0);
        self.secrets = 0;
        self.withheld = 0;
    }

    /// So many cells of output column `position` were masked by its column rule.
    pub fn cells(&mut self, position: usize, count: u64) {
        if let Some(column) = self.columns.iter_mut().find(|column| column.position == position) {
            column.cells += count;
        }
    }

    /// These matches were replaced.
    pub fn found(&mut self, found: &[Found]) {
        for each in found {
            match self.hits.get_mut(each.mask) {
                Some(hits) => *hits += 1,
                None => self.secrets += 1,
            }
        }
    }

    /// One value was masked by the plan's path `rule`.
    pub fn field(&mut self, rule: usize) {
        if let Some(count) = self.fields.get_mut(rule) {
            *count += 1;
        }
    }

    /// One cell or text was withheld whole because it could not be examined.
    pub const fn withheld(&mut self) {
        self.withheld += 1;
    }

    /// Whether nothing at all was masked.
    pub fn is_empty(&self) -> bool {
        self.withheld == 0
            && self.secrets == 0
            && self.fields.iter().all(|values| *values == 0)
            && self.hits.iter().all(|hits| *hits == 0)
            && self.columns.iter().all(|column| column.cells == 0)
    }

    /// Appends one JSON object: `{"columns":[{"position":1,"name":"ssn","rule":"pii.ssn","cells":10}],
    /// "patterns":[{"rule":"pii.card","hits":3}],"secrets":0,"withheld":0}`. Patterns without a hit are left
    /// out, and so is `"fields":[{"rule":"pii.mrn","values":2}]` before `secrets` where no value was masked by path.
    pub fn write(&self, plan: &MaskPlan, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"columns\":[");
        let mut separator = "";
        for column in &self.columns {
            let Some(rule) = plan.columns.get(column.rule) else { continue };
            // Writing into a vector cannot fail.
            let _ = write!(out, "{separator}{{\"position\":{},\"name\":", column.position);
            write_string(&rule.column, out);
            out.extend_from_slice(b",\"rule\":");
            write_string(&rule.rule, out);
            let _ = write!(out, ",\"cells\":{}}}", column.cells);
            separator = ",";
        }
        out.extend_from_slice(b"],\"patterns\":[");
        separator = "";
        for (pattern, hits) in plan.patterns.iter().zip(&self.hits).filter(|(_, hits)| **hits > 0) {
            let _ = write!(out, "{separator}{{\"rule\":");
            write_string(&pattern.rule, out);
            let _ = write!(out, ",\"hits\":{hits}}}");
            separator = ",";
        }
        if self.fields.iter().any(|values| *values > 0) {
            out.extend_from_slice(b"],\"fields\":[");
            separator = "";
        }
        for (field, values) in plan.json.iter().zip(&self.fields).filter(|(_, values)| **values > 0) {
            let _ = write!(out, "{separator}{{\"rule\":");
            write_string(&field.rule, out);
            let _ = write!(out, ",\"values\":{values}}}");
            separator = ",";
        }
        let _ = write!(out, "],\"secrets\":{},\"withheld\":{}}}", self.secrets, self.withheld);
    }
}

/// Appends a JSON string, quoted.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => out.extend_from_slice(&[b'\\', if ch == '"' { b'"' } else { b'\\' }]),
            '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            _ => out.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use weir_policy::{ColumnMask, MaskMethod, PatternIndex, PatternMask};

    use super::*;
    use crate::OutputColumn;

    fn plan() -> MaskPlan {
        MaskPlan {
            json: Vec::new(),
            columns: vec![ColumnMask {
                rule: "pii.\"ssn\"".into(),
                schema: None,
                table: None,
                column: "ssn".into(),
                method: MaskMethod::Null,
                refuses_expressions: false,
            }],
            patterns: ["pii.card", "pii.email"]
                .map(|rule| PatternMask {
                    rule: rule.into(),
                    pattern: PatternIndex(0),
                    validator: None,
                    method: MaskMethod::Null,
                })
                .to_vec(),
            scanner: None,
        }
    }

    #[test]
    fn a_ledger_writes_itself_as_one_json_object() {
        let plan = plan();
        let mut columns = ColumnPlan::default();
        columns.resolve(&plan, [OutputColumn::named(b"id"), OutputColumn::named(b"SSN")]);
        let mut ledger = Ledger::default();
        ledger.begin(&plan, &columns);
        assert!(ledger.is_empty());
        ledger.cells(1, 2);
        ledger.cells(0, 1);
        ledger.found(&[Found { cell: 0, start: 0, end: 1, mask: 1 }]);
        ledger.withheld();
        let mut out = Vec::new();
        ledger.write(&plan, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"columns":[{"position":1,"name":"ssn","rule":"pii.\"ssn\"","cells":2}],"patterns":[{"rule":"pii.email","hits":1}],"secrets":0,"withheld":1}"#
        );
        ledger.begin(&plan, &columns);
        assert!(ledger.is_empty());
    }
}
