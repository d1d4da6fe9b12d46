//! The histograms of a run as text, from which documents can be merged and drawn later.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::{Distribution, RunResult, Split, Times};

/// The longest inflated encoding that is read: the header, and 9 bytes for the count of each bucket
/// of a histogram of an hour, rounded up.
const INFLATED_BYTES_MAX: usize = 320 << 10;

/// The longest text that is read. Base64 makes the encoding a third longer, and deflate never makes
/// it much longer.
const TEXT_BYTES_MAX: usize = 480 << 10;

/// The compressed encoding: this cookie, the length of the rest in four bytes, and the rest.
const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];

/// The inflated encoding has this header before the counts: a cookie, the length of the counts in
/// four bytes, and the bounds of the histogram.
const HEADER_BYTES: usize = 40;

/// The longest count that is read is one byte shorter than the encoding allows: below 2^55.
const COUNT_BYTES_MAX: usize = 8;

/// The histograms of a run, in nanoseconds. Each is the base64 text of HdrHistogram's compressed
/// encoding, version 2 ("V2 deflate"), which the HdrHistogram libraries of other languages read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histograms {
    /// Response times; null if no echo came.
    pub latency: Option<String>,
    /// Service times; null in a closed loop, or if no echo came.
    pub service_time: Option<String>,
    /// How late the generator sent messages by its own fault; null in a closed loop, or if no
    /// message was sent.
    pub schedule_lag: Option<String>,
    /// Response times of the first third of the measured time; null without echoes, or if the run
    /// ended before its last third.
    pub first_third: Option<String>,
    /// Those of the second third.
    pub second_third: Option<String>,
    /// Those of the last third.
    pub last_third: Option<String>,
    /// Smoothed round-trip times of TCP connections; null without one.
    pub tcp_rtt: Option<String>,
    /// Response times of each of `lengths`, null without values; empty if there is one length,
    /// whose response times are `latency`.
    pub lengths: Vec<Option<String>>,
    /// The stretch `split.send_ns`; null without samples.
    pub send: Option<String>,
    /// The stretch `split.away_ns`; null without samples.
    pub away: Option<String>,
    /// The stretch `split.wake_ns`; null without samples.
    pub wake: Option<String>,
}

impl Histograms {
    /// Encodes the distributions of a run.
    pub fn of(result: &RunResult) -> Histograms {
        let encoded_times =
            |times: &Option<Times>| times.as_ref().and_then(|times| encoded(&times.values));
        let thirds = result.thirds.as_ref().map(|thirds| thirds.each_ref().map(encoded));
        let [first_third, second_third, last_third] = thirds.unwrap_or_default();
        let of_split = |part: fn(&Split) -> &Times| {
            Some(part(result.split.as_ref()?)).and_then(|part| encoded(&part.values))
        };
        Histograms {
            latency: encoded(&result.latency_ns.values),
            service_time: encoded_times(&result.service_time_ns),
            schedule_lag: encoded_times(&result.generator.schedule_lag_ns),
            first_third,
            second_third,
            last_third,
            tcp_rtt: result.tcp.as_ref().and_then(|tcp| encoded(&tcp.rtts)),
            lengths: match &result.lengths[..] {
                [] | [_] => Vec::new(),
                classes => classes.iter().map(|class| encoded(&class.latency_ns.values)).collect(),
            },
            send: of_split(|split| &split.send_ns),
            away: of_split(|split| &split.away_ns),
            wake: of_split(|split| &split.wake_ns),
        }
    }
}

