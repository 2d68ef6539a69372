//! The door, over real sockets on loopback.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alcove_door::{ClientPem, Door, DoorClient, DoorError, DoorKeys, Service, client_config, server_config, splice};
use rustls::{
    ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::ServerName, pki_types::pem::PemObject,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

const DEADLINE: Duration = Duration::from_secs(10);

type Seen = mpsc::UnboundedReceiver<Result<Service, DoorError>>;

/// A guest whose services echo what they get, and the verdict of each greeting.
async fn echoing_guest(keys: &DoorKeys) -> (SocketAddr, Seen) {
    let door = Door::new(server_config(&keys.server()).expect("server keys"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (seen, verdicts) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            match door.greet(tcp, DEADLINE).await {
                Ok((service, stream)) => {
                    seen.send(Ok(service)).ok();
                    tokio::spawn(async move {
                        let (mut read, mut write) = tokio::io::split(stream);
                        tokio::io::copy(&mut read, &mut write).await.ok();
                        write.shutdown().await.ok();
                    });
                }
                Err(error) => {
                    seen.send(Err(error)).ok();
                }
            }
        }
    });
    (address, verdicts)
}

fn client(address: SocketAddr, pem: &ClientPem) -> DoorClient {
    DoorClient::new(address, client_config(pem).expect("client keys"))
}

/// TLS 1.3 lets a client believe it is in before the server has looked at its certificate, so the first read decides.
async fn is_refused(connection: Result<tokio_rustls::client::TlsStream<TcpStream>, DoorError>) -> bool {
    match connection {
        Err(_) => true,
        Ok(mut stream) => {
            let _ = stream.write_all(b"hello").await;
            let mut byte = [0];
            !matches!(tokio::time::timeout(DEADLINE, stream.read(&mut byte)).await, Ok(Ok(1)))
        }
    }
}

#[tokio::test]
async fn each_service_is_reached_by_its_name() {
    let keys = DoorKeys::generate("default").expect("keys");
    let (address, mut verdicts) = echoing_guest(&keys).await;
    let client = client(address, &keys.client());
    for service in Service::ALL {
        let mut stream = client.connect(service, DEADLINE).await.expect("connect");
        stream.write_all(b"hello").await.expect("write");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("read");
        assert_eq!(&answer, b"hello");
        assert_eq!(verdicts.recv().await.expect("verdict").expect("greeting"), service);
    }
}

#[tokio::test]
async fn another_machines_keys_are_refused() {
    let keys = DoorKeys::generate("default").expect("keys");
    let other = DoorKeys::generate("default").expect("keys");
    let (address, mut verdicts) = echoing_guest(&keys).await;

    // A host that holds another machine's keys does not even trust this guest.
    assert!(is_refused(client(address, &other.client()).connect(Service::Guest, DEADLINE).await).await);
    assert!(verdicts.recv().await.expect("verdict").is_err());

    // Nor does this guest let in a certificate of another authority, though the client trusts the guest.
    let forged = ClientPem { ca_cert: keys.ca_cert.clone(), ..other.client() };
    assert!(is_refused(client(address, &forged).connect(Service::Guest, DEADLINE).await).await);
    assert!(verdicts.recv().await.expect("verdict").is_err());
}

#[tokio::test]
async fn the_guests_own_certificate_does_not_let_anyone_in() {
    let keys = DoorKeys::generate("default").expect("keys");
    let (address, mut verdicts) = echoing_guest(&keys).await;
    let stolen = ClientPem {
        ca_cert: keys.ca_cert.clone(),
        client_cert: keys.server_cert.clone(),
        client_key: keys.server_key.clone(),
    };
    assert!(is_refused(client(address, &stolen).connect(Service::Guest, DEADLINE).await).await);
    assert!(verdicts.recv().await.expect("verdict").is_err());
}

#[tokio::test]
async fn nobody_comes_in_without_a_certificate() {
    let keys = DoorKeys::generate("default").expect("keys");
    let (address, mut verdicts) = echoing_guest(&keys).await;
    let connector = TlsConnector::from(Arc::new(bare_client(&keys)));
    let tcp = TcpStream::connect(address).await.expect("connect");
    let name = ServerName::try_from(Service::Guest.server_name()).expect("name");
    let connection = connector.connect(name, tcp).await.map_err(DoorError::Handshake);
    assert!(is_refused(connection).await);
    assert!(verdicts.recv().await.expect("verdict").is_err());
}

