//! Searches against scripted servers.

use proptest::prelude::*;

use super::*;

/// A server, or a generator, that answers every trial from a rule.
struct Script<F>(F);

impl<F: FnMut(Trial) -> Verdict> Script<F> {
    /// Runs a search to its end. Returns it with its trials and their verdicts.
    fn run(mut self, mut search: Search) -> (Search, Vec<(Trial, Verdict)>) {
        let mut trials = Vec::new();
        while let Some(trial) = search.next() {
            let verdict = self.0(trial);
            search.tell(verdict);
            trials.push((trial, verdict));
            assert!(trials.len() <= TRIALS_MAX, "{trials:?}");
        }
        (search, trials)
    }
}

fn holds(is_held: bool) -> Verdict {
    if is_held { Verdict::Held } else { Verdict::Failed }
}

/// Asserts that the search has found a rate at or within the precision below `knee`.
#[track_caller]
fn assert_knee(search: &Search, knee: u64, at_least: bool, limit: Limit) {
    let found = search.found().unwrap();
    assert!(found.rate > knee / 100 * 95 && found.rate <= knee, "{found:?}");
    assert_eq!((found.at_least, found.limit), (at_least, limit));
}

fn rates(trials: &[(Trial, Verdict)]) -> Vec<u64> {
    trials.iter().map(|(trial, _)| trial.rate).collect()
}

#[test]
fn the_rate_doubles_then_the_gap_is_halved_and_both_sides_of_the_knee_run_at_full_length() {
    let knee = Script(|trial: Trial| holds(trial.rate <= 20_000));
    let (search, trials) = knee.run(Search::new(1_000..=200_000, 0.05));
    assert_eq!(rates(&trials)[..7], [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000]);
    let (short, full) = trials.split_at(trials.len() - 2);
    assert!(short.iter().all(|(trial, _)| !trial.is_full), "{trials:?}");
    let verdicts = full.iter().map(|(trial, verdict)| (trial.is_full, *verdict));
    assert!(verdicts.eq([(true, Verdict::Held), (true, Verdict::Failed)]), "{trials:?}");
    assert_knee(&search, 20_000, false, Limit::Server);
}

#[test]
fn a_range_without_a_failure_gives_at_least_its_end() {
    let (search, trials) = Script(|_| Verdict::Held).run(Search::new(1_000..=7_000, 0.05));
    assert_eq!(rates(&trials), [1_000, 2_000, 4_000, 7_000, 7_000]);
    let found = search.found().unwrap();
    assert_eq!(found, Found { rate: 7_000, at_least: true, limit: Limit::None });
}

#[test]
fn nothing_is_found_if_no_rate_holds() {
    let (search, trials) = Script(|_| Verdict::Failed).run(Search::new(1_000..=9_000, 0.05));
    assert_eq!(search.found(), None);
    assert_eq!(search.limit(), Limit::Server);
    assert_eq!(rates(&trials), [1_000, 1_000, 4_000, 4_000, 9_000, 9_000]);
}

/// case B19
#[test]
fn a_rate_at_which_the_generator_is_the_limit_is_never_the_servers_knee() {
    let script = |trial: Trial| match trial.rate {
        ..=30_000 => Verdict::Held,
        _ => Verdict::Unproven,
    };
    let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    assert_knee(&search, 30_000, true, Limit::Generator);
}

/// case B19
#[test]
fn a_generator_that_is_never_well_finds_nothing_and_blames_itself() {
    let (search, trials) = Script(|_| Verdict::Unproven).run(Search::new(1_000..=200_000, 0.05));
    assert_eq!((search.found(), search.limit()), (None, Limit::Generator));
    assert_eq!(rates(&trials), [1_000, 1_000, 1_000]);
}

/// case B19
#[test]
fn a_rate_that_holds_although_the_generator_is_not_well_is_found() {
    let (search, trials) = Script(|_| Verdict::HeldUnwell).run(Search::new(1_000..=7_000, 0.05));
    assert_eq!(rates(&trials), [1_000, 2_000, 4_000, 7_000, 7_000]);
    let found = search.found().unwrap();
    assert_eq!(found, Found { rate: 7_000, at_least: true, limit: Limit::Generator });
    assert_eq!(search.limit(), Limit::Generator);
}

/// case B19
#[test]
fn a_generator_that_is_never_well_finds_the_rate_up_to_which_it_holds_as_at_least() {
    let script = |trial: Trial| match trial.rate {
        ..=30_000 => Verdict::HeldUnwell,
        _ => Verdict::Unproven,
    };
    let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    assert_knee(&search, 30_000, true, Limit::Generator);
}

