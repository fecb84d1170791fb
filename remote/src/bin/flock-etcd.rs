//! `flock-etcd`: holds locks in etcd for `flock`, which starts it and talks to it over its standard
//! input and output.

use fdlock_remote::etcd::list;
use fdlock_remote::etcd::session::Session;
use fdlock_remote::etcd::settings::Settings;
use fdlock_remote::front::Mode;
use fdlock_remote::helper;

fn main() {
    helper::run(
        |request, variables| Settings::new(&request.url, variables),
        |front, settings, request, start| match request.mode {
            Mode::List => list::run(&front, settings),
            _ => Session::new(front, settings, request, start).run(),
        },
    );
}
