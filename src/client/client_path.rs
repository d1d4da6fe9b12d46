//! The client's socket file, to which a Unix datagram server sends its answers.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;

use signal_hook::iterator::Signals;
use socket2::{SockAddr, Socket};
use tempfile::TempDir;

use crate::process::{ending_signals, spawn_thread};

/// What happens on one of the [`ending_signals`] while the file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The file is removed, then the signal ends the program as usual.
    EndProgram,
    /// Nothing: the caller handles the signal and drops the [`ClientPath`].
    LeaveToCaller,
}

/// A socket file in its own temporary folder. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct ClientPath {
    _folder: TempDir,
}

impl ClientPath {
    /// Binds the socket to a new file that every user may send to. The socket must be connected
    /// already, so that it receives only from its peer.
    pub(crate) fn bind(socket: &Socket, on_signal: OnSignal) -> io::Result<ClientPath> {
        let folder = tempfile::Builder::new().prefix("resound-").tempdir()?;
        // The server may run as another user and must reach the file.
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

/// Waits for a signal on a separate thread, because the socket's calls block. Then removes the
/// folder and lets the signal end the program as usual.
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
