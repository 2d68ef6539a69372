//! What the cluster keeps: policies between pods, volumes, names and figures, proven with pods.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::machine::Phase;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

const DENY: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deny","namespace":"walled"},
"spec":{"podSelector":{},"policyTypes":["Ingress","Egress"]}}"#;

fn names_are_served(world: &World) -> Result<()> {
    world.until("the cluster's names are served", PATIENCE, |w| {
        let ready = ["-n", "kube-system", "get", "endpointslices", "-l", "kubernetes.io/service-name=kube-dns"];
        let ready = w.kubectl(&[&ready[..], &["-o", "jsonpath={.items[*].endpoints[*].conditions.ready}"]].concat())?;
        Ok(ready.contains("true"))
    })
}

/// Runs a pod that tries to reach an address; true when it got through.
fn reaches(world: &World, image: &str, namespace: &str, name: &str, address: &str) -> Result<bool> {
    let image = format!("--image={image}");
    let run = ["-n", namespace, "run", name, image.as_str(), "--image-pull-policy=Never", "--restart=Never", "--"];
    world.kubectl(&[&run[..], &["reach", address, "--within", "15"]].concat())?;
    world.pod_ends(namespace, name)
}

#[test]
fn a_policy_between_two_pods_holds_and_the_gateway_is_closed_to_pods() -> Result<()> {
    let mut world = World::warm("policy")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    names_are_served(&world)?;
    let image = world.platform_image()?;

    for namespace in ["open", "walled"] {
        world.kubectl(&["create", "namespace", namespace])?;
    }
    // The same pod in the same place, before and after: it is the policy that holds it.
    ensure!(reaches(&world, &image, "walled", "before", "10.43.0.10:53")?, "without a policy one pod reaches another");
    world.apply(&serde_json::from_str(DENY)?)?;

    ensure!(reaches(&world, &image, "open", "free", "10.43.0.10:53")?, "a policy is for its own namespace");
    ensure!(!reaches(&world, &image, "walled", "held", "10.43.0.10:53")?, "a policy that denies everything holds");
    ensure!(!reaches(&world, &image, "open", "curious", "10.43.0.80:80")?, "the gateway is for the host alone");
    Ok(())
}

/// A pod that runs a line of the guest's own shell, with a volume at `/volume`: the images hold nothing that writes.
fn shell_pod(world: &World, name: &str, line: &str) -> Result<()> {
    let library = "/host/usr/lib/x86_64-linux-gnu";
    let loader = format!("{library}/ld-linux-x86-64.so.2");
    world.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "shell", "image": world.platform_image()?, "imagePullPolicy": "Never",
                "command": [loader, "--library-path", library, "/host/usr/bin/dash", "-c", line],
                "securityContext": { "runAsUser": 0 },
                "volumeMounts": [
                    { "name": "host", "mountPath": "/host/usr", "readOnly": true },
                    { "name": "data", "mountPath": "/volume" },
                ],
            }],
            "volumes": [
                { "name": "host", "hostPath": { "path": "/usr" } },
                { "name": "data", "persistentVolumeClaim": { "claimName": "kept" } },
            ],
        },
    }))?;
    if world.pod_ends("default", name)? {
        return Ok(());
    }
    bail!("the pod {name} failed: {}", world.kubectl(&["logs", name])?)
}

#[test]
fn a_volume_is_bound_written_and_kept_on_the_data_disk() -> Result<()> {
    let mut world = World::warm("volume")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "kept" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "64Mi" } } },
    }))?;
    shell_pod(&world, "writes", "echo here > /volume/word")?;
    world.kubectl(&["delete", "pod", "writes"])?;
    // Another pod finds what the first one left.
    shell_pod(&world, "reads", "read word < /volume/word && [ \"$word\" = here ]")?;
    let claim = world.kubectl(&["get", "pvc", "kept", "-o", "jsonpath={.status.phase} {.spec.volumeName}"])?;
    let (phase, volume) = claim.split_once(' ').context("no volume")?;
    assert_eq!(phase, "Bound");
    let path = world.kubectl(&["get", "pv", volume, "-o", "jsonpath={.spec.local.path}{.spec.hostPath.path}"])?;
    // A subvolume of its own, whose root always has this number.
    let seen = world.ok(&["shell", "--", "stat", "-f", "-c", "%T", path.trim()])?.stdout;
    ensure!(seen.trim() == "btrfs", "{path} lies on {seen}");
    let seen = world.ok(&["shell", "--", "stat", "-c", "%i", path.trim()])?.stdout;
    ensure!(seen.trim() == "256", "{path} is no subvolume: {seen}");
    Ok(())
}

