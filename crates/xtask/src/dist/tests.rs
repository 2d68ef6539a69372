//! The layout, the formats, and what real tools say about them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::{
    Release, binaries,
    contents::{self, Entry, Files, Inputs, Package, Source},
    deb, rpm,
};

const RELEASE: Release = Release { version: String::new(), epoch: 1_700_000_000 };

fn release() -> Release {
    Release { version: "1.2.3".into(), ..RELEASE }
}

/// Stand-ins for the binaries and the documents that the command line writes.
fn stage(folder: &Path) -> binaries::Binaries {
    for name in ["alcove", "alcoved", "alcove-desktop", "kubectl"] {
        fs::write(folder.join(name), format!("#!/bin/sh\necho {name} 1.2.3\n")).unwrap();
    }
    fs::create_dir_all(folder.join("man")).unwrap();
    fs::create_dir_all(folder.join("completions")).unwrap();
    fs::write(folder.join("man/alcove.1"), ".TH alcove 1\n").unwrap();
    for name in ["alcove.bash", "_alcove", "alcove.fish"] {
        fs::write(folder.join("completions").join(name), "# completion\n").unwrap();
    }
    binaries::collect(folder, Some(&folder.join("kubectl"))).unwrap()
}

fn files(
    folder: &Path,
    package: Package,
    image: Option<&Path>,
    source: Option<(&str, &Path)>,
) -> anyhow::Result<Files> {
    let made = stage(folder);
    contents::collect(
        &Inputs {
            root: &crate::product::repository().unwrap(),
            binaries: &made,
            documents: folder,
            image,
            image_source: source,
            third_party: "serde v1.0.0 MIT\n",
            release: &release(),
        },
        package,
    )
}

fn image(folder: &Path) -> PathBuf {
    let image = folder.join("image");
    super::tiny_image(&image).unwrap();
    image
}

#[test]
fn everything_lies_where_people_and_programs_look() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), Package::Deb, None, None).unwrap();
    let modes: BTreeMap<_, _> = files.iter().map(|(path, entry)| (path.as_str(), entry.mode)).collect();
    for (path, mode) in [
        ("/usr/bin/alcove", 0o755),
        ("/usr/bin/alcove-desktop", 0o755),
        ("/usr/lib/alcove/alcoved", 0o755),
        ("/usr/lib/alcove/kubectl", 0o755),
        ("/usr/share/applications/alcove-desktop.desktop", 0o644),
        ("/usr/share/bash-completion/completions/alcove", 0o644),
        ("/usr/share/doc/alcove/copyright", 0o644),
        ("/usr/share/doc/alcove/third-party.txt.gz", 0o644),
        ("/usr/share/icons/hicolor/48x48/apps/alcove.png", 0o644),
        ("/usr/share/icons/hicolor/scalable/apps/alcove.svg", 0o644),
        ("/usr/share/man/man1/alcove.1.gz", 0o644),
        ("/usr/share/metainfo/org.alcove.Desktop.metainfo.xml", 0o644),
    ] {
        assert_eq!(modes.get(path), Some(&mode), "{path}");
    }
    assert!(files.keys().all(|path| path.starts_with("/usr/")), "only below /usr");
    let metainfo = files["/usr/share/metainfo/org.alcove.Desktop.metainfo.xml"].read().unwrap();
    assert!(String::from_utf8(metainfo).unwrap().contains(r#"version="1.2.3" date="2023-11-14""#));
}

#[test]
fn the_entry_in_the_menu_takes_links() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), Package::Deb, None, None).unwrap();
    let entry = String::from_utf8(files["/usr/share/applications/alcove-desktop.desktop"].read().unwrap()).unwrap();
    for line in ["Exec=alcove-desktop %u", "MimeType=x-scheme-handler/alcove;", "Icon=alcove", "Name=Alcove"] {
        assert!(entry.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn the_image_goes_in_whole_or_is_named_by_its_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    let with = files(folder.path(), Package::Deb, Some(&image), None).unwrap();
    for name in ["manifest.json", "vmlinuz", "initrd", "root.erofs"] {
        assert!(with.contains_key(&format!("/usr/share/alcove/images/abc123/{name}")), "{name}");
    }
    assert_eq!(with["/usr/share/alcove/images/abc123/kubectl"].mode, 0o755, "the host's tool can be run in place");

    let manifest = image.join("manifest.json");
    let source = Some(("https://example.org/abc123/", manifest.as_path()));
    let without = files(folder.path(), Package::Deb, None, source).unwrap();
    let bytes = without["/usr/share/alcove/image-source.json"].read().unwrap();
    // The supervisor reads it as this.
    let source: alcove_types::image::ImageSource = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((source.manifest.version.as_str(), source.from.as_str()), ("abc123", "https://example.org/abc123/"));
    assert_eq!(source.manifest_sha256, hex::encode(Sha256::digest(fs::read(&manifest).unwrap())));
    assert!(!without.keys().any(|path| path.contains("/images/")));
}

#[test]
fn a_damaged_image_is_not_packaged() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    fs::write(image.join("initrd"), "short").unwrap();
    let error = files(folder.path(), Package::Deb, Some(&image), None).unwrap_err();
    assert!(error.to_string().contains("initrd"), "{error}");

    let hostile = r#"{"version":"../..","files":[]}"#;
    fs::write(image.join("manifest.json"), hostile).unwrap();
    assert!(files(folder.path(), Package::Deb, Some(&image), None).is_err());
}

#[test]
fn folders_come_before_what_they_hold() {
    let entry = Entry { source: Source::Bytes(vec![]), mode: 0o644 };
    let files = Files::from([("/usr/share/a/b".to_owned(), entry)]);
    assert_eq!(contents::folders(&files).into_iter().collect::<Vec<_>>(), ["/usr", "/usr/share", "/usr/share/a"]);
}

