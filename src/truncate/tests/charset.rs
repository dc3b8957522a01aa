use super::support::{Script, cut, finish, header};
use crate::{Invalid, Truncate, TruncationOutcome as Outcome};

const TEXT: &str = "日本語のテキスト";

fn encoded(label: &str, text: &str) -> Vec<u8> {
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
    encoding.encode(text).0.into_owned()
}

fn text_in(charset: &str, body: Script, truncate: &Truncate) -> (String, Option<String>, Outcome) {
    let kind = format!("text/plain; charset={charset}; format=flowed");
    let response = truncate.apply(body.with([("content-type", &kind)]));
    let kind = header(&response, "content-type").map(str::to_owned);
    assert_eq!(
        header(&response, "content-length"),
        None,
        "its length in UTF-8 is not known"
    );
    let (seen, outcome) = finish(response);
    (String::from_utf8(seen.bytes()).unwrap(), kind, outcome)
}

#[test]
fn text_in_another_charset_is_decoded_and_cut_as_utf8_however_it_is_chunked() {
    // Row 30.
    for charset in ["shift_jis", "gb18030", "iso-2022-jp", "EUC-JP"] {
        let bytes = encoded(charset, TEXT);
        for size in 1..bytes.len() {
            let body = Script::chunks(bytes.chunks(size));
            let (text, kind, outcome) = text_in(charset, body, &Truncate::chars(5));
            assert_eq!(text, "日本語のテ", "{charset} in pieces of {size}");
            let utf8 = "text/plain; charset=utf-8; format=flowed";
            assert_eq!(kind.as_deref(), Some(utf8), "{charset} is UTF-8 now");
            let told = matches!(outcome, Outcome::Cut { .. } | Outcome::LimitReached { .. });
            assert!(told, "{charset}: {outcome:?}");
        }
        let body = Script::chunks([&bytes]).sized();
        let (text, _, outcome) = text_in(charset, body, &Truncate::chars(8));
        assert_eq!(text, TEXT, "{charset}: as many as there are");
        assert_eq!(
            outcome,
            Outcome::Complete { bytes: 24 },
            "{charset} is whole"
        );
    }
}

#[test]
fn text_within_the_limit_by_its_bytes_is_not_decoded() {
    // Row 15.
    let bytes = encoded("shift_jis", "日本");
    let kind = [("content-type", "text/plain; charset=shift_jis")];
    for policy in [Invalid::Keep, Invalid::Error] {
        let truncate = Truncate::chars(4).invalid(policy);
        let response = truncate.apply(Script::chunks([&bytes]).sized().with(kind));
        assert_eq!(
            header(&response, "content-type"),
            Some(kind[0].1),
            "it stays as it is"
        );
        assert_eq!(finish(response).0.bytes(), bytes, "byte for byte");
    }

    let mut stated = Script::chunks([&bytes]).with(kind);
    let length = http::HeaderValue::from(bytes.len());
    stated.headers_mut().insert("content-length", length);
    let response = Truncate::chars(4).apply(stated);
    assert_eq!(
        header(&response, "content-length"),
        Some("4"),
        "also if only the head knows it"
    );
    assert_eq!(finish(response).0.bytes(), bytes, "byte for byte");
}

#[test]
fn utf16_without_a_mark_is_little_endian_and_with_one_is_what_it_says() {
    // Row 33.
    let little: Vec<u8> = "a\u{1F600}b"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let big: Vec<u8> = "a\u{1F600}b"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let marked = [&b"\xfe\xff"[..], &big].concat();
    for (bytes, name) in [(little, "no mark"), (marked, "a big-endian mark")] {
        for size in 1..4 {
            let body = Script::chunks(bytes.chunks(size));
            let (text, _, _) = text_in("utf-16", body, &Truncate::chars(2));
            assert_eq!(text, "a\u{1F600}", "{name}, in pieces of {size}");
        }
    }
}