/// Kubernetes runs it a hundred times at each start where it finds it, to clean up after proxies that never were there.
#[test]
fn nothing_in_the_machine_runs_iptables() -> Result<()> {
    let mut world = World::warm("iptables")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    let programs = world.ok(&["shell", "--", "ls", "/usr/sbin"])?.stdout;
    for program in ["iptables", "ip6tables", "ipset"] {
        ensure!(!programs.lines().any(|name| name.trim() == program), "{program} is there");
    }
    // The kernel's part for it, which is loaded by whoever runs it.
    let modules = world.ok(&["shell", "--", "cat", "/proc/modules"])?.stdout;
    ensure!(modules.contains("nf_tables ") && !modules.contains("nft_compat "), "{modules}");
    Ok(())
}

/// A port of this computer that leads to a service in the cluster, as long as the value lives.
struct Forward {
    child: Child,
    port: u16,
    /// It has more to say, and would end where nobody listens.
    said: BufReader<ChildStdout>,
}

impl Forward {
    fn to(world: &World, namespace: &str, service: &str, port: u16) -> Result<Self> {
        let mut command = world.program("alcove")?;
        command.args(["kubectl", "--", "-n", namespace, "port-forward", service, &format!(":{port}")]);
        // With a group of its own, so that its kubectl ends with it.
        let mut child = command.stdout(Stdio::piped()).process_group(0).spawn()?;
        let said = BufReader::new(child.stdout.take().context("no output")?);
        let mut forward = Self { child, port: 0, said };
        // Forwarding from 127.0.0.1:40123 -> 53
        let mut line = String::new();
        forward.said.read_line(&mut line)?;
        let port = line.split(" -> ").next().and_then(|l| l.rsplit(':').next()?.parse().ok());
        forward.port = port.with_context(|| format!("nothing was forwarded: {line}"))?;
        Ok(forward)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Asks for a name's address, by TCP.
fn resolve(port: u16, name: &str) -> Result<Vec<u8>> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&u16::try_from(query.len())?.to_be_bytes())?;
    stream.write_all(&query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn names_and_figures_are_answered() -> Result<()> {
    let mut world = World::warm("names")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    names_are_served(&world)?;
    let dns = Forward::to(&world, "kube-system", "service/kube-dns", 53)?;
    let answer = resolve(dns.port, "kubernetes.default.svc.cluster.local")?;
    ensure!(answer.get(..2) == Some(&[0x12, 0x34]) && answer[3] & 15 == 0 && answer[7] == 1, "{answer:?}");
    // Nothing follows the one address, unless the server says more: it stands behind its type, class, life and length.
    let address = answer.windows(6).any(|w| w == [0, 4, 10, 43, 0, 1]);
    ensure!(address, "this is not the API's address: {answer:?}");
    let unknown = resolve(dns.port, "nobody.default.svc.cluster.local")?;
    ensure!(unknown[3] & 15 == 3, "a name that nobody has was found: {unknown:?}");
    drop(dns);

    let mut top = String::new();
    world.until("the node's use is measured", PATIENCE, |w| {
        let usage: Value =
            serde_json::from_str(&w.kubectl(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"])?)?;
        let memory = usage["items"][0]["usage"]["memory"].as_str().unwrap_or_default().to_owned();
        let memory: u64 = memory.strip_suffix("Ki").and_then(|m| m.parse().ok()).unwrap_or(0);
        top = w.kubectl(&["top", "nodes", "--no-headers"])?;
        Ok(memory > 100_000)
    })?;
    ensure!(top.contains('%'), "{top}");
    Ok(())
}
