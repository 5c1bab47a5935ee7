//! Plans and kernels to machine code.

pub mod wide;
