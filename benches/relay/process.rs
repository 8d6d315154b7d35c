//! Child processes: how they are started, what they have used, and that they end with the bench.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The unit of time in `/proc`.
const TICK_NS: u64 = 10_000_000;

/// Relay, fake and clients each have these cores when there are enough; else all share all.
#[derive(Debug, Clone, Copy)]
pub enum Cores {
    /// The first two: the machine of the bar.
    Measured,
    /// The others.
    Others,
}

/// A child that is killed when dropped.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
}

impl Running {
    /// Starts `program`; `None` when there is no such program.
    pub fn start(program: &str, arguments: &[&str], folder: &Path, cores: Cores) -> Option<Self> {
        let mut command = match pinning(cores) {
            Some(list) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &list, program]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).current_dir(folder).env("RUST_LOG", "error");
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.ok()?;
        let lines = BufReader::new(child.stdout.take().expect("an output")).lines();
        let input = child.stdin.take().expect("an input");
        Some(Self { child, lines, input })
    }

    /// This program once more, in another role.
    pub fn role(role: &str, order: &str) -> Self {
        let own = std::env::current_exe().expect("a path");
        let own = own.to_str().expect("a path in Unicode");
        Self::start(own, &["--bench", role, order], Path::new("."), Cores::Others).expect("it exists")
    }

    /// The next line it prints; panics when it has ended.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("a child ended early").expect("a line")
    }

    /// Gives it a line.
    pub fn tell(&mut self) {
        self.input.write_all(b"\n").expect("it listens");
    }

    /// Time its threads and its children's have run, in ns, each by its id.
    pub fn cpu(&self) -> HashMap<String, u64> {
        let mut threads = HashMap::new();
        for process in self.family() {
            for thread in names(&format!("/proc/{process}/task")) {
                let used = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
                let used = used.ok().and_then(|used| used.split(' ').next()?.parse().ok());
                threads.insert(thread, used.unwrap_or(0));
            }
        }
        threads
    }

    /// Time it and its children have run, in ns: as coarse as the system's ticks, but cheap to read.
    pub fn ticks(&self) -> u64 {
        let ticks = |process: &String| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<u64>().ok();
            Some((next()? + next()?) * TICK_NS)
        };
        self.family().iter().filter_map(ticks).sum()
    }

    /// Resident bytes, its children's included.
    pub fn resident(&self) -> u64 {
        let resident = |process: &String| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        self.family().iter().filter_map(resident).sum()
    }

    fn family(&self) -> Vec<String> {
        let own = self.child.id().to_string();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().map(str::to_owned)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A master process takes its workers along only when asked politely.
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        for _ in 0..20 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was used between two readings, in ns.
pub fn used(before: &HashMap<String, u64>, after: &HashMap<String, u64>) -> u64 {
    after.iter().map(|(thread, used)| used - before.get(thread).copied().unwrap_or(0)).sum()
}

/// Time all cores have spent on anything at all, in ns; what a hypervisor took away is among it.
pub fn busy() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, hard, soft, stolen] = ticks[..] else { return 0 };
    (user + nice + system + hard + soft + stolen) * TICK_NS
}

/// As many open files as the system allows; children inherit it.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may reach the hard one");
}

/// The cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Whether there are cores enough to keep the measured process apart.
pub fn is_pinned() -> bool {
    cores() >= 4 && Path::new("/usr/bin/taskset").exists()
}

fn pinning(of: Cores) -> Option<String> {
    is_pinned().then(|| match of {
        Cores::Measured => "0,1".to_owned(),
        Cores::Others => format!("2-{}", cores() - 1),
    })
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
