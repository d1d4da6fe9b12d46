//! Tests of the clients and of the report as a library. Some calls use options that the program's
//! flags do not allow.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

mod document;
mod ping;
#[allow(unreachable_pub)]
#[path = "../it/support/schema.rs"]
mod schema;
mod send;
