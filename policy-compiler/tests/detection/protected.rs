//! Made-up protected values in the forms that people and programs write them in. It knows no rule.

use super::dice::Dice;

pub(crate) const DETECTORS: [&str; 9] =
    ["card", "cloud-key", "email", "iban", "jwt", "mrn", "phone", "private-key", "ssn"];

/// A value that the detector of this name is there for.
pub(crate) fn value(detector: &str, dice: &mut Dice) -> String {
    match detector {
        "card" => card(dice),
        "cloud-key" => cloud_key(dice),
        "email" => email(dice),
        "iban" => iban(dice),
        "jwt" => jwt(dice),
        "mrn" => mrn(dice),
        "phone" => phone(dice),
        "private-key" => {
            let kind = dice.pick(&["RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", ""]);
            format!("-----BEGIN {kind}PRIVATE KEY-----")
        }
        _ => ssn(dice),
    }
}

fn ssn(dice: &mut Dice) -> String {
    let area = loop {
        let area = 1 + dice.below(899);
        if area != 666 {
            break area;
        }
    };
    let separator = if dice.below(4) == 0 { ' ' } else { '-' };
    format!("{area:03}{separator}{:02}{separator}{:04}", 1 + dice.below(99), 1 + dice.below(9_999))
}

/// Digits with the check digit that Luhn's rule gives.
pub(crate) fn with_check_digit(digits: &str) -> String {
    let doubled = |(at, digit): (usize, u32)| {
        let twice = if at % 2 == 0 { digit * 2 } else { digit };
        twice / 10 + twice % 10
    };
    let sum: u32 = digits.bytes().rev().map(|byte| u32::from(byte - b'0')).enumerate().map(doubled).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn card(dice: &mut Dice) -> String {
    let brands = [
        "4##############",
        "51#############",
        "55#############",
        "2221###########",
        "6011###########",
        "3528###########",
        "34############",
        "37############",
        "36###########",
    ];
    let form = dice.pick(&brands);
    let number = with_check_digit(&dice.fill(form));
    let groups: &[usize] = match number.len() {
        15 => &[4, 6, 5],
        14 => &[4, 6, 4],
        _ => &[4, 4, 4, 4],
    };
    match dice.below(4) {
        0 => grouped(&number, groups, " "),
        1 => grouped(&number, groups, "-"),
        _ => number,
    }
}

fn grouped(number: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = number;
    let mut parts = Vec::new();
    for count in groups {
        let (part, after) = rest.split_at((*count).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts.retain(|part| !part.is_empty());
    parts.join(separator)
}

/// Country, form of the account, in the letters of `Dice::fill`.
const ACCOUNTS: [(&str, &str); 8] = [
    ("DE", "##################"),
    ("GB", "^^^^##############"),
    ("FR", "##########~~~~~~~~~~~##"),
    ("NO", "###########"),
    ("NL", "^^^^##########"),
    ("ES", "####################"),
    ("CH", "#####~~~~~~~~~~~~"),
    ("PL", "########################"),
];

fn iban(dice: &mut Dice) -> String {
    let (country, form) = ACCOUNTS[dice.below(ACCOUNTS.len())];
    let account = dice.fill(form).to_uppercase();
    let iban = format!("{country}{:02}{account}", 98 - remainder(&format!("{account}{country}00")));
    if dice.below(2) == 0 { grouped(&iban, &[4, 4, 4, 4, 4, 4, 4], " ") } else { iban }
}

/// Of the number that the letters and digits stand for, divided by 97.
fn remainder(text: &str) -> u32 {
    text.bytes().fold(0, |number, byte| match byte {
        b'0'..=b'9' => (number * 10 + u32::from(byte - b'0')) % 97,
        _ => (number * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}

fn email(dice: &mut Dice) -> String {
    let forms = [
        "???.??????",
        "?????#",
        "?.????????",
        "????+???",
        "^??????.^????",
        "????_????",
        "??-????",
        "#######",
    ];
    let hosts = [
        "example.org",
        "mail.example.co.uk",
        "clinic.example",
        "sub.dept.example.com",
        "ex-ample.io",
        "example.museum",
    ];
    format!(
        "{}@{}",
        {
            let form = dice.pick(&forms);
            dice.fill(form)
        },
        dice.pick(&hosts)
    )
}

fn phone(dice: &mut Dice) -> String {
    let forms = ["-###-", ".###.", " ###-", "(###) ###-", "+1 ###-###-", "+1-###-###-", "+1 (###) ###-"];
    let us = |form: &str, dice: &mut Dice| {
        let area = format!("{}{:02}", 2 + dice.below(8), dice.below(100));
        let exchange = format!("{}{:02}", 2 + dice.below(8), dice.below(100));
        let line = dice.fill("####");
        match form.len() {
            5 => format!("{area}{}{exchange}{}{line}", &form[..1], &form[4..]),
            _ => format!("{}{line}", form.replacen("###", &area, 1).replacen("###", &exchange, 1)),
        }
    };
    let abroad = [
        "+44 20 7### ####",
        "+49 30 9#####",
        "+33 1 ## ## ## ##",
        "+81 3-####-####",
        "+46 8 ### ### ##",
        "+4930######",
    ];
    if dice.below(4) == 0 {
        let form = dice.pick(&abroad);
        dice.fill(form)
    } else {
        let form = dice.pick(&forms);
        us(form, dice)
    }
}

fn mrn(dice: &mut Dice) -> String {
    let form = dice.pick(&[
        "MRN ######",
        "MRN: ########",
        "MRN-#######",
        "MRN#########",
        "mrn: 00#####",
        "Medical record number ########",
        "medical record no. #######",
    ]);
    // The `#` after MRN stays one: what people write before a number.
    if form == "MRN#########" { format!("MRN#{}", dice.fill("########")) } else { dice.fill(form) }
}

fn cloud_key(dice: &mut Dice) -> String {
    const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const BASE62: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    match dice.below(6) {
        0 => format!("AKIA{}", dice.text(BASE32, 16)),
        1 => format!("ASIA{}", dice.text(BASE32, 16)),
        2 => format!("AIza{}", dice.text(BASE62, 35)),
        3 => format!("{}_{}", dice.pick(&["ghp", "gho", "ghs"]), dice.text(BASE62, 36)),
        4 => format!("xoxb-{}-{}", dice.text("0123456789", 11), dice.text(BASE62, 24)),
        _ => format!("sk_live_{}", dice.text(BASE62, 24)),
    }
}

fn jwt(dice: &mut Dice) -> String {
    const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (claims, signature) = (40 + dice.below(200), 43 + dice.below(300));
    let head =
        dice.pick(&["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJhbGciOiJSUzI1NiJ9", "eyJraWQiOiJhIn0"]);
    // The last character is a letter, so that its end is the value's.
    format!("{head}.eyJ{}.{}Q", dice.text(BASE64, claims), dice.text(BASE64, signature))
}
