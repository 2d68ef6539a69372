//! Kernel settings. Written here in a millisecond instead of by a service of its own.

use crate::failure;

const TUNABLES: &[(&str, &str)] = &[
    // Pods are reached through the node.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // What the kubelet asks of a node.
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    // The reserve that the kernel makes for huge pages is a tenth of what the whole platform idles in.
    ("vm/min_free_kbytes", "16384"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    // Databases map many files, and every pod's log is watched.
    ("vm/max_map_count", "262144"),
    ("fs/inotify/max_user_instances", "8192"),
    ("fs/inotify/max_user_watches", "524288"),
    ("fs/file-max", "1048576"),
    // Not for the eyes of pods.
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("fs/protected_fifos", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
];

/// Applies all of them. A kernel without one of them is no reason to stop.
pub(crate) fn apply() {
    for (name, value) in TUNABLES {
        if let Err(error) = std::fs::write(format!("/proc/sys/{name}"), value) {
            failure::say(&format!("the kernel setting {name} can't be set: {error}"));
        }
    }
}
