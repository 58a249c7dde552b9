//! One stream: a request up, interim responses and the answer down.

use super::{convert, duplex::StreamDuplex, guard::accuses, patience_of_streams, send};
use crate::{
    codec::{Answer, Body, BodyError, Duplex, Interim, ResponseHead},
    exchange,
    listener::{Connection, Fault},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::Request;
use http_body::Body as _;
use std::{cell::RefCell, future::poll_fn, pin::pin, rc::Rc};

type Respond = Rc<RefCell<SendResponse<Bytes>>>;

/// Serves one request.
pub async fn serve(request: Request<RecvStream>, respond: SendResponse<Bytes>, connection: Rc<Connection>) {
    let respond = Rc::new(RefCell::new(respond));
    let Some(answer) = answer(request, &respond, &connection).await else { return };
    let Answer { head, mut body, upload, tunnel } = answer;
    let ends = body.is_end_stream() && tunnel.is_none();
    let sending = match respond.borrow_mut().send_response(convert::response(head), ends) {
        Ok(sending) => sending,
        Err(error) => return tracing::debug!(peer = %connection.peer(), %error, "response not sent"),
    };
    let patience = patience_of_streams(connection.limits());
    match tunnel {
        Some(tunnel) => {
            if let Body::Http2(client) = body {
                tunnel.run(Duplex::Http2(StreamDuplex::new(sending, client, patience))).await;
            }
        }
        None if ends => {}
        None => {
            if let Err(error) = send::body(sending, &mut body, upload.as_ref(), patience).await {
                tracing::debug!(peer = %connection.peer(), %error, "response ended early");
                let _fault = fault(error).map(|fault| connection.while_ending_for(fault));
                drop(body); // accounts
            }
        }
    }
}

/// What the corridor answers; `None` if the stream ends first. Then the exchange is dropped, which cancels the request
/// upstream and accounts for it.
async fn answer(
    request: Request<RecvStream>,
    respond: &Respond,
    connection: &Rc<Connection>,
) -> Option<Answer> {
    let _fault; // outlives the exchange
    let mut answer = pin!(async {
        match convert::request(request, connection) {
            Ok((mut head, body)) => {
                head.interim = Some(interim(respond));
                exchange::serve(connection, head, body).await
            }
            Err(refusal) => super::refuse(connection, refusal),
        }
    });
    tokio::select! {
        biased; // of a stream that was reset before its turn came, nothing begins
        reset = poll_fn(|cx| respond.borrow_mut().poll_reset(cx)) => {
            let why = reset.ok().and_then(|reason| fault(BodyError::Reset(reason.into())));
            _fault = why.map(|fault| connection.while_ending_for(fault));
            None
        }
        answer = answer.as_mut() => Some(answer),
    }
}

fn interim(respond: &Respond) -> Interim {
    let respond = Rc::downgrade(respond);
    Interim(Rc::new(move |head: ResponseHead| {
        if let Some(respond) = respond.upgrade() {
            // A stream that is gone shows where its end is waited for.
            let _ = respond.borrow_mut().send_informational(convert::response(head));
        }
    }))
}

/// What a stream that ended early has to say of its client; `None`: that it went away.
fn fault(error: BodyError) -> Option<Fault> {
    match error {
        BodyError::Idle => Some(Fault::Idle),
        BodyError::Malformed => Some(Fault::Protocol),
        BodyError::Reset(code) => {
            let broken = accuses(code) || Reason::from(code) == Reason::ENHANCE_YOUR_CALM;
            broken.then_some(Fault::Protocol)
        }
        BodyError::Closed | BodyError::Deadline => None,
    }
}
