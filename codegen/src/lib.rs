//! Plans and kernels to machine code.
