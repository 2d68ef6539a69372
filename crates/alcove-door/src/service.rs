//! The services behind the door.

use std::fmt;

/// A service that the host can ask for. Its server name is what the client puts in TLS SNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The guest's own API (HTTP/1.1).
    Guest,
    /// The cluster's API server, spoken to as the cluster's administrator (plain HTTP/1.1 inside the door).
    Kubernetes,
    /// The platform's gateway (plain HTTP/1.1 inside the door).
    Gateway,
}

impl Service {
    /// Every service, in the order of their start.
    pub const ALL: [Self; 3] = [Self::Guest, Self::Kubernetes, Self::Gateway];

    /// The name that a client asks for.
    #[must_use]
    pub const fn server_name(self) -> &'static str {
        match self {
            Self::Guest => "guest.door.alcove",
            Self::Kubernetes => "kubernetes.door.alcove",
            Self::Gateway => "gateway.door.alcove",
        }
    }

    /// The service of that name, if there is one.
    #[must_use]
    pub fn from_server_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.server_name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest",
            Self::Kubernetes => "kubernetes",
            Self::Gateway => "gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_service() {
        for service in Service::ALL {
            assert_eq!(Service::from_server_name(service.server_name()), Some(service));
        }
        assert_eq!(Service::from_server_name("GUEST.door.alcove"), Some(Service::Guest));
        assert_eq!(Service::from_server_name("other.door.alcove"), None);
        assert_eq!(Service::from_server_name(""), None);
    }
}
