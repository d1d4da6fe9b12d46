//! The descriptor limit, raised as far as possible. Raising it is optional: if a sandbox refuses,
//! the program continues with the limit that it has.

use std::io;

/// The usual soft limit of a process.
const LIMIT_USUAL: u64 = 1024;

/// The limit after raising it.
#[derive(Debug)]
pub struct DescriptorLimit {
    /// The limit; `None` if the system does not tell.
    pub limit: Option<u64>,
    /// The soft limit before, and the hard limit; `None` if the system does not tell.
    pub before: Option<(u64, u64)>,
    /// A warning that the limit could not be raised.
    pub warning: Option<String>,
}

impl DescriptorLimit {
    /// Raises the limit.
    pub fn raise() -> DescriptorLimit {
        let before = rlimit::Resource::NOFILE.get();
        let raised = rlimit::increase_nofile_limit(u64::MAX);
        let fallback = || limit_in(&std::fs::read_to_string("/proc/self/limits").ok()?);
        DescriptorLimit::of(before, raised, fallback)
    }

    /// Returns the limit, or the usual one if it is unknown.
    pub fn limit_or_usual(&self) -> u64 {
        self.limit.unwrap_or(LIMIT_USUAL)
    }

    /// `fallback` reads the limit in another way. It is called only if needed.
    fn of(
        before: io::Result<(u64, u64)>,
        raised: io::Result<u64>,
        fallback: impl FnOnce() -> Option<u64>,
    ) -> DescriptorLimit {
        let before = before.ok();
        let error = match raised {
            Ok(limit) => return DescriptorLimit { limit: Some(limit), before, warning: None },
            Err(error) => error,
        };
        let limit = before.map(|(soft, _)| soft).or_else(fallback);
        let known = match limit {
            Some(limit) => format!("it stays {limit}"),
            None => "it stays as it is, and the system does not report it".to_owned(),
        };
        let reason = crate::error::reason(&error);
        let warning = format!("the descriptor limit could not be raised ({reason}): {known}");
        DescriptorLimit { limit, before, warning: Some(warning) }
    }
}

/// Returns the soft limit in the text of /proc/self/limits.
fn limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>() -> io::Result<T> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn a_limit_that_cannot_be_raised_stays_and_causes_a_warning() {
        let found = DescriptorLimit::of(Ok((256, 4096)), refused(), || None);
        assert_eq!((found.limit, found.before), (Some(256), Some((256, 4096))));
        let warning = "the descriptor limit could not be raised (permission denied): it stays 256";
        assert_eq!(found.warning.as_deref(), Some(warning));
        let found = DescriptorLimit::of(refused(), refused(), || Some(512));
        assert_eq!((found.limit, found.before), (Some(512), None));
        let found = DescriptorLimit::of(refused(), refused(), || None);
        assert_eq!((found.limit, found.limit_or_usual()), (None, LIMIT_USUAL));
        assert!(found.warning.unwrap().ends_with(", and the system does not report it"));
        let found = DescriptorLimit::of(Ok((256, 4096)), Ok(4096), || None);
        assert_eq!((found.limit, found.warning), (Some(4096), None));
    }

    #[test]
    fn the_limit_is_read_from_proc() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max processes             7000       8000       processes \n\
                      Max open files            1024       4096       files     \n";
        assert_eq!(limit_in(limits), Some(1024));
        assert_eq!(limit_in("Max open files            unlimited  unlimited  files\n"), None);
        assert_eq!(limit_in(""), None);
    }
}
