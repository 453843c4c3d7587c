//! The statements that are measured: a point query, a held and a denied one, and a report.

/// 84 bytes, as an order system sends them. With the number at [`COUNTER`] replaced it is another text.
pub const POINT_QUERY: &str =
    "SELECT a.abalance, a.bid FROM pgbench_accounts a WHERE a.aid = 10000000 AND bid > 12";

/// Where the eight digits of [`POINT_QUERY`] stand.
pub const COUNTER: std::ops::Range<usize> = 63..71;

/// The same as drivers prepare it.
pub const PREPARED: &str = "SELECT a.abalance, a.bid FROM pgbench_accounts a WHERE a.aid = $1 AND bid > 12";

/// Waits for people under `policy/commands.toml`.
pub const HELD: &str = "UPDATE pgbench_accounts SET abalance = abalance + 1";

/// Denied under `policy/commands.toml`.
pub const DENIED: &str = "DROP TABLE pgbench_accounts CASCADE";

/// About 1 KiB: joins, window functions, a common table expression.
pub const REPORT: &str = "
WITH monthly AS (
    SELECT date_trunc('month', o.placed_at) AS month, c.region, sum(i.quantity * i.unit_price) AS revenue,
           count(DISTINCT o.customer_id) AS customers
    FROM sales.orders o
    JOIN sales.order_items i ON i.order_id = o.id
    JOIN crm.customers c ON c.id = o.customer_id
    LEFT JOIN catalog.products p ON p.id = i.product_id
    WHERE o.placed_at >= now() - interval '2 years' AND o.status NOT IN ('cancelled', 'refunded') AND c.active
    GROUP BY 1, 2
), ranked AS (
    SELECT m.*, rank() OVER (PARTITION BY month ORDER BY revenue DESC) AS place,
           lag(revenue) OVER (PARTITION BY region ORDER BY month) AS before
    FROM monthly m
)
SELECT month, region, revenue, customers, place,
       CASE WHEN before > 0 THEN round(100 * (revenue - before) / before, 1) END AS growth
FROM ranked WHERE place <= 10 AND EXISTS (SELECT 1 FROM crm.regions r WHERE r.name = ranked.region)
ORDER BY month DESC, region, place LIMIT 500";

/// Makes a copy of [`POINT_QUERY`] the `counter`th of its kind: all different, all of one shape and length.
pub fn counted(text: &mut [u8], counter: u64) {
    let mut rest = 10_000_000 + counter % 90_000_000;
    for place in text[COUNTER].iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap();
        rest /= 10;
    }
}
