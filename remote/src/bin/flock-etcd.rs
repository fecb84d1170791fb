//! `flock-etcd`: holds locks in etcd for `flock`, which starts it and talks to it over its standard
//! input and output.

use fdlock_remote::clock;
use fdlock_remote::etcd::list;
use fdlock_remote::etcd::session::Session;
use fdlock_remote::etcd::settings::Settings;
use fdlock_remote::front::{Answer, Front, Mode, Request};

fn main() {
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
    match Settings::new(&request.url, &variable) {
        Ok(settings) if request.mode == Mode::List => list::run(&front, &settings),
        Ok(settings) => Session::new(front, &settings, &request, start).run(),
        Err(error) => {
            let (status, text) = (error.status, &*error.text);
            front.send(&Answer::Error { status, text });
        }
    }
}
