//! TLS, with certificates that are always verified.

use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, Stream,
};

use super::error::Error;

/// Which certificates are trusted, and which one we have.
#[derive(Clone)]
pub struct Config(Arc<ClientConfig>);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config")
    }
}

impl Config {
    /// Reads the trusted certificates from a file, or takes those of the system, and our own
    /// certificate with its key from two others.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is invalid.
    pub fn from_files(trusted: Option<&str>, own: Option<(&str, &str)>) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let (certificates, is_pinned) = match trusted {
            Some(file) => (read_certificates(file)?, true),
            None => (rustls_native_certs::load_native_certs().certs, false),
        };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            let text =
                "the system has no certificate authorities that could verify its certificate";
            let text = trusted.map_or(text.to_owned(), |file| format!("{file}: no certificate"));
            return Err(Error::Unsuitable(text));
        }
        let by_authority =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let verifier = Verifier {
            by_authority: by_authority.map_err(|error| Error::Unsuitable(error.to_string()))?,
            pinned: if is_pinned { certificates } else { Vec::new() },
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Unsuitable(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read_certificates(certificate)?;
                let invalid = |error: &dyn fmt::Display| invalid_file(key, error);
                let parsed = PrivateKeyDer::from_pem_file(key).map_err(|error| invalid(&error))?;
                let config = builder.with_client_auth_cert(chain, parsed);
                config.map_err(|error| invalid(&error))?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// Starts a session with a server of this name.
    ///
    /// # Errors
    ///
    /// The name is invalid.
    pub fn start(&self, host: &str) -> Result<Session, Error> {
        let unsuitable = |error: &dyn fmt::Display| Error::Unsuitable(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unsuitable(&error))?;
        let session = ClientConnection::new(self.0.clone(), name);
        Ok(Session(Box::new(
            session.map_err(|error| unsuitable(&error))?,
        )))
    }
}

fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let invalid = |error: &dyn fmt::Display| invalid_file(file, error);
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| invalid(&error))?;
    let certificates: Result<_, _> = certificates.collect();
    certificates.map_err(|error| invalid(&error))
}

fn invalid_file(file: &str, error: &dyn fmt::Display) -> Error {
    Error::Unsuitable(format!("{file}: {error}"))
}

/// A session on a connection.
#[derive(Debug)]
pub struct Session(Box<ClientConnection>);

impl Session {
    /// Reads what has arrived.
    ///
    /// # Errors
    ///
    /// Nothing has, or the connection or the session has failed.
    pub fn read(&mut self, tcp: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut Stream::new(&mut *self.0, tcp), buffer)
    }

    /// Writes a part of the data, if any, and all that was not sent before.
    ///
    /// # Errors
    ///
    /// The connection accepts no more, the handshake waits for the other end, or the connection or
    /// the session has failed.
    pub fn write(&mut self, tcp: &mut TcpStream, data: &[u8]) -> io::Result<usize> {
        let mut stream = Stream::new(&mut *self.0, tcp);
        if data.is_empty() {
            stream.flush()?;
            return Ok(0);
        }
        stream.write(data)
    }

    /// Returns whether there is something left to send.
    pub fn has_unsent_data(&self) -> bool {
        self.0.wants_write()
    }
}

/// Accepts certificates that an authority has signed, and those that are themselves in the file of
/// trusted certificates. A server's self-signed certificate is usually also marked as that of an
/// authority, which may not be used by a server: that one is pinned.
#[derive(Debug)]
struct Verifier {
    by_authority: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The whole certificate is the same, so its owner has the key that the user trusts; the
        // name adds nothing to that.
        if self.pinned.iter().any(|pinned| pinned == certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let verifier = &self.by_authority;
        verifier.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = &self.by_authority;
        verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = &self.by_authority;
        verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

/// Returns what an error means, if it is one of TLS.
pub fn classify(error: &io::Error) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown),
        ) => Error::Denied(format!("it does not accept our certificate: {alert:?}")),
        rustls::Error::InvalidMessage(_) => Error::Unsuitable("it does not speak TLS".to_owned()),
        error => Error::Unsuitable(error.to_string()),
    })
}
