//! Why a program was not executed, if the error of the system does not say it: the reason is in the
//! file, or there is no name at all.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Mode as Permissions, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::sys::spawn::ExecImage;

/// The part of a script that the kernel examines.
const FIRST_LINE_MAX: usize = 256;

/// The size of the table of an ELF file that is read at most.
const TABLE_MAX: usize = 1 << 16;

/// The hint for a word at the end of a line.
const CARRIAGE_RETURN: &str =
    "the name ends with a carriage return: the script that calls it has lines that end with CRLF";

/// Explains the error of executing the image, if that is possible. `name` is the name of the
/// program, as given.
#[cold]
pub(super) fn explain(name: &OsStr, image: &ExecImage, error: &io::Error) -> Option<OsString> {
    if name.is_empty() {
        return Some("the name of the command is empty; is a variable unset?".into());
    }
    if name.as_bytes().ends_with(b"\r") {
        return Some(CARRIAGE_RETURN.into());
    }
    let find = |explain_file: fn(&CStr) -> Option<OsString>| {
        image.paths().iter().find_map(|path| explain_file(path))
    };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => find(missing_interpreter),
        // A directory is not what a search in PATH was meant to find.
        Some(Errno::ACCESS) if name.as_bytes().contains(&b'/') => {
            find(directory).or_else(|| find(missing_permission))
        }
        Some(Errno::ACCESS) => find(missing_permission),
        _ => None,
    }
}

/// The file exists, so what is missing is the program that is to run it.
fn missing_interpreter(path: &CStr) -> Option<OsString> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Permissions::empty()).ok()?);
    let is_missing = |program: &OsStr| rustix::fs::stat(program).err() == Some(Errno::NOENT);
    let path = OsStr::from_bytes(path.to_bytes());
    let mut start = [0; FIRST_LINE_MAX];
    let length = file.read_at(&mut start, 0).ok()?;
    if let Some(line) = start[..length].strip_prefix(b"#!") {
        let interpreter = interpreter(line);
        return match interpreter.as_bytes() {
            [.., b'\r'] => Some(join(&[
                "the first line of ".as_ref(),
                path,
                " ends with a carriage return (CRLF); use: sed -i 's/\\r$//' ".as_ref(),
                path,
            ])),
            _ if is_missing(interpreter) => Some(join(&[
                "the first line of ".as_ref(),
                path,
                " names a missing interpreter: ".as_ref(),
                interpreter,
            ])),
            _ => None,
        };
    }
    let loader = elf_interpreter(&file).filter(|loader| is_missing(loader))?;
    Some(join(&[
        path,
        " requires a missing loader: ".as_ref(),
        &loader,
    ]))
}

/// Returns the interpreter that a first line names after `#!`.
fn interpreter(line: &[u8]) -> &OsStr {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    OsStr::from_bytes(line.split(is_blank).next().unwrap_or_default())
}

/// Returns the dynamic loader that an ELF file of this machine names.
///
/// # References
///
/// elf(5): `Elf64_Ehdr`, `Elf32_Ehdr`, `Elf64_Phdr`, `Elf32_Phdr`, `PT_INTERP`.
fn elf_interpreter(file: &File) -> Option<OsString> {
    const PT_INTERP: usize = 3;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    // Where the table is, the size and the number of its entries; offset and size in an entry.
    let (word, table, entry_size, entries, offset, size) = match header {
        [0x7f, b'E', b'L', b'F', 2, ..] => (8, 32, 54, 56, 8, 32),
        [0x7f, b'E', b'L', b'F', 1, ..] => (4, 28, 42, 44, 4, 16),
        _ => return None,
    };
    let entry_size = number(&header, entry_size, 2).filter(|size| *size > 0)?;
    let table_size = entry_size.checked_mul(number(&header, entries, 2)?)?;
    let table = read(file, number(&header, table, word)?, table_size)?;
    let mut entries = table.chunks_exact(entry_size);
    let entry = entries.find(|entry| number(entry, 0, 4) == Some(PT_INTERP))?;
    let path = read(
        file,
        number(entry, offset, word)?,
        number(entry, size, word)?,
    )?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    Some(OsString::from_vec(path.to_bytes().to_vec()))
}

