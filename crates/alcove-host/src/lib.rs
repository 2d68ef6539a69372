//! Facts about the person's computer, checks of it, and sane sizes for a machine.
