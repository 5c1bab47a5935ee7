//! The lexer that all text forms share.
