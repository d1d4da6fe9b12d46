//! Paths of Unix sockets that another user, or another program, has its hands on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Process, resound, run, tool, wait_until};

/// The mode of a file, links followed.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The server under strace(1), which has it wait for a second behind bind(2), and before every call
/// that sets a mode.
fn with_late_chmod(strace: &Path, trace: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-o"]).arg(trace);
    command.args(["-e", "trace=bind,?chmod,fchmod,?fchmodat,?fchmodat2"]);
    command.args(["-e", "inject=bind:delay_exit=1000000"]);
    command.args(["-e", "inject=?chmod,fchmod,?fchmodat,?fchmodat2:delay_enter=1000000"]);
    command.arg("sh").args(["-c", "umask 027 && exec \"$0\" serve --unix-mode 0666 \"$1\""]);
    command.arg(resound().get_program()).arg(endpoint);
    command
}

/// case X12: the file is born with its mode, so a link that takes its name changes nothing else.
#[test]
fn the_mode_of_a_socket_file_is_set_on_no_other_file() {
    let Some(strace) = tool("strace") else { return };
    for scheme in ["unix", "unixgram"] {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("echo"));
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let trace = folder.path().join("trace");
        let endpoint = format!("{scheme}:{}", path.display());
        let mut daemon = Process::start(with_late_chmod(&strace, &trace, &endpoint));
        wait_until("the socket file", || path.exists());
        assert_eq!(mode(&path), 0o666, "{scheme}: from its birth, whatever the umask");
        let away = folder.path().join("away");
        fs::rename(&path, &away).unwrap();
        symlink(&victim, &path).unwrap();
        daemon.wait_for_line("listening ");
        // A mode that was set late would be set by now.
        let calls = fs::read_to_string(&trace).unwrap();
        let after_bind = calls.split("bind(").nth(1).expect("it was bound");
        assert!(!after_bind.contains("chmod"), "{calls}");
        assert_eq!((mode(&victim), mode(&away)), (0o600, 0o666), "{scheme}");
        stop_traced(&daemon);
        assert_eq!(daemon.wait().code(), 0);
        assert!(path.is_symlink(), "{scheme}: a link that is not ours stays");
    }
}

/// Ends what strace(1) runs, since strace itself ignores the signal.
fn stop_traced(strace: &Process) {
    let pid = strace.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        let child = rustix::process::Pid::from_raw(child).unwrap();
        let _ = rustix::process::kill_process(child, rustix::process::Signal::TERM);
    }
}

/// A FIFO without a writer would be waited for.
#[test]
fn a_fifo_in_the_place_of_a_folder_is_an_error_at_once_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    for scheme in ["unix", "unixgram"] {
        let endpoint = format!("{scheme}:{}", fifo.join("s").display());
        let commands: [&[&str]; 4] = [
            &["serve", &endpoint],
            &["send", &endpoint, "hello"],
            &["bench", "-n", "1", &endpoint],
            &["ping", "-c", "1", "-W", "200ms", &endpoint],
        ];
        for arguments in commands {
            let mut command = resound();
            command.args(arguments);
            let ended = run(command);
            assert_eq!(ended.code(), 1, "{arguments:?}: {}", ended.stderr);
            let text = format!("{}{}", ended.stdout_text(), ended.stderr);
            assert!(text.contains("not a"), "{arguments:?}: {text}");
        }
    }
}
