//! What every helper does: it reads the request, and reports what is wrong with it.

use std::time::Duration;

use crate::clock;
use crate::front::{Answer, Front, Request};
use crate::url::Invalid;

/// A function that returns the value of a variable of the environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the request of `flock`, determines the settings, and serves the request, whose time to
/// wait began at the time that is passed.
pub fn run<S>(
    settings: impl FnOnce(&Request, Variables<'_>) -> Result<S, Invalid>,
    serve: impl FnOnce(Front, &S, &Request, Duration),
) {
    let start = clock::now();
    let Ok(front) = Front::new() else {
        return;
    };
    // Without a whole request, there is no process that waits for an answer.
    let Ok(text) = front.read_request() else {
        return;
    };
    let request = match Request::parse(&text) {
        Ok(request) => request,
        Err(text) => {
            return front.send(&Answer::Error { status: 69, text });
        }
    };
    match settings(&request, &|name| std::env::var(name).ok()) {
        Ok(settings) => serve(front, &settings, &request, start),
        Err(Invalid { status, text }) => front.send(&Answer::Error {
            status,
            text: &text,
        }),
    }
}
