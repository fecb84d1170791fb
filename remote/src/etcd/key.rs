//! The keys of a lock: `NAME/LEASE`, where `LEASE` is the lease's ID in hexadecimal, as `etcdctl
//! lock` writes them.
//!
//! etcd numbers all changes. The revision in which a key was created is the place in the queue.

/// Returns the key of a lease.
pub fn key(name: &[u8], lease: u64) -> Vec<u8> {
    [name, format!("/{lease:x}").as_bytes()].concat()
}

/// Returns the range that contains all keys of a lock: its first key, and the first one beyond.
pub fn range(name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([name, b"/"].concat(), [name, b"0"].concat())
}

/// Returns whether a key is one of the lock's: `NAME/` and a lease ID. The lock `a` has no part in
/// the keys of a lock `a/b`.
pub fn is_entry_of(name: &[u8], key: &[u8]) -> bool {
    let id = key
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(b"/"));
    id.is_some_and(|id| !id.is_empty() && id.iter().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_contains_all_keys() {
        let (start, end) = range(b"n");
        for lease in [1, 0xabc, u64::MAX >> 1] {
            assert!(start < key(b"n", lease) && key(b"n", lease) < end);
        }
    }

    #[test]
    fn only_keys_of_leases_belong_to_a_lock() {
        for (key, expected) in [
            ("a/b/694d", true),
            ("a/b/0", true),
            ("a/b/", false),
            ("a/b", false),
            ("a/b/c/1", false),
            ("a/b/x1", false),
            ("a/bc/1", false),
            ("a/1", false),
        ] {
            assert_eq!(is_entry_of(b"a/b", key.as_bytes()), expected, "{key}");
        }
    }
}
