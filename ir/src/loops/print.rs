//! loops/print
