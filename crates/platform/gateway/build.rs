//! The web desktop's pages are embedded: without them there is nothing to serve.

fn main() {
    let dist = std::path::Path::new("../../../ui/apps/desktop/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    if !dist.join("index.html").is_file() {
        println!("cargo::error=the web desktop is not built: run `cargo xtask ui` first");
    }
}
