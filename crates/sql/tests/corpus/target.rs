//! The body of the fuzz target `facts`, which the tests replay: any bytes come to facts, the same ones each time, by
//! themselves, from a cache, and beside others of their shape.

use weir_policy::Facts;
use weir_sql::{Cache, Limits};

/// # Panics
/// Where two readings of the same bytes differ, or a text that is understood has no normalised form.
pub(crate) fn facts(input: &[u8]) {
    let first = weir_sql::analyse(input);
    assert_eq!(weir_sql::analyse(input), first, "the same twice");
    let mut cache = Cache::new(Limits::default());
    let kept = cache.facts(input, 1);
    let again = cache.facts(input, 2);
    assert_eq!(kept.id, again.id, "kept");
    assert_eq!(*kept, Facts { id: kept.id, shape: kept.shape, ..first.clone() }, "as by itself");
    if first.opaque.is_none() {
        assert_eq!(first.normalised.is_empty(), first.statements.is_empty(), "spelled, or nothing to spell");
    }
    // The other reading of strings must end as well, whatever it comes to.
    let _ = weir_sql::analyse_as(input, weir_sql::Strings::Backslash);
    assert_eq!(weir_sql::analyse(input), first, "not another's choice");
}
