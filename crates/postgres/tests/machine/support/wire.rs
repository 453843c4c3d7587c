//! Messages built and read in the plainest way, independently of the crate's own codec.

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

pub fn bind(portal: &str, statement: &str, values: &[&str], formats: &[i16]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&i16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(&i16::try_from(formats.len()).unwrap().to_be_bytes());
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    message(b'B', &body)
}

/// FunctionCall with every argument and the result in binary.
pub fn call(oid: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 1, 0, 1]);
    body.extend_from_slice(&i16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend_from_slice(&i32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend_from_slice(argument);
    }
    body.extend_from_slice(&[0, 1]);
    message(b'F', &body)
}

/// FunctionCallResponse.
pub fn result(value: Option<&[u8]>) -> Vec<u8> {
    message(b'V', &tuple(&[value])[2..])
}

pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind], name.as_bytes(), &[0]].concat())
}

pub fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind], name.as_bytes(), &[0]].concat())
}

pub fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), &[0; 5]].concat())
}

pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// (name, type OID, format)
pub fn row_description(columns: &[(&str, u32, i16)]) -> Vec<u8> {
    let mut body = i16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid, format) in columns {
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0; 7]);
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&[0; 6]);
        body.extend_from_slice(&format.to_be_bytes());
    }
    message(b'T', &body)
}

pub fn tuple(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    body
}

pub fn data_row(values: &[Option<&[u8]>]) -> Vec<u8> {
    message(b'D', &tuple(values))
}

pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

pub fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

pub fn error(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0C{code}\0M{text}\0\0").as_bytes())
}

/// The ten-line reader: tags and bodies of complete messages, and what is left.
pub fn messages(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
    let mut out = Vec::new();
    while bytes.len() >= 5 {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        if length < 4 || bytes.len() < length + 1 {
            break;
        }
        out.push((bytes[0], bytes[5..=length].to_vec()));
        bytes = &bytes[length + 1..];
    }
    (out, bytes)
}

/// One word a message, to compare and to read: its tag, and what tells most about it.
pub fn words(bytes: &[u8]) -> Vec<String> {
    let (messages, rest) = messages(bytes);
    let mut words: Vec<String> = messages.iter().map(|(tag, body)| word(*tag, body)).collect();
    if !rest.is_empty() {
        words.push(format!("rest {rest:?}"));
    }
    words
}

fn word(tag: u8, body: &[u8]) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    match tag {
        b'E' | b'N' => {
            let field =
                |wanted: u8| body.split(|byte| *byte == 0).find(|field| field.first() == Some(&wanted));
            let code = field(b'C').map(|field| text(&field[1..])).unwrap_or_default();
            format!("{} {code}", tag as char)
        }
        b'Z' => format!("Z {}", body[0] as char),
        b'C' => format!("C {}", text(body)),
        b'D' => format!("D {}", values(body).join("|")),
        b'V' => format!("V {}", values(&[&[0, 1], body].concat()).join("|")),
        b'd' => format!("d {}", String::from_utf8_lossy(body).trim_end()),
        tag => (tag as char).to_string(),
    }
}

/// A DataRow's values, NULL as `-`.
pub fn values(mut body: &[u8]) -> Vec<String> {
    let count = i16::from_be_bytes([body[0], body[1]]);
    body = &body[2..];
    (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(body[..4].try_into().unwrap());
            body = &body[4..];
            let Ok(length) = usize::try_from(length) else { return "-".to_owned() };
            let value = String::from_utf8_lossy(&body[..length]).into_owned();
            body = &body[length..];
            value
        })
        .collect()
}

/// Small, seeded and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// Pieces of `bytes`: whole, byte by byte, or cut anywhere.
pub fn cut(bytes: &[u8], how: usize) -> Vec<Vec<u8>> {
    match how {
        0 => vec![bytes.to_vec()],
        1 => bytes.chunks(1).map(<[u8]>::to_vec).collect(),
        seed => {
            let mut dice = Dice::new(seed as u64);
            let (mut rest, mut out) = (bytes, Vec::new());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((dice.roll(40) + 1).min(rest.len()));
                out.push(piece.to_vec());
                rest = behind;
            }
            out
        }
    }
}
