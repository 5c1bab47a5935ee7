//! Public types of the tuner.
