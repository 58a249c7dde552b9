//! Clients, whatever they speak.

use super::{Plan, Target, http1, http2, pace::Pace, tally::Tally};
use crate::{
    compare::{
        scenarios::{Clients, Protocol},
        wire::{body::Expected, tls},
    },
    void::Void,
};
use std::{any::Any, io, net::SocketAddr, path::Path, rc::Rc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A client; its copies ask in turn what there is to ask.
#[derive(Clone)]
pub struct Client {
    target: SocketAddr,
    clients: Clients,
    tls: Option<tls::Client>,
    questions: Rc<http1::Questions>,
    question: Rc<http2::Question>,
    tally: Rc<Tally>,
}

impl Client {
    /// Of a target of a plan.
    ///
    /// # Errors
    /// When there are no certificates.
    pub fn new(plan: &Plan, target: &Target, tally: Rc<Tally>) -> Result<Self, Void> {
        Client::of(target.address, plan.clients, &plan.certificates, tally)
    }

    /// Of its parts.
    ///
    /// # Errors
    /// When there are no certificates.
    pub fn of(
        target: SocketAddr,
        clients: Clients,
        certificates: &Path,
        tally: Rc<Tally>,
    ) -> Result<Self, Void> {
        let expected = Rc::new(Expected::of(clients.content));
        let tls = clients.tls.then(|| tls::Client::new(certificates, clients.protocol)).transpose()?;
        Ok(Client {
            target,
            clients,
            tls,
            questions: Rc::new(http1::Questions::new(&clients, expected.clone())),
            question: Rc::new(http2::Question::new(&clients, expected)),
            tally,
        })
    }

    /// Asks at a pace, on one connection or on one for each question.
    ///
    /// # Errors
    /// When an answer is wrong, or none comes.
    pub async fn ask(self, pace: Pace) -> Result<(), Void> {
        match &self.tls {
            _ if self.clients.churn => self.churn(pace).await,
            None => self.converse(self.dial().await?, pace).await,
            Some(tls) => self.converse(tls.connect(self.dial().await?).await?, pace).await,
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, pace: Pace) -> Result<(), Void> {
        let tally = self.tally.clone();
        match self.clients.protocol {
            Protocol::Http1 => http1::client(stream, self.questions.clone(), pace, tally).await,
            Protocol::Http2 => {
                http2::client(stream, self.question.clone(), self.clients.streams, pace, tally).await
            }
        }
    }

    async fn churn(&self, mut pace: Pace) -> Result<(), Void> {
        while let Some(intended) = pace.next().await {
            let mut stream = self.dial().await?;
            let cluster = http1::ask(&mut stream, &self.questions).await?;
            http1::finished(&mut stream).await?;
            self.tally.answered(cluster, intended);
        }
        Ok(())
    }

    /// Asks once; the connection, to be kept.
    ///
    /// # Errors
    /// When the answer is wrong, or none comes.
    pub async fn once(self) -> Result<Box<dyn Any>, Void> {
        match &self.tls {
            None => self.keep(self.dial().await?).await,
            Some(tls) => self.keep(tls.connect(self.dial().await?).await?).await,
        }
    }

    async fn keep<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        mut stream: S,
    ) -> Result<Box<dyn Any>, Void> {
        match self.clients.protocol {
            Protocol::Http1 => {
                http1::ask(&mut stream, &self.questions).await?;
                Ok(Box::new(stream))
            }
            Protocol::Http2 => {
                let mut connection = http2::Connection::open(stream, self.question.clone(), 1).await?;
                connection.once().await?;
                Ok(Box::new(connection))
            }
        }
    }

    /// Asks so many questions in the clear, one after the other, on so many connections in turn.
    ///
    /// # Errors
    /// When an answer is wrong, or none comes.
    pub async fn in_turn(&self, connections: usize, questions: usize) -> Result<(), Void> {
        let (mut http1, mut http2) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            match self.clients.protocol {
                Protocol::Http1 => http1.push(self.dial().await?),
                Protocol::Http2 => {
                    http2.push(http2::Connection::open(self.dial().await?, self.question.clone(), 1).await?)
                }
            }
        }
        for at in (0..connections).cycle().take(questions) {
            match self.clients.protocol {
                Protocol::Http1 => drop(http1::ask(&mut http1[at], &self.questions).await?),
                Protocol::Http2 => http2[at].once().await?,
            }
        }
        Ok(())
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