#[test]
fn the_same_input_gives_the_same_packages() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for round in 0..2 {
        let deb_path = folder.path().join(format!("{round}.deb"));
        let rpm_path = folder.path().join(format!("{round}.rpm"));
        deb::write(&files(folder.path(), Package::Deb, None, None).unwrap(), &release(), (2, 36), &deb_path).unwrap();
        rpm::write(&files(folder.path(), Package::Rpm, None, None).unwrap(), &release(), (2, 36), &rpm_path).unwrap();
        seen.push((fs::read(deb_path).unwrap(), fs::read(rpm_path).unwrap()));
    }
    assert!(seen[0] == seen[1]);
}

#[test]
fn the_c_library_that_is_needed_is_the_newest_that_is_named() {
    assert_eq!(binaries::glibc_of(b"x\0GLIBC_2.4\0GLIBC_2.36\0GLIBC_2.17\0GLIBC_PRIVATE\0"), (2, 36));
    assert_eq!(binaries::glibc_of(b"static, it names none at all"), (0, 0));
}

#[test]
fn licences_are_listed_without_ours() {
    let tree = "alcoved v0.1.0 (/src/crates/alcoved) Apache-2.0\nserde v1.0.1 MIT OR Apache-2.0\nserde v1.0.1 MIT OR Apache-2.0 (*)\nserde_derive v1.0.1 (proc-macro) MIT\n";
    let listed: Vec<_> = binaries::crates(tree).into_iter().collect();
    assert_eq!(listed, ["serde v1.0.1 MIT OR Apache-2.0", "serde_derive v1.0.1 MIT"]);

    let lock = r#"{"packages":{"":{"name":"ui"},"node_modules/uplot":{"version":"1.6.0","license":"MIT"},
        "node_modules/vite":{"version":"8.0.0","license":"MIT","dev":true},"node_modules/@alcove/kit":{"link":true}}}"#;
    assert_eq!(binaries::node_packages(lock).unwrap().into_iter().collect::<Vec<_>>(), ["uplot v1.6.0 MIT"]);
}

fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).env("LC_ALL", "C").output().ok()?;
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn dpkg_reads_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alcove.deb");
    deb::write(&files(folder.path(), Package::Deb, None, None).unwrap(), &release(), (2, 36), &path).unwrap();
    let path = path.to_str().unwrap();
    let Some(facts) = tool("dpkg-deb", &["--info", path]) else {
        eprintln!("dpkg-deb is not here: the package was not read by it");
        return;
    };
    for part in
        ["Package: alcove", "Version: 1.2.3-1", "libc6 (>= 2.36)", "qemu-system-x86 (>= 1:8.2)", "md5sums", "postrm"]
    {
        assert!(facts.contains(part), "{part} in\n{facts}");
    }
    let listed = tool("dpkg-deb", &["--contents", path]).unwrap();
    assert!(
        listed.lines().any(|l| l.starts_with("-rwxr-xr-x root/root") && l.ends_with("./usr/bin/alcove")),
        "{listed}"
    );
    let out = folder.path().join("out");
    tool("dpkg-deb", &["--raw-extract", path, out.to_str().unwrap()]).unwrap();
    let sums = Command::new("md5sum").args(["--check", "--quiet", "DEBIAN/md5sums"]).current_dir(&out).status();
    assert!(sums.unwrap().success());
    let script = fs::read_to_string(out.join("DEBIAN/postrm")).unwrap();
    assert!(!script.contains("rm "), "no script removes what is a person's");
}

/// The programs share most of their code: what is packed each for itself is twice as large.
#[test]
fn what_programs_share_is_packed_once() {
    let folder = tempfile::tempdir().unwrap();
    // Bytes that can't be packed by themselves.
    let mut random = 1_u64;
    let shared: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random.to_be_bytes()[0]
    })
    .take(400_000)
    .collect();
    let entry = |mode| Entry { source: Source::Bytes(shared.clone()), mode };
    let both = Files::from([("/usr/bin/a".to_owned(), entry(0o755)), ("/usr/bin/b".to_owned(), entry(0o755))]);
    for (name, write) in [("x.deb", deb::write as fn(&_, &_, _, &_) -> _), ("x.rpm", rpm::write)] {
        let path = folder.path().join(name);
        write(&both, &release(), (2, 36), &path).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes < 500_000, "{name} has {bytes} bytes");
    }
}

#[test]
fn rpm_reads_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alcove.rpm");
    rpm::write(&files(folder.path(), Package::Rpm, None, None).unwrap(), &release(), (2, 36), &path).unwrap();
    let path = path.to_str().unwrap();
    let Some(facts) = tool("rpm", &["-qip", path]) else {
        eprintln!("rpm is not here: the package was not read by it");
        return;
    };
    for part in ["Name        : alcove", "Version     : 1.2.3", "License     : Apache-2.0", "Build Host  : localhost"] {
        assert!(facts.contains(part), "{part} in\n{facts}");
    }
    let listed = tool("rpm", &["-qlp", path]).unwrap();
    for part in ["/usr/bin/alcove", "/usr/lib/alcove/alcoved", "/usr/share/zsh/site-functions/_alcove"] {
        assert!(listed.lines().any(|l| l == part), "{part} in\n{listed}");
    }
    let needed = tool("rpm", &["-qp", "--requires", path]).unwrap();
    assert!(needed.contains("libwebkit2gtk-4.1.so.0()(64bit)") && needed.contains("GLIBC_2.36"), "{needed}");
    tool("rpm", &["--checksig", "--nosignature", path]).unwrap();
}
