//! An issuer of tokens: identity libraries of another language, in a process of their own.
//!
//! In:  names of keys, claims.   Out: public keys as JWK, tokens. Private keys never leave the process.

use crate::peers;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::SystemTime,
};

/// A running issuer.
pub struct Issuer {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

/// A library that makes tokens.
pub type Library = &'static str;
/// All of them.
pub const LIBRARIES: [Library; 3] = ["pyjwt", "joserfc", "authlib"];

impl Issuer {
    /// Starts it; `None`: Python is not installed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Option<Self> {
        let mut command = Command::new(peers::find("python")?);
        command.arg(peers::root().join("tests/peers/jwt_peer.py"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Issuer { child, pipes: Mutex::new(pipes) })
    }

    fn ask(&self, command: &Value) -> Value {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0, "{command}").unwrap();
        let mut line = String::new();
        pipes.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {command}"))
    }

    /// Makes a key pair (`RSA`, `P-256`, `P-384`, `Ed25519`) and tells its public half, whose `kid` is its name.
    ///
    /// # Panics
    /// When the process has ended, as for all that follow.
    pub fn key(&self, name: &str, kind: &str) -> Value {
        self.ask(&json!({"do": "key", "name": name, "kind": kind}))
    }

    /// A token that is signed with a key and names it.
    pub fn token(&self, library: Library, key: &str, algorithm: &str, claims: &Value) -> String {
        self.token_with(library, key, &json!({"alg": algorithm, "kid": key}), claims)
    }

    /// A token with this header.
    pub fn token_with(&self, library: Library, key: &str, header: &Value, claims: &Value) -> String {
        self.text(&json!({"do": "token", "library": library, "key": key, "header": header, "claims": claims}))
    }

    /// A token of these texts, signed by a key as its kind is (`RS256`, `ES256`, `EdDSA`), whatever they say.
    pub fn sign(&self, key: &str, header: &str, payload: &str) -> String {
        self.text(&json!({"do": "sign", "key": key, "header": header, "payload": payload}))
    }

    /// A token of these texts, as HS256, with the PEM of a public key for a secret.
    pub fn forge(&self, key: &str, header: &str, payload: &str) -> String {
        self.text(&json!({"do": "forge", "key": key, "header": header, "payload": payload}))
    }

    fn text(&self, command: &Value) -> String {
        self.ask(command).as_str().unwrap().to_owned()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Public keys as a JWK set.
pub fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Seconds since 1970, and some more.
///
/// # Panics
/// Before 1970.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}