#[test]
fn what_is_malformed_in_another_charset_is_replaced_or_an_error() {
    // Rows 24 to 27.
    let bytes = b"\x93\xfa\xff\x93".as_slice();
    let body = || Script::chunks(bytes.chunks(1));
    for policy in [Invalid::Keep, Invalid::Replace] {
        let truncate = Truncate::chars(9).invalid(policy);
        let (text, _, _) = text_in("shift_jis", body(), &truncate);
        assert_eq!(
            text, "日\u{FFFD}\u{FFFD}",
            "one for the byte, one for the end"
        );
        let (text, _, _) = text_in("shift_jis", body(), &Truncate::chars(2).invalid(policy));
        assert_eq!(text, "日\u{FFFD}", "each counts");
    }
    let kind = [("content-type", "text/plain; charset=shift_jis")];
    let truncate = Truncate::chars(9).invalid(Invalid::Error);
    let (seen, outcome) = finish(truncate.apply(body().with(kind)));
    assert_eq!(seen.bytes(), "日".as_bytes(), "what is well formed passes");
    assert!(seen.error.is_some(), "the rest is an error");
    assert_eq!(outcome, Outcome::Failed, "it failed");
    let (seen, _) = finish(truncate.apply(Script::chunks([b"\x93"]).with(kind)));
    assert!(
        seen.error.is_some(),
        "a character that never ends is malformed"
    );
}

#[test]
fn joined_text_decodes_single_bytes_too() {
    // Row 29, in a format that is UTF-8 by itself.
    let body = Script::chunks([b"caf\xe9 \x80"]);
    let joined = Truncate::chars(6).invalid(Invalid::Replace);
    let (text, _, _) = text_in("iso-8859-1", body, &joined);
    assert_eq!(text, "café €", "as the web reads it");
}

#[test]
fn a_limit_of_zero_decodes_nothing() {
    // Row 4.
    let kind = [("content-type", "text/plain; charset=utf-16")];
    let response = Truncate::chars(0).apply(Script::chunks(["ab"]).with(kind));
    assert_eq!(
        header(&response, "content-length"),
        Some("0"),
        "nothing passes"
    );
    assert!(finish(response).0.frames.is_empty(), "nothing passes");
}

#[test]
fn long_text_is_decoded_piece_by_piece() {
    let text = "日".repeat(10_000);
    let body = Script::chunks([encoded("shift_jis", &text)]);
    let kind = [("content-type", "text/plain; charset=shift_jis")];
    let (seen, _) = finish(Truncate::chars(9_999).apply(body.with(kind)));
    assert_eq!(seen.bytes().len(), 3 * 9_999, "to the last character");
    let (seen, _) = cut(&Truncate::chars(1), Script::chunks(["日本"]));
    assert_eq!(seen.bytes(), "日".as_bytes(), "UTF-8 needs no decoder");
}

#[test]
fn what_is_known_to_follow_the_limit_is_told_as_a_cut_well_formed_or_not() {
    let whole = encoded("shift_jis", TEXT);
    let cut = Outcome::Cut {
        bytes: 15,
        original: None,
    };
    for policy in [Invalid::Keep, Invalid::Error] {
        let truncate = Truncate::chars(5).invalid(policy);
        let (text, _, outcome) = text_in("shift_jis", Script::chunks([&whole]), &truncate);
        assert_eq!(
            (text.as_str(), outcome),
            ("日本語のテ", cut),
            "by more text"
        );
        let broken = [&whole[..10], b"\xff"].concat();
        let (text, _, outcome) = text_in("shift_jis", Script::chunks([&broken]), &truncate);
        assert_eq!(
            (text.as_str(), outcome),
            ("日本語のテ", cut),
            "by what is none"
        );
        let (_, _, outcome) = text_in("shift_jis", Script::chunks([&whole[..10]]), &truncate);
        assert_eq!(
            outcome,
            Outcome::LimitReached { bytes: 15 },
            "by nothing yet"
        );
    }
}
