//! The system calls that serving needs (seccomp(2)). All others fail with EPERM.
//!
//! The lists come from running everything that `serve` can do under strace, and from reading which
//! calls the C libraries make. A call without conditions costs a lookup in a bitmap. A call with
//! conditions runs the filter, and no such call is made per message.

use std::collections::BTreeMap;
use std::path::Path;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Needs;

/// Moving bytes, from accept to close. Pipes are made when bulk arrives.
const BYTES: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_pipe2,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_splice,
    libc::SYS_write,
];

/// Calls that send on an open socket, each with the position of its flags.
const SENDS: &[(c_long, u8)] =
    &[(libc::SYS_sendmmsg, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendto, 3)];

/// The loop. Its selector already exists, and its waker is read and written. The clock is read
/// without a call, unless the hardware does not allow that.
const LOOP: &[c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// Waiting for a standard stream that does not block, or for its room.
const STREAMS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// Signals: returning from their handlers, the SIGPIPE handling of a splice, and resuming a call
/// that a stop interrupted.
const SIGNALS: &[c_long] = &[
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
];

/// Allocating and freeing memory; mmap and mprotect have conditions. Hash tables take a random
/// seed.
const MEMORY: &[c_long] =
    &[libc::SYS_brk, libc::SYS_getrandom, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap];

/// Threads, from start to end: the log's thread comes and goes. They wait for each other by futex.
/// The standard library panics if a sleep fails.
const THREADS: &[c_long] = &[
    // Allowed here, because the other filter decides it.
    libc::SYS_clone3,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_nanosleep,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
];

/// Exit and abort: the C library writes the reason by writev(2), and asks for its process ID to
/// send itself a signal.
const END: &[c_long] = &[libc::SYS_exit_group, libc::SYS_getpid, libc::SYS_writev];

/// Checking that a socket file is still this server's, and removing it.
const SOCKET_FILES: &[c_long] = &[
    libc::SYS_newfstatat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// Finding out what the path of a Unix datagram sender leads to. The path is opened without the
/// right to read it.
const PATHS: &[c_long] = &[libc::SYS_newfstatat, libc::SYS_statx];

/// Reading files and folders of /proc. The sockets that carry the figures are already open.
const PROCESS_FIGURES: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// Writing an open file from its beginning.
const REWRITES: &[c_long] = &[libc::SYS_ftruncate, libc::SYS_lseek];

/// The bytes that a peer has not taken yet. glibc defines these constants as long, musl as int.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
const UNTAKEN_BYTES: u64 = libc::TIOCOUTQ as u64;
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
const NONBLOCKING: u64 = libc::FIONBIO as u64;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A condition on one argument: its index, the bits that matter, and their value.
type Condition = (u8, u64, u64);

/// All bits of an int. The upper half of the argument is undefined.
const ALL_BITS: u64 = u32::MAX as u64;

/// Restricts all threads of this process. Returns the number of allowed calls.
///
/// Opening files for reading is allowed only if landlock restricts which ones.
pub(super) fn restrict(needs: &Needs, files_are_restricted: bool) -> Result<usize, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // clone3(2) passes its flags in memory, which a filter cannot read. It fails with ENOSYS, and
    // the C library then uses clone(2). This takes a filter of its own, because a filter has one
    // result for all calls that it does not allow. It must be installed first, because the second
    // filter does not allow installing another.
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        refusal(libc::ENOSYS),
        arch,
    )?;
    let rules = rules(needs, files_are_restricted)?;
    let count = rules.len() - 1;
    let nothing_else = SeccompFilter::new(rules, refusal(libc::EPERM), SeccompAction::Allow, arch)?;
    let (no_clone3, nothing_else) =
        (BpfProgram::try_from(no_clone3)?, BpfProgram::try_from(nothing_else)?);
    apply_filter_all_threads(&no_clone3)?;
    apply_filter_all_threads(&nothing_else)?;
    Ok(count)
}

fn refusal(errno: c_int) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

/// Returns why the filter could not be installed.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Prctl(error) | Error::Seccomp(error) => crate::error::reason(error),
        other => other.to_string(),
    }
}