#[tokio::test]
async fn a_service_that_does_not_exist_is_refused() {
    let keys = DoorKeys::generate("default").expect("keys");
    let (address, mut verdicts) = echoing_guest(&keys).await;
    let connector = TlsConnector::from(client_config(&keys.client()).expect("client keys"));
    for name in ["secrets.door.alcove", "localhost", "127.0.0.1"] {
        let tcp = TcpStream::connect(address).await.expect("connect");
        let name = ServerName::try_from(name).expect("name");
        assert!(connector.connect(name, tcp).await.is_err());
        assert!(verdicts.recv().await.expect("verdict").is_err());
    }
}

#[tokio::test]
async fn a_silent_port_is_given_up_at_the_deadline() {
    let keys = DoorKeys::generate("default").expect("keys");
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let client = client(silent.local_addr().expect("address"), &keys.client());
    let outcome = client.connect(Service::Guest, Duration::from_millis(100)).await;
    assert!(matches!(outcome, Err(DoorError::Timeout(100))), "{outcome:?}");
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    const BYTES: usize = 24 * 1024 * 1024;
    let keys = DoorKeys::generate("default").expect("keys");
    let (address, _verdicts) = echoing_guest(&keys).await;
    let stream = client(address, &keys.client()).connect(Service::Gateway, DEADLINE).await.expect("connect");

    // The program on this side speaks to a pipe; the splice carries it through the door and back.
    let (near, mut far) = duplex(16 * 1024);
    let spliced = tokio::spawn(async move {
        let mut stream = stream;
        splice(&mut far, &mut stream).await
    });
    let (mut read, mut write) = tokio::io::split(near);
    let writer = tokio::spawn(async move {
        for block in 0..BYTES / 65_536 {
            write.write_all(&[(block % 251) as u8; 65_536]).await.expect("write");
        }
        write.shutdown().await.expect("half-close");
    });
    let mut block = vec![0; 65_536];
    for number in 0..BYTES / 65_536 {
        read.read_exact(&mut block).await.expect("read");
        assert!(block.iter().all(|byte| *byte == (number % 251) as u8), "block {number} came back changed");
    }
    assert_eq!(read.read(&mut block).await.expect("end"), 0);
    writer.await.expect("writer");
    assert_eq!(spliced.await.expect("splice").expect("no error"), (BYTES as u64, BYTES as u64));
}

#[tokio::test]
async fn an_answer_arrives_after_the_question_has_ended() {
    let keys = DoorKeys::generate("default").expect("keys");
    let door = Door::new(server_config(&keys.server()).expect("server keys"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let guest = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accept");
        let (_, mut stream) = door.greet(tcp, DEADLINE).await.expect("greeting");
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.expect("question");
        stream.write_all(b"the answer").await.expect("answer");
        stream.shutdown().await.expect("end");
        question
    });
    let stream = client(address, &keys.client()).connect(Service::Guest, DEADLINE).await.expect("connect");
    let (mut near, mut far) = duplex(1024);
    let spliced = tokio::spawn(async move {
        let mut stream = stream;
        splice(&mut far, &mut stream).await
    });
    near.write_all(b"the question").await.expect("question");
    near.shutdown().await.expect("half-close");
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.expect("answer");
    assert_eq!(answer, "the answer");
    assert_eq!(guest.await.expect("guest"), b"the question");
    assert_eq!(spliced.await.expect("splice").expect("no error"), (12, 10));
}

#[test]
fn keys_are_never_printed() {
    let keys = DoorKeys::generate("default").expect("keys");
    for text in [format!("{keys:?}"), format!("{:?}", keys.server()), format!("{:?}", keys.client())] {
        assert!(!text.contains("BEGIN"), "{text}");
    }
}

fn bare_client(keys: &DoorKeys) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(keys.ca_cert.as_bytes()).expect("authority")).expect("root");
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
