//! Which program the builtin runs: the one that is installed with it, or the one in `PATH`, but none
//! that is found through the working directory.

use rstest::rstest;

use test_support::TestEnv;
use test_support::builtin::for_each_bash;

#[test]
fn program_beside_the_builtin_precedes_path() {
    for_each_bash(|env| {
        env.install_script("flock", "#!/bin/sh\necho wrong\n");
        for path in ["PATH=$PWD:$PATH", "PATH=/nowhere", "unset PATH", "PATH="] {
            env.run_with_builtin(format!(
                "{path}; flock l /bin/echo right; flock l /bin/echo right >out; /bin/cat out"
            ))
            .assert_all(0, "right\nright\n", "");
        }
    });
}

#[test]
fn program_in_path_is_used_if_there_is_none_beside() {
    for_each_bash(|env| {
        std::fs::remove_file(env.file("bin/flock")).expect("it exists");
        std::fs::create_dir(env.file("elsewhere")).expect("a directory");
        env.install_script("elsewhere/flock", "#!/bin/sh\necho other \"$@\"\n");
        env.run_with_builtin("PATH=$PWD/elsewhere:$PATH; flock l true; flock l true >out; cat out")
            .assert_all(0, "other l true\nother l true\n", "");
    });
}

#[rstest]
fn library_with_relative_path_runs_its_own_program(
    #[values(
        "enable -f ./lib/bash/flock flock",
        "enable -f lib/bash/flock flock",
        "enable -f ../app/lib/bash/flock flock",
        "enable -f ./linked/flock flock",
        "cd lib; enable -f bash/flock flock",
        "cd lib/bash; enable -f ./flock flock",
        "BASH_LOADABLES_PATH=lib/bash; enable -f flock flock",
        "cd lib/bash; BASH_LOADABLES_PATH=:/nowhere; enable -f flock flock"
    )]
    how: &str,
) {
    for_each_bash(|env| {
        install_bundle(env);
        let calls = "for d in $2/other $2/other/lib $2/other/lib/bash; do
                cd $d || exit; flock x.lock echo right; flock x.lock echo right >out; cat out
            done";
        let mut bash = env.command("bash");
        let script = format!("cd $1; {how} || exit; {calls}");
        bash.args(["-c", &script, "bash"]);
        bash.args([env.file("app"), env.path().to_owned()]);
        env.run_command(bash)
            .assert_all(0, &"right\n".repeat(6), "");
    });
}

/// Installs the program and the builtin in the directory `app`, and in `other` a program that
/// prints `wrong`, wherever a relative path may lead to it.
fn install_bundle(env: &TestEnv) {
    env.sh(
        "mkdir -p app/bin app/lib/bash other/bin other/lib/bin other/lib/bash/bin
         cp bin/flock app/bin; cp bin/lib/bash/flock app/lib/bash; ln -s lib/bash app/linked
         printf '#!/bin/sh\necho wrong\n' >other/bin/flock; chmod +x other/bin/flock
         for d in lib/bin lib/bash lib/bash/bin lib; do [ -e other/$d/flock ] || cp other/bin/flock other/$d; done",
    )
    .assert_all(0, "", "");
}

#[test]
fn program_of_the_working_directory_is_never_run() {
    for_each_bash(|env| {
        install_bundle(env);
        std::fs::remove_file(env.file("bin/flock")).expect("it exists");
        std::fs::create_dir(env.file("last")).expect("a directory");
        env.install_script("last/flock", "#!/bin/sh\necho other \"$@\"\n");
        for path in ["bin:.", ":", "", "lib/bash::$1"] {
            let script = format!(
                "cd other; set -- $OLDPWD/last; PATH={path}
                 flock l true; flock l true >out; echo $? $(<out)"
            );
            let (stdout, stderr) = match path.contains("$1") {
                true => ("other l true\n0 other l true\n", String::new()),
                false => ("127\n", "flock: command not found\n".repeat(2)),
            };
            env.run_with_builtin(script).assert_all(0, stdout, &stderr);
        }
    });
}

#[test]
fn library_loaded_in_a_deleted_directory_uses_path() {
    for_each_bash(|env| {
        install_bundle(env);
        std::fs::create_dir_all(env.file("x/gone")).expect("a directory");
        let script = "cd x/gone; rmdir ../gone; enable -f ../../app/lib/bash/flock flock || exit
            cd $1/other/lib; PATH=$1/app/bin:$PATH; flock l echo right; flock l echo right >out; cat out";
        let mut bash = env.command("bash");
        bash.args(["-c", script, "bash"]).arg(env.path());
        env.run_command(bash)
            .assert_status(0)
            .assert_stdout("right\nright\n");
    });
}
