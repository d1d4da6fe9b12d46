//! A client's own socket file: what a Unix datagram server answers to.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;

use signal_hook::iterator::Signals;
use socket2::{SockAddr, Socket};
use tempfile::TempDir;

use crate::process::{ending_signals, spawn_thread};

/// What happens on one of the [`ending_signals`] while there is such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The file is removed, and the program ends as it would have without.
    EndProgram,
    /// Nothing: the caller sees the signal, and drops the file in good order.
    LeaveToCaller,
}

/// A file in a folder of its own, removed with it at the end.
#[derive(Debug)]
pub(crate) struct ClientPath {
    _folder: TempDir,
}

impl ClientPath {
    /// Binds the socket to a new file that every user may send to. The socket is connected
    /// already, so that it takes nothing but its peer's answers.
    pub(crate) fn bind(socket: &Socket, on_signal: OnSignal) -> io::Result<ClientPath> {
        let folder = tempfile::Builder::new().prefix("resound-").tempdir()?;
        // The server may be another user, which has to reach the file.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        if on_signal == OnSignal::EndProgram {
            remove_on_signal(&folder)?;
        }
        let path = folder.path().join("client.sock");
        socket.bind(&SockAddr::unix(&path)?)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(ClientPath { _folder: folder })
    }
}

/// Waits for a signal on a thread of its own, since the socket's calls block; then removes the
/// folder and lets the signal end the program as it would have.
fn remove_on_signal(folder: &TempDir) -> io::Result<()> {
    let mut signals = Signals::new(ending_signals())?;
    let path = folder.path().to_owned();
    spawn_thread("signals", move || {
        for signal in signals.forever() {
            let _ = std::fs::remove_dir_all(&path);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}
