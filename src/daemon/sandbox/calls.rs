//! The system calls that serving takes (seccomp(2)); all others fail with EPERM.
//!
//! The list was made by running all that `serve` can do under strace, and by reading what the C
//! libraries do beneath it. Calls whose arguments do not matter cost a look at a bitmap; those with
//! conditions run the filter, and none of them is on the way of a message.

use std::collections::BTreeMap;
use std::path::Path;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Needs;

/// Bytes on what is open, from accept to close. Of bulk, pipes are made as it comes.
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
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_splice,
    libc::SYS_write,
];

/// The loop: its selector is there already, and so is what wakes it, which is read and written. The
/// clock is read without a call, except where its hardware does not allow that.
const LOOP: &[c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// A wait for a standard stream that does not block, or whose room has to be known.
const STREAMS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// Signals: their handlers' way back, what a splice asks of SIGPIPE, and what a call that was
/// interrupted by a stop goes on by.
const SIGNALS: &[c_long] = &[
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
];

/// Memory as it comes and goes; mmap and mprotect have conditions. Hash tables are seeded.
const MEMORY: &[c_long] =
    &[libc::SYS_brk, libc::SYS_getrandom, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap];

/// Threads, from start to end: the log's come and go. Waiting for each other is futex; of a sleep
/// that fails the standard library would panic.
const THREADS: &[c_long] = &[
    // Let through here, for the other filter to answer.
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

/// The end, a bad one included: the C library writes why by writev(2), and asks who it is for the
/// signal that it sends itself.
const END: &[c_long] = &[libc::SYS_exit_group, libc::SYS_getpid, libc::SYS_writev];

/// A look at a socket file, whether it is still ours, and its removal.
const SOCKET_FILES: &[c_long] = &[
    libc::SYS_newfstatat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// A look at what the path of a Unix datagram sender leads to, which is opened without the right to
/// read it.
const PATHS: &[c_long] = &[libc::SYS_newfstatat, libc::SYS_statx];

/// Reading files and folders of /proc. What it is answered by is open and in its loop already.
const PROCESS_FIGURES: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// How much a peer has not taken. GNU's C library has these as longs, musl as ints.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
const UNTAKEN_BYTES: u64 = libc::TIOCOUTQ as u64;
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
const NONBLOCKING: u64 = libc::FIONBIO as u64;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Of one argument, by its place, the bits that matter and what they must be.
type Condition = (u8, u64, u64);

/// Of an int. The upper half of its argument is whatever was left there.
const ALL_BITS: u64 = u32::MAX as u64;

/// Restricts all threads of this process. Returns how many calls are left.
///
/// Opening files for reading is among them only where landlock says which.
pub(super) fn restrict(needs: &Needs, files_are_restricted: bool) -> Result<usize, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    // clone3(2) has its flags in memory, where no filter looks. Told that there is none, the C
    // library takes clone(2). A filter of its own, since a filter has one answer to what it does
    // not allow; the first of the two, since the second allows no other.
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

/// Why there is no filter.
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
    // A listener that is shut down for reading is an unconnected socket again, from which
    // sendto(2) connects by MSG_FASTOPEN; landlock watches connect(2) alone. Shut down for writing,
    // a listener stays one.
    allow_commands(&mut rules, libc::SYS_shutdown, 1, &[bits(libc::SHUT_WR)])?;
    // No memory holds what may be run, other than the program.
    let not_to_be_run = [(2, bits(libc::PROT_EXEC), 0)];
    allow_if(&mut rules, libc::SYS_mmap, &not_to_be_run)?;
    allow_if(&mut rules, libc::SYS_mprotect, &not_to_be_run)?;
    allow_if(&mut rules, libc::SYS_clone, &[a_thread()])?;
    let this_thread = [(0, ALL_BITS, 0)];
    allow_if(&mut rules, libc::SYS_sched_setaffinity, &this_thread)?;
    let this_process = [(0, ALL_BITS, u64::from(std::process::id()))];
    allow_if(&mut rules, libc::SYS_tgkill, &this_process)?;
    allow_commands(&mut rules, libc::SYS_prctl, 0, &[bits(libc::PR_SET_NAME)])?;
    // The first is for debug builds, in which std makes sure of a descriptor that it closes.
    let commands = [libc::F_GETFD, libc::F_SETPIPE_SZ].map(bits);
    allow_commands(&mut rules, libc::SYS_fcntl, 1, &commands)?;
    allow_commands(&mut rules, libc::SYS_ioctl, 1, &[UNTAKEN_BYTES])?;
    // A stalled connection ends by a reset, so that the kernel does not keep its bytes.
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
        // How many descriptors it may have. A third argument would be a limit to set.
        let to_read = [(0, ALL_BITS, 0), (2, u64::MAX, 0)];
        allow_if(&mut rules, libc::SYS_prlimit64, &to_read)?;
    }
    // Where /dev/null cannot be opened, the spare descriptor is such a socket.
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

/// Allows to find out what a path leads to, by this probe. Any other socket that could be connected
/// would be a way out: one of TCP, once disconnected, connects by `MSG_FASTOPEN`, which landlock
/// does not see. So the probe is never closed, and no other socket gets its number.
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

/// Flags of clone(2) that make a thread of this process, and neither a process of its own nor
/// anything in a namespace of its own.
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

/// Allows a call with any of these commands in its argument of that place.
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

/// Allows a call where all these conditions hold, beside where it is allowed already.
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

/// An int as the filter sees it.
fn bits(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}
