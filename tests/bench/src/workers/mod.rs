//! `workers`: what a second worker brings, on two cores that the load uses, too.
//!
//! In:  how much to ask.   Out: requests a second and processor time of a request, of one worker on one core and of two on two.
//! Invariants: each core has the same to do, whether one is used or both: a worker, half of the clients, an upstream. So throughput grows by
//! what the proxy's workers make of a second core, and by what the machine does: two proxies of one worker each, which
//! share nothing, show that. Both are measured where clients, worker and upstream of a request are on one core, and where it may go from
//! core to core, which the machine charges for, whoever it is that does it.

mod report;

use crate::{
    cores::{Cores, load_average, move_to, spread},
    load::{Load, Question},
    upstream::{self, VERSIONS},
    usage::CpuTime,
    void::Void,
};
use clap::Args;
use report::{Cost, Report};
use sidle_test_support::{
    manifest, ports,
    process::Process,
    sidle::{Ports, command, http_get},
};
use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a start or a round may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether a proxy is ready.
const LOOK: Duration = Duration::from_millis(5);
/// What is asked for.
const PATH: &str = "/users/7?fields=name";

/// How much to ask.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// Rounds, after one that does not count
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Requests of a round, on each core
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// Clients, on each core
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

/// What names of the proxy's workers begin with.
const WORKER: &str = "sidle-worker";

/// A proxy.
struct Proxy {
    process: Process,
    target: SocketAddr,
    _folder: TempDir,
}

/// Proxies that are measured together; each has clients on each of its cores.
struct Subject {
    proxies: Vec<(Proxy, Vec<usize>)>,
    /// Clients are served on their own core, or on any.
    apart: bool,
}