fn rules(needs: &Needs, files_are_restricted: bool) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for call in [BYTES, LOOP, STREAMS, SIGNALS, MEMORY, THREADS, END].concat() {
        rules.insert(call, Vec::new());
    }
    // After shutdown(2) for reading, a listener is an unconnected socket again, and sendto(2) can
    // connect it by MSG_FASTOPEN, while landlock restricts connect(2) alone. After a shutdown for
    // writing, a listener stays a listener.
    allow_commands(&mut rules, libc::SYS_shutdown, 1, &[bits(libc::SHUT_WR)])?;
    for (call, flags) in SENDS {
        match needs.multipath {
            // A Multipath TCP socket whose connection has ended connects anew by MSG_FASTOPEN.
            true => allow_if(&mut rules, *call, &[(*flags, bits(libc::MSG_FASTOPEN), 0)])?,
            false => _ = rules.insert(*call, Vec::new()),
        }
    }
    // No memory but the program's own may be executable.
    let not_to_be_run = [(2, bits(libc::PROT_EXEC), 0)];
    allow_if(&mut rules, libc::SYS_mmap, &not_to_be_run)?;
    allow_if(&mut rules, libc::SYS_mprotect, &not_to_be_run)?;
    allow_if(&mut rules, libc::SYS_clone, &[a_thread()])?;
    let this_thread = [(0, ALL_BITS, 0)];
    allow_if(&mut rules, libc::SYS_sched_setaffinity, &this_thread)?;
    let this_process = [(0, ALL_BITS, u64::from(std::process::id()))];
    allow_if(&mut rules, libc::SYS_tgkill, &this_process)?;
    allow_commands(&mut rules, libc::SYS_prctl, 0, &[bits(libc::PR_SET_NAME)])?;
    // F_GETFD is for debug builds, in which the standard library checks a descriptor before it
    // closes it.
    let commands = [libc::F_GETFD, libc::F_SETPIPE_SZ].map(bits);
    allow_commands(&mut rules, libc::SYS_fcntl, 1, &commands)?;
    allow_commands(&mut rules, libc::SYS_ioctl, 1, &[UNTAKEN_BYTES])?;
    // A stalled connection ends with a reset, so that the kernel does not keep its bytes.
    let reset_at_close =
        [(1, ALL_BITS, bits(libc::SOL_SOCKET)), (2, ALL_BITS, bits(libc::SO_LINGER))];
    allow_if(&mut rules, libc::SYS_setsockopt, &reset_at_close)?;

    if files_are_restricted {
        let writes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
        let to_read = |place| [(place, bits(writes), bits(libc::O_RDONLY))];
        allow_if(&mut rules, libc::SYS_openat, &to_read(2))?;
        #[cfg(target_arch = "x86_64")]
        allow_if(&mut rules, libc::SYS_open, &to_read(1))?;
    }
    if !needs.folders.is_empty() {
        rules.extend(SOCKET_FILES.iter().map(|call| (*call, Vec::new())));
    }
    if let Some(probe) = needs.path_probe {
        allow_paths(&mut rules, bits(probe))?;
    }
    if needs.process_figures {
        rules.extend(PROCESS_FIGURES.iter().map(|call| (*call, Vec::new())));
        // Reads the limit of descriptors. The third argument would set a limit.
        let to_read = [(0, ALL_BITS, 0), (2, u64::MAX, 0)];
        allow_if(&mut rules, libc::SYS_prlimit64, &to_read)?;
    }
    if needs.rewrites {
        rules.extend(REWRITES.iter().map(|call| (*call, Vec::new())));
    }
    // If /dev/null cannot be opened, the spare descriptor is such a socket.
    if needs.notices || !files_are_restricted || !Path::new("/dev/null").exists() {
        const KIND_BITS: u64 = 0xf;
        let unix_datagrams =
            [(0, ALL_BITS, bits(libc::AF_UNIX)), (1, KIND_BITS, bits(libc::SOCK_DGRAM))];
        allow_if(&mut rules, libc::SYS_socket, &unix_datagrams)?;
    }
    if needs.notices {
        allow_commands(&mut rules, libc::SYS_ioctl, 1, &[NONBLOCKING])?;
    }
    Ok(rules)
}

/// Allows finding out what a path leads to, with this probe only. Any other socket that could be
/// connected would be a way out: a TCP socket, once disconnected, connects by `MSG_FASTOPEN`, which
/// landlock does not restrict. Therefore the probe is never closed, and no other socket gets its
/// number.
fn allow_paths(rules: &mut Rules, probe: u64) -> Result<(), BackendError> {
    rules.extend(PATHS.iter().map(|call| (*call, Vec::new())));
    allow_if(rules, libc::SYS_openat, &[(2, bits(libc::O_PATH), bits(libc::O_PATH))])?;
    #[cfg(target_arch = "x86_64")]
    allow_if(rules, libc::SYS_open, &[(1, bits(libc::O_PATH), bits(libc::O_PATH))])?;
    allow_if(rules, libc::SYS_connect, &[(0, ALL_BITS, probe)])?;
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, probe)?;
    rules.insert(libc::SYS_close, vec![SeccompRule::new(vec![other])?]);
    Ok(())
}

/// The condition on the flags of clone(2): they make a thread of this process, and neither a
/// process nor a namespace.
fn a_thread() -> Condition {
    let shared = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let apart = libc::CLONE_VFORK
        | libc::CLONE_PTRACE
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    (0, bits(shared | apart), bits(shared))
}

/// Allows a call if the argument at this index is one of these commands.
fn allow_commands(
    rules: &mut Rules,
    call: c_long,
    place: u8,
    commands: &[u64],
) -> Result<(), BackendError> {
    for command in commands {
        allow_if(rules, call, &[(place, ALL_BITS, *command)])?;
    }
    Ok(())
}

/// Allows a call if all these conditions hold, in addition to where it is already allowed.
fn allow_if(rules: &mut Rules, call: c_long, conditions: &[Condition]) -> Result<(), BackendError> {
    let conditions = conditions.iter().map(|(place, mask, value)| {
        let is_int = *mask <= ALL_BITS;
        let length = if is_int { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
        SeccompCondition::new(*place, length, SeccompCmpOp::MaskedEq(*mask), *value)
    });
    let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
    rules.entry(call).or_default().push(rule);
    Ok(())
}

/// Returns an int as the filter sees it.
fn bits(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}
