//! What comes over the wire, by the strictest reading.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What came to the upstream: everything, connection by connection.
pub type Came = Arc<Mutex<Vec<Vec<u8>>>>;

/// Answers each connection's first request with these bytes.
pub async fn answer(mut io: DuplexStream, came: Came, answer: Arc<[u8]>) {
    let which = {
        let mut came = came.lock().expect("nothing panics");
        came.push(Vec::new());
        came.len() - 1
    };
    let mut space = [0; 4096];
    let mut answered = false;
    while let Ok(read @ 1..) = io.read(&mut space).await {
        let is_whole = {
            let mut came = came.lock().expect("nothing panics");
            came[which].extend_from_slice(&space[..read]);
            came[which].windows(4).any(|four| four == b"\r\n\r\n")
        };
        if is_whole && !answered {
            answered = true;
            let _ = io.write_all(&answer).await;
        }
    }
}

/// A request as it came over the wire, by the strictest reading.
pub struct Received<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub fields: Vec<(&'a str, &'a [u8])>,
    /// What came behind the head.
    rest: &'a [u8],
}

pub fn parse(bytes: &[u8]) -> Received<'_> {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = Vec::new();
    let mut from = 0;
    while let Some(length) = head[from..].windows(2).position(|two| two == b"\r\n") {
        lines.push(&head[from..from + length]);
        from += length + 2;
    }
    lines.push(&head[from..]);
    for line in &lines {
        let is_sound = !line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
        assert!(is_sound, "a line is one line");
        assert!(
            !line.starts_with(b" ") && !line.starts_with(b"\t"),
            "none is folded"
        );
    }
    let first = str::from_utf8(lines[0]).expect("the first line is text");
    let words: Vec<_> = first.split(' ').collect();
    assert_eq!(words.len(), 3, "three words: {first}");
    assert_eq!(words[2], "HTTP/1.1");
    let fields = lines[1..].iter().map(|line| {
        let colon = line.iter().position(|b| *b == b':').expect("a field");
        let name = str::from_utf8(&line[..colon]).expect("a name is text");
        (name, line[colon + 1..].trim_ascii())
    });
    Received {
        method: words[0],
        target: words[1],
        fields: fields.collect(),
        rest,
    }
}

impl Received<'_> {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of = self
            .fields
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        of.map(|(_, value)| *value)
    }

    /// The body, which must be all that came behind the head.
    pub fn body(&self) -> Vec<u8> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => assert!(self.rest.is_empty(), "a body that is not declared"),
            ([length], []) => {
                let length = str::from_utf8(length)
                    .expect("text")
                    .parse()
                    .expect("a number");
                assert!(self.rest.len() <= length, "no more than was declared");
                return self.rest.to_vec();
            }
            ([], [b"chunked"]) => return unchunk(self.rest),
            other => panic!("two readers could differ: {other:?}"),
        }
        Vec::new()
    }
}

/// What is in the chunks; they may break off, but nothing may come after them.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = str::from_utf8(&rest[..end]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size, and nothing else");
        rest = &rest[end + 2..];
        if size == 0 {
            assert_eq!(rest, b"\r\n", "nothing after the end");
            break;
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    body
}
