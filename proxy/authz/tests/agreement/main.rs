//! Compiled policies decide as an evaluator that reads the manifests themselves: random policies, random requests.
//!
//! `AUTHZ_PAIRS=1000000 cargo test --release -p sidle-authz --test agreement` asks for as many pairs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod generate;
mod naive;

use generate::{Generator, Request};
use naive::Opinion;
use sidle_authz::{Authorizer, Verdict};
use sidle_model::{ir::Node, load_texts, lower::authorization_policies, source::Text};

const REQUESTS_A_SET: usize = 50;

fn opinion(authorizer: &Authorizer, request: &Request) -> Opinion {
    let decision = authorizer.decide(request);
    let told = |verdict: Verdict<'_>| match verdict {
        Verdict::Allowed(_) => true,
        Verdict::Denied(_) => false,
    };
    Opinion {
        asked: authorizer.custom(request).map(|custom| custom.provider.to_owned()),
        allowed: told(decision.verdict),
        audited: decision.audited.is_some(),
        dry_run_deny: decision.dry_run_deny.map(told),
        dry_run_allow: decision.dry_run_allow.map(told),
    }
}

#[test]
fn compiled_policies_decide_as_the_rules_say() {
    let pairs: usize = std::env::var("AUTHZ_PAIRS").map_or(5_000, |text| text.parse().unwrap());
    let mut generator = Generator::new(7);
    let node = Node { namespace: "a".into(), ..Node::default() };
    let (mut asked, mut denied, mut custom, mut audited) = (0, 0, 0, 0);
    while asked < pairs {
        let set = generator.policies();
        let text =
            Text { name: "p.json".into(), content: serde_json::to_string(&set.list()).unwrap().into() };
        let loaded = load_texts(vec![text], &node);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|told| told.is_error()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{:#}", set.list());
        let bytes = generator.one_in(6);
        let (policies, _) = authorization_policies(&loaded.config, &node);
        let authorizer = Authorizer::new(if bytes { policies.of_bytes } else { policies.of_http });
        for _ in 0..REQUESTS_A_SET {
            let request = generator.request(bytes);
            let (found, expected) = (opinion(&authorizer, &request), naive::opinion(&set, &request));
            assert_eq!(found, expected, "\n{request:#?}\n{:#}", set.list());
            asked += 1;
            denied += usize::from(!found.allowed);
            custom += usize::from(found.asked.is_some());
            audited += usize::from(found.audited);
        }
    }
    // The pairs tell something only if both answers are common.
    for count in [denied, asked - denied, custom, audited] {
        assert!(count * 50 > asked, "{asked} pairs: {denied} denied, {custom} asked, {audited} audited");
    }
    eprintln!("{asked} pairs agree: {denied} denied, {custom} asked, {audited} audited");
}
