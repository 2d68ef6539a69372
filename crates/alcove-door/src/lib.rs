//! The one door between host and guest: keys, TLS and service names.
