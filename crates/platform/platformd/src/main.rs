//! The platform: one program, started as pods with different roles.

use std::{io, net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use alcove_gateway::{IdentityKey, Place};
use clap::{Parser, Subcommand};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};

/// The platform.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Every request enters here.
    Gateway {
        /// Where the identity key lies, mounted from a Secret.
        #[arg(long, env = "IDENTITY_KEY_FILE")]
        identity_key: PathBuf,
        /// The port to listen on.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// The node that the pod runs on.
        #[arg(long, env = "NODE_NAME", default_value = "")]
        node: String,
        /// The pod.
        #[arg(long, env = "POD_NAME", default_value = "")]
        pod: String,
        /// Version of Kubernetes.
        #[arg(long, env = "KUBERNETES_VERSION")]
        kubernetes_version: Option<String>,
    },
    /// Tries a TCP connection and says whether it came about: to look into what a pod can reach.
    Reach {
        /// `host:port`.
        address: String,
        /// Seconds to wait.
        #[arg(long, default_value_t = 5)]
        within: u64,
    },
}

/// One thread is enough for a page, and costs the least memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse().role).await {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(role: Role) -> io::Result<ExitCode> {
    match role {
        Role::Gateway { identity_key, port, node, pod, kubernetes_version } => {
            let key = std::fs::read(&identity_key)
                .map_err(|e| io::Error::new(e.kind(), format!("{} can't be read: {e}", identity_key.display())))?;
            if key.len() < 32 {
                return Err(io::Error::other(format!("{} holds no key", identity_key.display())));
            }
            let place = Place { node, pod, kubernetes_version: kubernetes_version.filter(|v| !v.is_empty()) };
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            axum::serve(listener, alcove_gateway::routes(IdentityKey::new(key), place))
                .with_graceful_shutdown(asked_to_end())
                .await?;
            Ok(ExitCode::SUCCESS)
        }
        Role::Reach { address, within } => {
            let reached = tokio::time::timeout(Duration::from_secs(within), TcpStream::connect(&address)).await;
            match reached {
                Ok(Ok(_)) => {
                    complain(&format!("{address} answers"));
                    Ok(ExitCode::SUCCESS)
                }
                Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("{address} does not answer: {error}"))),
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer within {within} s")))
                }
            }
        }
    }
}

async fn asked_to_end() {
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
    } else {
        std::future::pending::<()>().await;
    }
}

#[expect(clippy::print_stderr, reason = "a pod's log")]
fn complain(text: &str) {
    eprintln!("{text}");
}
