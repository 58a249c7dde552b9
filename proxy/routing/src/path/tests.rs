use super::{AmbiguousPath::*, Normalization::*, *};
use proptest::prelude::*;

fn base(target: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    normalise(target, Base)
}

/// A path in every mode but `None`; the later ones where they differ from the one before.
#[derive(Clone, Copy)]
struct Row(&'static str, [&'static str; 3]);

const fn all(path: &'static str, normal: &'static str) -> Row {
    Row(path, [normal; 3])
}

const fn merged(path: &'static str, base: &'static str, merged: &'static str) -> Row {
    Row(path, [base, merged, merged])
}

const fn decoded_last(path: &'static str, base: &'static str, decoded: &'static str) -> Row {
    Row(path, [base, base, decoded])
}

/// Each was put to Envoy 1.40 with the equivalent settings, which answered the same.
const AS_ENVOY: &[Row] = &[
    all("/", "/"),
    all("/admin/", "/admin/"),
    merged("//admin", "//admin", "/admin"),
    all("/./admin", "/admin"),
    all("/x/../admin", "/admin"),
    all("/%61dmin", "/admin"),
    all("/%2e%2e/admin", "/admin"),
    decoded_last("/x%2f..%2fadmin", "/x%2f..%2fadmin", "/admin"),
    decoded_last("/x%5c..%5cadmin", "/x%5c..%5cadmin", "/admin"),
    merged("/\\admin", "//admin", "/admin"),
    all("/x\\..\\admin", "/admin"),
    all("/admin;x=y", "/admin;x=y"),
    all("/admin;/..;/", "/"),
    all("/admin%3b", "/admin%3b"),
    all("/admin?", "/admin?"),
    all("/ADMIN", "/ADMIN"),
    all("/admin%20", "/admin%20"),
    all("/%252fadmin", "/%252fadmin"),
    all("/admin?a=%61/../b//c\\d", "/admin?a=%61/../b//c\\d"),
    all("/a/b/..", "/a/"),
    all("/a/b/.", "/a/b/"),
    all("/../../a", "/a"),
    all("/a//../b", "/a/b"),
    merged("/a//b//", "/a//b//", "/a/b/"),
    merged("//a/..//b", "///b", "/b"),
    merged("/a/.//b", "/a//b", "/a/b"),
    merged("/a\\\\b", "/a//b", "/a/b"),
    all("/a/...", "/a/..."),
    all("/.well-known/x", "/.well-known/x"),
    all("/a/..b", "/a/..b"),
    all("/a/%2e", "/a/"),
    all("/a/.%2E/b", "/b"),
    all("/a%2eb", "/a.b"),
    all("/a/..?x", "/?x"),
    all("/?//..", "/?//.."),
    all("/a?b?c", "/a?b?c"),
    decoded_last("/a/%2e%2e%2fb", "/a/..%2fb", "/b"),
    decoded_last("/a%2F%2f%2Fb/", "/a%2F%2f%2Fb/", "/a/b/"),
    decoded_last("/a/..%5cb", "/a/..%5cb", "/b"),
    decoded_last("/a/.%2f./b", "/a/.%2f./b", "/a/b"),
    decoded_last("/a/..;a%2fb/c", "/c", "/b/c"),
    all("/a/..;x=y/b", "/b"),
    all("/a/.;x/b", "/a/b"),
    all("/a/..;?q", "/?q"),
    all("/a/...;/b", "/a/...;/b"),
    all("/a/;../b", "/a/;../b"),
    all("/a/..%3bx/b", "/a/..%3bx/b"),
    all("//..;/a", "/a"),
    all("/%41%5A%30%2d%5f%7e%2a", "/AZ0-_~%2a"),
    all("/%21%24%3b%40%5b", "/%21%24%3b%40%5b"),
    all("/%25/%2541", "/%25/%2541"),
    all("/caf%c3%a9/%f0%9f%98%80", "/caf%c3%a9/%f0%9f%98%80"),
    all("/a\"<>^`{|}b", "/a%22%3C%3E%5E%60%7B%7C%7Db"),
    all("/a!$&'()*+,:;=@[]b", "/a!$&'()*+,:;=@[]b"),
    all("/%01%0a%0d%7f", "/%01%0a%0d%7f"),
    all("/a?\"<>`{}%00", "/a?\"<>`{}%00"),
];

#[test]
fn paths_become_what_envoy_makes_of_them() {
    for Row(path, wanted) in AS_ENVOY {
        assert_eq!(normalise(path, None).unwrap(), *path);
        for (how, wanted) in [Base, MergeSlashes, DecodeAndMergeSlashes].into_iter().zip(wanted) {
            assert_eq!(normalise(path, how).unwrap(), *wanted, "{path} {how:?}");
        }
    }
}

