//! loops/interp
