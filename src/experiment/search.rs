//! The search for the highest rate at which a condition holds: which trial comes next, and what
//! the trials so far say.
//!
//! The rate doubles until a trial fails, then the gap between the highest rate that held and the
//! lowest that did not is halved until it is within the precision. Most trials are short. The
//! answer is confirmed by a trial of full length, and so is the failure above it: a bad moment of
//! the machine is a large part of a short trial. From the first trial of full length on that says
//! otherwise than the short ones, every trial is full.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::measured::{Found, Limit};

/// The bound on the trials of one search. The widest range at the finest precision takes about 80;
/// only a server that changes its mind takes more.
const TRIALS_MAX: usize = 100;

/// How often a trial that failed is repeated.
const FAILED_REPEATS_MAX: u32 = 1;

/// How often a trial is repeated in which the generator was the limit. On a shared machine that is
/// more often chance than a failure is.
const UNPROVEN_REPEATS_MAX: u32 = 2;

/// The factor between rates while none has held. The search for a first rate that holds is a side
/// path, so it is coarse.
const FACTOR_WITHOUT_HOLD: u64 = 4;

/// The factor between rates while all have held.
const FACTOR: u64 = 2;

/// A short run of a search takes this part of the time asked for.
const SHORT_PART: u32 = 10;

/// The shortest run of a search: a hiccup of 50 ms, which spoils a run, is a tenth of it.
const SHORT_MIN: Duration = Duration::from_millis(500);

/// The warm-up of a short run is at most this part of it.
const SHORT_WARMUP_PART: u32 = 4;

/// Returns the duration and the warm-up of a short trial, for those of a full one.
pub fn short_times(duration: Duration, warmup: Duration) -> (Duration, Duration) {
    let short = (duration / SHORT_PART).max(SHORT_MIN).min(duration);
    (short, warmup.min(short / SHORT_WARMUP_PART))
}

/// One run of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Messages per second.
    pub rate: u64,
    /// Whether the trial has the length that the user asked for, not a short one.
    pub is_full: bool,
}

/// What a trial says about its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The condition held.
    Held,
    /// The condition held, although a limit of the generator distorts the figures. Its own delay
    /// only adds to times and losses, so the rate holds; how much more would hold is unknown.
    HeldUnwell,
    /// The condition did not hold, and the generator was not the cause.
    Failed,
    /// The trial was too short for the figures of the condition.
    NoValue,
    /// A limit of the generator distorts the figures, so they prove nothing about the server.
    Unproven,
}

/// A trial that held.
#[derive(Clone, Copy, Debug)]
struct Held {
    trial: Trial,
    /// No limit of the generator distorts its figures.
    is_well: bool,
}

/// A trial that did not hold.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    trial: Trial,
    /// Whose limit it is.
    limit: Limit,
}

/// A search that waits for the result of its next trial.
///
/// ```
/// use resound::experiment::{Search, Verdict};
///
/// let mut search = Search::new(1_000..=100_000, 0.05);
/// while let Some(trial) = search.next() {
///     let capacity = 31_000; // of a server that this example makes up
///     search.tell(if trial.rate <= capacity { Verdict::Held } else { Verdict::Failed });
/// }
/// let found = search.found().expect("the server takes the lowest rate");
/// assert!(found.rate <= 31_000 && found.rate > 29_000);
/// ```
#[derive(Clone, Debug)]
pub struct Search {
    rates: RangeInclusive<u64>,
    /// The greatest gap of the answer, as a share of it.
    precision: f64,
    next: Option<Trial>,
    /// How often this trial has failed, and how often it was unproven.
    failed: u32,
    unproven: u32,
    /// The trials that held, by ascending rate. All are below `beyond`.
    held: Vec<Held>,
    /// The lowest trial that is beyond a limit.
    beyond: Option<Beyond>,
    /// A full trial said otherwise than the short one of its rate.
    are_all_full: bool,
    /// The condition had a value in a trial that proves something.
    has_value: bool,
    trials: usize,
}

impl Search {
    /// Creates a search within `rates`. It stops at a gap of `precision`, a share of the answer.
    pub fn new(rates: RangeInclusive<u64>, precision: f64) -> Search {
        let first = Trial { rate: *rates.start(), is_full: false };
        Search {
            rates,
            precision,
            next: Some(first),
            failed: 0,
            unproven: 0,
            held: Vec::new(),
            beyond: None,
            are_all_full: false,
            has_value: false,
            trials: 0,
        }
    }

    /// Returns the trial to run next, or `None` if the search is over.
    pub fn next(&self) -> Option<Trial> {
        self.next
    }

