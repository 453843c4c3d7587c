//! Prints what facts cost, cold and from the cache: `cargo run --release -p weir-sql --example speed`.

use std::hint::black_box;
use std::time::Instant;

use weir_sql::{Cache, Limits, analyse};

const OLTP: &str = "UPDATE accounts SET balance = balance + 42 WHERE aid = 17 AND branch = 3 RETURNING bid;";
const REPORT: &str = "
WITH monthly AS (
    SELECT date_trunc('month', o.placed_at) AS month, c.region, p.category, sum(i.quantity * i.unit_price) AS revenue,
           count(DISTINCT o.customer_id) AS customers
    FROM sales.orders o
    JOIN sales.order_items i ON i.order_id = o.id
    JOIN crm.customers c ON c.id = o.customer_id
    LEFT JOIN catalog.products p ON p.id = i.product_id
    WHERE o.placed_at >= now() - interval '2 years' AND o.status NOT IN ('cancelled', 'refunded') AND c.active
    GROUP BY 1, 2, 3
), ranked AS (
    SELECT m.*, rank() OVER (PARTITION BY month, region ORDER BY revenue DESC) AS place,
           lag(revenue) OVER (PARTITION BY region, category ORDER BY month) AS before
    FROM monthly m
)
SELECT month, region, category, revenue, customers, place,
       CASE WHEN before > 0 THEN round(100 * (revenue - before) / before, 1) END AS growth
FROM ranked WHERE place <= 10 AND EXISTS (SELECT 1 FROM crm.regions r WHERE r.name = ranked.region)
ORDER BY month DESC, region, place LIMIT 500";

fn main() {
    for (name, text) in [("oltp", OLTP), ("report", REPORT)] {
        println!("{name}: {} bytes", text.len());
        best("  cold", 4000, || {
            black_box(analyse(black_box(text.as_bytes())));
        });
        let mut cache = Cache::new(Limits::default());
        for n in 0..4096 {
            cache.facts(format!("select {n}").as_bytes(), 1);
        }
        best("  cached", 400_000, || {
            black_box(cache.facts(black_box(text.as_bytes()), 1));
        });
    }
}

/// The best of nine runs, in nanoseconds a call: the machine is shared, so less is nearer the truth.
fn best(name: &str, calls: u32, mut call: impl FnMut()) {
    let nanos = (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_nanos() / u128::from(calls)
        })
        .min()
        .unwrap_or_default();
    println!("{name}: {nanos} ns");
}
