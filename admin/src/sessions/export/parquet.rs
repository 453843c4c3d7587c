//! Parquet: the columns of `rows`, in groups of rows whose size is bounded; not compressed, every column may be empty.

use std::sync::Arc;

use anyhow::Result;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use weir_segment::{Body, Head};

use super::rows::{COLUMNS, Cell, Row, Rows, Type};
use super::{Export, Out};

/// Rows of one group, at most.
const GROUP_ROWS: usize = 16_384;
/// Bytes of text of one group, about.
const GROUP_BYTES: usize = 16 << 20;

pub(super) struct Parquet {
    writer: SerializedFileWriter<Out>,
    rows: Rows,
    group: Vec<Row>,
    group_bytes: usize,
}

impl Parquet {
    pub(super) fn new(out: Out) -> Result<Self> {
        let fields: String = COLUMNS
            .iter()
            .map(|(name, kind)| match kind {
                Type::Int => format!("optional int64 {name};"),
                Type::Text => format!("optional binary {name} (STRING);"),
            })
            .collect();
        let schema = Arc::new(parse_message_type(&format!("message weir_events {{ {fields} }}"))?);
        let properties = WriterProperties::builder().set_created_by("weir".to_owned()).build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, rows: Rows::default(), group: Vec::new(), group_bytes: 0 })
    }

    fn write_group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for (place, (_, kind)) in COLUMNS.iter().enumerate() {
            let Some(mut column) = group.next_column()? else { break };
            let cells = || rows.iter().map(|row| row.get(place).unwrap_or(&Cell::None));
            let levels: Vec<i16> = cells().map(|cell| i16::from(*cell != Cell::None)).collect();
            match kind {
                Type::Int => {
                    let values: Vec<i64> = cells()
                        .filter_map(|cell| if let Cell::Int(number) = cell { Some(*number) } else { None })
                        .collect();
                    column.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
                }
                Type::Text => {
                    let values: Vec<ByteArray> = cells()
                        .filter_map(|cell| {
                            if let Cell::Text(text) = cell { Some(text.as_str().into()) } else { None }
                        })
                        .collect();
                    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl Export for Parquet {
    fn event(&mut self, head: &Head, body: &Body<'_>, wanted: bool) -> Result<()> {
        let Some(row) = self.rows.row(head, body, wanted) else { return Ok(()) };
        let text = |cell: &Cell| if let Cell::Text(text) = cell { text.len() } else { 0 };
        self.group_bytes += row.iter().map(text).sum::<usize>();
        self.group.push(row);
        if self.group.len() >= GROUP_ROWS || self.group_bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        self.writer.close()?;
        Ok(())
    }
}
