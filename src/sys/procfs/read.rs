//! Bounded reads. The length of many files in `/proc` is up to the process that they describe,
//! which may belong to a hostile user: an unprivileged process can have a command line of
//! gigabytes, and any number of locks, mounts and sockets.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;

/// Opens a file to read it.
///
/// # Errors
///
/// Those of open(2).
pub(super) fn open(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Permissions::empty())
}

/// Reads the beginning of a file, at most `limit` bytes.
///
/// # Errors
///
/// Those of open(2) and read(2).
pub(super) fn read_prefix(path: &str, limit: usize) -> Result<Vec<u8>, Errno> {
    let file = open(path)?;
    let mut text = Vec::new();
    while text.len() < limit {
        // At first enough for most files; a page is the most that the kernel returns of many.
        text.reserve_exact(if text.is_empty() { 1024 } else { 4096 });
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    text.truncate(limit);
    Ok(text)
}

/// Returns whether nothing is at this offset or after it.
///
/// # Errors
///
/// Those of pread(2).
pub(super) fn is_end(file: impl AsFd, offset: usize) -> Result<bool, Errno> {
    loop {
        match rustix::io::pread(&file, &mut [0; 1], offset as u64) {
            Err(Errno::INTR) => {}
            other => return Ok(other? == 0),
        }
    }
}

/// How the end of a file is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By a read that returns nothing. Of many files, the kernel returns a page at a time.
    EmptyRead,
    /// By a read that does not fill the buffer: the kernel creates the whole text at once.
    ShortRead,
    /// By a read that returns nothing, or by two in a row that return less than half of a page, and
    /// whose last line, apart from its number, is that of the read before.
    ///
    /// The kernel counts the lines from the start for each read, and new ones are inserted there.
    /// So if another process adds lines all the time, each read at the end returns the last ones
    /// again. A single such read may be followed by lines that belong together, and are more than
    /// half of a page.
    NumberedLines,
}

/// The smallest size of a page.
const MIN_PAGE: usize = 4096;

/// The size of the buffer for lines. Of longer lines, only the beginning is read. The kernel shows a
/// path of 4096 bytes as up to four times as many.
const MAX_BUFFER: usize = 1 << 16;

/// Calls `visit` with each line, without its newline, until it breaks. The buffer has this size at
/// first, and grows up to [`MAX_BUFFER`] if the file is longer. Returns the number of reads that
/// returned something, and the number of bytes.
///
/// # Errors
///
/// Those of read(2).
pub(super) fn visit_lines(
    file: impl AsFd,
    buffer_size: usize,
    end: End,
    visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(usize, usize), Errno> {
    let mut buffer: Vec<u8> = Vec::with_capacity(buffer_size);
    let (mut reads, mut bytes) = (0, 0);
    // Whether the rest of a long line is being skipped.
    let mut is_skipping = false;
    let mut last_line = Vec::new();
    let mut repetitions = 0;
    loop {
        let room = buffer.capacity() - buffer.len();
        let read = match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut buffer)) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        reads += usize::from(read > 0);
        bytes += read;
        let (mut start, mut last) = (0, 0..0);
        while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
            last = start..start + length;
            let line = &buffer[last.clone()];
            start += length + 1;
            if !std::mem::take(&mut is_skipping) && visit(line).is_break() {
                return Ok((reads, bytes));
            }
        }
        let line = &buffer[last];
        let unnumbered = line
            .iter()
            .position(|byte| *byte == b':')
            .map(|end| &line[end..]);
        if end == End::NumberedLines {
            let is_repeated = read < MIN_PAGE / 2 && unnumbered == Some(&last_line[..]);
            repetitions = if is_repeated { repetitions + 1 } else { 0 };
            last_line = unnumbered.unwrap_or_default().to_vec();
        }
        buffer.drain(..start);
        let is_end = read == 0 || repetitions == 2 || (end == End::ShortRead && read < room);
        let is_long = buffer.len() >= MAX_BUFFER;
        if (is_end || is_long) && !buffer.is_empty() && !is_skipping && visit(&buffer).is_break() {
            return Ok((reads, bytes));
        }
        if is_end {
            return Ok((reads, bytes));
        }
        is_skipping |= is_long;
        if is_skipping {
            buffer.clear();
        }
        if read == room && buffer.capacity() < MAX_BUFFER {
            buffer.reserve_exact(MAX_BUFFER - buffer.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, Write};
    use std::os::unix::net::UnixDatagram;

    use proptest::prelude::*;

    use super::*;

    fn file_with(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text).expect("room");
        file.rewind().expect("a file");
        file
    }

    fn lines(text: &[u8], buffer_size: usize, end: End) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let visited = visit_lines(file_with(text), buffer_size, end, &mut |line| {
            lines.push(line.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(visited.expect("a file").1, text.len());
        lines
    }

    #[test]
    fn only_the_beginning_of_a_long_line_is_passed() {
        let long = "x".repeat(5 * MAX_BUFFER);
        let text = format!("one\n{long}\n\ntwo");
        for end in [End::EmptyRead, End::ShortRead] {
            let lines = lines(text.as_bytes(), 8, end);
            let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
            assert!(
                (MAX_BUFFER..=2 * MAX_BUFFER).contains(&lengths[1]),
                "{lengths:?}"
            );
            assert_eq!([&lengths[..1], &lengths[2..]].concat(), [3, 0, 3]);
        }
    }

    /// A datagram takes the place of what one read returns.
    #[test]
    fn a_table_ends_when_its_last_line_is_repeated() {
        let (table, source) = UnixDatagram::pair().expect("sockets");
        table.set_nonblocking(true).expect("a socket");
        let pieces = [
            "1: a\n2: b\n",
            "3: b\n4: c\n",
            "5: b\n6: c\n",
            "7: c\n",
            "8: d\n",
        ];
        for piece in pieces {
            source.send(piece.as_bytes()).expect("room");
        }
        let mut seen = 0;
        let visited = visit_lines(table, 64, End::NumberedLines, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((visited, seen), (Ok((4, 35)), 7));
    }

    /// Many equal lines, the last few of which are followed by a lock with its waiters.
    #[test]
    fn a_line_that_is_repeated_once_is_not_the_end() {
        let (table, source) = UnixDatagram::pair().expect("sockets");
        table.set_nonblocking(true).expect("a socket");
        for piece in ["1: a\n2: a\n", "3: a\n", "4: b\n4: -> c\n", ""] {
            source.send(piece.as_bytes()).expect("room");
        }
        let visited = visit_lines(table, 64, End::NumberedLines, &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(visited, Ok((3, 28)));
    }

    #[test]
    fn reading_ends_when_the_visitor_breaks() {
        let mut seen = 0;
        let file = file_with(&b"line\n".repeat(10_000));
        let visited = visit_lines(file, 64, End::EmptyRead, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((seen, visited), (1, Ok((1, 64))));
    }

    #[test]
    fn at_most_the_limit_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(1 << 40).expect("a sparse file");
        let path = file.path().to_str().expect("a plain path");
        assert_eq!(read_prefix(path, 5000).map(|text| text.len()), Ok(5000));
    }

    proptest! {
        #[test]
        fn lines_that_fit_are_unchanged(lines_in in proptest::collection::vec("[a-z]{0,7}", 0..40)) {
            let text: String = lines_in.iter().map(|line| format!("{line}\n")).collect();
            for end in [End::EmptyRead, End::ShortRead] {
                let found = lines(text.as_bytes(), 9, end);
                prop_assert_eq!(&found, &lines_in.iter().map(|line| line.clone().into_bytes()).collect::<Vec<_>>());
            }
        }
    }
}
