//! Builds the floor, the smallest programs that can do the job, from `floor/`. Without a C
//! compiler, or on an unsupported architecture, the benchmark runs without it.

use std::path::Path;
use std::process::Command;
use std::{env, io};

/// The linker's flags make a single segment, which saves a page fault.
const FLAGS: &str = "-O2 -Wall -Wextra -ffreestanding -fno-stack-protector \
    -fno-pie -no-pie -static -nostdlib -nostartfiles \
    -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro -s";

fn main() {
    println!("cargo::rerun-if-changed=floor");
    println!("cargo::rerun-if-env-changed=CC");
    for (program, source, defines) in [
        ("floor-descriptor", "floor/descriptor.c", &[][..]),
        ("floor-wrapper", "floor/wrapper.c", &[]),
        ("floor-exec", "floor/wrapper.c", &["-DEXEC"]),
    ] {
        let problem = match compile(program, source, defines) {
            Ok(true) => continue,
            Ok(false) => format!("cannot compile {program}: measuring without it"),
            Err(error) => {
                format!("cannot run the C compiler ({error}): measuring without {program}")
            }
        };
        println!("cargo::warning={problem}");
    }
}

fn compile(program: &str, source: &str, defines: &[&str]) -> io::Result<bool> {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args(FLAGS.split_whitespace())
        .args(defines)
        .arg("-o")
        .arg(Path::new(&out).join(program))
        .arg(source)
        .status()?;
    Ok(status.success())
}