impl RunResult {
    /// Restores the distributions from the histograms of a document.
    pub(super) fn restore_distributions(&mut self) -> Result<(), String> {
        let Histograms { latency, service_time, schedule_lag, send, away, wake, .. } =
            &self.histograms;
        let [send_ns, away_ns, wake_ns] = match &mut self.split {
            Some(split) => [&mut split.send_ns, &mut split.away_ns, &mut split.wake_ns].map(Some),
            None => [None, None, None],
        };
        let all = [
            ("latency", latency, Some(&mut self.latency_ns)),
            ("service_time", service_time, self.service_time_ns.as_mut()),
            ("schedule_lag", schedule_lag, self.generator.schedule_lag_ns.as_mut()),
            ("send", send, send_ns),
            ("away", away, away_ns),
            ("wake", wake, wake_ns),
        ];
        for (name, text, times) in all {
            let Some(text) = text else { continue };
            let histogram = read(name, text)?;
            let values =
                times.as_ref().and_then(|times| Distribution::read(histogram, &times.summary));
            let values = values
                .ok_or_else(|| format!("histograms.{name} contradicts the figures beside it"))?;
            times.expect("there are values").values = values;
        }
        self.restore_thirds()?;
        self.restore_lengths()?;
        if let (Some(text), Some(tcp)) = (&self.histograms.tcp_rtt, &mut self.tcp) {
            tcp.rtts = Distribution::read_buckets(read("tcp_rtt", text)?, tcp.rtt_ns.max)
                .ok_or("histograms.tcp_rtt contradicts tcp.rtt_ns")?;
        }
        Ok(())
    }

    /// Restores the distributions of the lengths; that of a single length is that of all messages.
    fn restore_lengths(&mut self) -> Result<(), String> {
        if let [class] = &mut self.lengths[..] {
            class.latency_ns.values = self.latency_ns.values.clone();
            return Ok(());
        }
        for (class, text) in self.lengths.iter_mut().zip(&self.histograms.lengths) {
            let Some(text) = text else { continue };
            class.latency_ns.values =
                Distribution::read(read("lengths", text)?, &class.latency_ns.summary)
                    .ok_or("histograms.lengths contradicts the figures of a length")?;
        }
        Ok(())
    }

    /// Restores the thirds; a third without a histogram had no echo.
    fn restore_thirds(&mut self) -> Result<(), String> {
        let Histograms { first_third, second_third, last_third, .. } = &self.histograms;
        let texts = [
            ("first_third", first_third),
            ("second_third", second_third),
            ("last_third", last_third),
        ];
        if texts.iter().all(|(_, text)| text.is_none()) {
            return Ok(());
        }
        let mut thirds = [(); 3].map(|()| Distribution::new());
        for (third, (name, text)) in thirds.iter_mut().zip(texts) {
            let Some(text) = text else { continue };
            *third = Distribution::read_buckets(read(name, text)?, None)
                .ok_or_else(|| format!("histograms.{name} has too many values"))?;
        }
        self.thirds = Some(thirds);
        Ok(())
    }
}

/// Decodes the histogram of this name.
fn read(name: &str, text: &str) -> Result<Histogram<u64>, String> {
    decoded(text).ok_or_else(|| format!("histograms.{name} is not a histogram of this program"))
}

/// Decodes what [`encoded`] has made. `None` if it is anything else.
///
/// The decoder of the crate trusts the header, so a few bytes could make it take gigabytes. The
/// header must be that of this program's histograms, and the counts must be as long as it says.
fn decoded(text: &str) -> Option<Histogram<u64>> {
    decoded_like(Distribution::new().histogram(), text)
}

/// Decodes a histogram with the bounds of `empty`. `None` if the text is anything else.
pub(super) fn decoded_like(empty: &Histogram<u64>, text: &str) -> Option<Histogram<u64>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let bytes = STANDARD.decode(text).ok()?;
    let compressed = bytes.strip_prefix(&COMPRESSED_COOKIE)?.get(4..)?;
    let mut inflated = Vec::new();
    let limit = INFLATED_BYTES_MAX as u64 + 1;
    ZlibDecoder::new(compressed).take(limit).read_to_end(&mut inflated).ok()?;
    let (header, counts) = inflated.split_at_checked(HEADER_BYTES)?;
    // All bytes of a count but its last have the highest bit set.
    let is_long = |bytes: &[u8]| bytes.iter().all(|byte| byte & 0x80 != 0);
    if inflated.len() > INFLATED_BYTES_MAX
        || header != header_of(empty, counts.len())
        || counts.windows(COUNT_BYTES_MAX).any(is_long)
    {
        return None;
    }
    Deserializer::new().deserialize(&mut inflated.as_slice()).ok()
}

/// Returns the header before this many bytes of counts of a histogram with the bounds of `empty`.
fn header_of(empty: &Histogram<u64>, counts_bytes: usize) -> Vec<u8> {
    let mut header = Vec::new();
    V2Serializer::new().serialize(empty, &mut header).expect("a vector takes all bytes");
    header.truncate(HEADER_BYTES);
    let length = u32::try_from(counts_bytes).expect("the caller has bounded the length");
    header[4..8].copy_from_slice(&length.to_be_bytes());
    header
}

