//! Builds the floor, the smallest programs that can do the job, from `floor/`. Without a C
//! compiler, or on an unsupported architecture, the benchmark runs without it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// The flags for all of it.
const FLAGS: &str = "-O2 -Wall -Wextra -fno-stack-protector -s";

/// The flags for programs. Those of the linker make a single segment, which saves a page fault.
const STATIC: &str = "-ffreestanding -fno-pie -no-pie -static -nostdlib -nostartfiles \
    -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro";

fn main() {
    println!("cargo::rerun-if-changed=floor");
    println!("cargo::rerun-if-env-changed=CC");
    for (program, source, flags) in [
        ("floor-descriptor", "floor/descriptor.c", &[STATIC][..]),
        ("floor-wrapper", "floor/wrapper.c", &[STATIC]),
        ("floor-exec", "floor/wrapper.c", &[STATIC, "-DEXEC"]),
        ("floor-builtin.so", "floor/builtin.c", &["-shared -fPIC"]),
        ("floor-who", "floor/who.c", &[""]),
    ] {
        let problem = match compile(program, source, flags, &[""; 0]) {
            Ok(true) => continue,
            Ok(false) => format!("cannot compile {program}: measuring without it"),
            Err(error) => {
                format!("cannot run the C compiler ({error}): measuring without {program}")
            }
        };
        println!("cargo::warning={problem}");
    }
    let linked = musl().map(|musl| {
        // In the order in which a linker needs them.
        let [start, init, end, library] =
            ["crt1.o", "crti.o", "crtn.o", "libc.a"].map(|name| musl.join(name).into_os_string());
        compile(
            "floor-c-library",
            "floor/c-library.c",
            &[STATIC],
            &[start, init, library, end],
        )
    });
    if !matches!(linked, Some(Ok(true))) {
        println!("cargo::warning=no musl: measuring without floor-c-library");
    }
}

/// Returns where Rust's own copy of musl is, which the static programs are linked with.
fn musl() -> Option<PathBuf> {
    let target = format!(
        "{}-unknown-linux-musl",
        env::var("CARGO_CFG_TARGET_ARCH").ok()?
    );
    let args = ["--print", "target-libdir", "--target", &target];
    let output = Command::new(env::var_os("RUSTC")?)
        .args(args)
        .output()
        .ok()?;
    let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).join("self-contained");
    dir.is_dir().then_some(dir)
}

fn compile(
    program: &str,
    source: &str,
    flags: &[&str],
    objects: &[impl AsRef<OsStr>],
) -> io::Result<bool> {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args(FLAGS.split_whitespace())
        .args(flags.iter().flat_map(|flags| flags.split_whitespace()))
        .arg("-o")
        .arg(Path::new(&out).join(program))
        .arg(source)
        .args(objects)
        .status()?;
    Ok(status.success())
}