#[test]
fn differences_from_envoy_are_these() {
    assert_eq!(base("/a/%2e%2e;x/b").unwrap(), "/b");
    assert_eq!(base("/a/%2e;/b").unwrap(), "/a/b");
    assert_eq!(base("/a/b/..;\\c").unwrap(), "/a/c");
    assert_eq!(normalise("//", MergeSlashes).unwrap(), "/");
    assert_eq!(normalise("/%2F%5c", DecodeAndMergeSlashes).unwrap(), "/");
    for (path, error) in [
        ("/%c0%afadmin", NotUtf8),
        ("/caf%e9", NotUtf8),
        ("/%ed%a0%80", NotUtf8),
        ("/%c3/%a9", NotUtf8),
        ("/%c3", NotUtf8),
        ("/%f5%80%80%80", NotUtf8),
        ("/%%32f", NoEscape),
        ("/%%41", NoEscape),
        ("/%2%66", NoEscape),
        ("/50%", NoEscape),
        ("/50%/a", NoEscape),
        ("/%zz", NoEscape),
        ("/%4", NoEscape),
        ("/%4z", NoEscape),
        ("/%u0041", NoEscape),
        ("/a/%?%41", NoEscape),
        ("/a/..;%00/b", Nul),
        ("/a/%ff/../b", NotUtf8),
    ] {
        assert_eq!(base(path), Err(error), "{path}");
        assert_eq!(normalise(path, None).unwrap(), path);
    }
}

#[test]
fn what_envoy_refuses_is_refused() {
    assert_eq!(base("/admin%00"), Err(Nul));
    assert_eq!(base("/a%00?x"), Err(Nul));
    for how in [None, Base, MergeSlashes, DecodeAndMergeSlashes] {
        for (path, error) in [
            ("\\admin", NotAbsolute),
            ("admin", NotAbsolute),
            ("*", NotAbsolute),
            ("", NotAbsolute),
            ("?x", NotAbsolute),
            ("/admin#f", Fragment),
            ("/admin?x#y", Fragment),
            ("/a\x01b", RawByte(1)),
            ("/a b", RawByte(b' ')),
            ("/a\x7fb", RawByte(0x7f)),
            ("/a?x=\t", RawByte(b'\t')),
            ("/café", RawByte(0xc3)),
            ("/a?é", RawByte(0xc3)),
        ] {
            assert_eq!(normalise(path, how), Err(error), "{path:?}");
        }
    }
}

#[test]
fn a_normal_target_is_borrowed() {
    for path in ["/", "/a/b.c;d=e/.f/..g?h=/../%61", "/50%25/%2f//%c3%a9?50%"] {
        assert!(matches!(base(path), Ok(Cow::Borrowed(same)) if same == path));
    }
    assert!(matches!(base("/a/."), Ok(Cow::Owned(_))));
}

/// The same in the slowest and plainest way: a list of segments.
fn plainly(target: &str, how: Normalization) -> String {
    let (path, query) = target.split_once('?').map_or((target, String::new()), |(p, q)| (p, format!("?{q}")));
    let mut path = path.to_owned();
    if how == DecodeAndMergeSlashes {
        for slash in ["%2f", "%2F", "%5c", "%5C"] {
            path = path.replace(slash, "/");
        }
    }
    path = path.replace('\\', "/");
    for byte in 0x21..0x7Fu8 {
        let character = char::from(byte);
        let (upper, lower) = (format!("%{byte:02X}"), format!("%{byte:02x}"));
        if character.is_ascii_alphanumeric() || "-._~".contains(character) {
            path = path.replace(&upper, &character.to_string()).replace(&lower, &character.to_string());
        } else if "\"<>^`{|}".contains(character) {
            path = path.replace(character, &upper);
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let name = segment.split(';').next().unwrap();
        if name == ".." {
            kept.pop();
        }
        if name != "." && name != ".." {
            kept.push(segment);
        } else if last {
            kept.push("");
        }
    }
    let mut new = format!("/{}", kept.join("/"));
    while how != Base && new.contains("//") {
        new = new.replace("//", "/");
    }
    new + &query
}

fn modes() -> impl Strategy<Value = Normalization> {
    prop_oneof![Just(Base), Just(MergeSlashes), Just(DecodeAndMergeSlashes)]
}

/// Targets of the pieces that matter, so that they meet often.
fn targets() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", ".", "..", "a", "%2e", "%2E", "%2f", "%5C", "\\", ";", ";x=y", "?", "%41", "%c3%a9",
        "%", "2", "f", "%25", "{", "\"", "%00", "%ff", "#", "//", "%66",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn twice_is_once(target in targets(), how in modes()) {
        if let Ok(once) = normalise(&target, how) {
            let unchanged = matches!(normalise(&once, how), Ok(Cow::Borrowed(same)) if same == once);
            prop_assert!(unchanged, "{}", once);
        }
    }

    #[test]
    fn no_dots_remain(target in targets(), how in modes()) {
        if let Ok(new) = normalise(&target, how) {
            let path = new.split('?').next().unwrap();
            prop_assert!(path.starts_with('/'));
            let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
            prop_assert!(!path.split('/').any(dots), "{}", path);
            prop_assert!(how == Base || !path.contains("//"));
            prop_assert_eq!(new.split_once('?').map(|(_, query)| query), target.split_once('?').map(|(_, query)| query));
        }
    }

    #[test]
    fn as_plainly_done(target in targets(), how in modes()) {
        if let Ok(new) = normalise(&target, how) {
            prop_assert_eq!(new, plainly(&target, how));
        }
    }

    #[test]
    fn never_panics(target in ".*", how in modes()) {
        let _ = normalise(&target, how);
        let _ = normalise(&format!("/{target}"), how);
        let _ = normalise(&format!("/{target}"), None);
    }

    #[test]
    fn escaped_text_is_never_refused(text in "[^\0]*") {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let target = format!("/{escaped}");
        prop_assert!(base(&target).is_ok());
    }
}
