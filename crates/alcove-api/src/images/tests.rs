//! Bringing images from folders and from a server on loopback that can misbehave.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, MutexGuard},
};

use alcove_machine::{Home, image::Check};
use alcove_types::image::{ImageFile, ImageKubernetes, ImageManifest};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{bring::Tell, *};

/// A file that is larger than what a connection takes in before it is read.
const LARGE: usize = 6 << 20;

/// How a server behaves, and what it was asked.
#[derive(Default)]
struct Rules {
    files: HashMap<String, Vec<u8>>,
    /// Answers the whole file, whatever was asked for.
    no_ranges: bool,
    tag: Option<&'static str>,
    /// Ends the connection after so many bytes of the body, once for each.
    cuts: VecDeque<usize>,
    /// Answers with this instead, once for each.
    statuses: VecDeque<(u16, &'static str)>,
    /// What was asked: name, first byte, `If-Range`.
    asked: Vec<(String, u64, Option<String>)>,
}

struct Server {
    address: SocketAddr,
    rules: Arc<Mutex<Rules>>,
}

impl Server {
    fn start(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(Mutex::new(Rules { files, tag: Some("\"one\""), ..Rules::default() }));
        let shared = rules.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let rules = shared.clone();
                std::thread::spawn(move || serve(stream, &rules));
            }
        });
        Self { address, rules }
    }

    fn url(&self) -> String {
        format!("http://{}/images/1/", self.address)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    /// From which bytes a file was asked for.
    fn asked(&self, name: &str) -> Vec<u64> {
        self.rules().asked.iter().filter(|(n, ..)| n == name).map(|(_, from, _)| *from).collect()
    }
}

fn serve(mut stream: TcpStream, rules: &Mutex<Rules>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let first = lines.next()?;
    let headers: Vec<(String, String)> = lines
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned())))
        .collect();
    let header = |name: &str| headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let name = first.split(' ').nth(1)?.strip_prefix("/images/1/").unwrap_or("?").to_owned();
    let from = header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let (content, no_ranges, tag, cut, status) = {
        let mut rules = rules.lock().unwrap();
        rules.asked.push((name.clone(), from, header("if-range")));
        let content = rules.files.get(&name).cloned();
        let body = name != "manifest.json";
        let cut = if body { rules.cuts.pop_front() } else { None };
        let status = if body { rules.statuses.pop_front() } else { None };
        (content, rules.no_ranges, rules.tag, cut, status)
    };
    if let Some((status, more)) = status {
        return write!(stream, "HTTP/1.1 {status} X\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n").ok();
    }
    let Some(content) = content else {
        return write!(stream, "HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
    };
    let changed = header("if-range").is_some_and(|t| Some(t.as_str()) != tag);
    let total = content.len();
    let start = if no_ranges || changed { 0 } else { usize::try_from(from).ok()? };
    let tag = tag.map(|t| format!("etag: {t}\r\n")).unwrap_or_default();
    if start > total {
        return write!(stream, "HTTP/1.1 416 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
    }
    let (status, range) = if start > 0 {
        (206, format!("content-range: bytes {start}-{}/{total}\r\n", total - 1))
    } else {
        (200, String::new())
    };
    let body = &content[start..];
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\n{tag}{range}content-length: {length}\r\nconnection: close\r\n\r\n").ok()?;
    stream.write_all(&body[..cut.unwrap_or(length).min(length)]).ok()
}

/// An image's files with its manifest.
fn image(root: usize, change: impl FnOnce(&mut ImageManifest)) -> HashMap<String, Vec<u8>> {
    let large: Vec<u8> = (0..root).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
    let files = [("vmlinuz", b"kernel".to_vec()), ("initrd", b"initrd".to_vec()), ("root.erofs", large)];
    let mut manifest = ImageManifest {
        schema: 1,
        version: "abc123".into(),
        created: "2026-01-01T00:00:00Z".into(),
        architecture: std::env::consts::ARCH.into(),
        kernel_version: "6.12".into(),
        cmdline: String::new(),
        kubernetes: ImageKubernetes { distribution: "none".into(), version: String::new() },
        guest_version: "0".into(),
        files: files
            .iter()
            .map(|(name, content)| ImageFile {
                name: (*name).into(),
                bytes: content.len() as u64,
                sha256: hex::encode(Sha256::digest(content)),
            })
            .collect(),
        packages: Vec::new(),
        containers: Vec::new(),
    };
    change(&mut manifest);
    let mut all: HashMap<_, _> = files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    all.insert("manifest.json".into(), serde_json::to_vec(&manifest).unwrap());
    all
}

struct World {
    dir: tempfile::TempDir,
    layout: Layout,
    free: fn(&Path) -> std::io::Result<u64>,
    expected: Option<Expected>,
    cancel: CancellationToken,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Home::at(dir.path().join("home")).unwrap(), "test".parse().unwrap());
        let (expected, cancel) = (None, CancellationToken::new());
        Self { dir, layout, free: |_| Ok(u64::MAX), expected, cancel }
    }

    async fn bring(&self, from: &str) -> Result<String, ApiError> {
        self.bring_telling(from, &mut |_, _, _| ()).await
    }

    async fn bring_telling(&self, from: &str, tell: &mut Tell<'_>) -> Result<String, ApiError> {
        let patience = Patience {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            pause: Duration::from_millis(1),
            tries: 3,
        };
        let bring = Bring {
            layout: &self.layout,
            folders: &[],
            source: Source::parse(from, &patience)?,
            expected: self.expected.clone(),
            patience,
            free: self.free,
            cancel: self.cancel.clone(),
        };
        let _lock = bring::lock(&self.layout)?;
        bring.run(tell).await
    }

    fn images(&self) -> PathBuf {
        self.layout.home().images()
    }

    /// The names in the images' folder, but for the lock.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.images()).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().into_string().unwrap()).filter(|n| n != ".bring.lock").collect()
    }

    fn is_whole(&self) -> bool {
        self.names() == ["abc123"]
            && Image::open(self.images().join("abc123")).unwrap().verify(Check::Full).is_ok()
            && fs::read_dir(self.images().join("abc123")).unwrap().count() == 4
    }
}

