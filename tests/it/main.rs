//! Tests of the program from outside. It runs as a process, and the clients share no code with it.
//! All tests are in one crate, so that they are linked once.

// Helpers are shared among the files of this crate. A failed unwrap is a failed test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

mod accept;
mod amplification;
mod bad_input;
mod bench;
mod compare;
mod datagrams;
mod descriptors;
mod documented;
mod drain;
mod guard;
mod halts;
mod hangup;
mod interop;
mod life;
mod logs;
mod measuring;
mod memory;
mod merge;
mod metrics;
mod names;
mod namespace;
mod no_threads;
mod operators;
mod pages;
mod peers;
mod ping;
mod random_bytes;
mod sandbox;
mod send;
mod settings;
mod standard;
mod supervised;
mod support;
mod sweep;
mod syscalls;
mod terminal;
mod threads;
mod tidy;
mod trace;
mod trains;
mod transfer;
mod unix_paths;
mod user;
