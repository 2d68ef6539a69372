//! Measures the figures of the budgets on the real machine. One JSON object a line on standard output; a table for
//! people on standard error.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use alcove_machine::qemu::qmp::Qmp;
use alcove_machine_tests::{PATIENCE, World};
use alcove_types::{image::ImageManifest, machine::Phase};
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};

/// Measures.
#[derive(Parser)]
struct Arguments {
    /// Only JSON lines.
    #[arg(long)]
    json: bool,
    /// Which figures; all when none is named.
    names: Vec<String>,
}

/// Figure, unit, budget under emulation, and whether less is better.
const BUDGETS: &[(&str, &str, f64, bool)] = &[
    ("boot.node_ready", "s", 60.0, true),
    ("boot.web_ready", "s", 120.0, true),
    ("resume.api", "s", 1.5, true),
    ("resume.web", "s", 2.5, true),
    ("suspend.time", "s", 2.0, true),
    ("suspend.bytes", "bytes", 400e6, true),
    ("guest.memory_kubernetes", "bytes", 450e6, true),
    ("alcoved.rss", "bytes", 30e6, true),
    ("alcoved.cpu_idle", "share", 0.002, true),
    ("proxy.throughput_ratio", "ratio", 0.8, false),
    ("proxy.latency_added", "ms", 1.0, true),
    ("image.bytes", "bytes", 350e6, true),
    ("installer.bytes", "bytes", 15e6, true),
];

struct Bench {
    arguments: Arguments,
    missed: usize,
}

impl Bench {
    fn wants(&self, names: &[&str]) -> bool {
        self.arguments.names.is_empty() || names.iter().any(|n| self.arguments.names.iter().any(|w| w == n))
    }

    fn report(&mut self, name: &str, value: f64, context: &Value) {
        let Some((_, unit, budget, less)) = BUDGETS.iter().find(|(n, ..)| *n == name) else { return };
        if !self.wants(&[name]) {
            return;
        }
        let within = if *less { value <= *budget } else { value >= *budget };
        self.missed += usize::from(!within);
        let line = json!({
            "name": name, "value": value, "unit": unit, "budget": budget, "within": within, "context": context,
        });
        let _ = writeln!(std::io::stdout(), "{line}");
        if !self.arguments.json {
            let mark = if within { "within" } else { "OVER" };
            let _ = writeln!(std::io::stderr(), "{name:<26} {value:>14.3} {unit:<6} budget {budget:>12.3}  {mark}");
        }
    }
}

fn main() -> ExitCode {
    let mut bench = Bench { arguments: Arguments::parse(), missed: 0 };
    if let Some(unknown) = bench.arguments.names.iter().find(|n| !BUDGETS.iter().any(|(b, ..)| b == n)) {
        let names: Vec<&str> = BUDGETS.iter().map(|(n, ..)| *n).collect();
        let _ = writeln!(std::io::stderr(), "error: there is no figure {unknown:?}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    match measure(&mut bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(bench: &mut Bench) -> Result<()> {
    sizes(bench)?;
    if bench.wants(&["boot.node_ready", "boot.web_ready"]) {
        boot(bench)?;
    }
    let warm = [
        "resume.api",
        "resume.web",
        "suspend.time",
        "suspend.bytes",
        "guest.memory_kubernetes",
        "alcoved.rss",
        "alcoved.cpu_idle",
        "proxy.throughput_ratio",
        "proxy.latency_added",
    ];
    if bench.wants(&warm) {
        life(bench)?;
    }
    Ok(())
}

fn sizes(bench: &mut Bench) -> Result<()> {
    let folder = PathBuf::from(env::var_os("ALCOVE_IMAGES").context("run this with `cargo xtask bench`")?);
    let manifest: ImageManifest = serde_json::from_slice(&fs::read(folder.join("manifest.json"))?)?;
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
    let bytes = manifest.files.iter().map(|f| f.bytes).sum::<u64>() as f64;
    bench.report(
        "image.bytes",
        bytes,
        &json!({ "image": manifest.version, "kubernetes": manifest.kubernetes.distribution }),
    );
    let dist = PathBuf::from(env::var_os("ALCOVE_DIST").unwrap_or_default());
    let deb = fs::read_dir(&dist)
        .ok()
        .into_iter()
        .flatten()
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "deb"));
    match deb {
        Some(deb) => {
            #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
            let bytes = deb.metadata()?.len() as f64;
            bench.report("installer.bytes", bytes, &json!({ "file": deb.file_name().to_string_lossy() }));
        }
        None => {
            let _ = writeln!(std::io::stderr(), "installer.bytes is not measured: run `cargo xtask dist` first");
        }
    }
    Ok(())
}

