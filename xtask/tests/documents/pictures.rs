//! The pictures of a terminal show what the program prints today, and the documents show the
//! pictures.

use std::collections::BTreeSet;
use std::fs;

use xtask::document::absolute;
use xtask::pictures::scenes::{self, Pace};
use xtask::pictures::{pattern, stored_text, svg};

#[test]
fn pictures_show_what_flock_prints() {
    let Some(scenes) = scenes::play(Pace::Hurried) else {
        // It has printed why.
        return;
    };
    for (name, text) in scenes {
        let stored = stored_text(name).expect("the picture can be read");
        let stored = stored.unwrap_or_default();
        let hint = format!("run `make pictures`: {name}.svg");
        assert_eq!(pattern(&stored), pattern(&text), "{hint}\n{stored}\n{text}");
    }
}

#[test]
fn every_picture_is_shown_in_a_document() {
    let pictures = fs::read_dir(absolute("docs/pictures")).expect("a directory");
    let names = pictures.map(|entry| entry.expect("an entry").file_name());
    let names: BTreeSet<String> = names.map(|name| name.to_string_lossy().into()).collect();
    let mut shown = BTreeSet::new();
    for document in ["README.md", "docs/recipes.md"] {
        let text = fs::read_to_string(absolute(document)).expect("a document");
        let links = text.split("pictures/").skip(1);
        shown.extend(links.filter_map(|link| Some(link.split_once(')')?.0.to_owned())));
    }
    assert_eq!(names, shown);
}

#[test]
fn picture_contains_its_text() {
    let text = "$ a  b\n  <x>   · \u{e9} &amp;  z\n\nlast\n";
    let picture = svg::draw(text);
    assert_eq!(svg::text(&picture), text);
    assert!(picture.starts_with("<svg "), "{picture}");
    assert!(picture.contains("<title>a  b</title>"), "{picture}");
}

#[test]
fn only_times_differ_from_run_to_run() {
    let stored = "PID   TIME    \n4711  3m 15s  a\n0:45 of 5:00 [###...]\n";
    let same = "PID   TIME\n4711  0s  a\n0:00 of 5:01 [......]\n";
    assert_eq!(pattern(stored), pattern(same));
    for other in [
        "PID   TIME\n4712  0s  a\n0:00 of 5:01 [......]\n",
        "PID   TIME\n4711  0s  a\n0:00 of 5:01 [.......]\n",
        "PID   TIME\n4711  0s  a\n0:00 von 5:01 [......]\n",
        "PID   TIME\n4711  -  a\n0:00 of 5:01 [......]\n",
        "PID   TIME\n4711  0s  a 0:00 of 5:01 [......]\n",
    ] {
        assert_ne!(pattern(stored), pattern(other), "{other}");
    }
}
