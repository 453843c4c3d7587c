//! MD5 (RFC 1321), for servers whose stored verifier is still `md5…`. Used for nothing else.

/// Per-round shift amounts.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// `floor(2^32 × |sin(i + 1)|)`, as the RFC defines its table.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product is below 2^32 and positive"
)]
fn sine(step: u32) -> u32 {
    (f64::from(step + 1).sin().abs() * 4_294_967_296.0) as u32
}

/// The digest of `parts` together, as 32 lower-case hex digits.
pub(crate) fn hex(parts: &[&[u8]]) -> [u8; 32] {
    let mut padded = zeroize::Zeroizing::new(parts.concat());
    let bits = (padded.len() as u64).wrapping_mul(8);
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&bits.to_le_bytes());
    let state = padded.chunks_exact(64).fold([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], block);
    let mut out = [0; 32];
    let digits = state.iter().flat_map(|word| word.to_le_bytes()).flat_map(|byte| [byte >> 4, byte & 15]);
    for (to, digit) in out.iter_mut().zip(digits) {
        *to = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    out
}

fn block(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d] = state;
    for step in 0..64_u32 {
        let (mixed, index) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let word = words.get((index % 16) as usize).copied().unwrap_or_default();
        let shift =
            SHIFTS.as_flattened().get((step / 16 * 4 + step % 4) as usize).copied().unwrap_or_default();
        let sum = a.wrapping_add(mixed).wrapping_add(sine(step)).wrapping_add(word);
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(shift));
    }
    let [w, x, y, z] = state;
    [w.wrapping_add(a), x.wrapping_add(b), y.wrapping_add(c), z.wrapping_add(d)]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rfcs_own_vectors_hold() {
        let long = "1234567890".repeat(8);
        for (text, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (long.as_str(), "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            assert_eq!(super::hex(&[text.as_bytes()]), expected.as_bytes(), "{text}");
        }
        assert_eq!(super::hex(&[b"message", b" ", b"digest"]), *b"f96b697d7cb7938d525a2f31aaf161d0");
    }
}