/// case B19
#[test]
fn a_knee_below_which_the_generator_is_not_well_is_confirmed_again_until_it_is() {
    for (unwell, at_least, limit) in [(2, false, Limit::Server), (3, true, Limit::Generator)] {
        let mut full = 0;
        let script = |trial: Trial| {
            full += u32::from(trial.is_full);
            match holds(trial.rate <= 20_000) {
                Verdict::Held if trial.is_full && full <= unwell => Verdict::HeldUnwell,
                verdict => verdict,
            }
        };
        let (search, trials) = Script(script).run(Search::new(1_000..=200_000, 0.05));
        assert_knee(&search, 20_000, at_least, limit);
        // The last one is at the rate that fails.
        assert_eq!(trials.iter().filter(|(trial, _)| trial.is_full).count(), 4);
    }
}

/// case B19
#[test]
fn a_server_that_fails_below_the_limit_of_the_generator_has_a_knee() {
    let script = |trial: Trial| match trial.rate {
        ..=20_000 => Verdict::Held,
        20_001..=25_000 => Verdict::Failed,
        _ => Verdict::Unproven,
    };
    let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    assert_knee(&search, 20_000, false, Limit::Server);
}

#[test]
fn a_trial_spoiled_by_a_neighbour_is_repeated() {
    for spoiled in [Verdict::Failed, Verdict::Unproven] {
        let mut count = 0;
        let script = |trial: Trial| {
            count += 1;
            if count % 2 == 1 { spoiled } else { holds(trial.rate <= 20_000) }
        };
        let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
        let found = search.found().unwrap();
        assert!(found.rate > 19_000 && found.rate <= 20_000, "{spoiled:?}: {found:?}");
    }
}

#[test]
fn bad_moments_in_the_short_trials_of_a_rate_hide_no_higher_rate() {
    let script =
        |trial: Trial| holds(trial.rate <= 20_000 && (trial.is_full || trial.rate < 4_000));
    let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    assert_knee(&search, 20_000, false, Limit::Server);
}

/// case B19
#[test]
fn a_full_trial_that_proves_nothing_leaves_the_limit_that_short_trials_have_shown() {
    let script = |trial: Trial| match (trial.rate <= 20_000, trial.is_full) {
        (true, _) => Verdict::Held,
        (false, true) => Verdict::Unproven,
        (false, false) => Verdict::Failed,
    };
    let (search, _) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    assert_knee(&search, 20_000, false, Limit::Server);
}

#[test]
fn a_failure_after_an_unproven_trial_is_repeated_too() {
    let verdicts = [Verdict::Unproven, Verdict::Failed, Verdict::Unproven, Verdict::Held];
    let mut verdicts = verdicts.into_iter();
    let script = |_| verdicts.next().unwrap_or(Verdict::Held);
    let (search, trials) = Script(script).run(Search::new(1_000..=2_000, 0.05));
    assert_eq!(rates(&trials)[..5], [1_000, 1_000, 1_000, 1_000, 2_000]);
    assert_eq!(search.found().map(|found| found.rate), Some(2_000));
}

#[test]
fn a_trial_without_enough_samples_is_repeated_at_full_length() {
    let script = |trial: Trial| match trial {
        Trial { rate: ..1_000, is_full: false } => Verdict::NoValue,
        Trial { rate, .. } => holds(rate <= 2_000),
    };
    let (search, trials) = Script(script).run(Search::new(100..=100_000, 0.05));
    assert!(search.found().unwrap().rate > 1_900);
    assert_eq!(trials[1], (Trial { rate: 100, is_full: true }, Verdict::Held));
}

#[test]
fn a_search_without_enough_samples_at_any_rate_shows_no_limit() {
    for end in [1, 10] {
        let (search, trials) = Script(|_| Verdict::NoValue).run(Search::new(1..=end, 0.05));
        assert_eq!((search.found(), search.limit()), (None, Limit::None), "{trials:?}");
    }
    // A server that answers too few messages at a higher rate fails there.
    for first in [Verdict::Held, Verdict::Failed] {
        let script = |trial: Trial| if trial.rate == 1 { first } else { Verdict::NoValue };
        let (search, trials) = Script(script).run(Search::new(1..=8, 0.05));
        assert_eq!(search.limit(), Limit::Server, "{trials:?}");
    }
}

#[test]
fn after_a_short_trial_that_held_too_easily_every_trial_is_full() {
    let script = |trial: Trial| holds(trial.rate <= if trial.is_full { 15_000 } else { 20_000 });
    let (search, trials) = Script(script).run(Search::new(1_000..=200_000, 0.05));
    let found = search.found().unwrap();
    assert!(found.rate > 14_200 && found.rate <= 15_000, "{found:?}");
    assert!(!found.at_least);
    let first_full = trials.iter().position(|(trial, _)| trial.is_full).unwrap();
    assert!(trials[first_full..].iter().all(|(trial, _)| trial.is_full), "{trials:?}");
    assert!(trials.len() < 40, "{trials:?}");
}

