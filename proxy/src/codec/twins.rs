//! Headers whose names differ from another's by `_` for `-`: CGI and WSGI give both to a program as one variable.
//!
//! In:  headers, a name that only this proxy may send.   Out: the headers without its twins.
//! Not here: what is done with underscores in all other names (`underscores`).

use http::HeaderName;
use sidle_fields::Fields;

/// Removes what an application may take for `name`.
pub fn remove(headers: &mut Fields, name: &HeaderName) {
    headers.retain(|other, _| !are_twins(other, name));
}

fn are_twins(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    one.len() == other.len() && one != other && one.iter().map(plain).eq(other.iter().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn all_twins_go_and_nothing_else() {
        let names = ["x-a-b", "x_a_b", "x-a_b", "x_a-b", "x-a-c", "x_a_bc", "xxaxb"];
        let mut headers: Fields =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        headers.append(HeaderName::from_static("x_a_b"), HeaderValue::from_static("2"));
        remove(&mut headers, &HeaderName::from_static("x-a-b"));
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-a-b", "x-a-c", "x_a_bc", "xxaxb"]);
    }
}
