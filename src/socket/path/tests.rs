use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};

use super::*;

fn bind_stream(path: &Path) -> Result<(Socket, Option<BoundPath>), Error> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let name = UnixName::Path(path.to_owned());
    let bound = bind(&socket, &name, Transport::Unix, 0o640)?;
    Ok((socket, bound))
}

/// case X6
#[test]
fn a_bind_replaces_a_stale_socket_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file behind");
    let (_socket, bound) = bind_stream(&path).unwrap();
    assert!(is_alive(&path).unwrap());
    drop(bound);
    assert!(!path.exists());
}

/// case X6
#[test]
fn a_bind_to_an_open_socket_of_either_type_fails_and_does_not_disturb_it() {
    let folder = tempfile::tempdir().unwrap();
    let stream = folder.path().join("stream");
    let listener = UnixListener::bind(&stream).unwrap();
    let datagram = folder.path().join("datagram");
    let _receiver = UnixDatagram::bind(&datagram).unwrap();
    for path in [stream, datagram] {
        let error = bind_stream(&path).unwrap_err().to_string();
        assert!(
            error.contains("address in use (a socket with this path is open already"),
            "{error}"
        );
        assert!(path.exists());
    }
    listener.set_nonblocking(true).unwrap();
    let queued = listener.accept().map(|_| ());
    assert_eq!(queued.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_error_for_an_abstract_name_in_use_says_that_another_socket_has_it() {
    let name = UnixName::Abstract(format!("resound-path-test-{}", std::process::id()));
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let owner = socket();
    assert!(bind(&owner, &name, Transport::Unix, 0o600).unwrap().is_none());
    let error = bind(&socket(), &name, Transport::Unix, 0o600).unwrap_err().to_string();
    assert!(error.ends_with("address in use (another socket has this name)"), "{error}");
}

/// case X6
#[test]
fn a_bind_to_a_regular_file_fails_and_never_deletes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    let error = bind_stream(&path).unwrap_err().to_string();
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"data");
}

/// case X8
#[test]
fn dropping_the_path_does_not_remove_a_later_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (_socket, bound) = bind_stream(&path).unwrap();
    // The file is moved and not removed, so that the system does not reuse its inode.
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    drop(successor);
}

/// case X7
#[test]
fn exactly_one_of_several_concurrent_binds_to_a_stale_file_succeeds() {
    const STARTERS: usize = 8;
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(STARTERS);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..STARTERS)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        bind_stream(&path)
                    })
                })
                .collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(is_alive(&path).unwrap(), "the winner's file is still there");
    }
}

#[test]
fn the_file_has_the_requested_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (_socket, _bound) = bind_stream(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
}

/// case X12
#[test]
fn the_umask_neither_restricts_the_mode_nor_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    let name = UnixName::Path(path.clone());
    let _bound = bind(&socket, &name, Transport::Unixgram, 0o777).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o777);
    // Without a umask, a file that is created with the default mode would have this mode.
    let other = folder.path().join("other");
    File::create(&other).unwrap();
    assert_ne!(fs::metadata(&other).unwrap().permissions().mode() & 0o7777, 0o666);
}

/// An ordinary open of a FIFO waits for a writer.
#[test]
fn a_fifo_as_the_folder_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let error = bind_stream(&fifo.join("s")).unwrap_err().to_string();
    assert!(error.contains("is not a folder"), "{error}");
}

#[test]
fn the_error_for_a_missing_folder_names_it() {
    let error = bind_stream(Path::new("/nonexistent/folder/s")).unwrap_err().to_string();
    assert!(error.contains("the folder /nonexistent/folder does not exist"), "{error}");
}

#[test]
fn the_error_for_an_existing_folder_does_not_call_it_missing() {
    let error = bind_stream(Path::new("/proc/s")).unwrap_err().to_string();
    assert!(!error.contains("does not exist"), "{error}");
}
