//! The machine contract, its providers and the on-disk layout.
