//! Several locks at once.

use std::ffi::{OsStr, OsString};

use super::{Answer, Deadline, Error, Grant, Guard, Kind, Mode, file};

/// The path of a lock file, and what kind of lock it is wanted for.
pub type Wanted = (OsString, Kind);

/// Locks that are held, or the one that is not to be had, with the reason.
pub type Grants<'a> = Result<Vec<Guard>, (Answer, &'a OsStr)>;

/// How often in a row another file may be at a path when it is opened again. Nobody replaces files that fast; a file system
/// that numbers its files anew each time seems to.
const MOST: u32 = 1000;

/// Opens the lock files at the paths, at least one, making what is missing, and locks them all. Several names of one file are
/// one lock, of the first one's kind.
///
/// `waits` is told before each wait for whom it is.
///
/// *The race:* two who want the same locks, each in an order of his own, could each get one and wait for ever for the
/// other. So they are taken in the order of device and inode, which is the same for everybody whatever the paths. That of
/// a path is known only once it is open, and another file may be there by the time that it is locked, one that comes
/// before those that we hold, or is one of them. So it is asked for only if it is still the one that we know; if not, we
/// drop all that we hold and begin again, within the same deadline. Whoever waits holds only what comes before what he
/// waits for; so there is no circle.
///
/// # Errors
///
/// As for [`file::acquire`].
pub fn acquire<'a>(
    wanted: &'a [Wanted],
    mode: Mode,
    deadline: &Deadline,
    waits: &mut dyn FnMut(&OsStr),
) -> Result<Grants<'a>, Error> {
    let mut another = &wanted[0].0;
    'again: for _ in 0..MOST {
        let mut files: Vec<(file::Id, &Wanted)> = Vec::with_capacity(wanted.len());
        for one in wanted {
            let id = file::identify(&one.0)?;
            // They are few, and the sorting of the standard library is 9 kB.
            if let Err(place) = files.binary_search_by_key(&id, |(id, _)| *id) {
                files.insert(place, (id, one));
            }
        }
        let mut guards = Vec::with_capacity(files.len());
        for (id, (path, kind)) in files {
            match one(path, id, *kind, mode, deadline, waits)? {
                Some(Ok(guard)) => guards.push(guard),
                Some(Err(answer)) => return Ok(Err((answer, path))),
                None => {
                    another = path;
                    continue 'again;
                }
            }
        }
        return Ok(Ok(guards));
    }
    Err(Error::Unsteady {
        path: another.to_owned(),
    })
}

