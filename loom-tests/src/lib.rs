//! Tools around the models; the models themselves are in `models/`.
