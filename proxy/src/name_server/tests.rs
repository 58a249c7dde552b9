use super::*;
use hickory_resolver::proto::{
    op::Query,
    rr::{Name, RData, Record, RecordType},
};
use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn names() -> Arc<ir::Names> {
    let list = [
        ("db.test", vec!["240.240.0.7".parse().unwrap(), "2001:2::7".parse().unwrap()]),
        ("*.wild.test", vec!["10.0.0.9".parse().unwrap()]),
        ("four.test", vec!["10.0.0.4".parse().unwrap()]),
    ];
    Arc::new(list.into_iter().map(|(name, addresses)| (name.into(), addresses)).collect())
}

fn told(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| format!("{} {}", record.name, record.data)).collect()
}

#[test]
fn names_of_the_mesh_are_answered_whatever_the_resolver_adds() {
    let server = NameServer::of("search default.svc.cluster.local svc.cluster.local\nnameserver 127.0.0.1\n");
    server.publish(names());
    let ask = |name: &str, kind| server.names.load().answer(&question(name, kind));
    let told = |name, kind| ask(name, kind).map(|answer| told(&answer));
    assert_eq!(told("DB.test.", RecordType::A).unwrap(), ["DB.test. 240.240.0.7"]);
    assert_eq!(told("db.test.", RecordType::AAAA).unwrap(), ["db.test. 2001:2::7"]);
    assert_eq!(told("a.b.wild.test.", RecordType::A).unwrap(), ["a.b.wild.test. 10.0.0.9"]);
    assert_eq!(told("four.test.", RecordType::AAAA).unwrap(), [""; 0], "known, and without such an address");
    assert_eq!(
        told("db.test.default.svc.cluster.local.", RecordType::A).unwrap(),
        ["db.test.default.svc.cluster.local. db.test.", "db.test. 240.240.0.7"]
    );
    assert!(told("other.test.", RecordType::A).is_none());
    assert!(told("db.test.", RecordType::MX).is_none());
}

/// A server that counts, and gives each name one address.
async fn elsewhere(counted: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = answer::failure(&question, ResponseCode::NoError);
            let name = question.queries[0].name.clone();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(Ipv4Addr::new(192, 0, 2, 1).into())));
            // A forgery first: another number.
            let mut forged = answer.clone();
            forged.metadata.id ^= 1;
            forged.answers.clear();
            socket.send_to(&forged.to_vec().unwrap(), client).await.unwrap();
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn other_names_are_asked_elsewhere_once() {
    let counted = Arc::new(AtomicUsize::new(0));
    let forwarder = Forwarder::new(vec![elsewhere(counted.clone()).await]);
    for id in [7, 8] {
        let mut question = question("Out.test.", RecordType::A);
        question.metadata.id = id;
        let bytes = question.to_vec().unwrap();
        let answer = forwarder.ask(&question, &bytes, Way::Datagram).await.unwrap();
        assert_eq!((answer.metadata.id, told(&answer)), (id, vec!["Out.test. 192.0.2.1".to_owned()]));
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn both_ways_to_ask_are_served_and_what_does_not_fit_is_cut() {
    let server = Arc::new(NameServer::of(""));
    let many: Vec<IpAddr> = (0..60).map(|last| IpAddr::from([10, 1, 1, last])).collect();
    server.publish(Arc::new([("many.test".into(), many)].into()));
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    server.serve(port, false, &stopped).unwrap();
    assert!(server.serve(port, false, &stopped).is_err(), "another would take its questions");
    server.serve(port, true, &stopped).unwrap();
    let asked = question("many.test.", RecordType::A).to_vec().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&asked, port).await.unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let mut stream = TcpStream::connect(port).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
        stream.write_all(&asked).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 60);
    }
    stop.send(true).unwrap();
    let (_stop, stopped) = watch::channel(false);
    while server.serve(port, false, &stopped).is_err() {
        tokio::task::yield_now().await; // until both have let go of the port
    }
}
