//! A vendor is spoken to over TLS only when it is who it says it is: not one byte of text before that.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::{Served, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use voxrelay::drain::Drain;

mod support;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_behind_tls_is_spoken_to_when_its_issuer_is_trusted() {
    let front = Front::start("localhost", Life::Good).await;
    let spoken = front.say("localhost", true).await;
    assert!(spoken.status.success(), "{}", String::from_utf8_lossy(&spoken.stderr));
    assert!(front.decrypted() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_whoever_cannot_prove_who_it_is() {
    for (what, name, life, trusted) in [
        ("an unknown issuer", "localhost", Life::Good, false),
        ("another name", "elsewhere.test", Life::Good, true),
        ("a certificate out of date", "localhost", Life::Over, true),
    ] {
        let front = Front::start(name, life).await;
        let refused = front.say("localhost", trusted).await;
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{what}: {told}");
        assert!(told.contains("(tls)"), "{what}: {told}");
        assert_eq!(front.decrypted(), 0, "{what}: something was said");
    }
}

#[derive(Clone, Copy)]
enum Life {
    Good,
    Over,
}

/// What an operator puts in front of a relay: it speaks TLS and passes the rest on.
struct Front {
    served: Served,
    addr: SocketAddr,
    issuer: tempfile::NamedTempFile,
    decrypted: Arc<AtomicU64>,
    tasks: Drain,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tasks.cut();
    }
}

impl Front {
    async fn start(name: &str, life: Life) -> Self {
        let served = Served::start(&[]).await;
        let (config, issuer) = certified(name, life);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (relay, decrypted) = (served.addr.parse().unwrap(), Arc::new(AtomicU64::new(0)));
        let seen = decrypted.clone();
        let tasks = Drain::new();
        let passing = tasks.clone();
        tasks.spawn_until_cut(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((tcp, _)) = listener.accept().await {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    passing.spawn_until_cut(pass_on(tls, relay, seen.clone()));
                }
            }
        });
        Self { served, addr, issuer: file, decrypted, tasks }
    }

    fn decrypted(&self) -> u64 {
        self.decrypted.load(Ordering::SeqCst)
    }

    async fn say(&self, host: &str, trusted: bool) -> Output {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxrelay"));
        command
            .args(["say", "A word.", "--url", &format!("https://{host}:{}", self.addr.port()), "--out"])
            .arg(out.path().join("said.wav"))
            .env("VOXRELAY_API_KEY", &self.served.key)
            .stdin(Stdio::null());
        if trusted {
            command.env("SSL_CERT_FILE", self.issuer.path());
        }
        within("say", async { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() })
            .await
    }
}

async fn pass_on(
    mut tls: tokio_rustls::server::TlsStream<TcpStream>,
    relay: SocketAddr,
    decrypted: Arc<AtomicU64>,
) {
    let mut first = [0; 1024];
    let Ok(read) = tls.read(&mut first).await else { return };
    decrypted.fetch_add(read as u64, Ordering::SeqCst);
    let Ok(mut inside) = TcpStream::connect(relay).await else { return };
    if inside.write_all(&first[..read]).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut tls, &mut inside).await;
    }
}

/// A server's side of TLS under that name, and its issuer's certificate.
fn certified(name: &str, life: Life) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if let Life::Over = life {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, private).unwrap();
    (config, issuer.pem())
}