#[test]
fn a_latency_that_is_worse_at_low_rates_hides_no_higher_rate() {
    let script = |trial: Trial| holds((3_000..=20_000).contains(&trial.rate));
    let found = Script(script).run(Search::new(1_000..=200_000, 0.05)).0.found().unwrap();
    assert!(found.rate > 19_000 && found.rate <= 20_000, "{found:?}");
}

#[test]
fn the_widest_range_at_the_finest_precision_ends_within_the_bound() {
    let knee = u64::MAX / 3;
    let (search, trials) =
        Script(|trial: Trial| holds(trial.rate <= knee)).run(Search::new(1..=u64::MAX, 0.001));
    assert!(trials.len() < TRIALS_MAX - 10, "{}", trials.len());
    let found = search.found().unwrap();
    assert!(found.rate <= knee && found.rate as f64 > 0.999 * knee as f64, "{found:?}");
}

proptest! {
    #[test]
    fn a_knee_is_found_within_the_precision(
        low in 1..10_000_u64,
        knee_factor in 1.0..1_000.0_f64,
        precision in 0.001..0.3_f64,
    ) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let knee = (low as f64 * knee_factor) as u64;
        let script = Script(|trial: Trial| holds(trial.rate <= knee));
        let found = script.run(Search::new(low..=low * 2_000, precision)).0.found().unwrap();
        prop_assert!(found.rate <= knee && !found.at_least);
        let gap = precision * found.rate as f64;
        prop_assert!((knee - found.rate) as f64 <= gap.max(1.0), "{found:?}, knee {knee}");
    }

    /// Whatever a server does, an answer held at full length, and unless the answer is "at least",
    /// a rate within the precision above it failed with a generator that was well.
    #[test]
    fn an_answer_is_proven_for_any_curve(
        curve in proptest::collection::vec(0..8_u8, 40),
        short_differs in any::<bool>(),
    ) {
        let verdict = |trial: Trial| {
            let at = (trial.rate as f64).log2() * 2.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let at = at as usize + usize::from(short_differs && trial.is_full);
            match curve[at % curve.len()] {
                0..=2 => Verdict::Held,
                3 => Verdict::HeldUnwell,
                4..=5 => Verdict::Failed,
                6 => Verdict::NoValue,
                _ => Verdict::Unproven,
            }
        };
        let (search, trials) = Script(verdict).run(Search::new(100..=1_000_000, 0.05));
        let Some(found) = search.found() else { return Ok(()) };
        let answer = Trial { rate: found.rate, is_full: true };
        // The last trial at the rate is the one that decides.
        let last = trials.iter().rfind(|(trial, _)| *trial == answer);
        let verdict = last.map(|(_, verdict)| *verdict);
        prop_assert!(
            matches!(verdict, Some(Verdict::Held | Verdict::HeldUnwell)),
            "{found:?} {trials:?}"
        );
        if verdict == Some(Verdict::HeldUnwell) {
            prop_assert_eq!((found.at_least, found.limit), (true, Limit::Generator));
        }
        if found.at_least {
            prop_assert_ne!(found.limit, Limit::Server);
        } else {
            let is_proof = |(trial, verdict): &(Trial, Verdict)| {
                matches!(verdict, Verdict::Failed | Verdict::NoValue)
                    && trial.rate > found.rate
                    && trial.rate as f64 <= found.rate as f64 * 1.05 + 1.0
            };
            prop_assert!(trials.iter().any(is_proof), "{found:?} {trials:?}");
        }
    }

    /// A server that answers at random ends the search within the bound.
    #[test]
    fn noise_does_not_keep_the_search_going(
        noise in proptest::collection::vec(0..5_u8, 1..200),
    ) {
        let mut verdicts = noise.into_iter().cycle().map(|kind| match kind {
            0 | 1 => Verdict::Held,
            2 => Verdict::Failed,
            3 => Verdict::HeldUnwell,
            _ => Verdict::Unproven,
        });
        let script = Script(|_| verdicts.next().expect("the noise repeats"));
        script.run(Search::new(1..=1_000_000, 0.01));
    }

    /// Every tenth trial lies at random; the answer stays within a few steps of the knee.
    #[test]
    fn a_knee_is_found_in_noise(lies in proptest::collection::vec(0..10_u8, TRIALS_MAX)) {
        let mut lies = lies.into_iter();
        let script = Script(|trial: Trial| {
            let is_lie = !trial.is_full && lies.next() == Some(0);
            holds((trial.rate <= 20_000) != is_lie)
        });
        let (search, trials) = script.run(Search::new(1_000..=200_000, 0.05));
        // Two lies in a row at one rate end the climb early, but never above the knee.
        if let Some(found) = search.found() {
            prop_assert!(found.rate <= 20_000, "{found:?} {trials:?}");
        }
    }
}
