//! The diagrams in the design documents.

use models::etcd::Etcd;
use models::graph::Graph;
use models::handle::Handle;
use models::hard_link::{HardLink, Takeover};
use models::lease::Lease;
use models::lock_file::{FileSystem, LockFile, Others};
use models::pid_file::PidFile;
use models::postgres::Postgres;
use models::queue::{Client, Queue};
use models::several::Several;
use models::slots::SlotsModel;
use models::ssh::Ssh;
use models::supervisor::{self, Supervisor};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design/protocols.md");

/// Returns the text of a document with the diagram in its place.
fn replace(text: &str, name: &str, diagram: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = text.split_once(&begin).expect("the beginning is marked");
    let (_, after) = rest.split_once("<!-- end -->").expect("the end is marked");
    format!("{before}{begin}\n```mermaid\n{diagram}```\n\n<!-- end -->{after}")
}

#[test]
fn diagrams_are_those_of_the_models() {
    let lock_file = LockFile::new(2, FileSystem::Local, Others::Replace);
    let lock_file = Graph::explore(&lock_file, &[]).map(|graph| LockFile::diagram(&graph));
    let slots = SlotsModel::new(&[1, 2]);
    let slots = Graph::explore(&slots, &[]).map(|graph| SlotsModel::diagram(&graph));
    let several = Several {
        with_one_path: None,
        ..Several::new(2, 3)
    };
    let several = Graph::explore(&several, &[]).map(|graph| Several::diagram(&graph));
    let queue = Queue {
        sentinels_die: true,
        shared: 0b1,
        ..Queue::new(&[Client::Writer, Client::Reader])
    };
    let queue = Graph::explore(&queue, &[]).map(|graph| Queue::diagram(&graph));
    let pid_file = PidFile::new(2);
    let pid_file = Graph::explore(&pid_file, &[]).map(|graph| PidFile::diagram(&graph));
    let hard_link = HardLink::new(2, Takeover::Exchange);
    let hard_link = Graph::explore(&hard_link, &[]).map(|graph| HardLink::diagram(&graph));
    let supervisor = Supervisor {
        kills: 2,
        mutant: supervisor::Mutant::Correct,
    };
    let supervisor = Graph::explore(&supervisor, &[]).map(|graph| Supervisor::diagram(&graph));
    let lease = Lease::new(0);
    let lease = Graph::explore(&lease, &[]).map(|graph| Lease::diagram(&graph));
    let handle = Handle::new(1);
    let handle = Graph::explore(&handle, &[]).map(|graph| Handle::diagram(&graph));
    let etcd = Etcd {
        stops: 1,
        ..Etcd::new(2, 3, 0)
    };
    let etcd = Graph::explore(&etcd, &[]).map(|graph| Etcd::diagram(&graph));
    let postgres = Postgres {
        is_reachable: true,
        stops: 1,
        ..Postgres::new(2, 3, 1)
    };
    let postgres = Graph::explore(&postgres, &[]).map(|graph| Postgres::diagram(&graph));
    let ssh = Ssh {
        stops: 1,
        ..Ssh::new(1, 3, 1)
    };
    let ssh = Graph::explore(&ssh, &[]).map(|graph| Ssh::diagram(&graph));
    let text = std::fs::read_to_string(DOCUMENT).expect("a document");
    let mut updated = text.clone();
    for (name, diagram) in [
        ("lock_file", lock_file.expect("no properties")),
        ("slots", slots.expect("no properties")),
        ("several", several.expect("no properties")),
        ("queue", queue.expect("no properties")),
        ("pid_file", pid_file.expect("no properties")),
        ("hard_link", hard_link.expect("no properties")),
        ("supervisor", supervisor.expect("no properties")),
        ("lease", lease.expect("no properties")),
        ("handle", handle.expect("no properties")),
        ("etcd", etcd.expect("no properties")),
        ("postgres", postgres.expect("no properties")),
        ("ssh", ssh.expect("no properties")),
    ] {
        updated = replace(&updated, name, &diagram);
    }
    if std::env::var_os("UPDATE_DIAGRAMS").is_some() {
        std::fs::write(DOCUMENT, &updated).expect("a document");
    } else {
        assert!(text == updated, "docs/design/protocols.md is out of date");
    }
}
