//! The head's rules and the body's, put together.

use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::{
    Truncate, TruncateBody, Truncation, TruncationOutcome, Uncuttable,
    body::Limit,
    bytes::ByteCut,
    chars::CharCut,
    cut::Cut,
    head::rewrite,
    request::Asked,
    verdict::{Fate, Plan, Reading, Verdict, decide},
};

pub(super) fn apply<B: Body>(
    spec: &Truncate,
    asked: &Asked,
    response: Response<B>,
) -> Response<TruncateBody<B>> {
    let (mut head, body) = response.into_parts();
    match decide(spec, asked, &head, &body.size_hint()) {
        Verdict::Uncuttable if spec.uncuttable == Uncuttable::Refuse => refusal(),
        Verdict::Exempt | Verdict::Uncuttable => {
            Response::from_parts(head, TruncateBody::untouched(body))
        }
        Verdict::Limit(plan) => {
            rewrite(&mut head.headers, spec, &plan);
            let limit = limit(spec, &plan, body.size_hint().exact());
            if plan.has_content {
                head.extensions.insert(limit.truncation.clone());
            }
            Response::from_parts(head, TruncateBody::new(body, limit))
        }
    }
}

fn limit(spec: &Truncate, plan: &Plan, exact: Option<u64>) -> Limit {
    let is_checked = plan.reading == Reading::Utf8 && spec.invalid == super::Invalid::Error;
    // A header may lie, a size hint may not.
    let is_certain = plan.fate == Fate::Uncut && exact == plan.length && !is_checked;
    let cut = match plan.reading {
        _ if is_certain => None,
        Reading::Bytes => Some(Cut::Bytes(ByteCut::new(spec.limit))),
        Reading::Utf8 => Some(Cut::Chars(CharCut::new(spec.limit, spec.invalid))),
    };
    Limit {
        cut,
        reached: spec.limit == 0,
        original: plan.length,
        truncation: Truncation::default(),
    }
}

/// What takes the place of a response that cannot be cut and must not pass.
fn refusal<B>() -> Response<TruncateBody<B>> {
    let body = TruncateBody::text("the response is too long, and of a kind that cannot be cut\n");
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    let truncation = Truncation::default();
    truncation.settle(TruncationOutcome::Refused);
    response.extensions_mut().insert(truncation);
    response
}
