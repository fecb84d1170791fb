//! What the shells offer for the four older tools.

use super::blocks::spellings;
use super::completions::expect_all;
use super::document::PAGES;
use super::shells::Shell;

#[test]
fn every_option_of_the_older_tools_is_offered_with_what_it_does() {
    for page in &PAGES[1..] {
        let options = (page.options)();
        let (names, letters): (Vec<_>, Vec<_>) = options
            .iter()
            .flat_map(spellings)
            .partition(|name| name.starts_with("--"));
        let line = |dashes: &str| &*format!("{} {dashes}", page.name).leak();
        for shell in Shell::all() {
            let [(_, long), (_, all)] = shell.offers([line("--"), line("-")]);
            expect_all(&long, &names, true, shell);
            expect_all(&all, &letters, true, shell);
            let shown = shell.shows([line("-")], "").concat();
            for option in &options {
                assert!(
                    shown.contains(option.help),
                    "{shell:?}: {}: {shown}",
                    option.help
                );
            }
        }
    }
}

/// Lines at whose end a command stands, and lines at whose end none can stand.
fn commands(shell: Shell, lines: [&'static str; 4], none: [&'static str; 3]) {
    let more = |lines: &[&str], word: &str| {
        let longer = lines.iter().map(|line| &*format!("{line} {word}").leak());
        longer.collect::<Vec<_>>()
    };
    let all = [
        more(&lines, "jobj"),
        more(&lines, "jobjob -"),
        more(&lines, "jobjob "),
        more(&none, "jobj"),
    ];
    let all = <[&str; 15]>::try_from(all.concat()).expect("so many");
    for (number, (line, offered)) in shell.offers(all).iter().enumerate() {
        match number {
            0..4 => expect_all(offered, &["jobjob"], true, (shell, line)),
            4..8 => expect_all(offered, &["-h", "--help"], false, (shell, line)),
            // In bash that is for the package bash-completion to do.
            8..12 if shell == Shell::Bash => {}
            8..12 => expect_all(offered, &["red", "green"], true, (shell, line)),
            _ => expect_all(offered, &["jobjob"], false, (shell, line)),
        }
    }
    if shell == Shell::Bash {
        let stub =
            "_comp_command_offset() { [[ ${COMP_WORDS[$1]} == jobjob ]] && COMPREPLY=(red); }";
        let lines = <[&str; 4]>::try_from(more(&lines, "jobjob ")).expect("so many");
        assert_eq!(shell.shows(lines, stub), ["red\n"; 4]);
    }
}

#[test]
fn the_command_of_loto_is_completed_behind_two_dashes_only() {
    for shell in Shell::all() {
        commands(
            shell,
            [
                "loto -L cpu --",
                "loto -L=cpu -w --",
                "loto -wq -t 5 -L lk --",
                "loto -L a -L=b -v --",
            ],
            ["loto", "loto -L cpu", "loto -L"],
        );
        let [(_, behind_options)] = shell.offers(["loto -L lk -"]);
        expect_all(&behind_options, &["--", "-w"], true, shell);
    }
}

#[test]
fn the_commands_of_me_only_and_runlock_are_completed_behind_the_lock() {
    for shell in Shell::all() {
        commands(
            shell,
            ["me-only lk", "me-only -- lk", "me-only =x", "me-only a=b"],
            ["me-only", "me-only --", "me-only -h"],
        );
        commands(
            shell,
            ["runlock lk", "runlock -- lk", "runlock =x", "runlock a=b"],
            ["runlock", "runlock --", "runlock -h"],
        );
    }
}

#[test]
fn options_stand_before_the_lock_of_me_only_and_runlock() {
    for shell in Shell::all() {
        let offered = [
            shell.offers(["me-only lk -"]),
            shell.offers(["runlock lk -"]),
        ];
        for (line, offered) in offered.concat() {
            expect_all(&offered, &["-h", "--help"], false, (shell, line));
        }
    }
}

#[test]
fn the_command_of_ulock_is_completed_for_readers_only() {
    for shell in Shell::all() {
        commands(
            shell,
            [
                "ulock -r lk sub",
                "ulock lk -r --timeout=5 sub",
                "ulock lk sub --timeout 5 -r",
                "ulock -r -- lk sub",
            ],
            ["ulock lk sub", "ulock -r lk", "ulock -w lk sub"],
        );
    }
}

#[test]
fn files_are_offered_to_be_locked_by_the_older_tools() {
    for shell in Shell::all() {
        let offered = [
            &shell.offers(["loto -L "])[..],
            &shell.offers(["me-only ", "me-only -- "]),
            &shell.offers(["runlock "]),
            &shell.offers(["ulock ", "ulock lk ", "ulock -r --timeout=5 lk "]),
        ];
        for (line, mut offered) in offered.concat() {
            for word in &mut offered {
                word.truncate(word.trim_end_matches('/').len());
            }
            expect_all(&offered, &["lk", "sub"], true, (shell, line));
        }
        // A script in the working directory needs no slash, a command does.
        let [(_, script)] = shell.offers(["me-only lk resour"]);
        expect_all(&script, &["resources"], true, shell);
        let [(_, command)] = shell.offers(["runlock lk resour"]);
        expect_all(&command, &["resources"], false, shell);
    }
}

#[test]
fn resources_are_offered_to_loto_with_and_without_an_equals_sign() {
    for shell in Shell::all() {
        for (line, offered) in shell.offers(["loto -L ", "loto -L=", "loto -L=c", "loto -qLc"]) {
            // fish repeats what stands before the value.
            let found = offered.iter().any(|word| word.ends_with("cpu"));
            assert!(found, "{shell:?}: {line}: {offered:?}");
        }
    }
}

#[test]
fn resources_that_the_administrator_has_named_are_offered_to_loto() {
    for shell in Shell::all() {
        let [(_, offered)] = shell.offers(["loto -L "]);
        expect_all(&offered, &["disk", "tape", "cpu"], true, shell);
        expect_all(&offered, &["#", "/srv/tape.lock"], false, shell);
    }
}

#[test]
fn times_are_offered_to_the_older_tools() {
    for shell in Shell::all() {
        let offered = [
            &shell.offers(["loto -t ", "loto -t=", "loto -wt5"])[..],
            &shell.offers(["ulock --timeout=", "ulock lk --invalid "]),
        ];
        for (line, offered) in offered.concat() {
            let found = offered.iter().any(|word| word.ends_with("5m"));
            assert!(found, "{shell:?}: {line}: {offered:?}");
            expect_all(&offered, &["lk"], false, (shell, line));
        }
    }
}
