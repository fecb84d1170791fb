//! Builds the floor, the smallest programs that can do the job, from `floor/`. Without a C
//! compiler, or on an unsupported architecture, the benchmark runs without it.

use std::path::Path;
use std::process::Command;
use std::{env, io};

fn main() {
    println!("cargo::rerun-if-changed=floor");
    println!("cargo::rerun-if-env-changed=CC");
    for (program, source, defines) in [
        ("floor-descriptor", "floor/descriptor.c", &[][..]),
        ("floor-wrapper", "floor/wrapper.c", &[]),
        ("floor-exec", "floor/wrapper.c", &["-DEXEC"]),
    ] {
        match compile(program, source, defines) {
            Ok(true) => {}
            Ok(false) => {
                println!("cargo::warning=cannot compile {program}: measuring without it")
            }
            Err(error) => {
                println!(
                    "cargo::warning=cannot run the C compiler ({error}): measuring without {program}"
                )
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
        // A single segment saves a page fault.
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