#[tokio::test]
async fn an_image_comes_from_a_server_and_is_not_brought_twice() {
    let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    let mut told = Vec::new();
    let version = world
        .bring_telling(&server.url(), &mut |step, here, total| told.push((step.clone(), here, total)))
        .await
        .unwrap();
    assert_eq!(version, "abc123");
    assert!(world.is_whole(), "{:?}", world.names());
    let total = LARGE as u64 + 12;
    assert!(told.windows(2).all(|w| w[0].1 <= w[1].1), "it only grows");
    assert_eq!(told.last().unwrap(), &(Step::Place, total, total));
    assert!(told.iter().filter(|(s, ..)| *s == Step::File("root.erofs".into())).count() > 3);
    world.bring(&server.url()).await.unwrap();
    assert_eq!(server.asked("root.erofs"), [0], "it is there already");
}

#[tokio::test]
async fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    // The first two small files come whole; then it breaks twice in the large one.
    server.rules().cuts = [usize::MAX, usize::MAX, 1_000_000, 2_000_000].into();
    world.bring(&server.url()).await.unwrap();
    assert!(world.is_whole());
    assert_eq!(server.asked("root.erofs"), [0, 1_000_000, 3_000_000]);
    let if_range = server.rules().asked.iter().rev().find_map(|(_, _, tag)| tag.clone());
    assert_eq!(if_range.as_deref(), Some("\"one\""), "the rest is only asked for of the same file");
}

