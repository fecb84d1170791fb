//! `/proc/self/net/unix`: the Unix sockets of the network namespace.

use std::io;
use std::ops::ControlFlow;

use super::read::{self, End};

/// Returns the stream sockets that are bound to one of these abstract addresses, in the form in
/// which `/proc/PID/fd` shows them.
///
/// The table shows a NUL as `@`, so names that differ in nothing else look the same, and a newline
/// in a name as a line break. So other processes can make sockets look as if they had the address.
/// Use the result, which has few elements, for messages only.
///
/// # Errors
///
/// The table cannot be read.
///
/// # References
///
/// proc_net_unix(5), proc_pid_fd(5).
pub fn sockets_bound_to(addresses: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    /// Ordinarily, there is one for each address.
    const MAX_SOCKETS: usize = 64;
    let shown: Vec<Vec<u8>> = addresses.iter().map(|address| show(address)).collect();
    let mut sockets = Vec::new();
    let file = read::open("/proc/self/net/unix")?;
    read::visit_lines(file, 4096, End::EmptyRead, &mut |line| {
        sockets.extend(bound_inode(line, &shown).map(link));
        match sockets.len() < MAX_SOCKETS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(sockets)
}

/// Returns the link of a socket with this inode.
fn link(inode: &[u8]) -> Vec<u8> {
    [b"socket:[", inode, b"]"].concat()
}

/// Returns an abstract address as the table shows it.
fn show(address: &[u8]) -> Vec<u8> {
    let bytes = address.iter().map(|byte| match byte {
        0 => b'@',
        other => *other,
    });
    [b'@'].into_iter().chain(bytes).collect()
}

/// Returns the inode of the socket in this line, if it is a stream socket bound to one of these
/// addresses, and not an accepted connection, which has the same name.
fn bound_inode<'t>(line: &'t [u8], shown: &[Vec<u8>]) -> Option<&'t [u8]> {
    let name = line.windows(2).position(|bytes| bytes == b" @")?;
    let mut fields = line[..name]
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    // Number, references, protocol, flags, type, state, inode.
    let is_stream = fields.nth(4)? == b"0001";
    let is_unconnected = fields.next()? == b"01";
    let inode = fields.next()?;
    let is_listed = shown.iter().any(|shown| shown[..] == line[name + 1..]);
    (is_stream && is_unconnected && is_listed).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&str]) -> Vec<Vec<u8>> {
        let head = "Num       RefCount Protocol Flags    Type St Inode Path";
        let shown = [&b"/tmp/a\0\0"[..], b"/tmp/a"].map(show);
        let lines = [head].into_iter().chain(lines.iter().copied());
        let inodes = lines.filter_map(|line| bound_inode(line.as_bytes(), &shown));
        inodes.map(link).collect()
    }

    #[test]
    fn either_address_finds_a_socket() {
        let padded = "00000000a1b2c3d4: 00000002 00000000 00000000 0001 01 12345 @/tmp/a@@";
        let exact = "00000000a1b2c3d5: 00000002 00000000 00010000 0001 01     7 @/tmp/a";
        let expected = [&b"socket:[12345]"[..], b"socket:[7]"];
        assert_eq!(found(&[padded, exact]), expected);
    }

    #[test]
    fn number_of_forged_sockets_is_limited() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let target = format!("forged-{}", std::process::id());
        let forge = |inode: u32| {
            let name = format!("\nx: 2 0 0 0001 01 {inode} @{target}");
            let address = SocketAddr::from_abstract_name(name).expect("a short name");
            UnixDatagram::bind_addr(&address).expect("a new name")
        };
        let _sockets: Vec<UnixDatagram> = (1..200).map(forge).collect();
        let found = sockets_bound_to(&[target.into_bytes()]).expect("/proc");
        assert_eq!(found.len(), 64);
    }

    #[test]
    fn similar_lines_are_not_found() {
        for other in [
            // A file, other names, another type, a connection, an unnamed socket, malformed lines.
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
