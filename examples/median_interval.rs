//! The median of each line of numbers on stdin, with the 95 % interval that `resound compare` gives
//! the ratios of its rounds. `scripts/compare.sh` judges by it.
//!
//! ```console
//! $ echo 1.02 0.99 1.04 1.03 1.01 1.05 1.03 | cargo run -q --example median_interval
//! 1.03 0.99 1.05
//! ```

use std::io::{self, BufRead, Write};
use std::num::ParseFloatError;

use resound::stats::{median, median_interval};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(stdout, "{}", summary(&line?)?)?;
    }
    Ok(())
}

/// Returns the median of the numbers of a line, and the ends of its interval. A line of too few
/// numbers has no interval, and an empty one no median.
pub(crate) fn summary(line: &str) -> Result<String, ParseFloatError> {
    let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let ends = median_interval(&numbers).into_iter().flatten();
    let words: Vec<String> =
        median(&numbers).into_iter().chain(ends).map(|number| number.to_string()).collect();
    Ok(words.join(" "))
}
