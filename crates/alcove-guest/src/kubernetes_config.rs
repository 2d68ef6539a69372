//! The configuration that Kubernetes is started with (K3s's `config.yaml`).

use crate::addresses::OWN;

/// Where it lies.
pub const PATH: &str = "rancher/k3s/config.yaml";

/// The configuration of this machine's server. What an owner wants to add goes into `config.yaml.d/` beside it, which
/// stays as it is; this file is written anew at every boot.
///
/// JSON strings are YAML strings, so nothing that comes from the host can break out of its place.
#[must_use]
pub fn render(token: &str, node: &str, distribution: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut config = format!(
        "# Written by Alcove at every boot. Add to it in config.yaml.d/.\n\
         token: {}\n\
         node-name: {}\n\
         node-ip: \"{OWN}\"\n\
         cluster-cidr: \"10.42.0.0/16\"\n\
         service-cidr: \"10.43.0.0/16\"\n\
         cluster-dns: \"10.43.0.10\"\n\
         write-kubeconfig-mode: \"0600\"\n\
         data-dir: /var/lib/rancher/k3s\n",
        text(token),
        text(node),
    );
    if distribution == "k3s" {
        // The platform's gateway is the cluster's only entrance.
        config.push_str(
            "disable:\n  - traefik\n  - servicelb\ndisable-cloud-controller: true\npause-image: alcove.local/pause:1\n",
        );
    }
    config
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn values_stay_in_their_place() {
        let config = render("a\"\ndisable-agent: true", "alcove", "modules");
        assert!(!config.lines().any(|line| line.starts_with("disable-agent")));
        assert!(config.contains("node-name: \"alcove\"\n"));
        assert!(!config.contains("traefik"));
        assert!(render("a", "b", "k3s").contains("- traefik\n"));
    }
}
