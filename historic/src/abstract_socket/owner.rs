//! Who has a name, as far as `/proc` tells.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::Name;

/// Where the kernel lists the sockets of our network namespace, abstract names behind an `@`.
const TABLE: &str = "/proc/self/net/unix";

/// The process that has the name: the one with the lowest number if there are several, which is the one that took it
/// and not one that it started, unless the numbers have come round since.
///
/// `None` when that cannot be told: nobody has it any more, it is somebody else's process, it is in another pid
/// namespace, or there is no `/proc`. The table shows a NUL as an `@`, so that names which differ in nothing else look
/// the same, and it has a line's end of a name for one of its own; nothing but a message depends on it.
///
/// # References
///
/// proc_net_unix(5), proc_pid_fd(5).
pub fn holder(name: &Name) -> Option<u32> {
    let table = fs::read(TABLE).ok()?;
    let sockets = sockets(&table, &name.addresses());
    let process = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut processes: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(process)
        .collect();
    processes.sort_unstable();
    processes
        .into_iter()
        .find(|process| has_any(*process, &sockets))
}

/// Whether the process has one of these open. Of other users' processes only root gets to know.
fn has_any(process: u32, sockets: &[Vec<u8>]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|file| {
            let file = file.as_os_str().as_bytes();
            sockets.iter().any(|socket| socket == file)
        })
}

/// The sockets that are bound to one of these addresses, as `/proc/PID/fd` shows them.
fn sockets(table: &[u8], addresses: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let shown: Vec<Vec<u8>> = addresses.iter().map(|address| show(address)).collect();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| bound(line, &shown))
        .map(|inode| [b"socket:[", inode, b"]"].concat())
        .collect()
}

fn show(address: &[u8]) -> Vec<u8> {
    let bytes = address.iter().map(|byte| match byte {
        0 => b'@',
        other => *other,
    });
    [b'@'].into_iter().chain(bytes).collect()
}

/// The inode of the socket in this line of the table, if it is a stream socket bound to one of these addresses, and not
/// a connection that came in by one: those bear the same name.
fn bound<'t>(line: &'t [u8], shown: &[Vec<u8>]) -> Option<&'t [u8]> {
    let name = line.windows(2).position(|bytes| bytes == b" @")?;
    let mut fields = line[..name]
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    // Number, references, protocol, flags, type, state, inode.
    let stream = fields.nth(4)? == b"0001";
    let unconnected = fields.next()? == b"01";
    let inode = fields.next()?;
    let wanted = shown.iter().any(|shown| shown[..] == line[name + 1..]);
    (stream && unconnected && wanted).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

    fn found(lines: &[&str]) -> Vec<String> {
        let table = format!("{HEAD}{}\n", lines.join("\n"));
        let addresses = [b"/tmp/a\0\0".to_vec(), b"/tmp/a".to_vec()];
        sockets(table.as_bytes(), &addresses)
            .into_iter()
            .map(|socket| String::from_utf8(socket).expect("text"))
            .collect()
    }

    #[test]
    fn a_socket_is_found_by_either_address() {
        let padded = "00000000a1b2c3d4: 00000002 00000000 00000000 0001 01 12345 @/tmp/a@@";
        let exact = "00000000a1b2c3d5: 00000002 00000000 00010000 0001 01     7 @/tmp/a";
        assert_eq!(found(&[padded, exact]), ["socket:[12345]", "socket:[7]"]);
    }

    #[test]
    fn what_only_looks_like_it_is_not_found() {
        for other in [
            // A file, other names, another type, a connection, a socket without a name, and what no kernel would write.
            "0000000000000001: 00000002 00000000 00000000 0001 01 12345 /tmp/a",
            "0000000000000001: 00000002 00000000 00000000 0001 01 12345 @/tmp/a@",
            "0000000000000001: 00000002 00000000 00000000 0001 01 12345 @/tmp/ab",
            "0000000000000001: 00000002 00000000 00000000 0001 01 12345 @/tmp/",
            "0000000000000001: 00000002 00000000 00000000 0002 01 12345 @/tmp/a",
            "0000000000000001: 00000003 00000000 00000000 0001 03 12345 @/tmp/a",
            "0000000000000001: 00000002 00000000 00000000 0001 01 12345",
            "0001 01 12345 @/tmp/a",
            " @/tmp/a",
            "",
        ] {
            assert!(found(&[other]).is_empty(), "{other}");
        }
    }
}
