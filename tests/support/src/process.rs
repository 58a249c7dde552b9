//! Child processes that end with the test, whose output is kept.

use crate::wait;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

/// How long the last of its output may take once a process has ended: somebody that it has started may hold the streams.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Process {
    /// Starts `command`; collects what it prints on both streams.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let readers = [
            collect(child.stdout.take().unwrap(), output.clone()),
            collect(child.stderr.take().unwrap(), output.clone()),
        ];
        Process { name, child, output, readers }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far, both streams.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Sends it a signal: `TERM`, `HUP`, `INT`.
    ///
    /// # Panics
    /// When `kill` fails.
    pub fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{signal} {}", self.name);
    }

    /// Its exit status, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, and for what it printed.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = wait::until(&format!("the end of {name}"), || self.exit_status());
        let ended = Instant::now();
        while !self.is_read() && ended.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(1));
        }
        status
    }

    /// Waits for its end, and for what it printed, in a task.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.exit_status() {
                break status;
            }
            assert!(begin.elapsed() < wait::PATIENCE, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let ended = Instant::now();
        while !self.is_read() && ended.elapsed() < LAST_WORDS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        status
    }

    /// Whether both its streams were read to their ends.
    fn is_read(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process has gone.
    pub fn resident_bytes(&self) -> u64 {
        self.status_kib("VmRSS:") << 10
    }

    /// The most resident memory that it ever had, in bytes.
    ///
    /// # Panics
    /// When the process has gone.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.status_kib("VmHWM:") << 10
    }

    /// Forgets the peak of resident memory, so that [`Self::peak_resident_bytes`] counts from here.
    pub fn forget_peak(&self) {
        // Where the kernel does not offer it, the peak is the one since the start: a bound all the same.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5");
    }

    /// Processor time spent so far, in user and system mode.
    ///
    /// # Panics
    /// When the process has gone.
    pub fn processor_time(&self) -> Duration {
        const TICKS_PER_SECOND: u64 = 100; // USER_HZ, the same on every Linux
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))
            .unwrap_or_else(|_| panic!("{} has ended:\n{}", self.name, self.output()));
        // The name of the program may hold spaces; what follows its parenthesis does not.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .unwrap_or_else(|_| panic!("{} has ended:\n{}", self.name, self.output()));
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A process that is nobody's child here, but ends with the test.
pub struct Orphan(u32);

impl Orphan {
    /// The process of this number.
    pub fn new(id: u32) -> Self {
        Orphan(id)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-KILL").arg(self.0.to_string()).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            // The reader threads see the end of the streams a moment later.
            std::thread::sleep(Duration::from_millis(50));
            eprintln!("--- output of {}\n{}---", self.name, self.output());
        }
    }
}

/// Keeps every line that `stream` brings, whatever bytes it holds.
fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            output.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
