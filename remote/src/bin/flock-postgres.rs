//! `flock-postgres`: holds locks in PostgreSQL for `flock`, which starts it and talks to it over
//! its standard input and output.

use fdlock_remote::front::Mode;
use fdlock_remote::helper;
use fdlock_remote::postgres::list;
use fdlock_remote::postgres::session::Session;
use fdlock_remote::postgres::settings::Settings;

fn main() {
    helper::run(
        Settings::new,
        |front, settings, request, start| match request.mode {
            Mode::List => list::run(&front, settings),
            _ => Session::new(front, settings, request, start).run(),
        },
    );
}