    /// Takes the verdict on the trial that [`next`](Search::next) returned.
    pub fn tell(&mut self, verdict: Verdict) {
        let Some(trial) = self.next else { return };
        self.trials += 1;
        let is_confirmation = self.highest_held().is_some_and(|held| held.rate == trial.rate);
        let is_known_to_fail = self.beyond.is_some_and(|beyond| beyond.trial.rate == trial.rate);
        // A neighbour on the machine can spoil a trial, so one bad trial decides nothing. But a
        // trial of full length has room for a bad moment: it fails only by a bad share of it.
        let is_worth_repeating = match verdict {
            Verdict::Held => false,
            // With a generator that is well, the answer would not only be "at least".
            Verdict::HeldUnwell => {
                let is_knee = trial.is_full && self.is_limit_of_server(trial.rate);
                is_knee && self.unproven < UNPROVEN_REPEATS_MAX
            }
            Verdict::NoValue => !trial.is_full,
            Verdict::Failed => {
                self.failed < FAILED_REPEATS_MAX && !is_confirmation && !is_known_to_fail
            }
            Verdict::Unproven => self.unproven < UNPROVEN_REPEATS_MAX,
        };
        if is_worth_repeating && self.trials < TRIALS_MAX {
            let is_full = trial.is_full || verdict == Verdict::NoValue;
            self.failed += u32::from(verdict == Verdict::Failed);
            let is_unwell = matches!(verdict, Verdict::Unproven | Verdict::HeldUnwell);
            self.unproven += u32::from(is_unwell);
            self.next = Some(Trial { is_full, ..trial });
            return;
        }
        (self.failed, self.unproven) = (0, 0);
        let is_held = matches!(verdict, Verdict::Held | Verdict::HeldUnwell);
        self.are_all_full |= (is_confirmation && !is_held) || (is_known_to_fail && is_held);
        self.has_value |= is_held || verdict == Verdict::Failed;
        match verdict {
            Verdict::Held | Verdict::HeldUnwell => {
                self.beyond = self.beyond.filter(|beyond| beyond.trial.rate > trial.rate);
                self.held.retain(|held| held.trial.rate < trial.rate);
                self.held.push(Held { trial, is_well: verdict == Verdict::Held });
            }
            // After a rate with enough samples, a server that answers too few has failed.
            Verdict::NoValue if !self.has_value => self.limit_found(trial, Limit::None),
            Verdict::Failed | Verdict::NoValue => self.limit_found(trial, Limit::Server),
            // It neither proves nor disproves what the short trials have shown.
            Verdict::Unproven if is_known_to_fail => self.limit_found(trial, self.limit_beyond()),
            Verdict::Unproven => self.limit_found(trial, Limit::Generator),
        }
        self.next = self.trial_after(trial.rate).filter(|_| self.trials < TRIALS_MAX);
    }

    fn limit_found(&mut self, trial: Trial, limit: Limit) {
        self.held.retain(|held| held.trial.rate < trial.rate);
        // A rate below the first that holds limits nothing: a latency may be worse at low rates,
        // because CPUs sleep. But a generator that fails at one rate does not do better above it.
        let is_below_all = self.held.is_empty() && self.beyond.is_none();
        if !is_below_all || limit == Limit::Generator || trial.rate == *self.rates.end() {
            self.beyond = Some(Beyond { trial, limit });
        }
    }

    fn limit_beyond(&self) -> Limit {
        self.beyond.map_or(Limit::None, |beyond| beyond.limit)
    }

    /// Returns the trial that follows from what is known. `rate`: of the last trial.
    fn trial_after(&self, rate: u64) -> Option<Trial> {
        let rate_max = *self.rates.end();
        let rate = match (self.highest_held(), self.beyond) {
            (None, Some(_)) => return None,
            (None, None) => rate.saturating_mul(FACTOR_WITHOUT_HOLD).min(rate_max),
            (Some(held), None) if held.rate < rate_max => {
                held.rate.saturating_mul(FACTOR).min(rate_max)
            }
            (Some(held), Some(Beyond { trial, .. })) if !self.is_precise(held.rate, trial.rate) => {
                middle(held.rate, trial.rate)
            }
            (Some(held), _) if !held.is_full => return Some(Trial { is_full: true, ..held }),
            (_, Some(Beyond { trial, limit: Limit::Server })) if !trial.is_full => {
                return Some(Trial { is_full: true, ..trial });
            }
            _ => return None,
        };
        Some(Trial { rate, is_full: self.are_all_full })
    }

    fn is_precise(&self, held: u64, above: u64) -> bool {
        above - held <= 1 || (above - held) as f64 <= self.precision * held as f64
    }

    /// Returns true if the server fails at a rate within the precision above this one.
    fn is_limit_of_server(&self, rate: u64) -> bool {
        self.beyond.is_some_and(|Beyond { trial, limit }| {
            limit == Limit::Server && self.is_precise(rate, trial.rate)
        })
    }

    /// Returns the highest rate that held so far.
    pub fn highest_held(&self) -> Option<Trial> {
        self.held.last().map(|held| held.trial)
    }

    /// Returns the highest trial of full length that held.
    fn answer(&self) -> Option<&Held> {
        self.held.iter().rfind(|held| held.trial.is_full)
    }

    /// Returns whose limit keeps the search from a rate above the highest that held. It is the
    /// generator's if the generator was not well at the answer. Without a trial that had enough
    /// samples for the condition there is no limit.
    pub fn limit(&self) -> Limit {
        match self.answer() {
            Some(Held { is_well: false, .. }) => Limit::Generator,
            _ => self.limit_beyond(),
        }
    }

    /// Returns the answer: the highest rate that held in a trial of full length. It is an answer
    /// of "at least" unless the generator was well there and the server fails at a rate within the
    /// precision above it.
    pub fn found(&self) -> Option<Found> {
        let Held { trial: Trial { rate, .. }, is_well } = *self.answer()?;
        let at_least = !(is_well && self.is_limit_of_server(rate));
        Some(Found { rate, at_least, limit: self.limit() })
    }
}

/// Returns the geometric mean of two rates that differ by at least 2, as a rate between them.
fn middle(low: u64, high: u64) -> u64 {
    let mean = (low as f64).sqrt() * (high as f64).sqrt();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates; the mean is above 0"
    )]
    let mean = mean.round() as u64;
    mean.clamp(low + 1, high - 1)
}
