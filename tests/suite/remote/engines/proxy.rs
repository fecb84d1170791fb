//! A connection to a server that can be disturbed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::net::sockopt::set_socket_linger;

/// What happens to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is passed on.
    Forward,
    /// None is passed on, and all connections stay open.
    Freeze,
    /// Requests are passed on, but only this number of pieces of answers.
    HoldReplies(usize),
    /// Everything is passed on, until a request contains this text: its answer is held.
    HoldReplyTo(&'static str),
    /// Everything is passed on, until a request contains this text: its client loses the connection,
    /// and the request is passed on when that changes.
    Delay(&'static str),
    /// All connections are reset, and new ones, too.
    Reset,
}

struct State {
    mode: Mode,
    connections: Vec<TcpStream>,
    /// How many answers are held, or requests.
    held: usize,
    /// The answers that were passed on.
    answers: Vec<u8>,
    is_over: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// A proxy, whose connections end when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Shared,
}

impl Proxy {
    /// Starts a proxy for a server at this address.
    pub fn start(server: String, mode: Mode) -> Self {
        Self::start_with(
            TcpListener::bind("127.0.0.1:0").expect("a port"),
            server,
            mode,
        )
    }

    /// Starts one at the port to which this socket is bound.
    pub fn start_at(socket: OwnedFd, server: String) -> Self {
        rustix::net::listen(&socket, 16).expect("a free port");
        Self::start_with(TcpListener::from(socket), server, Mode::Forward)
    }

    fn start_with(listener: TcpListener, server: String, mode: Mode) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let connections = Vec::new();
        let is_over = false;
        let state = State {
            mode,
            connections,
            held: 0,
            answers: Vec::new(),
            is_over,
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = lock(&for_thread);
                if state.is_over {
                    break;
                }
                if state.mode == Mode::Reset {
                    reset(&client);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                state.connections.extend([clone(&client), clone(&server)]);
                let (requests, answers) = (Arc::clone(&for_thread), Arc::clone(&for_thread));
                let (from, to) = (clone(&client), clone(&server));
                std::thread::spawn(move || pass_on(&requests, from, to, false));
                std::thread::spawn(move || pass_on(&answers, server, client, true));
            }
        });
        Self { port, shared }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until a request is delayed.
    pub fn wait_for_delayed_request(&self) {
        test_support::wait_until("a request is delayed", || lock(&self.shared).held > 0);
    }

    /// Waits until an answer is held.
    pub fn wait_for_held_reply(&self) {
        test_support::wait_until("an answer is held", || lock(&self.shared).held > 0);
    }

    /// Waits until an answer that contains this text was passed on.
    pub fn wait_for_answer(&self, text: &str) {
        test_support::wait_until(&format!("an answer contains {text}"), || {
            contains(&lock(&self.shared).answers, text)
        });
    }

    /// Changes what happens from now on.
    pub fn set(&self, mode: Mode) {
        let mut state = lock(&self.shared);
        state.mode = mode;
        if mode == Mode::Reset {
            for stream in state.connections.drain(..) {
                reset(&stream);
            }
        }
        self.shared.1.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.shared).is_over = true;
        self.set(Mode::Reset);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(|error| error.into_inner())
}

fn contains(data: &[u8], text: &str) -> bool {
    let mut windows = data.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(std::time::Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

fn pass_on(shared: &Shared, mut from: TcpStream, mut to: TcpStream, are_answers: bool) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut state = lock(shared);
        if let Mode::HoldReplyTo(text) = state.mode
            && !are_answers
            && contains(&buffer[..length], text)
        {
            state.mode = Mode::HoldReplies(0);
        }
        loop {
            match &mut state.mode {
                Mode::HoldReplies(left @ 1..) if are_answers => {
                    *left -= 1;
                    break;
                }
                Mode::Freeze => {}
                Mode::HoldReplies(_) if are_answers => state.held += 1,
                Mode::Delay(text) if !are_answers && contains(&buffer[..length], text) => {
                    state.held += 1;
                    let _ = from.shutdown(Shutdown::Both);
                }
                _ => break,
            }
            state = shared
                .1
                .wait(state)
                .unwrap_or_else(|error| error.into_inner());
        }
        if are_answers {
            state.answers.extend_from_slice(&buffer[..length]);
        }
        drop(state);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
