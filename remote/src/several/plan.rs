//! The order in which several locks are acquired.
//!
//! It must be the same in all processes that acquire at least two of them, however they write the
//! URLs: other hosts of the same servers, another order of the hosts, an alias. So only the names
//! count, which are the same for all processes. Locks with different names are different locks.
//!
//! Of two locks with the same name, it is known that they are one if their servers are written
//! alike, and it is acquired once. If not, they may be one lock, for which the process would wait
//! while it holds it, or two, for which no order is known. Such a request is refused.

use crate::front::Request;

/// The part of the settings that tells which lock it is.
pub trait Identity {
    /// Returns the name: that of the lock, and of what it is in, without the servers.
    fn name(&self) -> Vec<u8>;

    /// Returns the servers, in an order of their own.
    fn servers(&self) -> Vec<String>;
}

/// The order of the locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each lock, in the order in which they are acquired, the index of its URL.
    pub order: Vec<usize>,
    /// For each URL, the index of its lock in this order.
    pub lock_of_url: Vec<usize>,
}

impl Plan {
    /// Determines the order for these URLs, with their settings.
    ///
    /// # Errors
    ///
    /// No order is known; the text says why.
    pub fn new<S: Identity>(requests: &[Request], settings: &[S]) -> Result<Self, String> {
        let identity = |settings: &S| (settings.name(), settings.servers());
        let identities = Vec::from_iter(settings.iter().map(identity));
        let mut urls = Vec::from_iter(0..identities.len());
        // Of several URLs of a lock, the first one stands for it.
        urls.sort_by_key(|url| &identities[*url].0);
        let mut order: Vec<usize> = Vec::new();
        let mut lock_of_url = vec![0; urls.len()];
        for url in urls {
            let same = order.last().copied();
            let same = same.filter(|last| identities[*last].0 == identities[url].0);
            match same {
                None => order.push(url),
                Some(last) if identities[last] == identities[url] => {}
                Some(last) => {
                    let text = |url: usize| String::from_utf8_lossy(&requests[url].url);
                    return Err(format!(
                        "{} and {}: their names must be different, or their servers the same",
                        text(last),
                        text(url)
                    ));
                }
            }
            lock_of_url[url] = order.len() - 1;
        }
        Ok(Self { order, lock_of_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock, written as `NAME@SERVERS`.
    struct Lock(&'static str);

    impl Lock {
        fn part(&self, index: usize) -> String {
            let part = self.0.split('@').nth(index);
            part.expect("a name and servers").to_owned()
        }
    }

    impl Identity for Lock {
        fn name(&self) -> Vec<u8> {
            self.part(0).into()
        }

        fn servers(&self) -> Vec<String> {
            vec![self.part(1)]
        }
    }

    fn plan(urls: &[&'static str]) -> Result<Plan, String> {
        let text = |url| format!("flock 2\nurl {url}\nttl 5000\n\n");
        let request = |url| Request::parse(text(url).as_bytes()).expect("it is valid");
        let requests = Vec::from_iter(urls.iter().map(request));
        Plan::new(&requests, &Vec::from_iter(urls.iter().copied().map(Lock)))
    }

    #[test]
    fn locks_are_ordered_by_name() {
        for (urls, order) in [
            (["b@h", "a@h", "c@h"], [1, 0, 2]),
            (["c@1", "b@2", "a@3"], [2, 1, 0]),
            (["a/b@h", "a@h", "aa@h"], [1, 0, 2]),
        ] {
            assert_eq!(plan(&urls).expect("an order").order, order, "{urls:?}");
        }
    }

    #[test]
    fn a_lock_is_acquired_once() {
        let expected = Plan {
            order: vec![1, 0],
            lock_of_url: vec![1, 0, 1],
        };
        assert_eq!(plan(&["b@h", "a@h", "b@h"]), Ok(expected));
    }

    #[test]
    fn locks_that_may_be_one_are_refused() {
        let text = plan(&["a@h", "b@h", "a@i"]).expect_err("no order");
        assert!(text.starts_with("a@h and a@i: "), "{text}");
    }
}
