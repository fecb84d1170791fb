//! Builds the floor, the smallest programs that can do the job, out of `floor/`. Where there is no C compiler, or
//! not for this processor, the bench runs without it.

use std::path::Path;
use std::process::Command;
use std::{env, io};

fn main() {
    println!("cargo::rerun-if-changed=floor");
    println!("cargo::rerun-if-env-changed=CC");
    for (program, source, defines) in [
        ("floor-descriptor", "floor/descriptor.c", &[][..]),
        ("floor-wrapper", "floor/wrapper.c", &[]),
        ("floor-in-place", "floor/wrapper.c", &["-DIN_PLACE"]),
    ] {
        match compile(program, source, defines) {
            Ok(true) => {}
            Ok(false) => {
                println!("cargo::warning={program} does not compile: measuring without it")
            }
            Err(error) => {
                println!("cargo::warning=no C compiler ({error}): measuring without {program}")
            }
        }
    }
}

fn compile(program: &str, source: &str, defines: &[&str]) -> io::Result<bool> {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args([
            "-O2",
            "-Wall",
            "-Wextra",
            "-ffreestanding",
            "-fno-stack-protector",
        ])
        .args([
            "-fno-pie",
            "-no-pie",
            "-static",
            "-nostdlib",
            "-nostartfiles",
        ])
        // One segment for everything is one page less to fault in.
        .args([
            "-Wl,--build-id=none",
            "-Wl,-z,noseparate-code",
            "-Wl,-z,norelro",
            "-s",
        ])
        .args(defines)
        .arg("-o")
        .arg(Path::new(&out).join(program))
        .arg(source)
        .status()?;
    Ok(status.success())
}
