//! `flock-ssh`: holds locks on other machines for `flock`, which starts it and talks to it over its
//! standard input and output. On those machines, ssh starts it as `flock-ssh serve`.

use std::time::Duration;

use fdlock_remote::clock;
use fdlock_remote::front::{Answer, Front, Mode, Request};
use fdlock_remote::ssh::holder::{self, guard};
use fdlock_remote::ssh::list;
use fdlock_remote::ssh::session::Session;
use fdlock_remote::ssh::target::Target;

fn main() {
    let start = clock::now();
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    match args.split_first() {
        None => help_flock(start),
        Some((word, [])) if word == "serve" => holder::serve(),
        Some((word, args)) if word == guard::WORD => guard::run(args),
        Some(_) => {}
    }
}

fn help_flock(start: Duration) {
    let Ok(front) = Front::new() else {
        return;
    };
    // Without a whole request, there is no process that waits for an answer.
    let Ok(text) = front.read_request() else {
        return;
    };
    let fail = |status, text: &str| front.send(&Answer::Error { status, text });
    let request = match Request::parse(&text) {
        Ok(request) => request,
        Err(text) => return fail(69, text),
    };
    match Target::parse_all(&request) {
        Ok(target) if request.mode == Mode::List => list::run(&front, &target, &request, &text),
        Ok(target) => Session::new(front, &target, &request, &text, start).run(),
        Err(text) => fail(64, &text),
    }
}
