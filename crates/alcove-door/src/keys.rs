//! Making the keys of one machine's door.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::{ClientPem, DoorError, ServerPem, Service};

/// The keys of one machine's door, as PEM. The authority that signed them is not among them: its key is forgotten when
/// this is made, so that no further certificate can ever be signed for the machine.
#[derive(Clone, PartialEq, Eq)]
pub struct DoorKeys {
    /// The authority's certificate. Both sides trust this one and no other.
    pub ca_cert: String,
    /// The guest's certificate.
    pub server_cert: String,
    /// The guest's key.
    pub server_key: String,
    /// The host's certificate.
    pub client_cert: String,
    /// The host's key.
    pub client_key: String,
}

impl fmt::Debug for DoorKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorKeys").finish_non_exhaustive()
    }
}

impl DoorKeys {
    /// Makes an authority for the machine called `instance`, a certificate for each side of its door, and forgets the
    /// authority's key.
    ///
    /// # Errors
    /// When the random source or the signing fails.
    pub fn generate(instance: &str) -> Result<Self, DoorError> {
        let authority_key = new_key()?;
        let mut authority = params(&format!("Alcove door of {instance}"), &[])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = authority.self_signed(&authority_key).map_err(key_error)?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let names: Vec<String> = Service::ALL.iter().map(|s| s.server_name().to_owned()).collect();
        let (server_cert, server_key) = leaf(&issuer, "guest", &names, ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client_cert, client_key) = leaf(&issuer, "host", &[], ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(Self { ca_cert, server_cert, server_key, client_cert, client_key })
    }

    /// The part that the guest gets.
    #[must_use]
    pub fn server(&self) -> ServerPem {
        ServerPem {
            ca_cert: self.ca_cert.clone(),
            server_cert: self.server_cert.clone(),
            server_key: self.server_key.clone(),
        }
    }

    /// The part that stays on the host.
    #[must_use]
    pub fn client(&self) -> ClientPem {
        ClientPem {
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        }
    }
}

fn new_key() -> Result<KeyPair, DoorError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(key_error)
}

fn params(name: &str, server_names: &[String]) -> Result<CertificateParams, DoorError> {
    let mut params = CertificateParams::new(server_names.to_vec()).map_err(key_error)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    // A machine lives as long as its data disk, on hosts whose clocks may be wrong in either direction. The keys never
    // leave the host, so their lifetime protects from nothing: they go when the machine is destroyed.
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2099, 12, 31);
    Ok(params)
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    server_names: &[String],
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String), DoorError> {
    let key = new_key()?;
    let mut params = params(name, server_names)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let cert = params.signed_by(&key, issuer).map_err(key_error)?;
    Ok((cert.pem(), key.serialize_pem()))
}

fn key_error(error: rcgen::Error) -> DoorError {
    DoorError::Keys(error.to_string())
}
