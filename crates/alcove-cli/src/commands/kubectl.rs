//! `alcove kubectl`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use alcove_client::{Endpoint, find_executable};
use alcove_types::{ApiError, ErrorCode};
use serde_json::json;

use super::Context;
use crate::exit::{Failure, internal};

pub(crate) async fn run(context: &Context<'_>, arguments: &[String]) -> Result<(), Failure> {
    // A live supervisor first: an address that was written down by a dead one may be somebody else's by now.
    context.connect_or_adopt().await?;
    let endpoint = Endpoint::read(&context.arguments.common.instance)?;
    let kubectl = find_executable("kubectl").ok_or_else(|| {
        ApiError::new(
            ErrorCode::Unsupported,
            "kubectl was not found",
            "It comes with Alcove's package, in /usr/lib/alcove; any kubectl on PATH works, too.",
        )
    })?;
    let kubeconfig = context.layout()?.runtime().join("kubeconfig");
    write(&kubeconfig, &content(&endpoint))
        .map_err(|e| internal(format!("{} can't be written ({e})", kubeconfig.display())))?;
    // The token stands in the file alone: arguments can be seen by everybody on this computer.
    let failed = Command::new(&kubectl).args(arguments).env("KUBECONFIG", &kubeconfig).exec();
    Err(internal(format!("{} can't be started ({failed})", kubectl.display())).into())
}

/// A kubeconfig is YAML, and every JSON document is YAML.
fn content(endpoint: &Endpoint) -> Vec<u8> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "alcove",
            "cluster": { "server": format!("http://127.0.0.1:{}/kubernetes", endpoint.port) },
        }],
        "users": [{ "name": "owner", "user": { "token": endpoint.token } }],
        "contexts": [{ "name": "alcove", "context": { "cluster": "alcove", "user": "owner" } }],
        "current-context": "alcove",
    });
    config.to_string().into_bytes()
}

/// Writes the file for its owner alone, whole or not at all: another kubectl may read it at this moment.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
