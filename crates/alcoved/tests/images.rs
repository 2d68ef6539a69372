//! Bringing an image through the supervisor's own API, with a supervisor that is killed half-way.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use alcove_client::{Client, Outcome};
use alcove_machine::{Home, Layout};
use alcove_types::{
    ApiError, ErrorCode,
    image::{ImageFetch, ImageList, ImageRole, ImageSource},
    operation::OperationList,
    task::{Task, TaskState},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROOT: usize = 4 << 20;
/// Where the server stops until it is let go.
const HELD_AT: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

struct Supervisor {
    child: Child,
    client: Client,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct World {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path().join("home")).unwrap(), "default".parse().unwrap());
        Self { dir, layout }
    }

    fn source_json(&self) -> PathBuf {
        self.dir.path().join("image-source.json")
    }

    async fn supervisor(&self) -> Supervisor {
        let child = Command::new(env!("CARGO_BIN_EXE_alcoved"))
            .env("ALCOVE_HOME", self.dir.path().join("home"))
            .env("ALCOVE_IMAGE_SOURCE", self.source_json())
            // Whom the system trusts, for tests with certificates of their own.
            .env("SSL_CERT_FILE", self.dir.path().join("trusted.pem"))
            .env_remove("SSL_CERT_DIR")
            .env_remove("ALCOVE_IMAGES")
            .env_remove("ALCOVE_INSTANCE")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::at_socket(self.layout.api_sock()).named("alcove-cli/test");
        let until = Instant::now() + DEADLINE;
        while client.version().await.is_err() {
            assert!(Instant::now() < until, "the supervisor does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Supervisor { child, client }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.layout.runtime());
    }
}

impl Supervisor {
    async fn fetch(&self, request: &ImageFetch) -> Result<Task, ApiError> {
        match self.client.begin("/api/v1/images/fetch", request).await? {
            Outcome::Task(task) => Ok(*task),
            Outcome::Done(value) => panic!("no task: {value}"),
        }
    }

    async fn images(&self) -> ImageList {
        self.client.get("/api/v1/images").await.unwrap()
    }

    async fn until(&self, id: &str, what: &str, met: impl Fn(&Task) -> bool) -> Task {
        let until = Instant::now() + DEADLINE;
        loop {
            let task = self.client.task(id).await.unwrap();
            if met(&task) {
                return task;
            }
            assert!(Instant::now() < until && !task.state.ended(), "{what}: {task:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A folder of files on a server that holds the large one back until it is let go.
struct Server {
    address: SocketAddr,
    gate: Arc<(Mutex<bool>, Condvar)>,
    ranges: Arc<Mutex<Vec<u64>>>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (folder, held, asked) = (folder.to_owned(), gate.clone(), ranges.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, held, asked) = (folder.clone(), held.clone(), asked.clone());
                std::thread::spawn(move || answer(stream, &folder, &held, &asked));
            }
        });
        Self { address, gate, ranges }
    }

    fn let_go(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

fn answer(mut stream: TcpStream, folder: &Path, gate: &(Mutex<bool>, Condvar), asked: &Mutex<Vec<u64>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let name = lines.next()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let range = lines
        .take_while(|l| !l.is_empty())
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let Ok(content) = fs::read(folder.join(&name)) else {
        return write!(stream, "HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
    };
    let (from, total) = (range.unwrap_or(0), content.len());
    let head = match range {
        Some(from) => format!("206 X\r\ncontent-range: bytes {from}-{}/{total}", total - 1),
        None => "200 X".to_owned(),
    };
    let length = total - from;
    write!(stream, "HTTP/1.1 {head}\r\netag: \"1\"\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").ok()?;
    let mut rest = &content[from..];
    if name == "root.erofs" {
        asked.lock().unwrap().push(from as u64);
        if from < HELD_AT {
            stream.write_all(&rest[..HELD_AT - from]).ok()?;
            rest = &rest[HELD_AT - from..];
        }
        let open = gate.0.lock().unwrap();
        drop(gate.1.wait_while(open, |open| !*open).unwrap());
    }
    stream.write_all(rest).ok()
}

/// Writes an image's files into a folder and returns its manifest as text.
fn make_image(folder: &Path, version: &str) -> Vec<u8> {
    fs::create_dir_all(folder).unwrap();
    let root: Vec<u8> = (0..ROOT).map(|i| u8::try_from(i * 31 % 253).unwrap()).collect();
    let files = [("vmlinuz", b"kernel".to_vec()), ("initrd", b"initrd".to_vec()), ("root.erofs", root)];
    let listed: Vec<Value> = files
        .iter()
        .map(|(name, content)| {
            fs::write(folder.join(name), content).unwrap();
            json!({ "name": name, "bytes": content.len(), "sha256": hex::encode(Sha256::digest(content)) })
        })
        .collect();
    let manifest = json!({
        "schema": 1, "version": version, "created": "2026-01-01T00:00:00Z", "architecture": std::env::consts::ARCH,
        "kernel_version": "6.12.1", "cmdline": "", "kubernetes": { "distribution": "modules", "version": "v1.36.3" },
        "guest_version": "0.1.0", "files": listed, "packages": [{ "name": "bash", "version": "5" }], "containers": [],
    });
    let text = manifest.to_string().into_bytes();
    fs::write(folder.join("manifest.json"), &text).unwrap();
    text
}

#[tokio::test]
async fn a_killed_supervisor_loses_nothing_of_what_it_brought() {
    let world = World::new();
    let stick = world.dir.path().join("stick");
    let manifest = make_image(&stick, "abc123");
    let server = Server::start(&stick);
    let from = format!("http://{}/", server.address);
    let source = ImageSource {
        schema: 1,
        from: from.clone(),
        manifest_sha256: hex::encode(Sha256::digest(&manifest)),
        manifest: serde_json::from_slice(&manifest).unwrap(),
    };
    fs::write(world.source_json(), serde_json::to_vec(&source).unwrap()).unwrap();

    let mut first = world.supervisor().await;
    assert_eq!(first.images().await.source.unwrap().from, from);
    let task = first.fetch(&ImageFetch::default()).await.unwrap();
    let held = HELD_AT as u64 + 12;
    let seen = first.until(&task.id, "half of it is here", |t| t.transfer.is_some_and(|t| t.bytes == held)).await;
    assert_eq!((seen.state, seen.cancellable), (TaskState::Running, true));
    assert_eq!(seen.transfer.unwrap().total_bytes, ROOT as u64 + 12);
    assert_eq!(first.images().await.task, Some(task.id.clone()));
    let again = first.fetch(&ImageFetch::default()).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::Conflict);
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    let second = world.supervisor().await;
    let ended = second.client.task(&task.id).await.unwrap();
    assert_eq!(ended.state, TaskState::Failed);
    assert!(ended.error.unwrap().hint.contains("where it stopped"));
    let list = second.images().await;
    assert_eq!((list.unfinished[0].version.as_str(), list.unfinished[0].bytes), ("abc123", held));
    assert!(list.images.is_empty() && list.task.is_none());
    server.let_go();
    let task = second.fetch(&ImageFetch::default()).await.unwrap();
    second.until(&task.id, "the rest is here", |t| t.state == TaskState::Succeeded).await;
    assert_eq!(*server.ranges.lock().unwrap(), [0, HELD_AT as u64], "what was here was not brought again");

    let list = second.images().await;
    let image = &list.images[0];
    assert_eq!((image.manifest.version.as_str(), image.role, image.own), ("abc123", ImageRole::Next, true));
    assert_eq!(image.bytes, ROOT as u64 + 12);
    assert!(list.unfinished.is_empty());
    let log: OperationList = second.client.get("/api/v1/operations").await.unwrap();
    let said: Vec<_> = log.operations.iter().map(|o| (o.what.as_str(), o.result.as_str(), o.via.as_str())).collect();
    assert_eq!(said[..2], [("image.fetch", "succeeded", "cli"), ("image.fetch", "accepted", "cli")]);

    let list: ImageList = second.client.delete("/api/v1/images/abc123").await.unwrap();
    assert!(list.images.is_empty());
    let gone = second.client.delete::<Value>("/api/v1/images/abc123").await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    let path = second.client.delete::<Value>("/api/v1/images/..%2F..%2Fhome").await.unwrap_err();
    assert_eq!(path.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn it_is_cancelled_and_taken_up_again_and_what_is_needed_stays() {
    let world = World::new();
    let stick = world.dir.path().join("stick");
    make_image(&stick, "abc123");
    let server = Server::start(&stick);
    let supervisor = world.supervisor().await;
    let missing = supervisor.fetch(&ImageFetch::default()).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::BadRequest, "there is no package here that names a source: {missing:?}");

    let request = ImageFetch { source: Some(format!("http://{}/", server.address)), sha256: None };
    let task = supervisor.fetch(&request).await.unwrap();
    supervisor.until(&task.id, "it is under way", |t| t.transfer.is_some_and(|t| t.bytes > 1000)).await;
    let _: Task = supervisor.client.post(&format!("/api/v1/tasks/{}/cancel", task.id), &json!({})).await.unwrap();
    let ended = supervisor.until(&task.id, "it is cancelled", |t| t.state == TaskState::Cancelled).await;
    assert!(ended.error.unwrap().hint.contains("is kept"));
    assert_eq!(supervisor.images().await.unfinished.len(), 1);
    // From a folder now: the same image, so what the server gave is not copied again.
    let request = ImageFetch { source: Some(stick.display().to_string()), sha256: None };
    let task = supervisor.fetch(&request).await.unwrap();
    supervisor.until(&task.id, "it is here", |t| t.state == TaskState::Succeeded).await;

    // A machine of another instance uses it.
    let other = Layout::new(world.layout.home().clone(), "other".parse().unwrap());
    other.create().unwrap();
    let setup = alcove_types::machine::MachineSetup { memory_bytes: 1 << 30, cpus: 1, disk_bytes: 1 << 30 };
    let account = alcove_types::guest::Account { name: "ada".into(), display_name: "Ada".into() };
    alcove_machine::MachineSpec::new("other".parse().unwrap(), setup, account, "abc123").unwrap().save(&other).unwrap();
    assert_eq!(supervisor.images().await.images[0].used_by, ["other"]);
    let refused = supervisor.client.delete::<Value>("/api/v1/images/abc123").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("other"), "{refused:?}");
    assert_eq!(supervisor.images().await.images.len(), 1);
}

/// Serves the files of a folder with TLS; returns the certificate.
async fn serve_https(folder: PathBuf) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, folder) = (acceptor.clone(), folder.clone());
            tokio::spawn(async move {
                // Who does not trust us hangs up.
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let name = head.split(' ').nth(1).unwrap().trim_start_matches('/');
                let content = fs::read(folder.join(name)).unwrap();
                let length = content.len();
                let answer = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.write_all(&content).await.unwrap();
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn an_encrypted_address_is_trusted_only_when_the_system_trusts_it() {
    let world = World::new();
    let stick = world.dir.path().join("stick");
    make_image(&stick, "abc123");
    let (address, certificate) = serve_https(stick.clone()).await;
    let (_, stranger) = serve_https(stick).await;
    let request = ImageFetch { source: Some(format!("https://localhost:{}/", address.port())), sha256: None };
    let trusted = world.dir.path().join("trusted.pem");

    fs::write(&trusted, stranger).unwrap();
    let supervisor = world.supervisor().await;
    let task = supervisor.fetch(&request).await.unwrap();
    let failed = supervisor.until(&task.id, "it is refused", |t| t.state == TaskState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, ErrorCode::SourceUnreachable);
    assert!(error.message.contains("certificate"), "{error:?}");
    assert!(supervisor.images().await.images.is_empty());

    fs::write(&trusted, certificate).unwrap();
    let task = supervisor.fetch(&request).await.unwrap();
    supervisor.until(&task.id, "it is here", |t| t.state == TaskState::Succeeded).await;
    assert_eq!(supervisor.images().await.images.len(), 1);
}