/// Measures.
///
/// # Errors
/// When there is one core, or an answer is wrong.
pub fn run(args: &WorkersArgs) -> Result<Report, Void> {
    if cfg!(debug_assertions) {
        return Err(Void::because("an unoptimised build says nothing: run with --release"));
    }
    // Builds the program if it is not there.
    sidle_test_support::sidle::path();
    let busy = load_average()?;
    let cores = Cores::choose(None, None)?;
    let cores = [cores.proxy(), cores.load()];
    let port = [ports::free().port()];
    cores.into_iter().try_for_each(|core| upstream(core, port[0]))?;
    let mixed = [ports::free().port(), ports::free().port()];
    cores.into_iter().zip(mixed).try_for_each(|(core, port)| upstream(core, port))?;
    let alone = |at: usize, upstreams: &[u16]| Proxy::start(1, &cores[at..=at], upstreams);
    let both = Proxy::start(2, &cores, &port)?;
    spread(both.process.id(), WORKER, &cores)?;
    let apart = |proxies| Subject { proxies, apart: true };
    let anywhere = |proxies| Subject { proxies, apart: false };
    let all = || cores.to_vec();
    let subjects = [
        apart(vec![(alone(0, &port)?, vec![cores[0]])]),
        apart(vec![(alone(0, &port)?, vec![cores[0]]), (alone(1, &port)?, vec![cores[1]])]),
        apart(vec![(both, all())]),
        anywhere(vec![(alone(0, &mixed)?, all()), (alone(1, &mixed)?, all())]),
        anywhere(vec![(Proxy::start(2, &cores, &mixed)?, all())]),
    ];
    let mut costs = [const { Vec::new() }; 5];
    for round in 0..=args.rounds {
        for (subject, costs) in subjects.iter().zip(&mut costs) {
            let cost = subject.round(args)?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    let conditions = format!(
        "Each core has a worker, an upstream and {} clients; load average before: {busy:.2}. Median (smallest–largest) of {} rounds of {} \
         requests on each core.",
        args.connections, args.rounds, args.requests
    );
    Ok(Report { conditions, costs })
}

/// An upstream on a core, to the end of the process.
fn upstream(core: usize, port: u16) -> Result<(), Void> {
    let (started, starting) = mpsc::channel();
    thread::spawn(move || {
        let start = || -> Result<_, Void> {
            move_to(&[core])?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let listener = runtime.block_on(async { upstream::listen_on(core, port) })?;
            Ok((runtime, listener))
        };
        match start() {
            Ok((runtime, listener)) => {
                // Who asked waits for it.
                let _ = started.send(Ok(()));
                runtime.block_on(upstream::serve(listener, VERSIONS[0]));
            }
            Err(void) => drop(started.send(Err(void))),
        }
    });
    starting.recv().unwrap_or_else(|_| Err(Void::because("no upstream")))
}

impl Proxy {
    fn start(workers: usize, cores: &[usize], upstreams: &[u16]) -> Result<Self, Void> {
        let (folder, own) = (tempfile::tempdir()?, Ports::free());
        let endpoints: Vec<_> = upstreams.iter().map(|port| (VERSIONS[0], *port)).collect();
        let text = manifest::service("shop", "shop.test", "HTTP", &endpoints)
            + &manifest::subsets("shop", "shop.test", &VERSIONS[..1], "")
            + &manifest::split("shop", "shop.test", &[(VERSIONS[0], 100)])
            + &own.document(&format!("  concurrency: {workers}\n"));
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, text)?;
        let mut command = command();
        command.arg("run").arg("-c").arg(file);
        // A child keeps the cores that it was born on.
        move_to(cores)?;
        let mut process = Process::start(command);
        let begin = Instant::now();
        while !http_get(own.admin, "/ready").is_ok_and(|answer| answer.status == 200) {
            if process.exit_status().is_some() || begin.elapsed() > PATIENCE {
                return Err(Void::because(format!("a proxy is not ready:\n{}", process.output())));
            }
            thread::sleep(LOOK);
        }
        Ok(Proxy { process, target: own.outbound, _folder: folder })
    }
}

impl Subject {
    fn time(&self) -> Result<CpuTime, Void> {
        let mut all = self.proxies.iter().map(|(proxy, _)| CpuTime::of(proxy.process.id()));
        let first = all.next().ok_or_else(|| Void::because("nobody is measured"))??;
        Ok(all.try_fold(first, |sum, one| one.map(|one| sum.and(one)))?)
    }

    /// The load of each core at once.
    fn round(&self, args: &WorkersArgs) -> Result<Cost, Void> {
        let ends: Vec<_> = self
            .proxies
            .iter()
            .flat_map(|(proxy, cores)| cores.iter().map(|core| (proxy.target, *core)))
            .collect();
        let before = self.time()?;
        let begin = Instant::now();
        let ask = |(target, core): (SocketAddr, usize)| {
            // Those of a core divide themselves among the proxies that they ask.
            let asked = ends.iter().filter(|(_, other)| *other == core).count();
            let load = Load {
                connections: usize::from(args.connections).div_ceil(asked),
                requests: args.requests as usize / asked,
                patience: PATIENCE,
                core: self.apart.then_some(core),
            };
            (load.requests, thread::spawn(move || ask(load, target, core)))
        };
        let clients: Vec<_> = ends.iter().copied().map(ask).collect();
        let mut requests = 0;
        for (asked, client) in clients {
            client.join().map_err(|_| Void::because("a client ended by a panic"))??;
            requests += asked;
        }
        let took = begin.elapsed().as_secs_f64();
        let nanoseconds = self.time()?.since(&before) as f64;
        Ok(Cost { microseconds: nanoseconds / 1e3 / requests as f64, rate: requests as f64 / took })
    }
}

fn ask(load: Load, target: SocketAddr, core: usize) -> Result<Duration, Void> {
    move_to(&[core])?;
    let right = upstream::body(VERSIONS[0], PATH);
    let questions = Arc::from([Question::get("shop.test", PATH, vec![right])]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load.run(target, &questions))
}
