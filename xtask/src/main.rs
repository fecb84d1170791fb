//! `cargo xtask docs` writes the generated documents, `cargo xtask docs --check` names stale ones,
//! and `cargo xtask pictures` draws the pictures of a terminal.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "the rules are for the installed programs"
)]

use std::process::ExitCode;
use std::{fs, io};

use xtask::document;

fn main() -> ExitCode {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let check = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["docs"] => false,
        ["docs", "--check"] => true,
        ["pictures"] => return draw(),
        #[cfg(target_arch = "x86_64")]
        ["link-order", program] => return link_order(program),
        _ => {
            eprintln!(
                "Usage: cargo xtask docs [--check]\n       cargo xtask pictures\n       \
                 cargo xtask link-order PROGRAM"
            );
            return ExitCode::from(2);
        }
    };
    update(check).unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}

fn update(check: bool) -> io::Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    for (path, text) in document::stale()? {
        if check {
            println!("{path} is out of date: run `cargo xtask docs`");
            status = ExitCode::FAILURE;
        } else {
            fs::write(document::absolute(&path), text)?;
            println!("updated {path}");
        }
    }
    Ok(status)
}

/// Draws the pictures of a terminal that are out of date.
fn draw() -> ExitCode {
    match xtask::pictures::update() {
        Ok(changed) => {
            for path in changed {
                println!("updated {}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the linker script for a program that is not stripped.
#[cfg(target_arch = "x86_64")]
fn link_order(program: &str) -> ExitCode {
    match xtask::link_order::linker_script(program.as_ref()) {
        Ok(Some(script)) => {
            print!("{script}");
            ExitCode::SUCCESS
        }
        Ok(None) => {
            eprintln!("xtask: ptrace(2) is not permitted here");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
