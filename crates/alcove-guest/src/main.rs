//! Alcove's daemon in the guest.

fn main() {}
