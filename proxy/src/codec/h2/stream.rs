//! One stream: a request up, interim responses and the answer down.

use super::{convert, duplex::StreamDuplex, patience_of_streams, send::Pump};
use crate::{
    codec::{Answer, Body, BodyError, Duplex, Interim, portion},
    error::Refusal,
    exchange,
    listener::{Connection, Fault},
    turn,
};
use http_body::Body as _;
use sidle_fields::spare;
use sidle_http2::{
    Code,
    connection::{Incoming, Receiving, RequestFields, Sending, accuses},
};
use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Poll, ready},
};

/// A stream that a client has opened, and its connection.
pub type ClientStream = (Incoming, Rc<Connection>);

/// Serves one request.
pub async fn serve((incoming, connection): ClientStream) {
    let Incoming { fields, too_large, mut sending, receiving } = incoming;
    let request = (!too_large).then_some((fields, receiving));
    let Some(answer) = answer(request, &mut sending, &connection).await else { return };
    let Answer { head, body, upload, tunnel } = *answer;
    let ends = body.is_end_stream() && tunnel.is_none();
    if let Err(error) = sending.respond(head.status, &head.headers, ends) {
        return tracing::debug!(peer = %connection.peer(), %error, "response not sent");
    }
    spare::give_back(head.headers);
    drop(head.original_case); // what the head was read into is free again
    let patience = patience_of_streams(connection.limits());
    match tunnel {
        Some(tunnel) => {
            if let Body::Http2(client) = body {
                tunnel.run(Duplex::Http2(StreamDuplex::new(sending, client, patience))).await;
            }
        }
        None if ends => {}
        None => {
            let mut pump = Pump::new(sending, body, patience);
            if let Err(error) = poll_fn(|cx| pump.poll(upload.as_ref(), cx)).await {
                tracing::debug!(peer = %connection.peer(), %error, "response ended early");
                let _fault = fault(error).map(|fault| connection.while_ending_for(fault));
                drop(pump.into_body()); // accounts
            }
        }
    }
}

/// What the corridor answers; `None` if the stream ends first. Then the exchange is dropped, which cancels the request
/// upstream and accounts for it.
async fn answer(
    request: Option<(RequestFields, Receiving)>,
    sending: &mut Sending,
    connection: &Rc<Connection>,
) -> Option<Box<Answer>> {
    let interim = sending.interim();
    let _fault; // outlives the exchange
    let mut answer = pin!(async {
        let request = match request {
            Some((fields, receiving)) => convert::request(fields, receiving, connection),
            None => Err(Refusal::HeadTooLarge),
        };
        match request {
            Ok((mut head, body)) => {
                head.interim = Some(Interim::Http2(interim));
                exchange::serve(connection, head, body).await
            }
            Err(refusal) => super::refuse(connection, refusal),
        }
    });
    let answered = poll_fn(|cx| {
        ready!(turn::poll_open(cx));
        // Of a stream that was reset before its turn came, nothing begins.
        if let Poll::Ready(error) = sending.poll_ended(cx) {
            return Poll::Ready(Err(error));
        }
        // With the head comes some of the content.
        portion::at_most(sending.outlook(), || answer.as_mut().poll(cx)).map(Ok)
    });
    match answered.await {
        Ok(answer) => Some(answer),
        Err(error) => {
            _fault = fault(error.into()).map(|fault| connection.while_ending_for(fault));
            None
        }
    }
}

/// What a stream that ended early has to say of its client; `None`: that it went away.
fn fault(error: BodyError) -> Option<Fault> {
    match error {
        BodyError::Idle => Some(Fault::Idle),
        BodyError::Malformed => Some(Fault::Protocol),
        BodyError::Reset(code) => {
            let broken = accuses(Code(code)) || Code(code) == Code::ENHANCE_YOUR_CALM;
            broken.then_some(Fault::Protocol)
        }
        BodyError::Closed | BodyError::Deadline => None,
    }
}
