//! The platform's gateway.
