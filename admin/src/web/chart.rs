//! Small bar charts, drawn here: no script, no style but classes, and their numbers in words for whoever does not see them.

use maud::{Markup, html};

const WIDTH: u64 = 480;
const HEIGHT: u64 = 96;

/// One bar a number, the last one being now.
pub(super) fn bars(title: &str, numbers: &[u64], class: &str) -> Markup {
    let most = numbers.iter().copied().max().unwrap_or(0).max(1);
    let total: u64 = numbers.iter().sum();
    let slot = WIDTH / numbers.len().max(1) as u64;
    let last = numbers.last().copied().unwrap_or(0);
    let words = format!("{title}: {total} in all, at most {most}, {last} in the present hour");
    html! {
        figure.chart {
            figcaption { (title) " " span.quiet { (total) " in all, at most " (if total == 0 { 0 } else { most }) } }
            svg class=(class) viewBox={ "0 0 " (WIDTH) " " (HEIGHT + 2) } role="img" aria-label=(words) preserveAspectRatio="none" {
                @for (at, number) in (0_u64..).zip(numbers) {
                    @let tall = if *number == 0 { 1 } else { (number * HEIGHT / most).max(3) };
                    rect class=[(*number == 0).then_some("none")] x=(at * slot + 2) y=(HEIGHT - tall + 1) width=(slot.saturating_sub(4)) height=(tall) rx="2" {
                        title { (number) }
                    }
                }
            }
        }
    }
}
