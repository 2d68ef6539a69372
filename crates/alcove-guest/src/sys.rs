//! The few system calls that no safe wrapper covers. All `unsafe` of this crate is here.

use std::{
    ffi::CStr,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Makes a Btrfs subvolume called `name` in the folder behind `parent`.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::AlreadyExists`] when there is one.
pub fn create_subvolume(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    const SUBVOL_CREATE: libc::c_ulong = 0x5000_940e;
    btrfs_ioctl(parent, SUBVOL_CREATE, name)
}

/// Grows the mounted Btrfs behind `mounted` to the whole of its device. Does nothing when it fills it.
///
/// # Errors
/// What the kernel says.
pub fn grow_btrfs(mounted: BorrowedFd<'_>) -> io::Result<()> {
    const RESIZE: libc::c_ulong = 0x5000_9403;
    btrfs_ioctl(mounted, RESIZE, c"max")
}

/// Files that are made in the folder from now on are overwritten in place (`chattr +C`).
///
/// # Errors
/// What the kernel says.
pub fn disable_copy_on_write(folder: BorrowedFd<'_>) -> io::Result<()> {
    const NO_COPY_ON_WRITE: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both requests read or write one int, which outlives the calls.
    unsafe {
        check(libc::ioctl(folder.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags))?;
        if flags & NO_COPY_ON_WRITE != 0 {
            return Ok(());
        }
        flags |= NO_COPY_ON_WRITE;
        check(libc::ioctl(folder.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags))
    }
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

fn btrfs_ioctl(fd: BorrowedFd<'_>, request: libc::c_ulong, name: &CStr) -> io::Result<()> {
    let bytes = name.to_bytes();
    let mut args = VolumeArgs { fd: 0, name: [0; 4088] };
    args.name.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
    // SAFETY: the descriptor is open, and both requests read one `btrfs_ioctl_vol_args`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const args) })
}

/// Discards the free space of the file system behind `mounted`. Returns the bytes that were discarded.
///
/// # Errors
/// What the kernel says.
pub fn trim(mounted: BorrowedFd<'_>) -> io::Result<u64> {
    /// `struct fstrim_range`.
    #[repr(C)]
    struct Range {
        start: u64,
        len: u64,
        minlen: u64,
    }
    const FITRIM: libc::c_ulong = 0xc018_5879;
    let mut range = Range { start: 0, len: u64::MAX, minlen: 0 };
    // SAFETY: the request reads and writes one `fstrim_range`, which outlives the call.
    check(unsafe { libc::ioctl(mounted.as_raw_fd(), FITRIM, &raw mut range) })?;
    Ok(range.len)
}

/// Sets the system's clock.
///
/// # Errors
/// What the kernel says.
pub fn set_clock(unix_time_ns: u64) -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(unix_time_ns / 1_000_000_000).map_err(io::Error::other)?,
        tv_nsec: libc::c_long::try_from(unix_time_ns % 1_000_000_000).map_err(io::Error::other)?,
    };
    // SAFETY: the pointer is to a timespec that outlives the call.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) })
}

/// Bytes of the file system that holds `path`: used and in all.
///
/// # Errors
/// What the kernel says.
pub fn disk_usage(path: &CStr) -> io::Result<(u64, u64)> {
    let usage = rustix::fs::statvfs(path)?;
    let total = usage.f_blocks.saturating_mul(usage.f_frsize);
    Ok((total.saturating_sub(usage.f_bfree.saturating_mul(usage.f_frsize)), total))
}

/// The kernel's messages about devices that come and go. Open it before looking for a device, and nothing is missed.
#[derive(Debug)]
pub struct DeviceEvents(OwnedFd);

impl DeviceEvents {
    /// Starts to listen.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_KOBJECT_UEVENT)
        };
        check(fd)?;
        // SAFETY: the descriptor was just made and nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = 1;
        // SAFETY: the pointer and the length describe `address`, which outlives the call.
        check(unsafe {
            libc::bind(fd, (&raw const address).cast(), size_of::<libc::sockaddr_nl>() as libc::socklen_t)
        })?;
        Ok(Self(socket))
    }

    /// Waits until something came or went, at most `timeout_ms`. What it was does not matter: the caller looks again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        check(unsafe { libc::poll(&raw mut poll, 1, timeout_ms) })?;
        let mut message = [0u8; 4096];
        // SAFETY: the buffer outlives the call and its length is right.
        unsafe {
            libc::recv(self.0.as_raw_fd(), message.as_mut_ptr().cast(), message.len(), libc::MSG_DONTWAIT);
        }
        Ok(())
    }
}

/// Brings the interface up, with this address.
///
/// # Errors
/// What the kernel says.
pub fn configure_interface(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let socket = inet_socket()?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    interface_ioctl(&socket, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = socket_address(netmask(prefix));
    interface_ioctl(&socket, libc::SIOCSIFNETMASK, &mut request)?;
    interface_ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the request before has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    interface_ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Sends everything that is not local to `gateway`.
///
/// # Errors
/// What the kernel says.
pub fn default_route(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = inet_socket()?;
    // SAFETY: all zeroes is a valid rtentry.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the request reads one rtentry, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw const route) })
}

/// Makes the terminal behind `fd` the controlling one of the calling process, which must lead its session. For use
/// between fork and exec.
///
/// # Errors
/// What the kernel says.
pub fn take_terminal(fd: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    unsafe {
        libc::setsid();
        check(libc::ioctl(fd, libc::TIOCSCTTY, 0))
    }
}

/// Makes `command` run in a session of its own, with its standard input as the controlling terminal.
pub fn on_own_terminal(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: only system calls that are safe between fork and exec.
    unsafe { command.pre_exec(|| take_terminal(0)) }
}

/// Makes `command` see `root` as its root.
pub fn inside_root<'c>(command: &'c mut std::process::Command, root: &CStr) -> &'c mut std::process::Command {
    use std::os::unix::process::CommandExt;
    let root = root.to_owned();
    // SAFETY: only system calls that are safe between fork and exec; the path was made before.
    unsafe {
        command.pre_exec(move || {
            check(libc::chroot(root.as_ptr()))?;
            check(libc::chdir(c"/".as_ptr()))
        })
    }
}

/// A file whose readiness the runtime watches.
///
/// # Errors
/// When the runtime can't watch it.
pub fn watched(file: std::fs::File) -> io::Result<tokio::io::unix::AsyncFd<std::fs::File>> {
    // SAFETY: a `File` keeps one descriptor open until it is dropped, and always tells the same one.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(file) }?)
}

fn inet_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the descriptor was just made and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn interface_ioctl(socket: &OwnedFd, request: libc::c_ulong, argument: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: these requests read and write one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &raw mut *argument) })
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: a sockaddr_in has the size of a sockaddr, and every bit pattern is a valid one.
    unsafe { std::mem::transmute(inet) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_netmasks() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(8), Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn interface_names_have_a_limit() {
        assert!(interface_request("eth0").is_ok());
        assert!(interface_request("an-interface-with-a-long-name").is_err());
    }

    #[test]
    fn the_disk_of_a_path_has_a_size() {
        let (used, total) = disk_usage(c"/").unwrap();
        assert!(used <= total && total > 0);
        assert!(disk_usage(c"/no/such/path").is_err());
    }
}
