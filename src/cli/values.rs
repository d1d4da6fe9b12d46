//! Values of flags that several commands have.

use std::time::Duration;

use resound::reactor::Spin;
use resound::units::{parse_count, parse_time};

pub(super) fn spin(text: &str) -> Result<Spin, String> {
    match text {
        "always" => Ok(Spin::Always),
        _ => match parse_time(text) {
            Ok(Duration::ZERO) => Ok(Spin::Never),
            Ok(time) => Ok(Spin::For(time)),
            Err(_) => Err("expected a time such as 50us, 0, or always".to_owned()),
        },
    }
}

pub(super) fn cpu(text: &str) -> Result<usize, String> {
    cpu_number(text).ok_or_else(|| "expected the number of a CPU, such as 1".to_owned())
}

/// CPUs in the order typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuList(pub(super) Vec<usize>);

pub(super) fn cpu_list(text: &str) -> Result<CpuList, String> {
    let cpus: Option<Vec<usize>> = text.split(',').map(cpu_number).collect();
    cpus.map(CpuList).ok_or_else(|| "expected the numbers of CPUs, such as 0,1".to_owned())
}

fn cpu_number(text: &str) -> Option<usize> {
    let number = parse_count(text).ok().and_then(|number| usize::try_from(number).ok());
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    number.filter(|number| is_number && *number < rustix::thread::CpuSet::MAX_CPU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_numbers_with_commas_between() {
        assert_eq!(cpu_list("0"), Ok(CpuList(vec![0])));
        assert_eq!(cpu_list("3,0,3"), Ok(CpuList(vec![3, 0, 3])));
        for text in ["", ",", "0,", ",0", "0,,1", "0, 1", "-1", "0-1", "+1", "1k", "a", "1048576"] {
            assert!(cpu_list(text).is_err(), "{text:?}");
        }
    }
}