/// From nothing to the web desktop, certificates and all.
fn boot(bench: &mut Bench) -> Result<()> {
    let mut world = World::empty("bench-boot")?;
    world.supervise()?;
    let began = Instant::now();
    world.ok(&["setup", "--memory", "3GiB", "--cpus", "2", "--disk", "20GiB", "--no-wait"])?;
    world.phase(Phase::Running, Duration::from_secs(900))?;
    let web = began.elapsed().as_secs_f64();
    let report = world.get("/api/v1/machine/boot")?;
    let ended = |step: &str| {
        report["steps"]
            .as_array()
            .and_then(|s| s.iter().find(|s| s["name"] == step))
            .and_then(|s| s["ended_ms"].as_f64())
    };
    let steps: Vec<Value> = report["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| json!([s["name"], s["started_ms"], s["ended_ms"]]))
        .collect();
    let context = json!({ "acceleration": world.status()?.machine.acceleration, "steps_ms": steps });
    if let Some(node) = ended("node") {
        bench.report("boot.node_ready", node / 1000.0, &context);
    }
    bench.report("boot.web_ready", web, &context);
    Ok(())
}

fn life(bench: &mut Bench) -> Result<()> {
    let mut world = World::warm("bench")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    settle(&world)?;
    if bench.wants(&["guest.memory_kubernetes"]) {
        let machine = world.machine()?;
        let guest = machine.guest.context("the guest has not spoken")?;
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
        bench.report("guest.memory_kubernetes", guest.memory.used as f64, &json!({ "with": "the first page's pod" }));
    }
    if bench.wants(&["alcoved.rss", "alcoved.cpu_idle"]) {
        idle(bench, &world)?;
    }
    if bench.wants(&["proxy.throughput_ratio", "proxy.latency_added"]) {
        proxy(bench, &world)?;
    }
    if bench.wants(&["suspend.time", "suspend.bytes", "resume.api", "resume.web"]) {
        let (mut suspends, mut sizes, mut apis, mut webs) = (vec![], vec![], vec![], vec![]);
        // Each by itself: a person waits for the one or for the other.
        for run in 0..6 {
            let began = Instant::now();
            world.ok(&["suspend", "--wait"])?;
            suspends.push(began.elapsed().as_secs_f64());
            world.until("the state's size is known", PATIENCE, |w| Ok(w.machine()?.state_bytes.is_some()))?;
            #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
            sizes.push(world.machine()?.state_bytes.unwrap_or_default() as f64);
            let began = Instant::now();
            world.ok(&["resume", "--no-wait"])?;
            if run % 2 == 0 {
                apis.push(answers(&world, Target::Kubernetes, began)?);
            } else {
                webs.push(answers(&world, Target::Desktop, began)?);
            }
            world.phase(Phase::Running, PATIENCE)?;
            settle(&world)?;
        }
        for (name, values) in
            [("suspend.time", suspends), ("suspend.bytes", sizes), ("resume.api", apis), ("resume.web", webs)]
        {
            bench.report(name, median(values.clone()), &json!({ "runs": values, "taken": "median" }));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Target {
    Kubernetes,
    Desktop,
}

/// Seconds from `began` until the target answers through the supervisor.
fn answers(world: &World, target: Target, began: Instant) -> Result<f64> {
    loop {
        if request(world, target).is_ok_and(|status| status == 200) {
            return Ok(began.elapsed().as_secs_f64());
        }
        if began.elapsed() > PATIENCE {
            bail!("it does not answer after a resume");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request over a connection of its own, as a fresh client makes it.
fn request(world: &World, target: Target) -> Result<u16> {
    let (port, token) = world.loopback()?;
    let (host, path) = match target {
        Target::Kubernetes => (format!("127.0.0.1:{port}"), "/kubernetes/livez"),
        Target::Desktop => (format!("desktop.localhost:{port}"), "/api/v1/me"),
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")
}

/// How long that is waited for: under emulation on a slow computer it never gets calm.
const CALM: Duration = Duration::from_secs(60);

/// Waits until the machine's own load has gone down, so that a figure is not that of the boot's rest.
fn settle(world: &World) -> Result<()> {
    let mut calm = 0;
    world
        .until("the machine is calm", CALM, |w| {
            calm = if w.machine()?.host_cpu_share.is_some_and(|share| share < 0.75) { calm + 1 } else { 0 };
            std::thread::sleep(Duration::from_secs(1));
            Ok(calm >= 3)
        })
        .or_else(|_| {
            let _ = writeln!(std::io::stderr(), "the machine did not calm down; measured all the same");
            Ok(())
        })
}

fn idle(bench: &mut Bench, world: &World) -> Result<()> {
    const OVER: Duration = Duration::from_secs(60);
    let pid = world.supervisor_pid()?;
    let ticks = || -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    let before = ticks()?;
    std::thread::sleep(OVER);
    #[expect(clippy::cast_precision_loss, reason = "few ticks")]
    let share = (ticks()? - before) as f64 / 100.0 / OVER.as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|v| v.split_whitespace().next())
        .and_then(|v| v.parse().ok())
        .context("no VmRSS")?;
    bench.report("alcoved.cpu_idle", share, &json!({ "over_s": OVER.as_secs(), "machine": "running" }));
    bench.report("alcoved.rss", kib * 1024.0, &json!({ "machine": "running" }));
    Ok(())
}

/// Through the supervisor against the raw door, the same bytes in turn: what the supervisor itself costs.
fn proxy(bench: &mut Bench, world: &World) -> Result<()> {
    let (through, door) = (Way::supervisor(world)?, Way::door(world)?);
    let (mut ours, mut raw) = (vec![], vec![]);
    for _ in 0..60 {
        raw.push(door.latency()?);
        ours.push(through.latency()?);
    }
    let context = json!({ "pairs": 60, "ours_ms": median(ours.clone()), "raw_ms": median(raw.clone()), "path": PROBE });
    bench.report("proxy.latency_added", median(ours) - median(raw), &context);
    let (mut ours, mut raw) = (vec![], vec![]);
    for _ in 0..3 {
        raw.push(door.throughput()?);
        ours.push(through.throughput()?);
    }
    let context = json!({ "pairs": 3, "ours_mb_s": median(ours.clone()) / 1e6, "raw_mb_s": median(raw.clone()) / 1e6 });
    bench.report("proxy.throughput_ratio", median(ours) / median(raw), &context);
    Ok(())
}

/// A way to what is behind the door, gone by curl: the same program and the same requests on both ways.
struct Way {
    arguments: Vec<String>,
    /// The probe of the gateway.
    probe: String,
    /// What is downloaded to measure throughput: the cluster's own API description, some megabytes of JSON.
    large: String,
}

/// Where the guest's door listens.
const GUEST_PORT: u16 = 7443;
const PROBE: &str = "/healthz";
const LARGE: &str = "/openapi/v2";

impl Way {
    /// Straight to the port that QEMU forwards, with the door's own keys.
    fn door(world: &World) -> Result<Self> {
        let asked = async {
            let by = tokio::time::Instant::now() + Duration::from_secs(5);
            let qmp = Qmp::connect(&world.layout().qmp_diag_sock(), by).await?;
            qmp.forwarded_port(GUEST_PORT).await?.context("QEMU forwards no port")
        };
        let port = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(asked)?;
        let name = |service: &str| format!("{service}.door.alcove");
        let key = |file: &str| world.layout().credentials().join(file).display().to_string();
        let mut arguments: Vec<String> =
            [("--cacert", "door-ca.crt"), ("--cert", "door-client.crt"), ("--key", "door-client.key")]
                .into_iter()
                .flat_map(|(flag, file)| [flag.to_owned(), key(file)])
                .collect();
        for service in ["gateway", "kubernetes"] {
            arguments.extend(["--resolve".to_owned(), format!("{}:{port}:127.0.0.1", name(service))]);
        }
        let at = |service: &str, path: &str| format!("https://{}:{port}{path}", name(service));
        Ok(Self { arguments, probe: at("gateway", PROBE), large: at("kubernetes", LARGE) })
    }

    /// As a program with the token goes.
    fn supervisor(world: &World) -> Result<Self> {
        let (port, token) = world.loopback()?;
        let header = world.home().join("bench-header");
        fs::write(&header, format!("Authorization: Bearer {token}\n"))?;
        let host = format!("desktop.localhost:{port}");
        let arguments =
            ["-H", &format!("@{}", header.display()), "--resolve", &format!("{host}:127.0.0.1")].map(str::to_owned);
        Ok(Self {
            arguments: arguments.to_vec(),
            probe: format!("http://{host}{PROBE}"),
            large: format!("http://127.0.0.1:{port}/kubernetes{LARGE}"),
        })
    }

    /// What curl tells of each of `urls`, asked for one after the other over one connection.
    fn curl(&self, tell: &str, urls: &[&str]) -> Result<Vec<f64>> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "--max-time", "120", "-w", &format!("%{{{tell}}}\n")]).args(&self.arguments);
        for url in urls {
            command.args(["-o", "/dev/null", url]);
        }
        let output = command.output()?;
        if !output.status.success() {
            bail!("{} does not answer: {}", self.probe, String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8_lossy(&output.stdout).lines().map(|l| l.parse().context("not a number")).collect()
    }

    /// Milliseconds until the answer to a request over a connection that is open and in use: the second of two.
    fn latency(&self) -> Result<f64> {
        let seconds = self.curl("time_starttransfer", &[&self.probe, &self.probe])?;
        Ok(seconds.get(1).context("no second answer")? * 1000.0)
    }

    /// Bytes a second.
    fn throughput(&self) -> Result<f64> {
        self.curl("speed_download", &[&self.large])?.first().copied().context("no speed")
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
