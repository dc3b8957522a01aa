//! The sockets of this process, as the kernel has them: `/proc/self/fd` against `/proc/net/tcp`.

use std::{collections::HashMap, fs, net::SocketAddr};

/// What the kernel keeps of a socket that nobody has any more.
const TIME_WAIT: &str = "06";

/// How many sockets this process has that are, or are becoming, connected to `address`.
pub(crate) fn connected_to(address: SocketAddr) -> usize {
    of_process_to(std::process::id(), address)
}

/// The same for several addresses together.
pub(crate) fn connected_to_any(addresses: &[SocketAddr]) -> usize {
    connected_to_each(addresses).into_iter().sum()
}

/// How many to each of them, at one instant. It never counts too many: what is in the table first
/// and among the descriptors afterwards was open in between.
pub(crate) fn connected_to_each(addresses: &[SocketAddr]) -> Vec<usize> {
    of_process_to_each(std::process::id(), addresses)
}

/// How many sockets a process has that are, or are becoming, connected to `address`.
pub(crate) fn of_process_to(pid: u32, address: SocketAddr) -> usize {
    of_process_to_each(pid, &[address])[0]
}

fn of_process_to_each(pid: u32, addresses: &[SocketAddr]) -> Vec<usize> {
    let ports: Vec<_> = addresses
        .iter()
        .map(|address| format!(":{:04X}", address.port()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let of_the_ports: HashMap<_, _> = table
        .lines()
        .skip(1)
        .filter_map(|line| look_at(line, &ports))
        .collect();
    let mut counts = vec![0; addresses.len()];
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let link = entry
            .ok()
            .and_then(|entry| fs::read_link(entry.path()).ok());
        let inode = link.as_ref().and_then(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            link.strip_suffix(']')
        });
        if let Some(&which) = inode.and_then(|inode| of_the_ports.get(inode)) {
            counts[which] += 1;
        }
    }
    counts
}

/// The inode of a line's socket, and to which of the ports it is connected. The fields before it
/// stand at fixed places, and most of a long table is passed over by them.
fn look_at<'a>(line: &'a str, ports: &[String]) -> Option<(&'a str, usize)> {
    let (_, line) = line.split_once(": ")?;
    let (remote, state) = (line.get(14..27)?, line.get(28..30)?);
    if state == TIME_WAIT {
        return None;
    }
    let which = ports.iter().position(|port| remote.ends_with(port))?;
    Some((line.split_ascii_whitespace().nth(8)?, which))
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
