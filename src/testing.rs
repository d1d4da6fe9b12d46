//! Helpers that the unit tests share.

mod rig;
mod socket;
mod stream;
mod wait;

pub(crate) use self::rig::{Rig, Tested};
pub(crate) use self::stream::{Input, Output, ScriptedStream};
pub(crate) use self::wait::{WAIT_MAX, wait_for, wait_until};
