//! The sockets of this process, as the kernel has them: `/proc/self/fd` against `/proc/net/tcp`.

use std::{collections::HashSet, fs, net::SocketAddr};

/// How many sockets this process has that are, or are becoming, connected to `address`.
pub(crate) fn connected_to(address: SocketAddr) -> usize {
    of_process_to(std::process::id(), address)
}

/// The same for several addresses at one instant. It never counts too many: what is in the table
/// first and among the descriptors afterwards was open in between.
pub(crate) fn connected_to_any(addresses: &[SocketAddr]) -> usize {
    of_process_to_any(std::process::id(), addresses)
}

/// How many sockets a process has that are, or are becoming, connected to `address`.
pub(crate) fn of_process_to(pid: u32, address: SocketAddr) -> usize {
    of_process_to_any(pid, &[address])
}

fn of_process_to_any(pid: u32, addresses: &[SocketAddr]) -> usize {
    let ports: Vec<_> = addresses
        .iter()
        .map(|address| format!("{:04X}", address.port()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let of_the_ports: HashSet<_> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            // Where the remote port stands. The table is long, and most of it is others'.
            let is_one = ports.iter().any(|port| line[29..33] == *port);
            is_one.then(|| line.split_whitespace().nth(9).unwrap().to_owned())
        })
        .collect();
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .to_owned();
            of_the_ports.contains(&link).then_some(())
        })
        .count()
}

/// How many threads a process has.
pub(crate) fn threads_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// The memory of a process that is resident, in bytes.
pub(crate) fn memory_of(pid: u32) -> usize {
    status_of(pid, "VmRSS:")
}

/// The most of it that there ever was.
pub(crate) fn peak_memory_of(pid: u32) -> usize {
    status_of(pid, "VmHWM:")
}

fn status_of(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
