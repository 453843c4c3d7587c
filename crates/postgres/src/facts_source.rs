//! Where a text's facts come from: the core's cache, as seen from here.

use std::rc::Rc;

use weir_policy::Facts;

/// Parses SQL, or remembers having parsed it. One serves every session of a core; the driver knows whose it is.
pub trait FactsSource {
    /// Facts of one text. Never fails: what cannot be understood has [`Facts::opaque`].
    fn facts(&self, text: &[u8]) -> Rc<Facts>;
}

impl<F: Fn(&[u8]) -> Rc<Facts>> FactsSource for F {
    fn facts(&self, text: &[u8]) -> Rc<Facts> {
        self(text)
    }
}