/// `None` when another file than `id` is at the path by now.
fn one(
    path: &OsStr,
    id: file::Id,
    kind: Kind,
    mode: Mode,
    deadline: &Deadline,
    waits: &mut dyn FnMut(&OsStr),
) -> Result<Option<Grant>, Error> {
    match file::acquire_if(path, id, kind, mode, &Deadline::Now)? {
        Some(Err(_)) if !matches!(deadline, Deadline::Now) => {
            waits(path);
            file::acquire_if(path, id, kind, mode, deadline)
        }
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::Wait;
    use super::*;

    fn take<'a>(wanted: &'a [Wanted], deadline: &Deadline) -> Grants<'a> {
        acquire(wanted, Mode::Exclusive, deadline, &mut |_| {}).expect("no error")
    }

    fn scratch() -> (tempfile::TempDir, impl Fn(&str) -> Wanted) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().to_owned();
        (folder, move |name: &str| {
            (path.join(name).into_os_string(), Kind::Flock)
        })
    }

    #[test]
    fn one_file_by_several_names_is_one_lock() {
        let (_folder, path) = scratch();
        fs::write(path("a").0, "").expect("a file");
        fs::hard_link(path("a").0, path("b").0).expect("a link");
        std::os::unix::fs::symlink("a", path("c").0).expect("a link");
        let paths = [path("a"), path("b"), path("c"), path("a")];
        assert_eq!(take(&paths, &Deadline::Now).expect("free").len(), 1);
    }

    #[test]
    fn who_is_refused_one_keeps_none_and_knows_which() {
        let (_folder, path) = scratch();
        let held = [path("b")];
        let holder = take(&held, &Deadline::Now).expect("free");
        let all = [path("a"), path("b"), path("c")];
        let refused = take(&all, &Deadline::Now).expect_err("b is held");
        assert_eq!(refused, (Answer::Conflict, path("b").0.as_os_str()));
        let others = [path("a"), path("c")];
        assert_eq!(take(&others, &Deadline::Now).expect("free").len(), 2);
        drop(holder);
        assert_eq!(take(&all, &Deadline::Now).expect("free").len(), 3);
    }

    #[test]
    fn opposite_orders_do_not_lock_each_other_out() {
        let (_folder, path) = scratch();
        let names = ["a", "b", "c"].map(&path);
        let inside = AtomicU32::new(0);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for turn in 0..4 {
                let mut names = names.to_vec();
                names.rotate_left(turn % 3);
                if turn % 2 == 0 {
                    names.reverse();
                }
                let (inside, start) = (&inside, &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..500 {
                        let guards = take(&names, &Wait::Forever.begin()).expect("its turn");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guards);
                    }
                });
            }
        });
    }

    #[test]
    fn nobody_waits_out_of_order_when_a_file_is_replaced_by_a_later_one() {
        let (_folder, path) = scratch();
        let mut names = ["x", "y", "z"].map(&path);
        for (name, _) in &names {
            fs::write(name, "").expect("a file");
        }
        names.sort_by_key(|(name, _)| fs::metadata(name).expect("it is there").ino());
        let [first, second, new] = names;
        let one = |name| take(std::slice::from_ref(name), &Deadline::Now).is_ok();
        let hold = |name: &Wanted| {
            let guards = take(std::slice::from_ref(name), &Deadline::Now).expect("free");
            Some(guards)
        };
        let (mut holder, mut other) = (hold(&first), hold(&second));
        let paths = [first.clone(), second.clone()];
        let mut waits = |name: &OsStr| {
            if name == first.0 {
                fs::rename(&new.0, &first.0).expect("it is there");
                holder.take();
            } else {
                assert!(
                    one(&first),
                    "the first is held while the second is waited for"
                );
                other.take();
            }
        };
        let deadline = Wait::Forever.begin();
        let grants = acquire(&paths, Mode::Exclusive, &deadline, &mut waits);
        assert_eq!(grants.expect("no error").expect("its turn").len(), 2);
        assert!(holder.is_none() && other.is_none());
    }
    /// Files, the one with the lowest number first.
    fn in_order<const N: usize>(path: impl Fn(&str) -> Wanted) -> [Wanted; N] {
        let mut names = std::array::from_fn(|number| path(&number.to_string()));
        for (name, _) in &names {
            fs::write(name, "").expect("a file");
        }
        names.sort_by_key(|(name, _)| fs::metadata(name).expect("it is there").ino());
        names
    }

    /// Waits for the first of two files, which is held; in the meantime `change` does something to the second.
    fn change_second_while_waiting_for_first(
        paths: &[Wanted; 2],
        change: impl Fn(),
        mut waits_again: impl FnMut(&OsStr),
    ) -> usize {
        let holder = take(&paths[..1], &Deadline::Now).expect("free");
        let mut holder = Some(holder);
        let mut waits = |name: &OsStr| match holder.take() {
            Some(_) => change(),
            None => waits_again(name),
        };
        let deadline = Wait::Forever.begin();
        let grants = acquire(paths, Mode::Exclusive, &deadline, &mut waits);
        grants.expect("no error").expect("its turn").len()
    }

    #[test]
    fn nobody_waits_out_of_order_when_a_file_is_replaced_by_an_earlier_one() {
        let (_folder, path) = scratch();
        let [new, first, second] = in_order(path);
        let mut other = Some(take(std::slice::from_ref(&new), &Deadline::Now).expect("free"));
        let locks = change_second_while_waiting_for_first(
            &[first.clone(), second.clone()],
            || fs::rename(&new.0, &second.0).expect("it is there"),
            |name| {
                assert_eq!(name, second.0);
                let one = take(std::slice::from_ref(&first), &Deadline::Now);
                assert!(one.is_ok(), "the later one is held");
                other.take();
            },
        );
        assert_eq!(locks, 2);
    }

    #[test]
    fn nobody_waits_for_himself_when_two_files_become_one() {
        let (_folder, path) = scratch();
        let [first, second] = in_order(path);
        let become_one = || {
            fs::remove_file(&second.0).expect("it is there");
            fs::hard_link(&first.0, &second.0).expect("a link");
        };
        let paths = [first.clone(), second.clone()];
        let locks = change_second_while_waiting_for_first(&paths, become_one, |_| {
            panic!("everything is free")
        });
        assert_eq!(locks, 1);
    }
}
