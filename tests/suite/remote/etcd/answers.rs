//! What the helper answers if etcd does not answer everything.

use super::EtcdTest;
use crate::remote::engines::System;
use crate::remote::engines::answers::Helper;
use crate::remote::engines::proxy::{Mode, Proxy};

#[test]
fn revoked_lease_is_noticed_without_the_watch() {
    let Some(test) = EtcdTest::new() else { return };
    // Two answers: to the grant and to the creation of the key. That to the watch is held, and
    // renewals go to the other host.
    let proxy = Proxy::start(test.cluster.hosts(), Mode::HoldReplies(2));
    let hosts = format!("{},{}", proxy.host(), test.cluster.hosts());
    let mut helper = Helper::start("flock-etcd", &test.url_by(&hosts), 5000);
    assert!(helper.read_line().starts_with("granted "));
    test.system.delete(&test.wait_for_keys(1)[0]);
    loop {
        let line = helper.read_line();
        if !line.starts_with("until ") || line == "until 0" {
            assert_eq!(line, "until 0");
            break;
        }
    }
    assert!(helper.read_line().starts_with("lost its "));
    helper.release();
}
