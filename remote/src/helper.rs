//! What every helper does: it reads the request, and reports what is wrong with it.

use std::time::Duration;

use crate::clock;
use crate::front::{Answer, Front, Request};
use crate::several::Locks;
use crate::several::plan::Identity;
use crate::url::Invalid;

/// How long the withdrawal of several locks may delay the answer that they were not acquired.
const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(1);

/// A function that returns the value of a variable of the environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the request of `flock`, determines the settings, and serves the request, whose time to
/// wait began at the time that is passed.
pub fn run<S: Identity + Sync>(
    settings: impl Fn(&Request, Variables<'_>) -> Result<S, Invalid>,
    serve: impl Fn(Front, &S, &Request, Duration) + Sync,
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
    let variable = |name: &str| std::env::var(name).ok();
    if !request.also.is_empty() {
        return run_several(
            &front,
            &request,
            |one| settings(one, &variable),
            serve,
            start,
        );
    }
    match settings(&request, &variable) {
        Ok(settings) => serve(front, &settings, &request, start),
        Err(Invalid { status, text }) => front.send(&Answer::Error {
            status,
            text: &text,
        }),
    }
}

/// Serves a request for several locks.
fn run_several<S: Identity + Sync>(
    front: &Front,
    request: &Request,
    settings: impl Fn(&Request) -> Result<S, Invalid>,
    serve: impl Fn(Front, &S, &Request, Duration) + Sync,
    start: Duration,
) {
    let urls = [&request.url].into_iter().chain(&request.also);
    let requests = Vec::from_iter(urls.map(|url| Request {
        url: url.clone(),
        ..request.clone()
    }));
    let mut all = Vec::new();
    for request in &requests {
        match settings(request) {
            Ok(settings) => all.push(settings),
            Err(Invalid { status, text }) => {
                let text = format!("{}: {text}", String::from_utf8_lossy(&request.url));
                return front.send(&Answer::Error {
                    status,
                    text: &text,
                });
            }
        }
    }
    let locks = Locks {
        requests: &requests,
        settings: &all,
        serve,
        start,
        withdrawal_limit: WITHDRAWAL_LIMIT,
    };
    locks.run(front);
}
