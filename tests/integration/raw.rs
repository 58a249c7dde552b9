//! A client that sends and reads bytes, for what no library would.

use crate::stage::HOST;
use sidle_test_support::{sidle::Sidle, wait::PATIENCE};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

/// An answer with two bytes.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A client on a raw socket, and what it has read and not yet given out.
pub struct Raw(pub TcpStream, pub String);

impl Raw {
    /// To the proxy's outbound listener.
    pub fn connect(sidle: &Sidle) -> Self {
        Raw::to(sidle.outbound())
    }

    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw(stream, String::new())
    }

    pub fn send(&mut self, text: &str) -> &mut Self {
        self.0.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Sends no more.
    pub fn finish(&mut self) -> &mut Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Closes by RST.
    pub fn reset(self) {
        self.0.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _guard = runtime.enter();
        tokio::net::TcpStream::from_std(self.0).unwrap().set_zero_linger().unwrap();
    }

    /// What came, once `until` holds of it.
    pub fn read(&mut self, until: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4096];
        while !until(&self.1) {
            let read = self.0.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {:?}", self.1));
            assert!(read > 0, "closed after {:?}", self.1);
            self.1.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        std::mem::take(&mut self.1)
    }

    /// What comes until the proxy closes.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        std::mem::take(&mut self.1) + &String::from_utf8_lossy(&rest)
    }
}

/// A request with further `fields`, each with its line's end.
pub fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}
