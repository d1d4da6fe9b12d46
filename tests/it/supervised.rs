//! Life under a service manager: sockets that it passes on, and what it is told.

mod notify;
mod sockets;

use std::process::Command;

use crate::support::{python, resound};

/// `resound serve` under a manager that passes these sockets (see `tests/python/manager.py`).
fn passed(sockets: &[&str], arguments: &[&str]) -> Command {
    let mut command = python("manager.py");
    command.args(sockets).arg("--").arg(resound().get_program()).arg("serve").args(arguments);
    command.env_remove("RUST_LOG");
    command
}
