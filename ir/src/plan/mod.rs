//! plan/mod
