//! What the cluster keeps: policies between pods, proven with pods.

use alcove_machine_tests::{PATIENCE, World};
use alcove_types::machine::Phase;
use anyhow::{Result, ensure};

const DENY: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deny","namespace":"walled"},
"spec":{"podSelector":{},"policyTypes":["Ingress","Egress"]}}"#;

fn kubectl(world: &World, arguments: &[&str]) -> Result<String> {
    Ok(world.ok(&[&["kubectl", "--"], arguments].concat())?.stdout)
}

/// Runs a pod that tries to reach an address; true when it got through.
fn reaches(world: &World, image: &str, namespace: &str, name: &str, address: &str) -> Result<bool> {
    let image = format!("--image={image}");
    let run = ["-n", namespace, "run", name, image.as_str(), "--image-pull-policy=Never", "--restart=Never", "--"];
    kubectl(world, &[&run[..], &["reach", address, "--within", "15"]].concat())?;
    let mut phase = String::new();
    world.until(&format!("the pod {name} has ended"), PATIENCE, |w| {
        phase = kubectl(w, &["-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.phase}"])?;
        Ok(phase == "Succeeded" || phase == "Failed")
    })?;
    Ok(phase == "Succeeded")
}

#[test]
fn a_policy_between_two_pods_holds_and_the_gateway_is_closed_to_pods() -> Result<()> {
    let mut world = World::warm("policy")?;
    world.supervise()?;
    world.phase(Phase::Running, PATIENCE)?;
    world.until("the cluster's names are served", PATIENCE, |w| {
        let ready = ["-n", "kube-system", "get", "endpointslices", "-l", "kubernetes.io/service-name=kube-dns"];
        let ready = kubectl(w, &[&ready[..], &["-o", "jsonpath={.items[*].endpoints[*].conditions.ready}"]].concat())?;
        Ok(ready.contains("true"))
    })?;
    let image = ["-n", "alcove-system", "get", "deploy", "gateway", "-o"];
    let image = kubectl(&world, &[&image[..], &["jsonpath={.spec.template.spec.containers[0].image}"]].concat())?;

    for namespace in ["open", "walled"] {
        kubectl(&world, &["create", "namespace", namespace])?;
    }
    let policy = world.home().join("deny.json");
    std::fs::write(&policy, DENY)?;
    kubectl(&world, &["apply", "-f", &policy.to_string_lossy()])?;

    ensure!(reaches(&world, &image, "open", "free", "10.43.0.10:53")?, "without a policy one pod reaches another");
    ensure!(!reaches(&world, &image, "walled", "held", "10.43.0.10:53")?, "a policy that denies everything holds");
    ensure!(!reaches(&world, &image, "open", "curious", "10.43.0.80:80")?, "the gateway is for the host alone");
    Ok(())
}
