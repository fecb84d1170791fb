//! Locks elsewhere, beside the client of the server: `etcdctl lock`.

use crate::contended::{spawn, wait_for_exit};
use crate::contenders::{Contender, Entry, Programs, TRUE, command, installed_program};
use crate::fixture::{Fixture, start_on_first_cpu};
use crate::measurement::{Measurement, Series, Target, Unit, interleave};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WAITERS: usize = 100;

/// How long the server may take to start, and the waiters to enter the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the lock.
const NAME: &str = "bench";

/// Measures locks in etcd, or returns nothing where it is not installed.
pub fn etcd(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let helper = programs.fdlock.with_file_name("flock-etcd");
    let (Some(etcd), Some(etcdctl)) = (installed_program("etcd"), installed_program("etcdctl"))
    else {
        eprintln!("fdlock-bench: etcd is not installed: measuring without it");
        return Ok(Vec::new());
    };
    ensure!(helper.is_file(), "not a file: {}", helper.display());
    let flock = install(programs, &helper, fixture)?;
    let server = Server::start(&etcd, &flock, fixture)?;
    let entries = |job: &[&OsStr]| -> Vec<Entry> {
        let lock = ["lock", NAME].map(OsStr::new);
        let mut theirs = command(&etcdctl, &[&lock, job].concat());
        theirs.env("ETCDCTL_API", "3");
        theirs.env("ETCDCTL_ENDPOINTS", &server.address);
        let ours = command(&flock, &[&[&*server.url], job].concat());
        vec![(Contender::Etcdctl, theirs), (Contender::Fdlock, ours)]
    };
    let job = [TRUE.as_ref()];
    let measurement = |title: &str, unit, series: Vec<Series>| Measurement {
        title: title.into(),
        command: "flock etcd://HOST/NAME /bin/true",
        unit,
        series,
        target: Some(Target::Ratio(1.0)),
    };
    let slow_rounds = rounds.div_ceil(10);
    Ok(vec![
        measurement(
            "Run a command under a lock in etcd",
            Unit::Milliseconds,
            interleave(entries(&job), rounds, time_call)?,
        ),
        measurement(
            "Start a command under a lock in etcd",
            Unit::Milliseconds,
            interleave(entries(&["/bin/echo".as_ref()]), rounds, time_start)?,
        ),
        measurement(
            "Hand a lock in etcd over to the next of 100 waiters",
            Unit::Milliseconds,
            interleave(entries(&job), slow_rounds, |command| {
                time_hand_over(command, &server)
            })?,
        ),
        measurement(
            "Memory of a waiter for a lock in etcd",
            Unit::Kilobytes,
            interleave(entries(&job), slow_rounds, |command| {
                memory(command, &server)
            })?,
        ),
    ])
}

/// A server, which is killed when this is dropped.
struct Server {
    process: Child,
    address: String,
    url: OsString,
    flock: PathBuf,
}

impl Server {
    /// Starts etcd on the first processor, with its data where the lock file is.
    fn start(etcd: &Path, flock: &Path, fixture: &Fixture) -> Result<Self> {
        let client = free_address()?;
        let (client_url, peer_url) = (
            format!("http://{client}"),
            format!("http://{}", free_address()?),
        );
        let cluster = format!("default={peer_url}");
        let data = fixture.temp_path("etcd");
        let mut server = command(etcd, &["--data-dir".as_ref(), data.as_os_str()]);
        server.args(["--log-level", "error", "--initial-cluster", &cluster]);
        for option in ["--listen-client-urls", "--advertise-client-urls"] {
            server.args([option, &client_url]);
        }
        for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            server.args([option, &peer_url]);
        }
        server.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self {
            process: start_on_first_cpu(&mut server)?,
            url: format!("etcd://{client}/{NAME}").into(),
            address: client,
            flock: flock.to_owned(),
        };
        server.wait_for_entries(0).context("etcd does not start")?;
        Ok(server)
    }

    /// Waits until that many processes hold the lock or wait for it.
    fn wait_for_entries(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut list = command(&self.flock, &["--who".as_ref(), &*self.url]);
        loop {
            let output = list.output()?;
            let is_answer = matches!(output.status.code(), Some(0 | 1));
            let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
            // The first line is a heading.
            let entries = lines.saturating_sub(1);
            if is_answer && entries == count {
                return Ok(());
            }
            if Instant::now() > deadline {
                let stderr = String::from_utf8_lossy(&output.stderr);
                bail!("expected {count} entries, found {entries}: {stderr}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Holds the lock until the standard input of the result is closed.
    fn hold(&self) -> Result<Child> {
        let mut holder = command(&self.flock, &[&*self.url, "/bin/cat".as_ref()]);
        let holder = holder.stdin(Stdio::piped()).spawn()?;
        self.wait_for_entries(1)?;
        Ok(holder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Puts the program where it finds its helper, and returns its path.
fn install(programs: &Programs, helper: &Path, fixture: &Fixture) -> Result<PathBuf> {
    let [bin, libexec] = ["bin", "libexec/fdlock"].map(|dir| fixture.temp_path(dir));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&libexec)?;
    symlink(helper, libexec.join("flock-etcd"))?;
    let flock = bin.join("flock");
    fs::copy(&programs.fdlock, &flock)?;
    Ok(flock)
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Returns the time of a whole call, in milliseconds.
fn time_call(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Returns the time until the command, which prints something, has done so, in milliseconds.
fn time_start(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    stdout.read_exact(&mut [0])?;
    let elapsed = start.elapsed();
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// Returns the time per waiter from the release of the lock until the last of them has exited, in
/// milliseconds.
fn time_hand_over(command: &mut Command, server: &Server) -> Result<f64> {
    let mut holder = server.hold()?;
    let mut waiters = spawn(command.stdout(Stdio::null()), WAITERS)?;
    server.wait_for_entries(1 + WAITERS)?;
    let start = Instant::now();
    drop(holder.stdin.take());
    wait_for_exit(&mut waiters).with_context(|| format!("{command:?}"))?;
    let elapsed = start.elapsed();
    wait_for_exit(&mut [holder])?;
    Ok(elapsed.as_secs_f64() * 1e3 / WAITERS as f64)
}

/// Returns the memory of a waiter and its helper, of which shared pages count in part, in kB.
fn memory(command: &mut Command, server: &Server) -> Result<f64> {
    let mut holder = server.hold()?;
    let mut waiter = command.stdout(Stdio::null()).spawn()?;
    server.wait_for_entries(2)?;
    let pid = waiter.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().map(str::to_owned);
    let total = children.chain([pid.to_string()]).map(|pid| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|pss| pss.split_whitespace().next());
        Ok(pss.context("no Pss in smaps_rollup")?.parse::<f64>()?)
    });
    let total = total.sum::<Result<f64>>()?;
    drop(holder.stdin.take());
    wait_for_exit(&mut [holder])?;
    wait_for_exit(std::slice::from_mut(&mut waiter))?;
    Ok(total)
}