#[tokio::test]
async fn what_an_earlier_attempt_brought_is_not_brought_again() {
    let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    server.rules().cuts = [usize::MAX, usize::MAX, 1_000_000, 0, 0, 0, 0].into();
    let error = world.bring(&server.url()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SourceUnreachable, "{error:?}");
    assert!(error.hint.contains("where it stopped"));
    let part = bring::unfinished(&world.images());
    assert_eq!(
        (part[0].version.as_str(), part[0].bytes, part[0].total_bytes),
        ("abc123", 1_000_012, LARGE as u64 + 12)
    );
    server.rules().asked.clear();
    server.rules().cuts.clear();
    world.bring(&server.url()).await.unwrap();
    assert!(world.is_whole());
    assert_eq!(server.asked("root.erofs"), [1_000_000]);
    assert!(server.asked("vmlinuz").is_empty());
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_or_has_changed_is_read_from_the_start() {
    for change in [false, true] {
        let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
        server.rules().cuts = [usize::MAX, usize::MAX, 1_000_000].into();
        if change {
            // Another file under the same name: what is here must not be put together with it.
            server.rules().cuts.extend([0, 0, 0]);
            world.bring(&server.url()).await.unwrap_err();
            server.rules().cuts.clear();
            server.rules().tag = Some("\"two\"");
        } else {
            server.rules().no_ranges = true;
        }
        world.bring(&server.url()).await.unwrap();
        assert!(world.is_whole());
    }
}

#[tokio::test]
async fn wrong_bytes_never_become_an_image() {
    let mut files = image(LARGE, |_| ());
    files.get_mut("root.erofs").unwrap()[LARGE / 2] ^= 1;
    let (world, server) = (World::new(), Server::start(files));
    let error = world.bring(&server.url()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ImageInvalid);
    assert!(error.message.contains("root.erofs") && error.message.contains("checksum"), "{error:?}");
    assert!(!world.images().join("abc123").exists());

    // A part that went bad on this disk is brought again, once, without anybody's doing.
    let good = Server::start(image(LARGE, |_| ()));
    good.rules().cuts = [1_000_000, 0, 0, 0].into();
    world.bring(&good.url()).await.unwrap_err();
    let staged = fs::read_dir(world.images()).unwrap().flatten().find(|e| e.path().is_dir()).unwrap().path();
    fs::write(staged.join("root.erofs.part"), vec![0; 500_000]).unwrap();
    good.rules().cuts.clear();
    world.bring(&good.url()).await.unwrap();
    assert!(world.is_whole());
}

#[tokio::test]
async fn the_manifest_is_held_against_what_is_expected() {
    let (mut world, server) = (World::new(), Server::start(image(1000, |_| ())));
    let right = hex::encode(Sha256::digest(&server.rules().files["manifest.json"]));
    world.expected = Some(Expected { sha256: "0".repeat(64), packaged: true });
    let error = world.bring(&server.url()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ImageInvalid);
    assert!(error.message.contains("package"), "{error:?}");
    assert!(server.asked("vmlinuz").is_empty(), "nothing else was asked for");
    world.expected = Some(Expected { sha256: right.to_ascii_uppercase(), packaged: false });
    world.bring(&server.url()).await.unwrap();
}

#[tokio::test]
async fn manifests_that_can_not_be_are_refused_before_anything_is_written() {
    let name = |name: &str| {
        let name = name.to_owned();
        image(10, move |m| m.files[0].name = name)
    };
    let with = |text: &[u8]| HashMap::from([("manifest.json".to_owned(), text.to_vec())]);
    for (files, code, words) in [
        (name("../evil"), ErrorCode::ImageInvalid, "../evil"),
        (name("/tmp/evil"), ErrorCode::ImageInvalid, "/tmp/evil"),
        (image(10, |m| m.version = "../../evil".into()), ErrorCode::ImageInvalid, "no usable version"),
        (image(10, |m| m.schema = 2), ErrorCode::TooNew, "newer"),
        (image(10, |m| m.architecture = "s390x".into()), ErrorCode::ImageInvalid, "s390x"),
        (with(b"<html>Welcome</html>"), ErrorCode::ImageInvalid, "not the manifest"),
        (with(&vec![b' '; 5 << 20]), ErrorCode::ImageInvalid, "too large"),
        (HashMap::new(), ErrorCode::NotFound, "manifest.json"),
    ] {
        let (world, server) = (World::new(), Server::start(files));
        let error = world.bring(&server.url()).await.unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(words), "{words}: {error:?}");
        assert!(!error.hint.is_empty());
        assert_eq!(world.names(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn no_space_is_told_before_the_first_byte_and_what_is_here_counts() {
    let (mut world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    world.free = |_| Ok(10 << 20);
    let error = world.bring(&server.url()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DiskFull);
    assert!(error.message.contains("71 MB") && error.message.contains("10 MB"), "{error:?}");
    assert!(server.asked("vmlinuz").is_empty());
    // A size that no disk has, and that no sum of sizes may overflow.
    let huge = Server::start(image(10, |m| m.files.iter_mut().for_each(|f| f.bytes = u64::MAX)));
    world.free = |folder| fs4::available_space(folder);
    assert_eq!(world.bring(&huge.url()).await.unwrap_err().code, ErrorCode::DiskFull);
}

#[tokio::test]
async fn refusals_of_servers_are_told_apart() {
    for (status, more, code, tries) in [
        (404, "", ErrorCode::NotFound, 1),
        (403, "", ErrorCode::Forbidden, 1),
        (418, "", ErrorCode::SourceUnreachable, 1),
        (503, "", ErrorCode::SourceUnreachable, 4),
        (302, "location: ftp://127.0.0.1/x\r\n", ErrorCode::SourceUnreachable, 4),
        // To where others could change it.
        (302, "location: http://192.0.2.1/x\r\n", ErrorCode::SourceUnreachable, 1),
    ] {
        let (world, server) = (World::new(), Server::start(image(10, |_| ())));
        server.rules().statuses = vec![(status, more); 10].into();
        let error = world.bring(&server.url()).await.unwrap_err();
        assert_eq!(error.code, code, "{status}: {error:?}");
        assert!(!error.hint.is_empty());
        assert_eq!(server.asked("vmlinuz").len(), tries, "{status}");
    }
    // One that has trouble for a moment, and one that sends us elsewhere.
    let (world, server) = (World::new(), Server::start(image(10, |_| ())));
    server.rules().statuses =
        [(503, ""), (302, "location: initrd\r\n"), (307, "location: /images/1/vmlinuz\r\n")].into();
    world.bring(&server.url()).await.unwrap();
    assert!(world.is_whole());
    // Nobody there at all.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = world.bring(&format!("http://{nobody}/")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SourceUnreachable, "{error:?}");
    assert!(error.hint.contains("network"));
}

#[tokio::test]
async fn a_file_of_another_size_is_named() {
    let mut files = image(1000, |_| ());
    files.insert("root.erofs".into(), vec![0; 1001]);
    let (world, server) = (World::new(), Server::start(files));
    let error = world.bring(&server.url()).await.unwrap_err();
    assert!(error.message.contains("1001 bytes") && error.message.contains("1000"), "{error:?}");
}

#[tokio::test]
async fn a_cancelled_one_keeps_what_is_here() {
    let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    let cancel = world.cancel.clone();
    let error = world
        .bring_telling(&server.url(), &mut |_, here, _| {
            if here > 1_000_000 {
                cancel.cancel();
            }
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Cancelled);
    let here = bring::unfinished(&world.images())[0].bytes;
    assert!((1_000_000..LARGE as u64).contains(&here), "{here}");
}

fn folder(world: &World, files: &HashMap<String, Vec<u8>>) -> PathBuf {
    let folder = world.dir.path().join("stick");
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    folder
}

#[tokio::test]
async fn an_image_comes_from_a_folder_too() {
    let world = World::new();
    let files = image(LARGE, |_| ());
    let stick = folder(&world, &files);
    // A drive that is pulled out half-way: a part of the file, then all of it.
    fs::write(stick.join("root.erofs"), &files["root.erofs"][..1_000_000]).unwrap();
    let error = world.bring(stick.to_str().unwrap()).await.unwrap_err();
    assert!(error.message.contains("1000000 bytes"), "{error:?}");
    fs::remove_file(stick.join("root.erofs")).unwrap();
    let error = world.bring(stick.to_str().unwrap()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    fs::write(stick.join("root.erofs"), &files["root.erofs"]).unwrap();
    // By the folder that holds it, by itself, and by its manifest.
    world.bring(world.dir.path().to_str().unwrap()).await.unwrap();
    assert!(world.is_whole());
    for name in [stick.display().to_string(), format!("file://{}/manifest.json", stick.display())] {
        world.bring(&name).await.unwrap();
    }
    let error = world.bring("relative/folder").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert_eq!(world.bring("/nowhere/at/all").await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn only_one_is_brought_at_a_time_and_only_the_last_keeps_its_parts() {
    let (world, server) = (World::new(), Server::start(image(LARGE, |_| ())));
    let held = bring::lock(&world.layout).unwrap();
    assert_eq!(world.bring(&server.url()).await.unwrap_err().code, ErrorCode::Conflict);
    drop(held);
    server.rules().cuts = [usize::MAX, usize::MAX, 1_000_000, 0, 0, 0].into();
    world.bring(&server.url()).await.unwrap_err();
    let other = Server::start(image(LARGE, |m| m.version = "def".into()));
    other.rules().cuts = [3, 0, 0, 0, 0].into();
    world.bring(&other.url()).await.unwrap_err();
    let left: Vec<String> = bring::unfinished(&world.images()).into_iter().map(|u| u.version).collect();
    assert_eq!(left, ["def"]);
    assert!(bring::forget(&world.images(), "def").unwrap());
    assert!(!bring::forget(&world.images(), "def").unwrap());
    assert_eq!(world.names(), Vec::<String>::new());
}

#[test]
fn the_speed_is_that_of_the_last_seconds() {
    let mut speed = Speed::default();
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    assert_eq!(speed.at(at(0), 0), None);
    assert_eq!(speed.at(at(1), 1000), Some(1000));
    for second in 2..20 {
        speed.at(at(second), 1000 * second);
    }
    for second in 20..30 {
        speed.at(at(second), 19_000);
    }
    assert_eq!(speed.at(at(30), 19_000), Some(0), "what was quick once is forgotten");
}

#[test]
fn the_package_is_believed_about_its_own_source_alone() {
    let manifest = serde_json::from_slice(&image(10, |_| ())["manifest.json"]).unwrap();
    let package = ImageSource { schema: 1, from: "https://a/b/".into(), manifest_sha256: "11".into(), manifest };
    let ask = |source: Option<&str>, sha256: Option<&str>, package: Option<&ImageSource>| {
        let request = ImageFetch { source: source.map(Into::into), sha256: sha256.map(Into::into) };
        wanted(request, package.cloned()).map(|(from, e)| (from, e.map(|e| (e.sha256, e.packaged))))
    };
    let hash = "ab".repeat(32);
    assert_eq!(ask(None, None, Some(&package)).unwrap(), ("https://a/b/".into(), Some(("11".into(), true))));
    let own = ask(Some("https://a/b/"), Some(&hash), Some(&package)).unwrap();
    assert_eq!(own.1, Some(("11".into(), true)), "nobody overrules the package about its own source");
    assert_eq!(ask(Some("/stick"), None, Some(&package)).unwrap(), ("/stick".into(), None));
    assert_eq!(ask(Some("/stick"), Some(&hash), None).unwrap().1, Some((hash, false)));
    assert_eq!(ask(None, None, None).unwrap_err().code, ErrorCode::BadRequest);
    assert_eq!(ask(Some("/stick"), Some("xyz"), None).unwrap_err().code, ErrorCode::BadRequest);
}