/// Returns a number of `size` bytes.
fn number(bytes: &[u8], offset: usize, size: usize) -> Option<usize> {
    let mut native = [0; 8];
    let start = if cfg!(target_endian = "big") {
        8 - size
    } else {
        0
    };
    let bytes = bytes.get(offset..offset + size)?;
    native[start..start + size].copy_from_slice(bytes);
    u64::from_ne_bytes(native).try_into().ok()
}

fn read(file: &File, offset: usize, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; Some(size).filter(|size| *size <= TABLE_MAX)?];
    file.read_exact_at(&mut bytes, offset as u64).ok()?;
    Some(bytes)
}

fn directory(path: &CStr) -> Option<OsString> {
    let stat = rustix::fs::stat(path).ok()?;
    let path = OsStr::from_bytes(path.to_bytes());
    (FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        .then(|| join(&[path, " is a directory".as_ref()]))
}

fn missing_permission(path: &CStr) -> Option<OsString> {
    let stat = rustix::fs::stat(path).ok()?;
    let name = OsStr::from_bytes(path.to_bytes());
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        None
    } else if stat.st_mode & 0o111 == 0 {
        let text = " is not executable; use: chmod +x ".as_ref();
        Some(join(&[name, text, name]))
    } else {
        let flags = rustix::fs::statvfs(path).ok()?.f_flag;
        flags
            .contains(StatVfsMountFlags::NOEXEC)
            .then(|| join(&[name, " is on a file system mounted with noexec".as_ref()]))
    }
}

fn join(parts: &[&OsStr]) -> OsString {
    parts.join(OsStr::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn the_interpreter_ends_at_a_blank_or_the_end_of_the_line() {
        for (line, expected) in [
            ("/bin/sh\nnext", "/bin/sh"),
            (" \t/bin/sh -e\n", "/bin/sh"),
            ("/bin/sh\r\n", "/bin/sh\r"),
            ("/bin/sh", "/bin/sh"),
            ("\n", ""),
        ] {
            assert_eq!(interpreter(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn the_loader_is_found_in_files_of_both_sizes() {
        let loader = b"/lib/ld.so\0";
        for (class, word, table, sizes, offset, size) in
            [(2, 8, 32, 54, 8, 32), (1, 4, 28, 42, 4, 16)]
        {
            let mut file = vec![0; 256];
            let mut put = |at: usize, value: u64, width: usize| {
                let bytes = value.to_ne_bytes();
                let start = if cfg!(target_endian = "big") {
                    8 - width
                } else {
                    0
                };
                file[at..at + width].copy_from_slice(&bytes[start..start + width]);
            };
            // Two entries of 56 bytes at 64, the second of which leads to the text at 200.
            put(table, 64, word);
            put(sizes, 56, 2);
            put(sizes + 2, 2, 2);
            put(120, 3, 4);
            put(120 + offset, 200, word);
            put(120 + size, loader.len() as u64, word);
            file[..5].copy_from_slice(&[0x7f, b'E', b'L', b'F', class]);
            file[200..200 + loader.len()].copy_from_slice(loader);
            let written = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(written.path(), &file).expect("a file");
            let found = elf_interpreter(written.as_file());
            assert_eq!(found, Some("/lib/ld.so".into()), "{class}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_elf_files_do_not_panic(class in 1..=2_u8, rest in vec(0..8_u8, 59..200)) {
            let mut file = vec![0x7f, b'E', b'L', b'F', class];
            file.extend(rest);
            let written = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(written.path(), &file).expect("a file");
            elf_interpreter(written.as_file());
        }
    }
}
