//! Handing the platform's manifests to Kubernetes, with what belongs to this machine filled in.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use alcove_types::guest::MachineCredentials;
use anyhow::{Context, Result, anyhow, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::images::About;

const TEMPLATES: &str = "/usr/lib/alcove/platform";
const MANIFESTS: &str = "/var/lib/rancher/k3s/server/manifests";
const MANIFEST: &str = "alcove-platform.yaml";
const IMAGE: &str = "alcove.local/platformd:";

/// Writes the platform's manifests where Kubernetes applies them from. Nothing is written when nothing has changed.
pub(super) fn install(machine: &MachineCredentials) -> Result<()> {
    let about = About::read();
    let Some(image) = about.containers.iter().find(|reference| reference.starts_with(IMAGE)) else {
        return Ok(());
    };
    let templates = templates(Path::new(TEMPLATES))?;
    let manifest = render(&templates, machine, image, &about.kubernetes.version)?;
    let path = Path::new(MANIFESTS).join(MANIFEST);
    if fs::read(&path).is_ok_and(|there| there == manifest.as_bytes()) {
        return Ok(());
    }
    fs::create_dir_all(MANIFESTS).with_context(|| format!("{MANIFESTS} can't be made"))?;
    // Not among the manifests before it is whole: Kubernetes watches that folder.
    let new = Path::new(MANIFESTS).join(format!(".{MANIFEST}.new"));
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(manifest.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    Ok(())
}

fn templates(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("{} can't be read", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    let texts = files.iter().map(fs::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
    Ok(texts.join("\n---\n"))
}

/// Fills in `@NAME@` marks. Values are base64, and a reference and a version of ours, so none of them can break out of
/// its place in the YAML.
fn render(template: &str, machine: &MachineCredentials, image: &str, kubernetes: &str) -> Result<String> {
    let key = hex::decode(&machine.identity_key).map_err(|_| anyhow!("the identity key is damaged"))?;
    ensure!(key.len() == 32, "the identity key is damaged");
    Ok(template
        .replace("@IDENTITY_KEY@", &STANDARD.encode(key))
        .replace("@PLATFORM_IMAGE@", image)
        .replace("@KUBERNETES_VERSION@", kubernetes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(key: &str) -> MachineCredentials {
        serde_json::from_value(serde_json::json!({
            "schema": 1, "instance": "default", "hostname": "alcove", "machine_id": "",
            "door": {"ca_cert": "", "server_cert": "", "server_key": ""}, "kubernetes": {"token": ""},
            "identity_key": key, "unix_time_ns": 0, "account": {"name": "owner", "display_name": "Owner"}
        }))
        .unwrap()
    }

    #[test]
    fn marks_are_filled_in() {
        let template = "image: @PLATFORM_IMAGE@\nkey: @IDENTITY_KEY@\nversion: \"@KUBERNETES_VERSION@\"\n";
        let manifest = render(template, &machine(&"00".repeat(32)), "alcove.local/platformd:1", "v1.36.3").unwrap();
        assert!(manifest.contains("image: alcove.local/platformd:1\n"));
        assert!(manifest.contains("key: AAAA"));
        assert!(manifest.contains("version: \"v1.36.3\""));
    }

    #[test]
    fn a_damaged_key_is_refused() {
        for key in ["", "00", "zz", &"é".repeat(32)] {
            assert!(render("", &machine(key), "i", "v").is_err());
        }
    }

    #[test]
    fn templates_are_joined_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("2.yaml", "b: 1"), ("1.yaml", "a: 1"), ("notes.md", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(templates(folder.path()).unwrap(), "a: 1\n---\nb: 1");
    }
}