/// Encodes a distribution; `None` without values.
fn encoded(values: &Distribution) -> Option<String> {
    if values.count() == 0 {
        return None;
    }
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    serializer
        .serialize(values.histogram(), &mut bytes)
        .expect("a histogram of an hour fits the encoding, and a vector takes all bytes");
    Some(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::measured::PercentileList;

    fn own_header(counts_bytes: usize) -> Vec<u8> {
        header_of(Distribution::new().histogram(), counts_bytes)
    }

    fn times(values: &[u64]) -> Times {
        let mut distribution = Distribution::new();
        values.iter().for_each(|value| distribution.record(*value));
        Times::of(distribution, &PercentileList::default())
    }

    /// Encodes these bytes as the inflated encoding of a histogram.
    fn compressed(inflated: &[u8]) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(inflated).unwrap();
        let bytes = encoder.finish().unwrap();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        STANDARD.encode([&COMPRESSED_COOKIE, length.as_slice(), &bytes].concat())
    }

    #[test]
    fn times_without_values_have_no_histogram() {
        let mut result = RunResult::default();
        assert_eq!(Histograms::of(&result), Histograms::default());
        result.service_time_ns = Some(times(&[]));
        result.generator.schedule_lag_ns = Some(times(&[7]));
        let histograms = Histograms::of(&result);
        assert_eq!((&histograms.latency, &histograms.service_time), (&None, &None));
        assert_eq!(decoded(&histograms.schedule_lag.unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn the_bounds_leave_room_for_every_histogram_of_this_program() {
        let buckets = Distribution::new().histogram().distinct_values();
        assert!(HEADER_BYTES + 9 * buckets <= INFLATED_BYTES_MAX, "{buckets} buckets");
        let mut random = fastrand::Rng::with_seed(7);
        let mut noise: Vec<u8> = (0..INFLATED_BYTES_MAX).map(|_| random.u8(..)).collect();
        assert!(compressed(&noise).len() <= TEXT_BYTES_MAX);
        noise.truncate(3);
        assert!(decoded(&compressed(&noise)).is_none());
    }

    #[test]
    fn a_histogram_that_would_take_much_memory_is_refused() {
        let counts = [2_u8, 4];
        let with = |place: usize, bytes: &[u8]| {
            let mut inflated = [own_header(counts.len()).as_slice(), &counts].concat();
            inflated[place..place + bytes.len()].copy_from_slice(bytes);
            decoded(&compressed(&inflated))
        };
        assert_eq!(with(0, &[]).unwrap().len(), 3);
        assert!(with(4, &u32::MAX.to_be_bytes()).is_none(), "four gigabytes of counts");
        assert!(with(12, &5_u32.to_be_bytes()).is_none(), "five digits");
        assert!(with(24, &u64::MAX.to_be_bytes()).is_none(), "a high bound");
        let bomb = [own_header(1 << 26).as_slice(), &vec![0; 1 << 26]].concat();
        assert!(compressed(&bomb).len() < TEXT_BYTES_MAX, "64 MiB of zeros are short");
        assert!(decoded(&compressed(&bomb)).is_none());
        assert!(decoded(&"A".repeat(TEXT_BYTES_MAX + 4)).is_none());
        // The count i64::MIN, which has no positive counterpart.
        let least = [own_header(9).as_slice(), &[0xff; 9]].concat();
        assert!(decoded(&compressed(&least)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_of_counts_are_read_or_refused(
            counts in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let inflated = [own_header(counts.len()).as_slice(), &counts].concat();
            let buckets = Distribution::new().histogram().distinct_values();
            if let Some(histogram) = decoded(&compressed(&inflated)) {
                prop_assert_eq!(histogram.distinct_values(), buckets);
            }
        }

        #[test]
        fn any_histogram_is_read_back_with_every_count(
            values in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let times = times(&values);
            let result = RunResult { latency_ns: times.clone(), ..RunResult::default() };
            let text = Histograms::of(&result).latency.unwrap();
            prop_assert_eq!(&decoded(&text).unwrap(), times.values.histogram());
        }
    }
}
