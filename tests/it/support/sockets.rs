//! The sockets of this process, as the kernel has them: `/proc/self/fd` against `/proc/net/tcp`.

use std::{collections::HashSet, fs, net::SocketAddr};

/// How many sockets this process has that are, or are becoming, connected to `address`.
pub(crate) fn connected_to(address: SocketAddr) -> usize {
    of_process_to(std::process::id(), address)
}

/// How many sockets a process has that are, or are becoming, connected to `address`.
pub(crate) fn of_process_to(pid: u32, address: SocketAddr) -> usize {
    let port = format!("{:04X}", address.port());
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let of_the_port: HashSet<_> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (remote, inode) = (fields[2], fields[9]);
            remote
                .ends_with(&format!(":{port}"))
                .then(|| inode.to_owned())
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
            of_the_port.contains(&link).then_some(())
        })
        .count()
}

/// How many threads a process has.
pub(crate) fn threads_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// The memory of a process that is resident, in bytes.
pub(crate) fn memory_of(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
