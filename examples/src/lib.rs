//! Cargo wants a library beside the examples; they share nothing.
