//! The body of an answer, as it arrives.

/// The longest line between chunks, and the largest body or line of one that is kept.
const MAX_LINE: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The body does not conform to HTTP/1.1, or is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is decoded, and what is expected next.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    decoded: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The rest of a body whose length is known.
    Length(u64),
    /// Everything until the connection is closed.
    UntilClose,
    /// The size of a chunk.
    Size,
    /// The rest of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Headers after the last chunk, and an empty line.
    Trailer,
    /// Nothing.
    Ended,
}

impl Body {
    fn new(state: State) -> Self {
        let decoded = Vec::new();
        Self { state, decoded }
    }

    pub(super) fn ended() -> Self {
        Self::new(State::Ended)
    }

    pub(super) fn with_length(length: u64) -> Self {
        Self::new(State::Length(length)).normalized()
    }

    pub(super) fn chunked() -> Self {
        Self::new(State::Size)
    }

    pub(super) fn until_close() -> Self {
        Self::new(State::UntilClose)
    }

    fn normalized(mut self) -> Self {
        if self.state == State::Length(0) {
            self.state = State::Ended;
        }
        self
    }

    /// Returns whether the whole body has been decoded.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Ends the body because the connection was closed. Returns false if it is incomplete.
    pub(super) fn end_by_close(&mut self) -> bool {
        let is_complete = self.state == State::UntilClose;
        if is_complete {
            self.state = State::Ended;
        }
        is_complete
    }

    /// Returns what has been decoded.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.decoded)
    }

    /// Returns the next line, without its end, if it is complete.
    pub(super) fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.decoded.iter().position(|byte| *byte == b'\n')?;
        let rest = self.decoded.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.decoded, rest);
        line.pop();
        Some(line)
    }

    /// Decodes as much of the input as possible, and removes that from it.
    pub(super) fn decode(&mut self, input: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut rest = &input[..];
        while let Some(next) = self.step(&mut rest)? {
            self.state = next;
        }
        let used = input.len() - rest.len();
        input.drain(..used);
        let is_too_large = self.decoded.len() > MAX_BODY;
        if is_too_large { Err(Malformed) } else { Ok(()) }
    }

    /// Decodes one part and returns the next state. Returns `None` if more input is needed, or the
    /// body has ended.
    fn step(&mut self, input: &mut &[u8]) -> Result<Option<State>, Malformed> {
        Ok(match self.state {
            State::Ended => None,
            State::UntilClose => {
                self.take_data(input, u64::MAX);
                None
            }
            State::Length(left) => match left - self.take_data(input, left) {
                0 => Some(State::Ended),
                left => {
                    self.state = State::Length(left);
                    None
                }
            },
            State::Size => match httparse::parse_chunk_size(input) {
                Ok(httparse::Status::Complete((length, size))) => {
                    *input = &input[length..];
                    Some(match size {
                        0 => State::Trailer,
                        size => State::Chunk(size),
                    })
                }
                Ok(httparse::Status::Partial) if input.len() < MAX_LINE => None,
                _ => return Err(Malformed),
            },
            State::Chunk(left) => match left - self.take_data(input, left) {
                0 => Some(State::ChunkEnd),
                left => {
                    self.state = State::Chunk(left);
                    None
                }
            },
            State::ChunkEnd => match take_input_line(input)? {
                Some(b"") => Some(State::Size),
                Some(_) => return Err(Malformed),
                None => None,
            },
            State::Trailer => take_input_line(input)?.map(|line| match line {
                b"" => State::Ended,
                _ => State::Trailer,
            }),
        })
    }

    /// Takes at most this much data from the input, and returns how much it was.
    fn take_data(&mut self, input: &mut &[u8], most: u64) -> u64 {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        let (data, rest) = input.split_at(length);
        self.decoded.extend_from_slice(data);
        *input = rest;
        length as u64
    }
}

/// Takes a line from the input, if it is complete, and returns it without its end.
fn take_input_line<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return if input.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = &input[..end];
    *input = &input[end + 1..];
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &str = "5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer: x\r\n\r\nrest";

    /// Decodes a text that arrives in pieces of this length.
    fn decode(mut body: Body, text: &str, length: usize) -> Result<(String, String), Malformed> {
        let mut input = Vec::new();
        for piece in text.as_bytes().chunks(length) {
            input.extend_from_slice(piece);
            body.decode(&mut input)?;
        }
        assert!(body.has_ended() || body.end_by_close());
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ok((text(body.take()), text(input)))
    }

    proptest! {
        #[test]
        fn bodies_may_arrive_in_pieces(length in 1_usize..40) {
            let expected = ("hello, world".to_owned(), "rest".to_owned());
            prop_assert_eq!(decode(Body::chunked(), CHUNKED, length), Ok(expected));
            let expected = ("hello".to_owned(), "rest".to_owned());
            prop_assert_eq!(decode(Body::with_length(5), "hellorest", length), Ok(expected));
            let expected = ("hello".to_owned(), String::new());
            prop_assert_eq!(decode(Body::until_close(), "hello", length), Ok(expected));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(input in any::<Vec<u8>>()) {
            let mut body = Body::chunked();
            let _ = body.decode(&mut input.clone());
        }
    }

    #[test]
    fn an_empty_body_has_ended() {
        assert!(Body::with_length(0).has_ended());
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in ["x\r\n", "5\r\nhello!\r\n", "fffffffffffffffff\r\n"] {
            let mut input = text.as_bytes().to_vec();
            assert_eq!(
                Body::chunked().decode(&mut input),
                Err(Malformed),
                "{text:?}"
            );
        }
    }

    #[test]
    fn lines_are_taken_one_by_one() {
        let mut body = Body::until_close();
        let mut input = b"one\ntw".to_vec();
        body.decode(&mut input).expect("it is valid");
        assert_eq!(body.take_line().as_deref(), Some(&b"one"[..]));
        assert_eq!(body.take_line(), None);
    }
}
