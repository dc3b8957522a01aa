//! The head's rules and the body's, put together.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};
use http_body::{Body, SizeHint};

use super::{
    Invalid, Truncate, TruncateBody, Truncation, TruncationOutcome, Uncuttable,
    body::Limit,
    bytes::ByteCut,
    chars::CharCut,
    charset::CharsetCut,
    coded::CodedCut,
    cut::Cut,
    grpc::{self, GrpcCut},
    head::{rewrite, trailer},
    media::Media,
    request::Asked,
    verdict::{Fate, Plan, Reading, Verdict, decide},
};

pub(super) fn apply<B: Body>(
    spec: &Truncate,
    asked: &Asked,
    response: Response<B>,
) -> Response<TruncateBody<B>> {
    let (mut head, body) = response.into_parts();
    let hint = body.size_hint();
    match decide(spec, asked, &head, &hint) {
        Verdict::Uncuttable if spec.uncuttable == Uncuttable::Refuse => refusal(&head.headers),
        Verdict::Exempt | Verdict::Uncuttable => {
            Response::from_parts(head, TruncateBody::untouched(body))
        }
        Verdict::Limit(plan) => {
            let truncation = Truncation::default();
            let limit = Limit {
                truncation: Some(truncation.clone()),
                mark: trailer(spec, asked, &plan),
                ..limit(spec, &plan, &hint)
            };
            rewrite(&mut head.headers, spec, &plan, limit.mark.as_ref());
            if plan.has_content {
                head.extensions.insert(truncation);
            }
            Response::from_parts(head, TruncateBody::new(body, limit))
        }
    }
}

/// The body alone, for who makes another head of his own; `None` if it is refused.
pub(super) fn apply_to_body<B: Body>(
    spec: &Truncate,
    asked: &Asked,
    head: &response::Parts,
    body: B,
) -> Option<TruncateBody<B>> {
    let hint = body.size_hint();
    match decide(spec, asked, head, &hint) {
        Verdict::Uncuttable if spec.uncuttable == Uncuttable::Refuse => None,
        Verdict::Exempt | Verdict::Uncuttable => Some(TruncateBody::untouched(body)),
        Verdict::Limit(plan) => Some(TruncateBody::new(body, limit(spec, &plan, &hint))),
    }
}

/// A limit of which nobody is told.
fn limit(spec: &Truncate, plan: &Plan, hint: &SizeHint) -> Limit {
    Limit {
        cut: cut(spec, plan, hint.exact()),
        reached: spec.limit == 0 && plan.reading != Reading::Messages,
        original: plan.length,
        truncation: None,
        mark: None,
    }
}

fn cut(spec: &Truncate, plan: &Plan, exact: Option<u64>) -> Option<Cut> {
    let is_checked = plan.reading == Reading::Utf8 && spec.invalid == Invalid::Error;
    // A header may lie, a size hint may not.
    if plan.fate == Fate::Uncut && exact == plan.length && !is_checked {
        return None;
    }
    let cut = match plan.reading {
        Reading::Bytes => Cut::Bytes(ByteCut::new(spec.limit)),
        Reading::Utf8 => Cut::Chars(CharCut::new(spec.limit, spec.invalid)),
        Reading::Charset(encoding) => {
            let cut = CharsetCut::new(encoding, spec.limit, spec.invalid);
            Cut::Charset(Box::new(cut))
        }
        Reading::Messages => {
            let cut = GrpcCut::new(spec.limit, spec.longest_message, spec.take);
            Cut::Grpc(cut)
        }
    };
    Some(match plan.codings {
        None => cut,
        Some(codings) => {
            let coded = CodedCut::new(codings, spec.limit, cut);
            Cut::Coded(Box::new(coded))
        }
    })
}

/// What takes the place of a response that cannot be cut and must not pass.
fn refusal<B>(refused: &HeaderMap) -> Response<TruncateBody<B>> {
    let mut response = if Media::of(refused).is_any_grpc() {
        // A status in the head and no content is a whole answer of gRPC's.
        let mut response = Response::new(TruncateBody::text(""));
        let kind = refused.get(header::CONTENT_TYPE).cloned();
        let kind = kind.map(|kind| (header::CONTENT_TYPE, kind));
        response.headers_mut().extend(kind);
        grpc::refuse(response.headers_mut());
        response
    } else {
        let text = "the response is too long, and of a kind that cannot be cut\n";
        let mut response = Response::new(TruncateBody::text(text));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    };
    let truncation = Truncation::default();
    truncation.settle(TruncationOutcome::Refused);
    response.extensions_mut().insert(truncation);
    response
}
