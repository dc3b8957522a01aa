//! HTTP/2 by hand: frames as they are on the wire, for peers that break the rules.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a client's connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// RFC 7838 §4.
pub(crate) const ALTSVC: u8 = 10;

/// Flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// What a peer that has set nothing else takes in one frame.
const MAX_FRAME: usize = 1 << 14;

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of fields in HPACK, none of them in a table or compressed, so that any bytes can be.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of 7 bits.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).unwrap());
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Fields in a `HEADERS` frame, and as many `CONTINUATION`s as it takes.
pub(crate) fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    stream: u32,
    fields: &[(N, V)],
    end: bool,
) -> Vec<u8> {
    let block = block(fields);
    let count = block.chunks(MAX_FRAME).count();
    let mut frames = Vec::new();
    for (n, piece) in block.chunks(MAX_FRAME).enumerate() {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let ends = if n == 0 && end { END_STREAM } else { 0 };
        let whole = if n + 1 == count { END_HEADERS } else { 0 };
        frames.extend(frame(kind, ends | whole, stream, piece));
    }
    frames
}

/// The head of a response that is a 200 with these fields more.
pub(crate) fn ok(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<_> = [(":status", "200")].iter().chain(fields).copied().collect();
    headers(stream, &fields, false)
}

pub(crate) fn data(stream: u32, bytes: impl AsRef<[u8]>, end: bool) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, bytes)
}

pub(crate) fn reset(stream: u32, reason: h2::Reason) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, u32::from(reason).to_be_bytes())
}

/// A setting by its number (RFC 9113 §6.5.2).
pub(crate) fn setting(number: u16, value: u32) -> Vec<u8> {
    let [a, b] = number.to_be_bytes();
    let [c, d, e, f] = value.to_be_bytes();
    frame(SETTINGS, 0, 0, [a, b, c, d, e, f])
}

/// The connection is to end, in peace; streams above `last` have not been looked at.
pub(crate) fn goaway(last: u32) -> Vec<u8> {
    let peace = u32::from(h2::Reason::NO_ERROR);
    let payload = [last.to_be_bytes(), peace.to_be_bytes()];
    frame(GOAWAY, 0, 0, payload.concat())
}

/// The next frame; `None` at the end of the connection.
pub(crate) async fn read(socket: &mut TcpStream) -> io::Result<Option<Frame>> {
    let mut head = [0; 9];
    match socket.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    let mut payload = vec![0; length as usize];
    socket.read_exact(&mut payload).await?;
    Ok(Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream),
        payload,
    }))
}

/// Begins a connection on a server's side.
pub(crate) async fn accept(socket: &mut TcpStream) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    socket.read_exact(&mut preface).await?;
    assert_eq!(preface, PREFACE);
    socket.write_all(&frame(SETTINGS, 0, 0, "")).await
}

/// Begins a connection on a client's side.
pub(crate) async fn connect(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(PREFACE).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, "")).await
}

/// The next frame that is not about the connection; what is, is answered.
pub(crate) async fn next(socket: &mut TcpStream) -> io::Result<Option<Frame>> {
    while let Some(received) = read(socket).await? {
        match received.kind {
            SETTINGS | PING if received.flags & ACK == 0 => {
                let payload = if received.kind == PING {
                    &received.payload[..]
                } else {
                    &[]
                };
                socket
                    .write_all(&frame(received.kind, ACK, 0, payload))
                    .await?;
            }
            HEADERS | DATA | RST_STREAM | GOAWAY => return Ok(Some(received)),
            _ => {}
        }
    }
    Ok(None)
}

/// The stream of the next request, once that is whole.
pub(crate) async fn request(socket: &mut TcpStream) -> io::Result<Option<u32>> {
    while let Some(received) = next(socket).await? {
        if matches!(received.kind, HEADERS | DATA) && received.flags & END_STREAM != 0 {
            return Ok(Some(received.stream));
        }
    }
    Ok(None)
}
