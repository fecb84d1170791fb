//! `cargo xtask docs` writes the generated documents, `cargo xtask docs --check` names stale ones.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "the rules are for the installed programs"
)]

use std::io;
use std::process::ExitCode;

use xtask::document::{self, Document};

fn main() -> ExitCode {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let args = args.iter().map(String::as_str).collect::<Vec<_>>();
    let result = match args[..] {
        ["docs"] => write(),
        ["docs", "--check"] => check(),
        _ => {
            eprintln!("Usage: cargo xtask docs [--check]");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}

fn write() -> io::Result<ExitCode> {
    for document in stale()? {
        document.write()?;
        println!("updated {}", document.path);
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> io::Result<ExitCode> {
    let stale = stale()?;
    for document in &stale {
        println!("{} is out of date: run `cargo xtask docs`", document.path);
    }
    Ok(if stale.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn stale() -> io::Result<Vec<Document>> {
    let mut stale = Vec::new();
    for document in document::all() {
        if document.is_stale()? {
            stale.push(document);
        }
    }
    Ok(stale)
}
