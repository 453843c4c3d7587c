//! Made-up rows of about 150 bytes, the same on every run: how often they hold personal data is the caller's choice.

/// Cells of a row, in the order of [`COLUMNS`].
pub type Row = Vec<Vec<u8>>;

/// Name, and type as Postgres numbers it: text throughout but the first.
pub const COLUMNS: [(&str, u32); 8] = [
    ("id", 20),
    ("placed_at", 25),
    ("customer", 25),
    ("city", 25),
    ("amount", 25),
    ("reference", 25),
    ("status", 25),
    ("note", 25),
];

/// How many rows hold an SSN, an e-mail address and a card number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// None.
    Clean,
    /// Every row.
    Dense,
    /// One row in a hundred.
    Sparse,
}

impl Density {
    pub const ALL: [Self; 3] = [Self::Clean, Self::Sparse, Self::Dense];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

const FIRST: [&str; 8] = ["Ada", "Bela", "Chidi", "Dorothea", "Emeka", "Freya", "Goran", "Hana"];
const LAST: [&str; 8] =
    ["Almeida", "Bergstrom", "Castellanos", "Dimitrov", "Eriksen", "Fitzgerald", "Grabowski", "Ito"];
const CITIES: [&str; 6] = ["Lisbon", "Rotterdam", "Copenhagen", "Milwaukee", "Nagoya", "Valparaiso"];
const STATES: [&str; 4] = ["open", "shipped", "returned", "in review"];
const NOTES: [&str; 6] = [
    "left with the neighbour at number 12, second attempt after lunch",
    "paid in full, receipt 20260314 filed under account 88-1204 by desk 4",
    "asked for a later slot, weekday mornings only, ring twice please",
    "pallet 7 of 19, weight 18.25 kg, checked against the manifest",
    "price agreed by the regional office until the end of the quarter",
    "second reminder sent, no answer so far, will try again in 10 days",
];

/// `bytes` of rows, rounded up to a whole row.
pub fn rows(bytes: usize, density: Density) -> Vec<Row> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut rows = Vec::new();
    let mut total = 0;
    while total < bytes {
        let personal = match density {
            Density::Clean => false,
            Density::Dense => true,
            Density::Sparse => rows.len() % 100 == 50,
        };
        let row = row(&mut dice, rows.len(), personal);
        total += text_len(&row);
        rows.push(row);
    }
    rows
}

/// The rows as lines of comma-separated text.
pub fn lines(rows: &[Row]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        text.extend_from_slice(&row.join(&b','));
        text.push(b'\n');
    }
    text
}

/// Bytes of a row as a line of text.
pub fn text_len(row: &Row) -> usize {
    row.iter().map(|cell| cell.len() + 1).sum()
}

fn row(dice: &mut Dice, number: usize, personal: bool) -> Row {
    let (first, last) = (dice.pick(&FIRST), dice.pick(&LAST));
    let note = if personal {
        let (area, group, serial) = (100 + dice.below(500), 10 + dice.below(89), 1000 + dice.below(8999));
        let mail = format!("{}.{}{}@example.org", first.to_lowercase(), last.to_lowercase(), dice.below(90));
        format!("ssn {area}-{group}-{serial} mail {mail} card {}", card(dice))
    } else {
        dice.pick(&NOTES).to_owned()
    };
    [
        (4_000_000 + number).to_string(),
        format!(
            "2026-{:02}-{:02} {:02}:{:02}:07",
            1 + dice.below(12),
            1 + dice.below(28),
            dice.below(24),
            dice.below(60)
        ),
        format!("{first} {last}"),
        dice.pick(&CITIES).to_owned(),
        format!("{}.{:02}", 10 + dice.below(9000), dice.below(100)),
        format!("ORD-2026-{:07}", dice.below(10_000_000)),
        dice.pick(&STATES).to_owned(),
        note,
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// A Visa number with its check digit.
fn card(dice: &mut Dice) -> String {
    let mut digits = vec![4];
    digits.extend((0..14).map(|_| dice.below(10)));
    // From the right, the check digit counted: every second digit is doubled.
    let doubled = |(at, digit): (usize, &u64)| {
        let twice = if at % 2 == 0 { digit * 2 } else { *digit };
        twice / 10 + twice % 10
    };
    let sum: u64 = digits.iter().rev().enumerate().map(doubled).sum();
    digits.push((10 - sum % 10) % 10);
    digits.iter().map(u64::to_string).collect()
}

/// Xorshift: the same numbers on every run.
struct Dice(u64);

impl Dice {
    const fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

#[cfg(test)]
mod tests {
    use weir_mask::Finder;

    use super::{Density, lines, rows, text_len};

    #[test]
    fn rows_are_the_same_on_every_run_and_about_150_bytes_long() {
        for density in Density::ALL {
            let made = rows(64 << 10, density);
            assert_eq!(made, rows(64 << 10, density));
            let average = made.iter().map(text_len).sum::<usize>() / made.len();
            assert!((130..=170).contains(&average), "{average}");
        }
    }

    #[test]
    fn three_values_are_found_in_each_personal_row_and_none_elsewhere() {
        let plan = crate::rules::pii();
        for (density, personal) in [(Density::Clean, 0), (Density::Sparse, 4), (Density::Dense, 400)] {
            let rows = &rows(64 << 10, density)[..400];
            let found = Finder::default().find(&plan, &lines(rows)).unwrap().len();
            assert_eq!(found, 3 * personal, "{density:?}");
        }
    }
}
